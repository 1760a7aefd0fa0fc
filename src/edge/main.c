/*-------------------------------------------------------------------------
 *
 * main.c
 *		penny-edge: attach, lock the door, serve.
 *
 *		penny-edge <edge number> <listening sockets> <log level>
 *		penny-edge --sandbox-test
 *
 * A gateway starts it with the plane, its eventfd, the listening sockets and
 * the wakes of the sleepers at fixed descriptors (plane.h), the certificate in
 * a socket, a log pipe as standard error, and no environment.  The order matters: everything that
 * opens files comes before the sandbox, every byte of a client after it.
 *
 * SIGTERM, and SIGUSR1 when another will follow, end it in an orderly way
 * within drain_timeout, exit code 0 (loop.c).  Any other end is a crash, which costs clients a reconnect; nothing that the
 * database acknowledged is lost with this process.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/calls.h"
#include "edge/edge.h"
#include "edge/events.h"
#include "edge/http.h"
#include "edge/listener.h"
#include "edge/loop.h"
#include "edge/sandbox.h"
#include "edge/tls.h"
#include "edge/waiting.h"

#define START_FAILED 2 /* exit code */

static void
fail(const char *what)
{
	penny_log(PENNY_LOG_WARNING, "edge cannot start: %s: %s", what, strerror(errno));
	exit(START_FAILED);
}

/* A number between 0 and max, or the end of the program. */
static int
argument(const char *text, long max)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < 0 || value > max)
	{
		errno = EINVAL;
		fail("read its arguments");
	}
	return (int) value;
}

/* Start from known signal handling, whatever the parent had. */
static void
set_signals(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a log that is a file: the write fails instead */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
attach(int self)
{
	const char *failed = penny_plane_attach(&penny_edge.plane, self);

	if (failed != NULL)
		fail(failed);
	/* The counters of what is open begin anew with this process. */
	for (PennyCounter counter = 0; counter < PENNY_COUNTERS; counter++)
	{
		switch (counter)
		{
			case PENNY_COUNT_CONNECTIONS:
			case PENNY_COUNT_WEBSOCKETS:
			case PENNY_COUNT_EVENT_STREAMS:
			case PENNY_COUNT_HELD:
			case PENNY_COUNT_ROOMS:
			case PENNY_COUNT_MEMBERS:
			case PENNY_COUNT_WAITING:
			case PENNY_COUNT_VARIANT_BYTES:
				penny_count(&penny_edge.plane, counter,
							-(int64_t) penny_counter(&penny_edge.plane, self, counter));
				break;
			default:
				break;
		}
	}
	if (!penny_plane_settings(&penny_edge.plane, &penny_edge.settings))
		fail("read the settings");
}

int
main(int argc, char **argv)
{
	const char *failed;
	uint32_t ceiling;

	if (argc == 2 && strcmp(argv[1], "--sandbox-test") == 0)
		return penny_sandbox_test();
	if (argc != 4)
	{
		errno = EINVAL;
		fail("read its arguments");
	}
	/* Looked at before anything else can take its number. */
	penny_edge.control = fcntl(PENNY_FD_CONTROL, F_GETFD) >= 0;
	penny_log_begin((PennyLogLevel) argument(argv[3], PENNY_LOG_DEBUG));
	set_signals();
	penny_edge.listeners = argument(argv[2], PENNY_MAX_LISTEN);
	attach(argument(argv[1], PENNY_MAX_EDGES - 1));
	penny_edge_clock();
	ceiling = penny_sandbox_limits(penny_edge.settings.max_connections);
	if (getppid() == 1)
		exit(0); /* the gateway died before death with it was arranged */

	failed = penny_loop_create();
	if (failed == NULL)
		failed = penny_tls_init();
	if (failed != NULL)
		fail(failed);
	if (penny_edge.control)
		(void) penny_tls_receive(PENNY_FD_CONTROL);
	if (penny_tls_failed())
	{
		errno = EINVAL;
		fail("use its certificate"); /* plain HTTP is no way out */
	}
	penny_calls_init();
	penny_events_init();
	penny_waiting_init();
	penny_http_setup();
	failed = penny_sandbox_enter();
	if (failed != NULL)
		fail(failed);
	penny_listener_start(ceiling);
	penny_log(PENNY_LOG_DEBUG, "edge serves, at most %u connections", ceiling);
	penny_loop_run();
	return 0;
}
