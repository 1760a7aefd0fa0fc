/*-------------------------------------------------------------------------
 *
 * change_write.c
 *		Writing back what the transaction knows about conversations.
 *
 * Rows are written as the owner of the table, with saved plans and with
 * penny's triggers told to look away (penny_change_is_internal).  What a
 * version changed is published by its row's trigger; versions whose row
 * another trigger suppressed are published here without a frame, so that a
 * room has no gaps.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "store/change.h"
#include "store/change_private.h"
#include "store/lookup.h"
#include "store/publish_rows.h"
#include "store/statement.h"
#include "store/uuid.h"

#define MAX_INTERNAL 32

static pg_uuid_t known_user; /* has a row; zero: none known */

/*
 * Statements of penny's own that are running.  There are several only where a
 * trigger of the owner's, fired by one, changes a conversation.
 */
typedef struct Internal
{
	int nest;  /* transaction nesting level */
	int depth; /* triggers around it */
} Internal;

static Internal internals[MAX_INTERNAL];
static int ninternals = 0;

static PennyStatement write_back = {
	"UPDATE chat.conversations SET version = $2, last_seq = $3, message_count = $4,"
	" head_message_id = $5, last_message_at = $6, updated_at = pg_catalog.now()"
	" WHERE id" PENNY_EQ "$1",
	6,
	{UUIDOID, INT8OID, INT8OID, INT8OID, UUIDOID, TIMESTAMPTZOID}};

static PennyStatement move_participants = {"UPDATE chat.participants SET active_at = $2"
										   " WHERE conversation_id" PENNY_EQ
										   "$1 AND active_at" PENNY_NE "$2",
										   2,
										   {UUIDOID, TIMESTAMPTZOID}};

static PennyStatement find_head = {
	"SELECT id, created_at FROM chat.messages WHERE conversation_id" PENNY_EQ "$1"
	" ORDER BY seq DESC LIMIT 1",
	1,
	{UUIDOID}};

static PennyStatement make_user = {
	"INSERT INTO chat.users (id) VALUES ($1) ON CONFLICT DO NOTHING", 1, {UUIDOID}};

static void flush_one(PennyChange *change);
static void find_new_head(PennyChange *change);

/* How many triggers are running, each within the one before. */
static int
trigger_depth(void)
{
	return DatumGetInt32(pg_trigger_depth(NULL));
}

/*
 * Is the trigger that asks fired by a statement of penny's own?  One that is
 * fired by what a trigger of the owner's does on such an occasion is not.
 */
bool
penny_change_is_internal(void)
{
	return ninternals > 0 && trigger_depth() == internals[ninternals - 1].depth + 1;
}

void
penny_change_enter_internal(void)
{
	if (ninternals == MAX_INTERNAL)
		ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
						errmsg("triggers that change conversations fire each other without end")));
	internals[ninternals].nest = GetCurrentTransactionNestLevel();
	internals[ninternals++].depth = trigger_depth();
}

void
penny_change_leave_internal(void)
{
	ninternals--;
}

void
penny_change_leave_level(int nest)
{
	while (ninternals > 0 && internals[ninternals - 1].nest >= nest)
		ninternals--;
}

/*
 * Write all marked conversations back.
 */
void
penny_change_flush(void)
{
	PennyChange *change;

	while ((change = penny_change_next_marked()) != NULL)
		if (change->pending)
			flush_one(change);
}

/* Write one conversation back, and publish what no row has published. */
static void
flush_one(PennyChange *change)
{
	Datum values[6];
	char nulls[7] = "      ";
	int i;

	penny_change_touch(change);
	change->pending = false;
	if (change->gone)
	{
		change->nopen = 0;
		return;
	}
	penny_change_enter_internal();
	if (change->head_lost)
		find_new_head(change);
	values[0] = UUIDPGetDatum(&change->id);
	values[1] = Int64GetDatum(change->version);
	values[2] = Int64GetDatum(change->last_seq);
	values[3] = Int64GetDatum(change->count);
	values[4] = UUIDPGetDatum(&change->head);
	values[5] = TimestampTzGetDatum(change->last_message_at);
	nulls[4] = change->has_head ? ' ' : 'n';
	nulls[5] = change->has_last_message_at ? ' ' : 'n';
	if (!penny_change_write_counters(change))
		penny_statement_run_as(&write_back, penny_table_owner(PENNY_CONVERSATIONS), values, nulls);
	if (change->active_changed)
	{
		TimestampTz active_at =
			change->has_last_message_at ? change->last_message_at : change->created_at;

		values[1] = TimestampTzGetDatum(active_at);
		if (!penny_change_move_participants(change, active_at))
			penny_statement_run_as(&move_participants, penny_table_owner(PENNY_PARTICIPANTS),
								   values, NULL);
		change->active_changed = false;
	}
	penny_change_leave_internal();
	change->has_tail = change->has_head;
	change->tail = change->head;
	for (i = 0; i < change->nopen; i++)
		penny_rows_publish_version(change, change->open[i]);
	if (change->created_here)
		penny_rows_publish_created(change);
	change->nopen = 0;
}

/* The newest message is gone: which one is it now? */
static void
find_new_head(PennyChange *change)
{
	Datum value = UUIDPGetDatum(&change->id);
	Oid user;
	int context;

	change->head_lost = change->has_head = change->has_last_message_at = false;
	change->active_changed = true;
	GetUserIdAndSecContext(&user, &context);
	SPI_connect();
	SetUserIdAndSecContext(penny_table_owner(PENNY_MESSAGES),
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	if (penny_statement_run(&find_head, &value, NULL, false) > 0)
	{
		HeapTuple tuple = SPI_tuptable->vals[0];
		bool isnull;

		change->head = *DatumGetUUIDP(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		change->last_message_at =
			DatumGetTimestampTz(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		change->has_head = change->has_last_message_at = true;
	}
	SetUserIdAndSecContext(user, context);
	SPI_finish();
}

/*
 * Make a user's row if there is none.
 */
void
penny_change_ensure_user(const pg_uuid_t *user)
{
	Datum value = UUIDPGetDatum(user);
	bool exists;

	if (penny_uuid_equal(user, &known_user))
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	exists = penny_lookup_exists(PENNY_KEY_USER_ID, GetActiveSnapshot(), 1, &value);
	PopActiveSnapshot();
	if (!exists)
		penny_statement_run_as(&make_user, penny_table_owner(PENNY_USERS), &value, NULL);
	known_user = *user;
}

void
penny_change_forget_user(void)
{
	memset(&known_user, 0, sizeof(known_user));
}
