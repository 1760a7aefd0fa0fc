/*-------------------------------------------------------------------------
 *
 * sandbox_try.c
 *		Tries of a sandbox.  See sandbox_try.h.
 *
 *-------------------------------------------------------------------------
 */
#include "program/sandbox_try.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t other; /* a process to attack */

static bool
open_file(void)
{
	return open("/etc/passwd", O_RDONLY) >= 0;
}

static bool
create_file(void)
{
	return open("/tmp/penny-sandbox-test", O_RDWR | O_CREAT, 0600) >= 0;
}

static bool
stat_file(void)
{
	struct stat status;

	return stat("/etc/passwd", &status) == 0;
}

static bool
make_local_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool
signal_process(void)
{
	return kill(other, SIGUSR1) == 0;
}

static bool
signal_thread(void)
{
	return syscall(SYS_tgkill, other, other, SIGUSR1) == 0;
}

static bool
run_program(void)
{
	return execl("/bin/true", "true", (char *) NULL) == 0;
}

static bool
make_process(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	return child > 0;
}

static bool
trace_process(void)
{
	return ptrace(PTRACE_ATTACH, other, NULL, NULL) == 0;
}

static bool
write_process(void)
{
	return syscall(SYS_process_vm_writev, other, NULL, 0L, NULL, 0L, 0L) >= 0;
}

static bool
make_memfd(void)
{
	return syscall(SYS_memfd_create, "x", 0) >= 0;
}

static bool
map_executable(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
		   MAP_FAILED;
}

static bool
make_executable(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
}

static bool
change_process(void)
{
	return setuid(0) == 0;
}

static bool
allocate_and_free(void)
{
	void *memory = malloc(8 << 20);

	if (memory == NULL)
		return false;
	memset(memory, 1, 8 << 20);
	free(memory);
	return true;
}

static const PennyTry common[] = {
	{"open a file", PENNY_REFUSED, open_file},
	{"create a file", PENNY_REFUSED, create_file},
	{"look at a file", PENNY_REFUSED, stat_file},
	{"make a local socket", PENNY_KILLED, make_local_socket},
	{"signal a process", PENNY_KILLED, signal_process},
	{"signal a thread of another process", PENNY_REFUSED, signal_thread},
	{"run a program", PENNY_KILLED, run_program},
	{"make a process", PENNY_KILLED, make_process},
	{"trace a process", PENNY_KILLED, trace_process},
	{"write another process's memory", PENNY_KILLED, write_process},
	{"make a memory file", PENNY_KILLED, make_memfd},
	{"map executable memory", PENNY_REFUSED, map_executable},
	{"make memory executable", PENNY_REFUSED, make_executable},
	{"become another user", PENNY_KILLED, change_process},
	{"allocate and free", PENNY_WORKS, allocate_and_free},
};

/* One try in a child that has entered the sandbox; true = as expected. */
static bool
run_try(const PennyTry *try, const char *(*enter)(void) )
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0)
		return false;
	if (child == 0)
	{
		signal(SIGPIPE, SIG_IGN);
		if (enter() != NULL)
			_exit(3);
		_exit(try->run() ? 0 : 2);
	}
	if (waitpid(child, &status, 0) != child)
		return false;
	switch (try->expect)
	{
		case PENNY_REFUSED:
			return WIFEXITED(status) && WEXITSTATUS(status) == 2;
		case PENNY_KILLED:
#ifdef __SANITIZE_ADDRESS__
			if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
				return true; /* the sanitizer reports a fault and aborts */
#endif
			return WIFSIGNALED(status) &&
				   (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV);
		case PENNY_WORKS:
			return WIFEXITED(status) && WEXITSTATUS(status) == 0;
	}
	return false;
}

int
penny_sandbox_tries(const PennyTry *own, size_t nown, const char *(*enter)(void) )
{
	static const char *const outcome[] = {"is refused", "ends the process", "works"};
	size_t ncommon = sizeof(common) / sizeof(common[0]);
	int bad = 0;

	other = fork();
	if (other == 0)
	{
		pause();
		_exit(0);
	}
	printf("1..%zu\n", ncommon + nown);
	for (size_t i = 0; i < ncommon + nown; i++)
	{
		const PennyTry *try = i < ncommon ? &common[i] : &own[i - ncommon];
		bool ok = run_try(try, enter);

		bad += !ok;
		printf("%sok %zu - %s: %s\n", ok ? "" : "not ", i + 1, try->what, outcome[try->expect]);
	}
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	return bad == 0 ? 0 : 1;
}
