/*-------------------------------------------------------------------------
 *
 * relay_listen.c
 *		The relay's connection for messages: what others say on the channel
 *		cache:invalidate.
 *
 *	{"type":"conversation","id":"<uuid>"}	that conversation changed
 *	{"type":"all"}							anything did
 *
 * Other types and what is no such JSON are passed over.  Pub/Sub loses what is
 * said while nobody listens, so with each new subscription everything is
 * taken for changed.
 *
 * Own messages come back, too, and would end entries that are true.  Redis
 * sends them in the order in which they were published, so they are noted in
 * that order and the first one noted is passed over when it comes.  If another
 * says the same at that moment, one of the two is passed over and the other
 * counts.  What has not come back after ECHO_LIFE will not come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/worker.h"
#include "config/config.h"
#include "redis/relay.h"

#define CHANNEL "cache:invalidate"
#define MESSAGE_MAX 1024 /* bytes; longer ones are none of ours */
#define ECHOES 65536
#define ECHO_LIFE 5000 /* ms */

static bool messages_greet(PennyLink *link);
static void messages_up(PennyLink *link);
static void messages_reply(PennyLink *link, const PennyReply *reply);
static void messages_down(PennyLink *link);
static void messages_ping(PennyLink *link);

PennyLink penny_relay_messages = {.name = "messages",
								  .greet = messages_greet,
								  .up = messages_up,
								  .reply = messages_reply,
								  .down = messages_down,
								  .ping = messages_ping};

typedef struct Echo
{
	pg_uuid_t id; /* zero: all */
	int64 at;
} Echo;

/* Published and not come back yet. */
static Echo *echoes = NULL;
static uint32 echo_head = 0;
static uint32 echo_count = 0;

/* What a message says, as the JSON parser finds it. */
typedef struct Message
{
	int depth;
	char *name; /* of the member that is being read, at depth 1 */
	char *type;
	char *id;
} Message;

static void read_message(void *arg);
static void heed(const Message *message);
static bool is_echo(const pg_uuid_t *id);

/* ---- the link ------------------------------------------------------------------ */

const char *
penny_relay_channel(void)
{
	static char channel[PENNY_REDIS_KEY_MAX];

	snprintf(channel, sizeof(channel), "%s" CHANNEL, penny_redis_prefix);
	return channel;
}

static bool
messages_greet(PennyLink *link)
{
	const char *argv[2] = {"SUBSCRIBE", penny_relay_channel()};

	return penny_link_texts(link, 2, argv);
}

static void
changed_all(void *arg)
{
	(void) arg;
	if (penny_redis_hooks() != NULL)
		penny_redis_hooks()->changed_all();
}

static void
messages_up(PennyLink *link)
{
	(void) link;
	pg_atomic_write_u32(&penny_redis_shared->link_listen, 1);
	penny_redis_count(PENNY_REDIS_FLUSHES, 1);
	penny_worker_guard(changed_all, NULL);
}

static void
messages_down(PennyLink *link)
{
	(void) link;
	if (pg_atomic_exchange_u32(&penny_redis_shared->link_listen, 0) != 0)
		penny_redis_count(PENNY_REDIS_LOSSES, 1);
	penny_relay_forget_echoes();
}

static void
messages_ping(PennyLink *link)
{
	const char *argv[1] = {"PING"};

	if (!penny_link_texts(link, 1, argv))
		penny_link_lose(link, "%s", link->wire.why);
	else
		penny_link_send(link);
}

/* ["message", channel, text]; ["pong", ""] and the like say that it lives. */
static void
messages_reply(PennyLink *link, const PennyReply *reply)
{
	const PennyReply *text;

	if (reply->type == PENNY_REPLY_ERROR)
	{
		penny_link_lose(link, "refused with \"%.80s\"", reply->text);
		return;
	}
	if (reply->type != PENNY_REPLY_ARRAY || reply->len != 3 ||
		reply->element[0]->type != PENNY_REPLY_STRING ||
		strcmp(reply->element[0]->text, "message") != 0)
		return;
	text = reply->element[2];
	if (text->type == PENNY_REPLY_STRING && text->len <= MESSAGE_MAX)
		penny_worker_guard(read_message, unconstify(PennyReply *, text));
}

/* ---- messages -------------------------------------------------------------------- */

static PENNY_JSON_ACTION
object_start(void *state)
{
	((Message *) state)->depth++;
	PENNY_JSON_ACTION_DONE;
}

static PENNY_JSON_ACTION
object_end(void *state)
{
	((Message *) state)->depth--;
	PENNY_JSON_ACTION_DONE;
}

static PENNY_JSON_ACTION
field_start(void *state, char *name, bool is_null)
{
	Message *message = state;

	(void) is_null;
	if (message->depth == 1)
		message->name = name;
	PENNY_JSON_ACTION_DONE;
}

static PENNY_JSON_ACTION
scalar(void *state, char *token, JsonTokenType kind)
{
	Message *message = state;

	if (message->depth == 1 && message->name != NULL && kind == JSON_TOKEN_STRING)
	{
		if (strcmp(message->name, "type") == 0)
			message->type = token;
		else if (strcmp(message->name, "id") == 0)
			message->id = token;
	}
	PENNY_JSON_ACTION_DONE;
}

static void
read_message(void *arg)
{
	const PennyReply *text = arg;
	Message message = {0};
	JsonSemAction actions = {.semstate = &message,
							 .object_start = object_start,
							 .object_end = object_end,
							 .array_start = object_start,
							 .array_end = object_end,
							 .object_field_start = field_start,
							 .scalar = scalar};
	JsonLexContext *lexer;

	if (!pg_verify_mbstr(PG_UTF8, text->text, (int) text->len, true))
		return;
	lexer = penny_json_lexer(text->text, (int) text->len, PG_UTF8);
	if (pg_parse_json(lexer, &actions) == JSON_SUCCESS && message.type != NULL)
		heed(&message);
}

static void
heed(const Message *message)
{
	pg_uuid_t id = {{0}};
	bool all = strcmp(message->type, "all") == 0;

	if (!all && (strcmp(message->type, "conversation") != 0 || message->id == NULL ||
				 !penny_redis_parse_uuid(message->id, &id)))
		return;
	if (is_echo(&id))
	{
		penny_redis_count(PENNY_REDIS_ECHOES, 1);
		return;
	}
	penny_redis_count(PENNY_REDIS_FOREIGN, 1);
	if (all)
		changed_all(NULL);
	else if (penny_redis_hooks() != NULL)
		penny_redis_hooks()->changed(
			DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id))));
}

/* ---- own messages ------------------------------------------------------------------ */

static void
forget_old(int64 now)
{
	while (echo_count > 0 && now - echoes[echo_head % ECHOES].at > ECHO_LIFE)
	{
		echo_head++;
		echo_count--;
	}
}

/* Published just now; comes back only if we listen already. */
void
penny_relay_expect_echo(const pg_uuid_t *id)
{
	Echo *echo;

	if (penny_relay_messages.state != PENNY_LINK_UP || echo_count == ECHOES)
		return;
	if (echoes == NULL)
		echoes = MemoryContextAllocHuge(TopMemoryContext, ECHOES * sizeof(Echo));
	echo = &echoes[(echo_head + echo_count++) % ECHOES];
	echo->id = *id;
	echo->at = penny_clock_ms();
}

void
penny_relay_forget_echoes(void)
{
	echo_head = echo_count = 0;
}

static bool
is_echo(const pg_uuid_t *id)
{
	forget_old(penny_clock_ms());
	if (echo_count == 0 || memcmp(&echoes[echo_head % ECHOES].id, id, sizeof(*id)) != 0)
		return false;
	echo_head++;
	echo_count--;
	return true;
}
