/*-------------------------------------------------------------------------
 *
 * main.c
 *		penny-courier: be told what to do, lock the door, serve.
 *
 *		penny-courier
 *		penny-courier --sandbox-test
 *
 * A worker starts it with a socket at PENNY_COURIER_FD, a log pipe as standard
 * error, and no environment.  It first reads the settings, then whatever it
 * will need of files (trusted certificates, /etc/hosts, name servers), closes
 * the sandbox, and says READY.  Exit code 0: the worker is gone, or everything
 * is answered after DRAIN.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "courier/courier.h"
#include "courier/names.h"

#define START_FAILED 2         /* exit code */
#define SETTINGS_PATIENCE 5000 /* ms */
#define HOSTS "/etc/hosts"

/* Texts of the settings, terminated. */
static char allow[PENNY_WEBHOOK_LIST_MAX + 1];
static char ca_file[PENNY_COURIER_PATH_MAX];
static char resolver[PENNY_COURIER_PATH_MAX];

static void
fail(const char *what)
{
	penny_log(PENNY_LOG_WARNING, "courier cannot start: %s: %s", what, strerror(errno));
	exit(START_FAILED);
}

/* Start from known signal handling, whatever the parent had. */
static void
set_signals(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
copy(char *out, PennyCourierText text)
{
	memcpy(out, text.bytes, text.len);
	out[text.len] = '\0';
}

/* The first frame. */
static void
take_settings(void)
{
	PennyCourierStream *worker = &penny_courier.worker;
	PennyCourierSettings settings;
	PennyCourierFrame frame;
	const char *entry;
	size_t entry_len;

	while (!penny_courier_stream_next(worker, &frame))
	{
		struct pollfd ready = {.fd = worker->fd, .events = POLLIN};

		if (worker->ended)
			exit(0);
		if (worker->broken || poll(&ready, 1, SETTINGS_PATIENCE) == 0)
		{
			errno = EPROTO;
			fail("read its settings");
		}
		penny_courier_stream_fill(worker);
	}
	errno = EPROTO;
	if (frame.kind != PENNY_COURIER_SETTINGS ||
		!penny_courier_settings_read(frame.payload, frame.len, &settings))
		fail("read its settings");
	penny_log_begin((PennyLogLevel) settings.log_level);
	penny_courier.requests_max = settings.requests;
	copy(allow, settings.allow);
	copy(ca_file, settings.ca_file);
	copy(resolver, settings.resolver);
	if (penny_webhook_rules_parse(allow, &penny_courier.rules, &entry, &entry_len) != NULL)
		fail("read \"penny.webhook_allow\"");
}

int
main(int argc, char **argv)
{
	const char *failed;

	if (argc == 2 && strcmp(argv[1], "--sandbox-test") == 0)
		return penny_courier_sandbox_test();
	set_signals();
	penny_log_begin(PENNY_LOG_WARNING);
	if (argc != 1 || fcntl(PENNY_COURIER_FD, F_SETFL, O_NONBLOCK) != 0)
		fail("use its socket: a server starts this program");
	penny_courier_stream_init(&penny_courier.worker, PENNY_COURIER_FD);
	take_settings();

	penny_courier_limits(penny_courier.requests_max);
	if (getppid() == 1)
		exit(0); /* the worker died before death with it was arranged */
	failed = penny_courier_loop_create();
	if (failed == NULL)
		failed = penny_transfers_init();
	penny_trust_load(ca_file);
	penny_hosts_read(HOSTS);
	if (failed == NULL)
		failed = penny_names_init(resolver);
	if (failed == NULL)
		failed = penny_courier_enter();
	if (failed != NULL)
		fail(failed);
	if (penny_courier_stream_push(&penny_courier.worker, PENNY_COURIER_READY, 0, 0) == NULL)
		fail("say that it is ready");
	penny_courier_stream_flush(&penny_courier.worker);
	return penny_courier_loop_run();
}
