/*-------------------------------------------------------------------------
 *
 * child.c
 *		A program that a worker starts, watches, and ends.
 *
 * The child gets nothing of PostgreSQL but the descriptors that its worker
 * names, and a pipe for its log lines.  Everything else is closed, the
 * environment is empty, and it leads a session of its own: PostgreSQL signals
 * the process groups of its workers, and those signals are not meant for it.
 *
 * It dies with its worker: by PR_SET_PDEATHSIG, which is set before exec
 * (and again by the child after it), and by a look at the parent's pid for the
 * case that the worker died in between.
 *
 * Between fork and exec only what is safe after a fork: no allocation, no
 * ereport.  All signals are blocked over the fork, so that no handler of
 * PostgreSQL runs in the child.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"

#include "base/child.h"

/* More than any child is given. */
#define MAX_FDS 256
/* Of two processes to choose from, the kernel shall take the child. */
#define OOM_SCORE "500"

/* What the child needs beside what its worker named, made before the fork. */
typedef struct Start
{
	const PennyLaunch *launch;
	int log_fd; /* writing end */
	int null_fd;
	pid_t parent;
} Start;

static bool prepare(Start *start, PennyChild *child);
static void release(Start *start);
static void close_all(PennyChild *child);
static pid_t fork_child(const Start *start);
static void become_child(const Start *start) __attribute__((noreturn));
static bool place_descriptors(const Start *start);
static bool place(int fd, int at);
static void fail(const char *what, const char *name) __attribute__((noreturn));

void
penny_child_program(char *path, const char *setting, const char *name)
{
	if (setting[0] != '\0')
	{
		strlcpy(path, setting, MAXPGPATH);
		return;
	}
	strlcpy(path, my_exec_path, MAXPGPATH);
	get_parent_directory(path);
	join_path_components(path, path, name);
}

/* Fork and exec. */
bool
penny_child_start(PennyChild *child, const PennyLaunch *launch)
{
	Start start = {.launch = launch, .log_fd = -1, .null_fd = -1, .parent = MyProcPid};

	Assert(child->pid == 0 && launch->nfds <= MAX_FDS - PENNY_CHILD_FD);
	child->name = launch->name;
	if (!prepare(&start, child))
	{
		ereport(LOG, (errcode_for_file_access(), errmsg("could not prepare %s: %m", launch->name)));
		release(&start);
		close_all(child);
		return false;
	}

	child->pid = fork_child(&start);
	if (child->pid < 0)
	{
		ereport(LOG, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					  errmsg("could not fork %s: %m", launch->name)));
		child->pid = 0;
		release(&start);
		close_all(child);
		return false;
	}
	release(&start);
	child->pidfd = (int) syscall(SYS_pidfd_open, child->pid, 0);
	if (child->pidfd < 0)
	{
		ereport(LOG, (errcode(ERRCODE_SYSTEM_ERROR),
					  errmsg("could not open a descriptor of process %d: %m", (int) child->pid)));
		penny_child_kill(child);
		return false;
	}
	(void) fcntl(child->pidfd, F_SETFD, FD_CLOEXEC);
	return true;
}

/* Log pipe and /dev/null; errno on failure. */
static bool
prepare(Start *start, PennyChild *child)
{
	int pipe_fds[2];

	if (stat(start->launch->program, &child->program) != 0)
		memset(&child->program, 0, sizeof(child->program)); /* then exec says why */
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	child->log_fd = pipe_fds[0];
	start->log_fd = pipe_fds[1];
	start->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return start->null_fd >= 0;
}

bool
penny_child_outdated(const PennyChild *child, const char *path)
{
	struct stat now;

	/* While it is being replaced there may be none: then it is looked at again. */
	if (child->pid == 0 || stat(path, &now) != 0 || !S_ISREG(now.st_mode) ||
		access(path, X_OK) != 0)
		return false;
	return now.st_dev != child->program.st_dev || now.st_ino != child->program.st_ino ||
		   now.st_size != child->program.st_size ||
		   now.st_mtim.tv_sec != child->program.st_mtim.tv_sec ||
		   now.st_mtim.tv_nsec != child->program.st_mtim.tv_nsec;
}

static void
release(Start *start)
{
	if (start->log_fd >= 0)
		close(start->log_fd);
	if (start->null_fd >= 0)
		close(start->null_fd);
}

/* Fork with all signals blocked; the child does not return. */
static pid_t
fork_child(const Start *start)
{
	sigset_t all;
	sigset_t before;
	pid_t pid;
	int save_errno;

	fflush(NULL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		become_child(start);
	save_errno = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = save_errno;
	return pid;
}

/* In the child: leave PostgreSQL behind. */
static void
become_child(const Start *start)
{
	const PennyLaunch *launch = start->launch;
	char *arguments[PENNY_CHILD_ARGUMENTS + 2] = {(char *) launch->name};
	char *const environment[] = {NULL};
	sigset_t none;
	int fd;

	for (int i = 0; i < PENNY_CHILD_ARGUMENTS && launch->argument[i] != NULL; i++)
		arguments[i + 1] = (char *) launch->argument[i];
	for (int signal = 1; signal < NSIG; signal++)
	{
		struct sigaction action = {.sa_handler = SIG_DFL};

		(void) sigaction(signal, &action, NULL);
	}
	(void) setsid();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != start->parent)
		_exit(1);

	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
		errno = 0; /* then it is as likely to be taken as any other */
	if (!place_descriptors(start))
		fail("could not place the descriptors of ", launch->name);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(launch->program, arguments, environment);
	fail("could not execute ", launch->name);
}

/*
 * Put the descriptors where the child looks for them.  All are first copied
 * behind the last place, so that none is overwritten before its turn.
 */
static bool
place_descriptors(const Start *start)
{
	const PennyLaunch *launch = start->launch;
	int first_free = PENNY_CHILD_FD + launch->nfds;
	int from[MAX_FDS];

	from[STDIN_FILENO] = start->null_fd;
	from[STDOUT_FILENO] = start->log_fd;
	from[STDERR_FILENO] = start->log_fd;
	for (int i = 0; i < launch->nfds; i++)
		from[PENNY_CHILD_FD + i] = launch->fds[i];

	for (int i = 0; i < first_free; i++)
	{
		if (from[i] < 0)
			continue;
		from[i] = fcntl(from[i], F_DUPFD, first_free);
		if (from[i] < 0)
			return false;
	}
	for (int i = 0; i < first_free; i++)
	{
		if (!place(from[i], i))
			return false;
	}
	return close_range(first_free, ~0U, 0) == 0;
}

/* One descriptor to its place, or nothing there. */
static bool
place(int fd, int at)
{
	if (fd >= 0)
		return dup2(fd, at) == at;
	(void) close(at);
	return true;
}

/* In the child: say why on the log pipe, and end. */
static void
fail(const char *what, const char *name)
{
	static const char hex[] = "0123456789";
	char line[128] = "WARNING: ";
	int error = errno;
	size_t len;

	strlcat(line, what, sizeof(line) - 16);
	strlcat(line, name, sizeof(line) - 16);
	strlcat(line, ": errno ", sizeof(line));
	len = strlen(line);
	line[len++] = hex[error / 100 % 10];
	line[len++] = hex[error / 10 % 10];
	line[len++] = hex[error % 10];
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		_exit(126);
	_exit(127);
}

/* ---- end of a child ------------------------------------------------------ */

/* Fetch the status of a child that has ended. */
bool
penny_child_ended(PennyChild *child, int *status)
{
	pid_t pid;

	do
		pid = waitpid(child->pid, status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return false;
	if (pid < 0)
		*status = 0; /* somebody else has waited for it: it is gone all the same */

	penny_child_log_end(child);
	close_all(child);
	child->pid = 0;
	return true;
}

static void
close_all(PennyChild *child)
{
	if (child->log_fd >= 0)
		close(child->log_fd);
	if (child->pidfd >= 0)
		close(child->pidfd);
	child->pidfd = child->log_fd = -1;
}

void
penny_child_signal(const PennyChild *child, int signal)
{
	if (child->pid != 0)
		(void) kill(child->pid, signal);
}

/* SIGKILL cannot be refused, so this wait is short. */
void
penny_child_kill(PennyChild *child)
{
	siginfo_t info;
	int status;

	if (child->pid == 0)
		return;
	(void) kill(child->pid, SIGKILL);
	while (waitid(P_PID, child->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	(void) penny_child_ended(child, &status);
}
