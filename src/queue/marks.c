/*-------------------------------------------------------------------------
 *
 * marks.c
 *		Jobs that crash the process that runs them.
 *
 * PostgreSQL restarts as a whole when a process crashes, and the job, whose
 * transaction never was, is ready again.  One that crashes its worker each time
 * would be an outage, so before a job runs its id is noted, beside the mark that
 * says that something runs (base/crash.h).  When the postmaster makes new shared
 * memory after a crash, the jobs of those to blame are charged.  A job with
 * CRASHES charges is not run any more but becomes a dead letter.  One that was
 * charged is run in a transaction of its own.
 *
 * A job whose process was only killed from outside is charged as well, and
 * cleared when it comes to an end after all: what kills at random under load
 * condemns nobody.  A job that did not stop when it was cancelled, so that its
 * worker had to end, is charged by the worker itself.
 *
 * Where it stands.  Notes and charges lie in a mapping that the postmaster makes
 * once and keeps.  Charges are also in the file penny.jobs in the data directory
 * (base/state_file.h), written when they change: after a crash, and when one is
 * taken back.  Since the mapping was within reach of what crashed, charges whose
 * checksum is wrong are read from the file again.
 *
 * Locking: one LWLock for the charges; how many there are is read without it, so
 * that without any a job pays a load.  A note is written by its worker alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "base/crash.h"
#include "base/shmem.h"
#include "base/state_file.h"
#include "queue/marks.h"

#define CRASHES 2    /* after which a job is not run again */
#define CHARGES 64   /* jobs that are remembered */
#define KIND_SIZE 64 /* bytes kept of a kind, for people */
#define LINE_SIZE 256

/* What a worker runs; counts while its mark says that it does. */
typedef struct Note
{
	int64 id;
	char kind[KIND_SIZE];
} Note;

typedef struct Charge
{
	int64 id; /* 0: the entry is free */
	int crashes;
	int signal; /* that ended the process last; 0: ended from outside, or would not stop */
	TimestampTz latest;
	char kind[KIND_SIZE];
} Charge;

typedef struct Area
{
	pg_atomic_uint32 charged; /* entries in use */
	uint64 checksum;          /* of charge */
	Charge charge[CHARGES];
	Note note[PENNY_MAX_WORKERS];
} Area;

static const PennyStateFile file = {.name = "penny.jobs",
									.tmp = "penny.jobs.tmp",
									.header = "penny jobs 1\n",
									.what = "the list of jobs that crashed"};

static Area *area = NULL;
static Note *note = NULL;
static char content[CHARGES * LINE_SIZE];

static void take_stock(void);
static void postmaster_exit(int code, Datum arg);
static bool judge(void);
static void charge(const Note *of, int sig);
static void changed(void);

static const PennyShmemPart marks_part = {.name = "penny jobs", .init = take_stock, .locks = 1};

void
penny_job_marks_init(void)
{
	penny_shmem_register(&marks_part);
	if (IsPostmasterEnvironment)
		on_proc_exit(postmaster_exit, (Datum) 0);
}

static LWLock *
lock(void)
{
	return &GetNamedLWLockTranche(marks_part.name)->lock;
}

/* ---- notes ------------------------------------------------------------------------- */

void
penny_job_marks_attach(int worker)
{
	note = &area->note[worker];
	penny_crash_attach(PENNY_CRASH_WORKER(worker));
}

void
penny_job_mark(int64 id, const char *kind)
{
	note->id = id;
	strlcpy(note->kind, kind, sizeof(note->kind));
	penny_crash_begin();
}

void
penny_job_mark_end(void)
{
	penny_crash_leave();
}

/* ---- charges --------------------------------------------------------------------------- */

static Charge *
find(int64 id)
{
	for (int i = 0; i < CHARGES; i++)
	{
		if (area->charge[i].id == id)
			return &area->charge[i];
	}
	return NULL;
}

bool
penny_job_any_charged(void)
{
	return pg_atomic_read_u32(&area->charged) != 0;
}

int
penny_job_crashes(int64 id)
{
	Charge *charged;
	int crashes;

	if (!penny_job_any_charged())
		return 0;
	LWLockAcquire(lock(), LW_SHARED);
	charged = find(id);
	crashes = charged != NULL ? charged->crashes : 0;
	LWLockRelease(lock());
	return crashes;
}

char *
penny_job_condemned(int64 id)
{
	Charge copy = {0};
	Charge *charged;

	if (!penny_job_any_charged())
		return NULL;
	LWLockAcquire(lock(), LW_SHARED);
	charged = find(id);
	if (charged != NULL)
		copy = *charged;
	LWLockRelease(lock());
	if (copy.crashes < CRASHES)
		return NULL;
	return psprintf("ended the process that ran it %d times, at last at %s: %s", copy.crashes,
					timestamptz_to_str(copy.latest),
					copy.signal != 0
						? psprintf("signal %d, %s", copy.signal, pg_strsignal(copy.signal))
						: "killed from outside, or did not stop when it was told to");
}

void
penny_job_acquit(int64 id, bool ended)
{
	Charge *charged;

	if (!penny_job_any_charged())
		return;
	LWLockAcquire(lock(), LW_EXCLUSIVE);
	charged = find(id);
	if (charged != NULL && (ended || charged->signal == 0))
	{
		memset(charged, 0, sizeof(*charged));
		changed();
	}
	LWLockRelease(lock());
}

void
penny_job_charge_marked(void)
{
	if (note == NULL || !penny_crash_begun())
		return;
	LWLockAcquire(lock(), LW_EXCLUSIVE);
	charge(note, 0);
	changed();
	LWLockRelease(lock());
}

/* ---- the file --------------------------------------------------------------------------- */

static uint64
checksum(void)
{
	return hash_bytes_extended((const unsigned char *) area->charge, sizeof(area->charge), 0);
}

/* What is derived from the charges, and the file: id, crashes, signal, latest, kind. */
static void
changed(void)
{
	size_t len = 0;
	uint32 n = 0;

	content[0] = '\0';
	for (int i = 0; i < CHARGES; i++)
	{
		const Charge *one = &area->charge[i];

		if (one->id == 0)
			continue;
		len += snprintf(content + len, sizeof(content) - len,
						INT64_FORMAT " %d %d " INT64_FORMAT " %s\n", one->id, one->crashes,
						one->signal, one->latest, one->kind);
		n++;
	}
	pg_atomic_write_u32(&area->charged, n);
	area->checksum = checksum();
	penny_state_write(&file, content);
}

static int filled = 0; /* entries that are read */

static void
take_line(const char *line)
{
	Charge *one = &area->charge[filled];

	if (filled >= CHARGES)
		return;
	if (sscanf(line, "%" INT64_MODIFIER "d %d %d %" INT64_MODIFIER "d %63s", &one->id,
			   &one->crashes, &one->signal, &one->latest, one->kind) == 5 &&
		one->id > 0)
		filled++;
	else
		memset(one, 0, sizeof(*one));
}

static void
read_file(void)
{
	memset(area->charge, 0, sizeof(area->charge));
	filled = 0;
	penny_state_read(&file, content, sizeof(content), take_line);
}

/* ---- after a crash, in the postmaster -------------------------------------------------- */

/* Nobody else runs, so no lock is needed (nor could the postmaster take one). */
static void
take_stock(void)
{
	bool fresh = area == NULL;

	if (!IsPostmasterEnvironment)
		return;
	if (fresh)
	{
		area = mmap(NULL, sizeof(Area), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (area == MAP_FAILED)
			ereport(FATAL, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
							errmsg("could not map memory for the marks of penny's jobs: %m")));
	}
	if (fresh || area->checksum != checksum())
		read_file();
	if (judge() || fresh)
		changed();
}

/* The server ends: with restart_after_crash off this is all there is. */
static void
postmaster_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (area == NULL || MyProcPid != PostmasterPid || area->checksum != checksum())
		return;
	penny_crash_judge_at_exit();
	if (judge())
		changed();
}

/* Charge the jobs of those who are to blame; false when there are none. */
static bool
judge(void)
{
	bool found = false;

	for (int i = 0; i < PENNY_MAX_WORKERS; i++)
	{
		Note copy = area->note[i];
		int sig;

		if (penny_crash_verdict(PENNY_CRASH_WORKER(i), &sig) == PENNY_CRASH_INNOCENT ||
			copy.id <= 0)
			continue;
		/* what crashed may have written here, too */
		copy.kind[sizeof(copy.kind) - 1] = '\0';
		for (char *c = copy.kind; *c != '\0'; c++)
			if ((unsigned char) *c <= ' ' || (unsigned char) *c > '~')
				*c = '?';
		charge(&copy, sig);
		found = true;
	}
	return found;
}

/* A free entry, or the oldest. */
static Charge *
make_room(void)
{
	Charge *oldest = &area->charge[0];

	for (int i = 0; i < CHARGES; i++)
	{
		if (area->charge[i].id == 0)
			return &area->charge[i];
		if (area->charge[i].latest < oldest->latest)
			oldest = &area->charge[i];
	}
	return oldest;
}

static void
charge(const Note *of, int sig)
{
	Charge *one = find(of->id);

	if (one == NULL)
	{
		one = make_room();
		memset(one, 0, sizeof(*one));
		one->id = of->id;
	}
	one->crashes++;
	one->signal = sig != 0 ? sig : one->signal;
	one->latest = GetCurrentTimestamp();
	strlcpy(one->kind, of->kind[0] != '\0' ? of->kind : "-", sizeof(one->kind));
	ereport(LOG, (errmsg("penny job " INT64_FORMAT " of kind %s was running in a worker that %s",
						 one->id, one->kind, sig != 0 ? "crashed" : "was ended from outside"),
				  errdetail("It has ended the process that ran it %d times; after %d it is not run "
							"again.",
							one->crashes, CRASHES)));
}
