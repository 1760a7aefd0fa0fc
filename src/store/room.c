/*-------------------------------------------------------------------------
 *
 * room.c
 *		Who may be in a room, and who may speak there.  See room.h.
 *
 * Asked as the caller, in an executor, when somebody joins, publishes or
 * signals, and for every member again when the right may have changed: after
 * commands about roles and policies (gateway/watch.c), and for a room with
 * penny.room_recheck().
 *
 * A room that there is not and one that the caller may not see are the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "auth/identity.h"
#include "base/error.h"
#include "store/access.h"
#include "store/publish_rows.h"
#include "store/room.h"
#include "store/statement.h"
#include "store/uuid.h"

#define ROLE_ROOM "role:"
#define QUEUE_ROOM "queue:" /* told by the queue that external jobs are ready */
#define JOB_ROOM "job:"     /* of the edges, for requests that wait: nobody's */

/* The handler of a free room is called as the caller. */
static PennyStatement ask_policy = {
	"SELECT r.readable, r.writable FROM _penny.room_right($1) r", 1, {TEXTOID}};

/* What follows a prefix in a room's name; NULL when it has another one. */
static const char *
rest_of(text *room, const char *prefix, int *len)
{
	int prefix_len = (int) strlen(prefix);

	*len = VARSIZE_ANY_EXHDR(room) - prefix_len;
	if (*len <= 0 || memcmp(VARDATA_ANY(room), prefix, prefix_len) != 0)
		return NULL;
	return VARDATA_ANY(room) + prefix_len;
}

/* The own room, or any for an admin. */
static bool
may_see_user_room(const char *rest, int len)
{
	const PennyIdentity *caller = penny_identity_get();
	pg_uuid_t user;

	if (len != PENNY_UUID_TEXT || !penny_uuid_read_exact(&user, rest))
		return false;
	return (caller->has_user && penny_uuid_equal(&caller->user_id, &user)) ||
		   penny_access_is_admin() || penny_access_is_above();
}

/* Members of the role; names of roles are shorter than what may stand here. */
static bool
may_see_role_room(const char *rest, int len)
{
	char name[NAMEDATALEN];
	Oid role;

	if (len >= NAMEDATALEN)
		return false;
	memcpy(name, rest, len);
	name[len] = '\0';
	role = get_role_oid(name, true);
	return OidIsValid(role) && has_privs_of_role(GetUserId(), role);
}

/* Ask the policy of the room's prefix. */
static PennyRoomRight
ask(text *room)
{
	Datum value = PointerGetDatum(room);
	PennyRoomRight right = {false, false};

	SPI_connect();
	if (penny_statement_run(&ask_policy, &value, NULL, false) > 0)
	{
		HeapTuple row = SPI_tuptable->vals[0];
		bool isnull;

		right.read = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
		right.write =
			DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull)) && !isnull;
	}
	SPI_finish();
	return right;
}

/* Rooms of the job queue, in which it alone speaks. */
static bool
is_queue_room(text *room)
{
	int len;

	return rest_of(room, QUEUE_ROOM, &len) != NULL || rest_of(room, JOB_ROOM, &len) != NULL;
}

/*
 * The caller's right in a room that is no conversation's.
 */
PennyRoomRight
penny_room_right(text *room)
{
	PennyRoomRight right = {false, false};
	const char *rest;
	int len;

	if (is_queue_room(room))
	{
		right.read = rest_of(room, QUEUE_ROOM, &len) != NULL && penny_access_is_agent();
		return right;
	}
	if ((rest = rest_of(room, PENNY_CONVERSATION_ROOM, &len)) != NULL)
		return right;
	if ((rest = rest_of(room, PENNY_USER_ROOM, &len)) != NULL)
		right.read = may_see_user_room(rest, len);
	else if ((rest = rest_of(room, ROLE_ROOM, &len)) != NULL)
		right.read = may_see_role_room(rest, len);
	else
		return ask(room);
	right.write = right.read && penny_access_is_agent();
	return right;
}

/*
 * May the caller publish to the room?  Agents may, but for conversations in
 * which they take no part.
 */
void
penny_room_check_write(text *room)
{
	pg_uuid_t conversation;
	PennyRoomRight right;

	if (penny_room_conversation(room, &conversation))
	{
		if (!penny_access_is_above() && !penny_access_conversation(&conversation))
			ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("room not found")));
		return;
	}
	if (is_queue_room(room))
		ereport(ERROR, (errcode(ERRCODE_PENNY_FORBIDDEN),
						errmsg("nobody can publish to rooms of the job queue")));
	if (penny_access_is_agent())
		return;
	right = penny_room_right(room);
	if (!right.write)
		ereport(ERROR, (errcode(ERRCODE_PENNY_FORBIDDEN),
						errmsg("publishing to this room needs role penny_agent"),
						errhint("Or a policy of the room that lets the caller write.")));
}
