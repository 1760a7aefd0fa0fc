/*-------------------------------------------------------------------------
 *
 * presence.c
 *		Statements of presence to other edges, and news of these.
 *
 * What the rooms state in one turn goes in one call; while that is on its way,
 * what is stated next gathers, up to GATHER_MAX bytes, and the rooms keep the
 * rest.  An answer is not waited for beyond that: a statement that is lost is
 * repeated anyway.
 *
 * The plane shows which incarnation each edge is of, so what a dead one said is
 * forgotten as soon as there is another.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/presence.h"

#include <stdlib.h>
#include <string.h>

#include "edge/calls.h"
#include "edge/timer.h"
#include "plane/presence.h"

#define GATHER_MAX (256 * 1024)
#define CALL_LIMIT 5000 /* ms */
#define RETRY 50        /* ms until a call that found no place is tried again */

static char gathered[GATHER_MAX];
static size_t gathered_len;
static PennyPending *call;
static uint64_t retry_at; /* ms, 0 = at once */
static PennyTimer retry_timer;
static uint64_t incarnations[PENNY_MAX_EDGES];

bool
penny_presence_announce(void *arg, PennySpan room, PennySpan statement)
{
	PennyPresenceRecord record = {.room_len = (uint32_t) room.len, .len = (uint32_t) statement.len};
	char *to = gathered + gathered_len;

	(void) arg;
	if (sizeof(record) + room.len + statement.len > sizeof(gathered) - gathered_len)
		return false;
	to = mempcpy(to, &record, sizeof(record));
	to = mempcpy(to, room.data, room.len);
	to = mempcpy(to, statement.data, statement.len);
	gathered_len = (size_t) (to - gathered);
	return true;
}

static bool
on_told(void *owner, const PennyAnswer *answer)
{
	(void) owner;
	(void) answer;
	call = NULL;
	return true;
}

/* Wakes the loop. */
static void
on_retry(PennyTimer *timer)
{
	(void) timer;
}

/* As many records as one call takes. */
static size_t
one_call(PennyCallOut *out)
{
	PennySpan rest = {gathered, gathered_len};
	PennySpan room;
	PennySpan statement;
	size_t len = 0;

	out->field[PENNY_FIELD_BODY].data = gathered;
	for (int i = 0; i < PENNY_PRESENCE_ROOMS; i++)
	{
		if (!penny_presence_record(&rest, &room, &statement))
			break;
		out->field[PENNY_FIELD_BODY].len = gathered_len - rest.len;
		if (!penny_edge_fits(&penny_edge.plane, out->field))
			break;
		len = gathered_len - rest.len;
	}
	out->field[PENNY_FIELD_BODY].len = len;
	return len;
}

static void
send_gathered(void)
{
	PennyCallOut out = {.op = PENNY_OP_PRESENCE, .whole = true, .limit = CALL_LIMIT};
	size_t len;

	if (gathered_len == 0 || call != NULL || penny_edge.now < retry_at)
		return;
	len = one_call(&out);
	if (len == 0)
	{
		gathered_len = 0; /* a slot that small takes none at all */
		return;
	}
	call = penny_call_start(&out, on_told, NULL);
	if (call == NULL)
	{
		if (retry_at == 0)
			penny_timer_init(&retry_timer, on_retry);
		retry_at = penny_edge.now + RETRY;
		penny_timer_set(&retry_timer, retry_at);
		return;
	}
	memmove(gathered, gathered + len, gathered_len - len);
	gathered_len -= len;
}

void
penny_presence_turn(PennyRooms *rooms)
{
	for (uint32_t i = 0; i < penny_edge.plane.config.edges; i++)
	{
		uint64_t incarnation =
			atomic_load_explicit(&penny_edge.plane.p->edge[i].incarnation, memory_order_relaxed);

		if (incarnation == incarnations[i] || (int) i == penny_edge.plane.self)
			continue;
		incarnations[i] = incarnation;
		penny_rooms_edge_began(rooms, i + 1, incarnation, penny_edge.now);
	}
	send_gathered();
}
