/*-------------------------------------------------------------------------
 *
 * edge_child.c
 *		The gateway's child: one penny-edge process.
 *
 * The edge gets nothing of PostgreSQL but what it needs: region P by a
 * read-only descriptor, its region E, region S, the eventfds of the wakes, the
 * listening sockets, and a socket by which certificates come.  The first
 * certificate lies in its socket when it starts.  How it is started, and that
 * it dies with its gateway, is base/child.c.
 *
 * The gateway kills its edge and waits for its end before it leaves, because
 * the next gateway sweeps the region, and nobody may write it then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>
#include <unistd.h>

#include "utils/guc.h"

#include "base/planemap.h"
#include "config/config.h"
#include "gateway/certificate.h"
#include "gateway/edge_child.h"

#define NAME "penny-edge"
#define NFDS (PENNY_FD_SLEEPER + PENNY_MAX_EXECUTORS + 1 - PENNY_CHILD_FD)

static bool make_control(PennyEdgeChild *edge, int *theirs);
static void close_control(PennyEdgeChild *edge);
static void list_descriptors(int fds[NFDS], int number, const int *listen_fds, int nlisten);

/* Sweep, then start. */
bool
penny_edge_child_start(PennyEdgeChild *edge, int number, const int *listen_fds, int nlisten)
{
	char program[MAXPGPATH];
	char arguments[PENNY_CHILD_ARGUMENTS][16];
	int fds[NFDS];
	int p_fd;
	int control_fd = -1;
	PennyLaunch launch = {.name = NAME, .program = program, .fds = fds, .nfds = NFDS};
	bool started = false;

	penny_plane_sweep(penny_plane(), number);
	penny_child_program(program, penny_edge_program, NAME);
	snprintf(arguments[0], 16, "%d", number);
	snprintf(arguments[1], 16, "%d", nlisten);
	snprintf(arguments[2], 16, "%d", log_min_messages <= DEBUG1 ? 2 : 1);
	for (int i = 0; i < PENNY_CHILD_ARGUMENTS; i++)
		launch.argument[i] = arguments[i];

	p_fd = penny_plane_readonly_fd(penny_plane());
	if (p_fd < 0 || !make_control(edge, &control_fd))
		ereport(LOG, (errcode_for_file_access(), errmsg("could not prepare %s: %m", NAME)));
	else
	{
		list_descriptors(fds, number, listen_fds, nlisten);
		fds[PENNY_FD_P - PENNY_CHILD_FD] = p_fd;
		fds[PENNY_FD_CONTROL - PENNY_CHILD_FD] = control_fd;
		started = penny_child_start(&edge->process, &launch);
	}
	if (p_fd >= 0)
		close(p_fd);
	if (control_fd >= 0)
		close(control_fd);
	if (!started)
		close_control(edge);
	return started;
}

/*
 * The socket of the certificates, with the one in force in it.  It goes one
 * way: what an edge might send, descriptors included, has nowhere to wait.
 */
static bool
make_control(PennyEdgeChild *edge, int *theirs)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return false;
	edge->control_fd = fds[0];
	*theirs = fds[1];
	if (shutdown(edge->control_fd, SHUT_RD) < 0)
		return false;
	/* An edge that does not know of a certificate would serve plain HTTP. */
	penny_edge_child_tell(edge);
	return !edge->untold;
}

/* Where plane.h says; all but region P and the control socket. */
static void
list_descriptors(int fds[NFDS], int number, const int *listen_fds, int nlisten)
{
	const PennyPlane *plane = penny_plane();
	int nsleepers = (int) plane->config.executors + 1;

	for (int i = 0; i < NFDS; i++)
		fds[i] = -1;
	fds[PENNY_FD_E - PENNY_CHILD_FD] = plane->e_fd[number];
	fds[PENNY_FD_S - PENNY_CHILD_FD] = plane->s_fd;
	fds[PENNY_FD_WAKE - PENNY_CHILD_FD] = plane->edge_wake[number];
	for (int i = 0; i < nlisten; i++)
		fds[PENNY_FD_LISTEN - PENNY_CHILD_FD + i] = listen_fds[i];
	for (int i = 0; i < nsleepers; i++)
		fds[PENNY_FD_SLEEPER - PENNY_CHILD_FD + i] = plane->sleeper_wake[i];
}

void
penny_edge_child_tell(PennyEdgeChild *edge)
{
	edge->untold = edge->control_fd >= 0 && !penny_gateway_certificate_send(edge->control_fd);
}

bool
penny_edge_child_outdated(const PennyEdgeChild *edge)
{
	char program[MAXPGPATH];

	penny_child_program(program, penny_edge_program, NAME);
	return penny_child_outdated(&edge->process, program);
}

bool
penny_edge_child_ended(PennyEdgeChild *edge, int *status)
{
	if (!penny_child_ended(&edge->process, status))
		return false;
	close_control(edge);
	return true;
}

void
penny_edge_child_kill(PennyEdgeChild *edge)
{
	penny_child_kill(&edge->process);
	close_control(edge);
}

static void
close_control(PennyEdgeChild *edge)
{
	if (edge->control_fd >= 0)
		close(edge->control_fd);
	edge->control_fd = -1;
	edge->untold = false;
}
