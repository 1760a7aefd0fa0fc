/*-------------------------------------------------------------------------
 *
 * child.c
 *		The gateway's child: one penny-edge process.
 *
 * The edge gets nothing of PostgreSQL but what it needs: region P by a
 * read-only descriptor, its region E, region S, the eventfds of the wakes, the
 * listening sockets, a socket by which certificates come, and a pipe for its
 * log lines.  The first certificate lies in its socket when it starts.  Everything else is closed, the
 * environment is empty, and it leads a session of its own: PostgreSQL signals
 * the process groups of its workers, and those signals are not meant for it.
 *
 * It dies with its gateway: by PR_SET_PDEATHSIG, which is set before exec
 * (and again by the edge after it), and by a look at the parent's pid for the
 * case that the gateway died in between.  The gateway in turn kills its edge
 * and waits for its end before it leaves, because the next gateway sweeps the
 * region, and nobody may write it then.
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
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "base/planemap.h"
#include "config/config.h"
#include "gateway/certificate.h"
#include "gateway/child.h"

/* Behind the last descriptor that an edge is given. */
#define FIRST_FREE_FD (PENNY_FD_SLEEPER + PENNY_MAX_EXECUTORS + 1)
/* Of two processes to choose from, the kernel shall take the edge. */
#define OOM_SCORE "500"

/* Everything that the child needs, made before the fork. */
typedef struct Launch
{
	char program[MAXPGPATH];
	char arguments[3][16];
	int log_fd;     /* writing end */
	int control_fd; /* reading end */
	int null_fd;
	int p_fd;
	int edge;
	const int *listen_fds;
	int nlisten;
	pid_t parent;
} Launch;

static bool prepare(Launch *launch, PennyChild *child, int edge, const int *listen_fds,
					int nlisten);
static void find_program(char *path);
static bool make_control(Launch *launch, PennyChild *child);
static void release(Launch *launch);
static void close_all(PennyChild *child);
static pid_t fork_edge(Launch *launch);
static void become_edge(const Launch *launch) __attribute__((noreturn));
static bool place_descriptors(const Launch *launch);
static bool place(int fd, int at);
static void fail(const char *what) __attribute__((noreturn));

/* Sweep, then fork and exec. */
bool
penny_child_start(PennyChild *child, int edge, const int *listen_fds, int nlisten)
{
	Launch launch;

	Assert(child->pid == 0);
	penny_plane_sweep(penny_plane(), edge);
	if (!prepare(&launch, child, edge, listen_fds, nlisten))
	{
		ereport(LOG, (errcode_for_file_access(), errmsg("could not prepare penny-edge: %m")));
		release(&launch);
		close_all(child);
		return false;
	}

	child->pid = fork_edge(&launch);
	if (child->pid < 0)
	{
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("could not fork penny-edge: %m")));
		child->pid = 0;
		release(&launch);
		close_all(child);
		return false;
	}
	release(&launch);
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

/* Paths, arguments and descriptors; errno on failure. */
static bool
prepare(Launch *launch, PennyChild *child, int edge, const int *listen_fds, int nlisten)
{
	int pipe_fds[2];

	memset(launch, 0, sizeof(*launch));
	launch->log_fd = launch->control_fd = launch->null_fd = launch->p_fd = -1;
	launch->edge = edge;
	launch->listen_fds = listen_fds;
	launch->nlisten = nlisten;
	launch->parent = MyProcPid;
	find_program(launch->program);
	if (stat(launch->program, &child->program) != 0)
		memset(&child->program, 0, sizeof(child->program)); /* then exec says why */
	snprintf(launch->arguments[0], 16, "%d", edge);
	snprintf(launch->arguments[1], 16, "%d", nlisten);
	snprintf(launch->arguments[2], 16, "%d", log_min_messages <= DEBUG1 ? 2 : 1);

	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	child->log_fd = pipe_fds[0];
	launch->log_fd = pipe_fds[1];
	launch->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	launch->p_fd = penny_plane_readonly_fd(penny_plane());
	return launch->null_fd >= 0 && launch->p_fd >= 0 && make_control(launch, child);
}

/*
 * The socket of the certificates, with the one in force in it.  It goes one
 * way: what an edge might send, descriptors included, has nowhere to wait.
 */
static bool
make_control(Launch *launch, PennyChild *child)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return false;
	child->control_fd = fds[0];
	launch->control_fd = fds[1];
	if (shutdown(child->control_fd, SHUT_RD) < 0)
		return false;
	/* An edge that does not know of a certificate would serve plain HTTP. */
	penny_child_tell(child);
	return !child->untold;
}

void
penny_child_tell(PennyChild *child)
{
	child->untold = child->control_fd >= 0 && !penny_gateway_certificate_send(child->control_fd);
}

bool
penny_child_outdated(const PennyChild *child)
{
	char path[MAXPGPATH];
	struct stat now;

	find_program(path);
	/* While it is being replaced there may be none: then it is looked at again. */
	if (child->pid == 0 || stat(path, &now) != 0 || !S_ISREG(now.st_mode) ||
		access(path, X_OK) != 0)
		return false;
	return now.st_dev != child->program.st_dev || now.st_ino != child->program.st_ino ||
		   now.st_size != child->program.st_size ||
		   now.st_mtim.tv_sec != child->program.st_mtim.tv_sec ||
		   now.st_mtim.tv_nsec != child->program.st_mtim.tv_nsec;
}

/* As set, or beside the server's own program. */
static void
find_program(char *path)
{
	if (penny_edge_program[0] != '\0')
	{
		strlcpy(path, penny_edge_program, MAXPGPATH);
		return;
	}
	strlcpy(path, my_exec_path, MAXPGPATH);
	get_parent_directory(path);
	join_path_components(path, path, "penny-edge");
}

static void
release(Launch *launch)
{
	if (launch->log_fd >= 0)
		close(launch->log_fd);
	if (launch->control_fd >= 0)
		close(launch->control_fd);
	if (launch->null_fd >= 0)
		close(launch->null_fd);
	if (launch->p_fd >= 0)
		close(launch->p_fd);
}

/* Fork with all signals blocked; the child does not return. */
static pid_t
fork_edge(Launch *launch)
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
		become_edge(launch);
	save_errno = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = save_errno;
	return pid;
}

/* In the child: leave PostgreSQL behind. */
static void
become_edge(const Launch *launch)
{
	char *const arguments[] = {"penny-edge", (char *) launch->arguments[0],
							   (char *) launch->arguments[1], (char *) launch->arguments[2], NULL};
	char *const environment[] = {NULL};
	sigset_t none;
	int fd;

	for (int signal = 1; signal < NSIG; signal++)
	{
		struct sigaction action = {.sa_handler = SIG_DFL};

		(void) sigaction(signal, &action, NULL);
	}
	(void) setsid();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != launch->parent)
		_exit(1);

	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
		errno = 0; /* then it is as likely to be taken as any other */
	if (!place_descriptors(launch))
		fail("could not place the descriptors of penny-edge");

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(launch->program, arguments, environment);
	fail("could not execute penny-edge");
}

/*
 * Put the descriptors where plane.h says.  All are first copied behind the
 * last place, so that none is overwritten before its turn.
 */
static bool
place_descriptors(const Launch *launch)
{
	const PennyPlane *plane = penny_plane();
	int nsleepers = (int) plane->config.executors + 1;
	int from[FIRST_FREE_FD];

	for (int i = 0; i < FIRST_FREE_FD; i++)
		from[i] = -1;
	from[STDIN_FILENO] = launch->null_fd;
	from[STDOUT_FILENO] = launch->log_fd;
	from[STDERR_FILENO] = launch->log_fd;
	from[PENNY_FD_P] = launch->p_fd;
	from[PENNY_FD_E] = plane->e_fd[launch->edge];
	from[PENNY_FD_S] = plane->s_fd;
	from[PENNY_FD_WAKE] = plane->edge_wake[launch->edge];
	from[PENNY_FD_CONTROL] = launch->control_fd;
	for (int i = 0; i < launch->nlisten; i++)
		from[PENNY_FD_LISTEN + i] = launch->listen_fds[i];
	for (int i = 0; i < nsleepers; i++)
		from[PENNY_FD_SLEEPER + i] = plane->sleeper_wake[i];

	for (int i = 0; i < FIRST_FREE_FD; i++)
	{
		if (from[i] < 0)
			continue;
		from[i] = fcntl(from[i], F_DUPFD, FIRST_FREE_FD);
		if (from[i] < 0)
			return false;
	}
	for (int i = 0; i < FIRST_FREE_FD; i++)
	{
		if (!place(from[i], i))
			return false;
	}
	return close_range(FIRST_FREE_FD, ~0U, 0) == 0;
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
fail(const char *what)
{
	static const char hex[] = "0123456789";
	char line[128] = "WARNING: ";
	int error = errno;
	size_t len;

	strlcat(line, what, sizeof(line));
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

/* ---- end of an edge ----------------------------------------------------- */

/* Fetch the status of an edge that has ended. */
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
	if (child->control_fd >= 0)
		close(child->control_fd);
	child->pidfd = child->log_fd = child->control_fd = -1;
	child->untold = false;
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
