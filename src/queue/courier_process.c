/*-------------------------------------------------------------------------
 *
 * courier_process.c
 *		The processes of penny-courier: who runs, who follows.
 *
 * There is one courier, and for a while two: the settings that a courier has
 * hold for its life, so when they change (or the program, /etc/hosts,
 * /etc/resolv.conf, the file of certificates) another is started and the old
 * one is told to DRAIN.  While the old one still runs there is no third, and if
 * it is the list that has changed, no request either.
 *
 *	NONE -> STARTING -> READY -> DRAINING		any -> ENDED -> NONE
 *
 * After a death the next starts at once; when it is the second without an
 * answer in between, after 1, 2, 4 .. 30 s.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "base/clock.h"
#include "config/config.h"
#include "queue/courier_process.h"

#define START_PATIENCE 10000 /* ms until it must be ready */
#define END_PATIENCE 5000    /* ms until it must have ended, with nothing left to do */
#define FIRST_PAUSE 1000     /* ms */
#define LONGEST_PAUSE 30000  /* ms */
#define LOOK_PAUSE 10000     /* ms between looks at the files that a courier has read */

PennyCouriers penny_couriers = {
	.courier = {{.child = PENNY_CHILD_NONE, .stream = {.fd = -1}},
				{.child = PENNY_CHILD_NONE, .stream = {.fd = -1}}},
	.version = 1,
	.look = true,
};

static int64 look_at = 0;

static void know(PennyCourierKnowledge *out);
static void start(PennyCourierProcess *courier, const PennyCourierKnowledge *knows, int64 now);
static bool launch(PennyCourierProcess *courier, int fds[2]);
static void expect_end(PennyCourierProcess *courier, int64 now);
static void ended(PennyCourierProcess *courier, int status, pid_t pid, int64 now);

/* What holds now. */
static void
know(PennyCourierKnowledge *out)
{
	const char *file[PENNY_COURIER_FILES] = {"/etc/hosts", "/etc/resolv.conf",
											 penny_webhook_ca_file,
											 "/etc/ssl/certs/ca-certificates.crt"};

	memset(out, 0, sizeof(*out));
	out->requests = penny_webhook_concurrency;
	out->log_level = log_min_messages <= DEBUG1 ? 2 : 1;
	strlcpy(out->allow, penny_webhook_allow, sizeof(out->allow));
	strlcpy(out->ca_file, penny_webhook_ca_file, sizeof(out->ca_file));
	strlcpy(out->resolver, penny_webhook_resolver, sizeof(out->resolver));
	for (int i = 0; i < PENNY_COURIER_FILES; i++)
	{
		struct stat found;

		if (file[i][0] == '\0' || stat(file[i], &found) != 0)
			continue;
		out->file[i].inode = found.st_ino;
		out->file[i].size = found.st_size;
		out->file[i].changed =
			(int64) found.st_mtim.tv_sec * INT64CONST(1000000000) + found.st_mtim.tv_nsec;
	}
}

/* Is there the courier that there should be? */
void
penny_courier_consider(int64 now)
{
	static PennyCourierKnowledge knows;
	PennyCourierProcess *courier = &penny_couriers.courier[penny_couriers.current];
	PennyCourierProcess *other = &penny_couriers.courier[1 - penny_couriers.current];
	char program[MAXPGPATH];

	if (courier->state == PENNY_LINK_NONE && now >= penny_couriers.start_at &&
		penny_webhook_allow[0] != '\0')
	{
		know(&knows);
		start(courier, &knows, now);
		return;
	}
	if (!penny_courier_runs(courier) || (!penny_couriers.look && now < look_at))
		return;
	look_at = now + LOOK_PAUSE;
	penny_couriers.held = false;
	know(&knows);
	penny_child_program(program, penny_courier_program, PENNY_COURIER_NAME);
	if (memcmp(&knows, &courier->knows, sizeof(knows)) == 0 &&
		!penny_child_outdated(&courier->child, program))
	{
		penny_couriers.look = false;
		return;
	}
	if (penny_webhook_allow[0] == '\0')
		penny_courier_drain(courier, PENNY_NEVER);
	else if (other->state == PENNY_LINK_NONE && now >= penny_couriers.start_at)
	{
		penny_courier_drain(courier, PENNY_NEVER);
		penny_couriers.current = 1 - penny_couriers.current;
		start(other, &knows, now);
	}
	else
	{
		/* once more when the old one has ended; what is not allowed any more waits */
		penny_couriers.held = strcmp(knows.allow, courier->knows.allow) != 0;
		return;
	}
	penny_couriers.look = false;
}

static void
start(PennyCourierProcess *courier, const PennyCourierKnowledge *knows, int64 now)
{
	PennyCourierSettings settings = {
		.requests = (uint32) knows->requests,
		.log_level = (uint32) knows->log_level,
		.allow = {knows->allow, (uint32) strlen(knows->allow)},
		.ca_file = {knows->ca_file, (uint32) strlen(knows->ca_file)},
		.resolver = {knows->resolver, (uint32) strlen(knows->resolver)},
	};
	int fds[2] = {-1, -1};
	char *payload;

	memcpy(&courier->knows, knows, sizeof(*knows));
	courier->answered = courier->killed = courier->writing = false;
	courier->ready = courier->closed = false;
	courier->open = 0;
	if (!launch(courier, fds))
	{
		penny_couriers.failures++;
		penny_couriers.start_at =
			now + Min(FIRST_PAUSE << Min(penny_couriers.failures - 1, 10), LONGEST_PAUSE);
		return;
	}
	courier->state = PENNY_LINK_STARTING;
	courier->deadline = now + START_PATIENCE;
	penny_courier_stream_init(&courier->stream, fds[0]);
	payload = penny_courier_stream_push(&courier->stream, PENNY_COURIER_SETTINGS, 0,
										penny_courier_settings_size(&settings));
	if (payload != NULL)
		penny_courier_settings_write(&settings, payload);
	else
		penny_courier_end(courier);
	penny_couriers.version++;
}

/* The process and our end of its socket in fds[0]; the reason of a failure is logged. */
static bool
launch(PennyCourierProcess *courier, int fds[2])
{
	char program[MAXPGPATH];
	PennyLaunch launch = {
		.name = PENNY_COURIER_NAME, .program = program, .fds = &fds[1], .nfds = 1};
	bool started;

	penny_child_program(program, penny_courier_program, PENNY_COURIER_NAME);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
	{
		ereport(LOG, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					  errmsg("could not make a socket for %s: %m", PENNY_COURIER_NAME)));
		return false;
	}
	started = penny_child_start(&courier->child, &launch);
	close(fds[1]);
	if (!started)
		close(fds[0]);
	return started;
}

/* Let it finish what it has. */
void
penny_courier_drain(PennyCourierProcess *courier, int64 deadline)
{
	if (!penny_courier_runs(courier))
		return;
	if (courier->state != PENNY_LINK_DRAINING &&
		penny_courier_stream_push(&courier->stream, PENNY_COURIER_DRAIN, 0, 0) == NULL)
		penny_courier_end(courier);
	courier->state = PENNY_LINK_DRAINING;
	courier->deadline = Min(courier->deadline, deadline);
}

/* By force. */
void
penny_courier_end(PennyCourierProcess *courier)
{
	courier->killed = true;
	penny_child_signal(&courier->child, SIGKILL);
}

/* Read what it says, notice its end. */
void
penny_courier_attend(PennyCourierProcess *courier, bool overdue, int64 now)
{
	pid_t pid = courier->child.pid;
	int status;

	if (!penny_courier_runs(courier))
		return;
	penny_courier_stream_fill(&courier->stream);
	if (courier->child.log_fd >= 0)
	{
		penny_child_log(&courier->child);
		if (courier->child.log_fd < 0)
			penny_couriers.version++;
	}
	expect_end(courier, now);
	if (!courier->killed && (now >= courier->deadline || overdue))
	{
		ereport(LOG, (errcode(ERRCODE_SYSTEM_ERROR),
					  errmsg("%s (PID %d) does not answer in time and is killed",
							 PENNY_COURIER_NAME, (int) pid)));
		penny_courier_end(courier);
	}
	if (penny_child_ended(&courier->child, &status))
		ended(courier, status, pid, now);
}

/*
 * Who has closed its socket, or is to end and has nothing left, ends soon, or it is
 * no courier any more, takes the place of the next, and keeps our loop awake.
 */
static void
expect_end(PennyCourierProcess *courier, int64 now)
{
	if (courier->stream.ended && !courier->closed)
	{
		courier->closed = true;
		penny_couriers.version++;
	}
	if (courier->closed || (courier->state == PENNY_LINK_DRAINING && courier->open == 0))
		courier->deadline = Min(courier->deadline, now + END_PATIENCE);
}

/* Unless it was asked to, that is a crash. */
static void
ended(PennyCourierProcess *courier, int status, pid_t pid, int64 now)
{
	bool asked = courier->state == PENNY_LINK_DRAINING && status == 0;

	courier->state = PENNY_LINK_ENDED;
	penny_couriers.version++;
	penny_couriers.look = true;
	if (asked)
		return;
	penny_couriers.failures = courier->answered ? 1 : penny_couriers.failures + 1;
	penny_couriers.start_at = now;
	if (penny_couriers.failures > 1)
		penny_couriers.start_at +=
			Min(FIRST_PAUSE << Min(penny_couriers.failures - 2, 10), LONGEST_PAUSE);
	ereport(LOG, (errcode(ERRCODE_SYSTEM_ERROR),
				  errmsg("%s (PID %d) ended: %s", PENNY_COURIER_NAME, (int) pid,
						 wait_result_to_str(status)),
				  errdetail("%d webhooks were on their way; the next courier starts in %d s.",
							courier->open, (int) ((penny_couriers.start_at - now) / 1000))));
}

/* Send what goes. */
void
penny_courier_flush(PennyCourierProcess *courier)
{
	bool writing;

	if (!penny_courier_runs(courier))
		return;
	penny_courier_stream_flush(&courier->stream);
	writing = penny_courier_stream_waiting(&courier->stream) > 0;
	if (writing != courier->writing)
		penny_couriers.version++;
	courier->writing = writing;
}
