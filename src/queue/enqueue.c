/*-------------------------------------------------------------------------
 *
 * enqueue.c
 *		New jobs: what may be enqueued, and by whom.
 *
 * Rows are written without asking for privileges on the tables, so it is asked
 * here.  Whoever may execute penny.enqueue() may enqueue kinds whose handler says
 * access 'user'; 'agent' (also for kinds without a handler) and 'admin' need that
 * role of penny or a superuser.  Jobs of who is no agent go to the queue of their
 * handler: its limits are not to be gone around.  The answer for the current user is
 * remembered until roles or memberships change.
 *
 * A payload is bounded as text, which is what handlers and webhooks get; most are
 * measured without making the text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/keywords.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "auth/identity.h"
#include "base/clock.h"
#include "base/error.h"
#include "plane/event.h"
#include "queue/enqueue.h"
#include "queue/keys.h"
#include "queue/storage.h"

#define SHORT_NUMBER 0x8000   /* in the first word of a numeric on disk: short form */
#define SHORT_NUMBER_TEXT 330 /* which is no longer than this as text */
#define ESCAPED_MAX 6         /* a byte as \u0001 */
#define KIND_FIRST "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define KIND_REST KIND_FIRST ".:/-"

void (*penny_enqueue_check_room)(text *room);

static void check_access(const char *kind, const PennyHandler *handler);
static void check_text(const char *name, const char *value, Size max);
static TimestampTz due_at(const PennyEnqueue *what, TimestampTz now);
static int64 interval_ms(const char *name, const Interval *interval, int64 max);

/* ---- who ------------------------------------------------------------------------ */

static Oid known_user = InvalidOid; /* of whom is known, by access */
static bool known_has[3];

static void
forget(Datum arg, int cache, uint32 hash)
{
	(void) arg;
	(void) cache;
	(void) hash;
	known_user = InvalidOid;
}

bool
penny_enqueue_has_role(char access)
{
	static const char *const roles[] = {"penny_user", "penny_agent", "penny_admin"};
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(AUTHOID, forget, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget, (Datum) 0);
		registered = true;
	}
	if (known_user != GetUserId())
	{
		known_user = InvalidOid;
		for (int i = 0; i < 3; i++)
		{
			Oid role = get_role_oid(roles[i], true);

			known_has[i] =
				superuser() || (OidIsValid(role) && has_privs_of_role(GetUserId(), role));
		}
		known_user = GetUserId();
	}
	return known_has[access == 'u' ? 0 : access == 'a' ? 1 : 2];
}

/* Whose role a kind needs. */
static char
access_of(const PennyHandler *handler)
{
	return handler == NULL ? 'a' : handler->access;
}

bool
penny_enqueue_may(const char *kind)
{
	return penny_enqueue_has_role(access_of(penny_handler_find(kind)));
}

static void
check_access(const char *kind, const PennyHandler *handler)
{
	char access = access_of(handler);

	if (penny_enqueue_has_role(access))
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied to enqueue jobs of kind \"%s\"", kind),
					errdetail("That needs role %s.", access == 'u'   ? "penny_user"
													 : access == 'a' ? "penny_agent"
																	 : "penny_admin")));
}

/* A queue that the caller names. */
static void
check_queue(const char *queue, const char *kind, const PennyHandler *handler)
{
	if (handler == NULL || strcmp(queue, handler->queue) == 0 || penny_enqueue_has_role('a'))
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied to choose a queue for jobs of kind \"%s\"", kind),
					errdetail("They go to queue \"%s\"; another needs role penny_agent.",
							  handler->queue)));
}

void
penny_enqueue_allowed(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

/* ---- what ------------------------------------------------------------------------- */

static void
invalid(const char *message, const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", message),
					errdetail("%s", detail)));
}

static void
check_kind(const char *kind)
{
	Size len;

	if (kind == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("kind of a job must not be null")));
	len = strlen(kind);
	if (len == 0 || len > PENNY_JOB_NAME_MAX || strchr(KIND_FIRST, kind[0]) == NULL ||
		strspn(kind, KIND_REST) != len)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid kind of a job: \"%s\"", pnstrdup(kind, Min(len, 200))),
						errdetail("A kind has 1 to %d letters, digits or _ . : / - and begins "
								  "with a letter, a digit or _.",
								  PENNY_JOB_NAME_MAX)));
}

static void
check_text(const char *name, const char *value, Size max)
{
	if (value == NULL || (value[0] != '\0' && strlen(value) <= max))
		return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%s of a job must have 1 to %zu bytes", name, max)));
}

/* Is it certain that the text is no longer than allowed? */
static bool
is_short(Jsonb *value)
{
	Size bytes = 0;
	JsonbIterator *it = JsonbIteratorInit(&value->root);
	JsonbIteratorToken token;
	JsonbValue item;

	if (VARSIZE(value) > PENNY_JOB_PAYLOAD_MAX / (2 * ESCAPED_MAX))
		return false;
	while ((token = JsonbIteratorNext(&it, &item, false)) != WJB_DONE)
	{
		bytes += 6; /* quotes, colon, comma, true, null */
		if (token != WJB_KEY && token != WJB_VALUE && token != WJB_ELEM)
			continue;
		if (item.type == jbvString)
			bytes += (Size) item.val.string.len * ESCAPED_MAX;
		else if (item.type == jbvNumeric)
		{
			uint16 header;

			memcpy(&header, VARDATA_ANY(item.val.numeric), sizeof(header));
			if (!(header & SHORT_NUMBER))
				return false;
			bytes += SHORT_NUMBER_TEXT;
		}
	}
	return bytes <= PENNY_JOB_PAYLOAD_MAX;
}

/* Bytes of all its numbers as text, or of as many as are too much: 1e100000 is short only here. */
static Size
number_bytes(Jsonb *value)
{
	Size bytes = 0;
	JsonbIterator *it = JsonbIteratorInit(&value->root);
	JsonbIteratorToken token;
	JsonbValue item;

	while (bytes <= PENNY_JOB_PAYLOAD_MAX &&
		   (token = JsonbIteratorNext(&it, &item, false)) != WJB_DONE)
	{
		char *text;

		if ((token != WJB_VALUE && token != WJB_ELEM) || item.type != jbvNumeric)
			continue;
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(item.val.numeric)));
		bytes += strlen(text);
		pfree(text);
	}
	return bytes;
}

void
penny_job_check_size(Jsonb *value, const char *what)
{
	StringInfoData text;
	Size bytes;

	if (is_short(value))
		return;
	bytes = number_bytes(value);
	if (bytes <= PENNY_JOB_PAYLOAD_MAX)
	{
		initStringInfo(&text);
		(void) JsonbToCString(&text, &value->root, VARSIZE(value));
		bytes = (Size) text.len;
		pfree(text.data);
	}
	if (bytes > PENNY_JOB_PAYLOAD_MAX)
		ereport(ERROR, (errcode(ERRCODE_PENNY_TOO_LARGE), errmsg("%s of a job is too large", what),
						errdetail("As text it has %zu bytes or more, and at most %d are allowed.",
								  bytes, PENNY_JOB_PAYLOAD_MAX),
						errhint("Store it in a table and pass its key.")));
}

static int64
interval_ms(const char *name, const Interval *interval, int64 max)
{
	double us = penny_interval_us(interval);

	if (us < 0 || us > (double) max * 1000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a job must be from 0 to " INT64_FORMAT " milliseconds", name, max)));
	return (int64) (us / 1000);
}

static TimestampTz
due_at(const PennyEnqueue *what, TimestampTz now)
{
	TimestampTz due = now;

	if (what->has_run_at && what->delay != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a job has run_at or delay, not both")));
	if (what->delay != NULL)
		due = DatumGetTimestampTz(DirectFunctionCall2(
			timestamptz_pl_interval, TimestampTzGetDatum(now), IntervalPGetDatum(what->delay)));
	else if (what->has_run_at)
		due = what->run_at;
	if (TIMESTAMP_IS_NOEND(due))
		invalid("a job cannot wait for infinity", "It must have a time at which it may run.");
	return Max(due, now);
}

static void
check_numbers(const PennyEnqueue *what)
{
	if (what->priority < -PENNY_JOB_PRIORITY_MAX || what->priority > PENNY_JOB_PRIORITY_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("priority of a job must be from -%d to %d", PENNY_JOB_PRIORITY_MAX,
							   PENNY_JOB_PRIORITY_MAX)));
	if (what->has_attempts && (what->attempts < 1 || what->attempts > PENNY_JOB_ATTEMPTS_MAX))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("attempts of a job must be from 1 to %d", PENNY_JOB_ATTEMPTS_MAX)));
}

/* The room to which events go that name none. */
static bool
is_own_room(const char *room, const PennyIdentity *identity)
{
	return identity->has_user && strncmp(room, "user:", 5) == 0 &&
		   strcmp(room + 5, DatumGetCString(DirectFunctionCall1(
								uuid_out, UUIDPGetDatum(&identity->user_id)))) == 0;
}

void
penny_enqueue_row(const PennyEnqueue *what, PennyJobRow *row)
{
	const PennyHandler *handler;
	const PennyIdentity *identity = penny_identity_get();
	TimestampTz now = GetCurrentTimestamp();

	memset(row, 0, sizeof(*row));
	check_kind(what->kind);
	handler = penny_handler_find(what->kind);
	check_access(what->kind, handler);
	check_numbers(what);
	check_text("key", what->key, PENNY_JOB_TEXT_MAX);
	check_text("group key", what->group_key, PENNY_JOB_TEXT_MAX);
	check_text("room", what->room, PENNY_ROOM_NAME_MAX);
	if (what->room != NULL && !is_own_room(what->room, identity))
		penny_enqueue_check_room(cstring_to_text(what->room));
	if (what->payload == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("payload of a job must not be null"),
						errhint("The JSON value null is allowed.")));
	penny_job_check_size(what->payload, "payload");
	row->queue = penny_queue_find(what->queue != NULL ? what->queue
								  : handler != NULL   ? handler->queue
													  : "normal");
	if (what->queue != NULL)
		check_queue(what->queue, what->kind, handler);
	row->kind = what->kind;
	row->payload = what->payload;
	row->priority = what->priority;
	row->attempts = what->has_attempts ? what->attempts : 0;
	row->backoff_ms =
		what->backoff == NULL ? -1 : (int32) interval_ms("backoff", what->backoff, 86400000);
	row->timeout_ms =
		what->timeout == NULL ? 0 : (int32) interval_ms("timeout", what->timeout, 604800000);
	if (what->timeout != NULL && row->timeout_ms == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("timeout of a job must be at least one millisecond")));
	row->enqueued_at = now;
	row->due = due_at(what, now);
	row->user_id = identity->has_user ? &identity->user_id : NULL;
	row->key = what->key;
	row->group_key = what->group_key;
	row->room = what->room;
}

int64
penny_enqueue_one(const PennyEnqueue *what)
{
	PennyJobRow row;

	penny_enqueue_row(what, &row);
	if (row.key != NULL)
		return penny_job_insert_keyed(
			&row, penny_key_mode(what->key_mode != NULL ? what->key_mode : "keep"), true);
	return penny_job_insert(&row);
}
