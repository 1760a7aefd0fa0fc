/*-------------------------------------------------------------------------
 *
 * sandbox.c
 *		Resource limits and system call filter of penny's own programs.
 *
 * They read what strangers send.  Whoever takes one over should find a process
 * that can read and write the sockets it has, and nothing else: no file, no
 * other process, no more memory than planned.
 *
 * The filter is a list of what is allowed; everything else fails with EPERM,
 * so that a library that tries something harmless (a certificate check that
 * reads the time zone) shrugs.  What only an intruder would call ends the
 * process.  Where arguments matter they are checked:
 *
 *	fcntl		F_SETFL only with O_NONBLOCK: eventfds and sockets of a child
 *				share their open file description with PostgreSQL, and one made
 *				blocking could hang it
 *	mmap		anonymous, never executable; mprotect never executable
 *	madvise		only what malloc uses
 *
 * Under AddressSanitizer the run time needs a few calls more and a vast
 * address space; that build is for tests.
 *
 *-------------------------------------------------------------------------
 */
#include "program/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "program/log.h"

static const int allowed_calls[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(close),
	SCMP_SYS(shutdown),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll), /* poll() where there is no such call, as on aarch64 */
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(getrandom),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(futex),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(getpid),
};

/* A library has no reason to call these: the process ends. */
static const int fatal_calls[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(clone),
	SCMP_SYS(clone3),
	SCMP_SYS(socketpair),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(kill),
	SCMP_SYS(tkill),
	SCMP_SYS(pidfd_send_signal),
	SCMP_SYS(pidfd_open),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(memfd_create),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(mount),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(keyctl),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(setuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setresgid),
	SCMP_SYS(prctl),
	SCMP_SYS(seccomp),
};

/* MADV_REMOVE on a shared mapping would free pages that PostgreSQL still reads. */
static const int allowed_advice[] = {MADV_NORMAL, MADV_DONTNEED, MADV_FREE, MADV_DONTDUMP};

static void
set_limit(int resource, rlim_t value)
{
	struct rlimit limit = {value, value};

	if (setrlimit(resource, &limit) != 0)
		penny_log(PENNY_LOG_WARNING, "could not set resource limit %d: errno %d", resource, errno);
}

/* Raise the soft limit of descriptors as far as asked and allowed. */
static uint32_t
raise_descriptors(uint32_t wanted, uint32_t spare)
{
	struct rlimit limit;
	rlim_t both = (rlim_t) wanted + spare;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return wanted;
	if (both > limit.rlim_max)
		both = limit.rlim_max;
	set_limit(RLIMIT_NOFILE, both);
	return both > spare ? (uint32_t) (both - spare) : 1;
}

uint32_t
penny_sandbox_limit(uint32_t wanted, uint32_t spare, uint64_t address_space)
{
	uint32_t allowed = raise_descriptors(wanted, spare);
	time_t now = time(NULL);
	struct tm broken;

	set_limit(RLIMIT_FSIZE, 0);
	set_limit(RLIMIT_CORE, 0);
	set_limit(RLIMIT_NPROC, 0);
	if (!PENNY_SANITIZED)
		set_limit(RLIMIT_AS, address_space);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		penny_log(PENNY_LOG_WARNING, "could not set process options: errno %d", errno);
	/* Libraries ask for local time now and then, and would open a file. */
	setenv("TZ", "UTC0", 1);
	tzset();
	if (localtime_r(&now, &broken) != NULL)
		(void) mktime(&broken);
	return allowed;
}

/* One action for each of some calls. */
static int
add_calls(scmp_filter_ctx filter, uint32_t action, PennyCalls calls)
{
	int failed = 0;

	for (size_t i = 0; i < calls.n; i++)
		failed |= seccomp_rule_add(filter, action, calls.call[i], 0);
	return failed;
}

/* The calls of which only some arguments are allowed. */
static int
allow_with_arguments(scmp_filter_ctx filter)
{
	int failed = 0;

	failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
							   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
							   SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
							   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	for (size_t i = 0; i < sizeof(allowed_advice) / sizeof(allowed_advice[0]); i++)
		failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(madvise), 1,
								   SCMP_A2(SCMP_CMP_EQ, allowed_advice[i]));
	failed |=
		seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_GETFL));
	failed |=
		seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_GETFD));
	failed |=
		seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_SETFD));
	failed |=
		seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 2, SCMP_A1(SCMP_CMP_EQ, F_SETFL),
						 SCMP_A2(SCMP_CMP_MASKED_EQ, O_NONBLOCK, O_NONBLOCK));
	/* abort() of a failed assertion signals the process itself. */
	failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
							   SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) getpid()));
	return failed;
}

/* What the run time of the sanitizers needs to start up and to report. */
static int
allow_sanitizer(scmp_filter_ctx filter)
{
	static const int calls[] = {
		SCMP_SYS(sigaltstack), SCMP_SYS(gettid),       SCMP_SYS(readlink),
		SCMP_SYS(sched_yield), SCMP_SYS(rt_sigaction),
	};

	return add_calls(filter, SCMP_ACT_ALLOW, PENNY_CALLS(calls));
}

/* Load the filter; from here on nothing new can be opened but what a program's own list allows. */
const char *
penny_sandbox_load(PennyCalls allowed, PennyCalls fatal, int (*more)(void *filter))
{
	scmp_filter_ctx filter;
	int failed = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return "forbid new privileges";
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (filter == NULL)
		return "make system call filter";
	failed |= add_calls(filter, SCMP_ACT_ALLOW, PENNY_CALLS(allowed_calls));
	failed |= add_calls(filter, SCMP_ACT_ALLOW, allowed);
	failed |= add_calls(filter, SCMP_ACT_KILL_PROCESS, PENNY_CALLS(fatal_calls));
	failed |= add_calls(filter, SCMP_ACT_KILL_PROCESS, fatal);
	failed |= allow_with_arguments(filter);
	if (more != NULL)
		failed |= more(filter);
	if (PENNY_SANITIZED)
		failed |= allow_sanitizer(filter);
	if (failed != 0 || (errno = -seccomp_load(filter)) != 0)
	{
		seccomp_release(filter);
		return "load system call filter";
	}
	seccomp_release(filter);
	return NULL;
}
