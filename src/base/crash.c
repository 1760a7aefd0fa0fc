/*-------------------------------------------------------------------------
 *
 * crash.c
 *		Which process was it that crashed?  See crash.h.
 *
 * A mark is written by its process alone, and read when all are dead.  What
 * crashed may have written into the mapping, too: of a mark two words are
 * believed, and the worst that they can do is to blame somebody.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/mman.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "postmaster/interrupt.h"

#include "base/crash.h"
#include "base/shmem.h"

/* Values of a mark's word `ended`, apart from numbers of signals. */
#define NOT_ENDED 0
#define ENDED_BY_POSTMASTER 1000
#define ENDED_IN_PARALLEL 1001

typedef struct Mark
{
	pg_atomic_uint32 running;
	pg_atomic_uint32 ended; /* by signal handlers */
} Mark;

typedef struct Verdict
{
	PennyCrashVerdict verdict;
	int sig;
} Verdict;

static Mark *marks = NULL; /* in the mapping */
static Mark *mark = NULL;  /* of this process */
static Verdict verdicts[PENNY_CRASH_MARKS];
static bool exit_judged = false;
static char signal_stack[16384];

static void take_stock(void);
static void judge(bool faults_only);
static void on_fault(int sig, siginfo_t *info, void *context);
static void on_quit(SIGNAL_ARGS);

static const PennyShmemPart crash_part = {.name = "penny crash", .init = take_stock};

void
penny_crash_init(void)
{
	penny_shmem_register(&crash_part);
}

/* ---- in a process with a mark ------------------------------------------------- */

void
penny_crash_attach(int number)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGABRT};
	struct sigaction action = {.sa_sigaction = on_fault,
							   .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK};
	stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};

	mark = &marks[number];
	penny_crash_leave();
	/* the stack may be what is out of bounds */
	sigaltstack(&stack, NULL);
	sigemptyset(&action.sa_mask);
	for (int i = 0; i < lengthof(faults); i++)
		sigaction(faults[i], &action, NULL);
	pqsignal(SIGQUIT, on_quit);
}

void
penny_crash_begin(void)
{
	pg_write_barrier();
	pg_atomic_write_u32(&mark->running, 1);
	pg_memory_barrier();
}

void
penny_crash_leave(void)
{
	pg_atomic_write_u32(&mark->running, 0);
	pg_atomic_write_u32(&mark->ended, NOT_ENDED);
}

bool
penny_crash_begun(void)
{
	return pg_atomic_read_u32(&mark->running) != 0;
}

/* A fault: note it, and let it end the process as it would have. */
static void
on_fault(int sig, siginfo_t *info, void *context)
{
	bool by_postmaster = info->si_code == SI_USER && info->si_pid == PostmasterPid;

	(void) context;
	pg_atomic_write_u32(&mark->ended, by_postmaster ? ENDED_BY_POSTMASTER : (uint32) sig);
	/* a fault comes again by itself when the handler returns, a sent signal does not */
	if (info->si_code <= 0)
		raise(sig);
}

/* The postmaster ends everybody. */
static void
on_quit(SIGNAL_ARGS)
{
	pg_atomic_write_u32(&mark->ended, IsInParallelMode() ? ENDED_IN_PARALLEL : ENDED_BY_POSTMASTER);
	SignalHandlerForCrashExit(postgres_signal_arg);
}

/* ---- after a crash, in the postmaster ------------------------------------------- */

/* The server starts, or starts again after a crash.  Nobody else runs. */
static void
take_stock(void)
{
	if (!IsPostmasterEnvironment)
		return;
	if (marks == NULL)
	{
		marks = mmap(NULL, sizeof(Mark) * PENNY_CRASH_MARKS, PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (marks == MAP_FAILED)
			ereport(FATAL, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
							errmsg("could not map memory for the marks of penny: %m")));
	}
	judge(false);
}

/* What the marks say; they are wiped. */
static void
judge(bool faults_only)
{
	bool somebody = false;

	memset(verdicts, 0, sizeof(verdicts));
	for (int i = 0; i < PENNY_CRASH_MARKS; i++)
	{
		uint32 ended = pg_atomic_read_u32(&marks[i].ended);

		if (pg_atomic_read_u32(&marks[i].running) == 0 || ended >= ENDED_BY_POSTMASTER ||
			(faults_only && ended == NOT_ENDED))
			continue;
		verdicts[i].verdict = ended == NOT_ENDED ? PENNY_CRASH_SUSPECT : PENNY_CRASH_FAULT;
		verdicts[i].sig = (int) ended;
		somebody = true;
	}
	for (int i = 0; i < PENNY_CRASH_MARKS; i++)
	{
		if (!somebody && !faults_only && pg_atomic_read_u32(&marks[i].running) != 0 &&
			pg_atomic_read_u32(&marks[i].ended) == ENDED_IN_PARALLEL)
			verdicts[i].verdict = PENNY_CRASH_SUSPECT;
	}
	memset(marks, 0, sizeof(Mark) * PENNY_CRASH_MARKS);
}

PennyCrashVerdict
penny_crash_verdict(int number, int *sig)
{
	*sig = verdicts[number].sig;
	return verdicts[number].verdict;
}

void
penny_crash_judge_at_exit(void)
{
	if (exit_judged || marks == NULL)
		return;
	exit_judged = true;
	judge(true);
}
