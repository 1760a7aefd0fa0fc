/*-------------------------------------------------------------------------
 *
 * link.c
 *		A connection of the relay.  See link.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "storage/latch.h"

#include "base/clock.h"
#include "base/compat.h"
#include "redis/link.h"

#define MAX_REPLY (4 * 1024 * 1024)
#define PATIENCE 1000     /* ms to be connected, and again to be greeted */
#define SILENCE 3000      /* ms without a byte, after which a link is lost */
#define PING_AFTER 1000   /* ms */
#define PAUSE_MIN 50      /* ms between attempts */
#define PAUSE_MAX 500     /* ms */
#define LOG_PAUSE 10000   /* ms between reasons in the log while it stays down */
#define MOST_PER_TURN 512 /* replies taken before others get their turn */

static void greet(PennyLink *link, const PennyRedisTarget *sign_in);
static void receive(PennyLink *link);
static void take(PennyLink *link, PennyReply *reply);
static void come_up(PennyLink *link);

void
penny_link_init(PennyLink *link)
{
	penny_wire_init(&link->wire, MAX_REPLY);
	link->state = PENNY_LINK_DOWN;
}

/* ---- sending --------------------------------------------------------------- */

bool
penny_link_command(PennyLink *link, int argc, const char *const *argv, const size_t *len)
{
	return penny_wire_command(&link->wire, argc, argv, len);
}

bool
penny_link_texts(PennyLink *link, int argc, const char *const *argv)
{
	size_t len[16];

	for (int i = 0; i < argc; i++)
		len[i] = strlen(argv[i]);
	return penny_link_command(link, argc, argv, len);
}

void
penny_link_send(PennyLink *link)
{
	if ((link->state == PENNY_LINK_UP || link->state == PENNY_LINK_GREETING) &&
		penny_wire_send(&link->wire) == PENNY_WIRE_LOST)
		penny_link_lose(link, "%s", link->wire.why);
}

/* ---- its life --------------------------------------------------------------- */

void
penny_link_step(PennyLink *link, const PennyAddresses *addresses, const PennyRedisTarget *sign_in)
{
	int64 now = penny_clock_ms();
	PennyWireResult result;

	switch (link->state)
	{
		case PENNY_LINK_DOWN:
			if (now < link->retry_at || addresses->n == 0)
				break;
			link->opened++;
			link->deadline = now + PATIENCE;
			result = penny_wire_connect(
				&link->wire, (const struct sockaddr *) &addresses->address[addresses->current],
				addresses->len[addresses->current]);
			link->state = PENNY_LINK_CONNECTING;
			if (result == PENNY_WIRE_LOST)
				penny_link_lose(link, "%s", link->wire.why);
			else if (result == PENNY_WIRE_DONE)
				greet(link, sign_in);
			break;
		case PENNY_LINK_CONNECTING:
		case PENNY_LINK_GREETING:
			if (now >= link->deadline)
				penny_link_lose(link, "no %s within %d ms",
								link->state == PENNY_LINK_CONNECTING ? "connection" : "greeting",
								PATIENCE);
			break;
		case PENNY_LINK_UP:
			if (now - link->heard_at >= SILENCE)
				penny_link_lose(link, "silent for %d ms", SILENCE);
			else if (now - Max(link->heard_at, link->pinged_at) >= PING_AFTER)
			{
				link->pinged_at = now;
				link->ping(link);
			}
			break;
	}
}

/* Sign in; the replies must all be good. */
static void
greet(PennyLink *link, const PennyRedisTarget *sign_in)
{
	char db[16];
	bool good = true;

	link->state = PENNY_LINK_GREETING;
	link->deadline = penny_clock_ms() + PATIENCE;
	link->greetings = 1;
	if (sign_in->password[0] != '\0')
	{
		const char *argv[3] = {"AUTH", sign_in->user, sign_in->password};
		const char *unnamed[2] = {"AUTH", sign_in->password};

		link->greetings++;
		good = sign_in->user[0] != '\0' ? penny_link_texts(link, 3, argv)
										: penny_link_texts(link, 2, unnamed);
	}
	if (sign_in->db != 0)
	{
		const char *argv[2] = {"SELECT", db};

		snprintf(db, sizeof(db), "%u", sign_in->db);
		link->greetings++;
		good = good && penny_link_texts(link, 2, argv);
	}
	if (!good || !link->greet(link))
		penny_link_lose(link, "%s", link->wire.why);
	else
		penny_link_send(link);
}

void
penny_link_ready(PennyLink *link, const PennyRedisTarget *sign_in)
{
	if (link->state == PENNY_LINK_CONNECTING)
	{
		PennyWireResult result = penny_wire_connected(&link->wire);

		if (result == PENNY_WIRE_LOST)
			penny_link_lose(link, "%s", link->wire.why);
		else if (result == PENNY_WIRE_DONE)
			greet(link, sign_in);
		return;
	}
	if (link->state != PENNY_LINK_DOWN)
		receive(link);
	penny_link_send(link);
}

/* Take what came; what is left in the socket wakes us again. */
static void
receive(PennyLink *link)
{
	uint32 opened = link->opened;
	PennyWireResult result = penny_wire_receive(&link->wire);

	if (result == PENNY_WIRE_DONE)
		link->heard_at = penny_clock_ms();
	for (int i = 0; i < MOST_PER_TURN && result == PENNY_WIRE_DONE;)
	{
		PennyReply *reply;

		result = penny_wire_reply(&link->wire, &reply);
		if (result != PENNY_WIRE_DONE)
			break;
		take(link, reply);
		penny_reply_free(reply);
		if (link->state == PENNY_LINK_DOWN || link->opened != opened)
			return;
	}
	if (result == PENNY_WIRE_LOST)
		penny_link_lose(link, "%s", link->wire.why);
}

static void
take(PennyLink *link, PennyReply *reply)
{
	if (link->state == PENNY_LINK_UP)
	{
		link->reply(link, reply);
		return;
	}
	if (reply->type == PENNY_REPLY_ERROR)
		penny_link_lose(link, "greeted with \"%.80s\"", reply->text);
	else if (--link->greetings == 0)
		come_up(link);
}

static void
come_up(PennyLink *link)
{
	link->state = PENNY_LINK_UP;
	link->attempts = 0;
	link->heard_at = link->pinged_at = penny_clock_ms();
	if (!link->told_up)
		ereport(LOG, (errmsg("connection to Redis for %s is up", link->name)));
	link->told_up = true;
	link->told[0] = '\0';
	link->up(link);
}

/* Close it, say so once, and try again after a pause. */
void
penny_link_lose(PennyLink *link, const char *format, ...)
{
	PennyLinkState was = link->state;
	int64 now = penny_clock_ms();
	int64 pause = Min(PAUSE_MAX, (int64) PAUSE_MIN << Min(link->attempts, 5));
	char why[sizeof(link->told)];
	va_list args;

	if (was == PENNY_LINK_DOWN)
		return;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	for (char *c = why; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?'; /* a server's words: nothing of them may look like a line of the log */
	penny_wire_close(&link->wire);
	link->state = PENNY_LINK_DOWN;
	link->attempts++;
	link->retry_at = now + pause / 2 + (int64) (pg_prng_double(&pg_global_prng_state) * pause / 2);

	if (link->told_up || (strcmp(why, link->told) != 0 &&
						  (link->told[0] == '\0' || now - link->told_at >= LOG_PAUSE)))
	{
		ereport(LOG,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg(link->told_up ? "connection to Redis for %s is lost: %s"
									  : "could not connect to Redis for %s: %s",
						link->name, why),
				 errdetail("Requests are served without Redis; the connection is tried again.")));
		strlcpy(link->told, why, sizeof(link->told));
		link->told_at = now;
	}
	link->told_up = false;
	link->down(link);
}

/* ---- waiting ---------------------------------------------------------------- */

int
penny_link_events(const PennyLink *link)
{
	switch (link->state)
	{
		case PENNY_LINK_DOWN:
			return 0;
		case PENNY_LINK_CONNECTING:
			return WL_SOCKET_WRITEABLE;
		default:
			return WL_SOCKET_READABLE |
				   (penny_wire_unsent(&link->wire) > 0 ? WL_SOCKET_WRITEABLE : 0);
	}
}

int64
penny_link_due(const PennyLink *link)
{
	switch (link->state)
	{
		case PENNY_LINK_DOWN:
			return link->retry_at;
		case PENNY_LINK_UP:
			return Min(link->heard_at + SILENCE, Max(link->heard_at, link->pinged_at) + PING_AFTER);
		default:
			return link->deadline;
	}
}
