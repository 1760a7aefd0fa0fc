/*-------------------------------------------------------------------------
 *
 * publish.c
 *		Transactional publication.  See publish.h.
 *
 * What a transaction says is kept in TopTransactionContext as an array of
 * ready PennyEventOut, in the order it was said.  Beside each event stands
 * the nesting level of the subtransaction that said it; subtransactions end
 * in the order of a stack, so a rollback cuts the tail off and a release
 * lowers its level.
 *
 * A transaction that says more than a share of the ring would overrun every
 * reader with its own events.  Its versioned events are then dropped and one
 * PENNY_EVENT_RESYNC is published in their place: readers look into the
 * tables, where everything is.  Broadcasts without a version are nowhere else,
 * so too many of them are an error.
 *
 * Nothing is left to do at PRE_COMMIT: the array is complete at any moment,
 * and its memory outlives the COMMIT callback.  So events that another
 * module's PRE_COMMIT callback causes are published too.
 *
 * Nobody in the room: its events are dropped in the COMMIT callback, after a
 * look at the edges' bits that no join can slip by (plane/interest.h).  Before
 * that, at the time of a trigger, the same look saves the building of a frame;
 * what is kept then is the room and its newest version, for one who joins
 * before the commit: that member reads the change from the table.
 *
 * Rooms belong to penny.database; what a session of another database says
 * goes nowhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/planemap.h"
#include "base/registry.h"
#include "config/config.h"
#include "plane/event.h"
#include "plane/interest.h"
#include "realtime/pending.h"
#include "realtime/prepared.h"
#include "realtime/publish.h"

#define HINT 1 /* version of a PUBLISH that may be dropped */
#define FIRST_EVENTS 16
#define RECENT 8     /* events searched for one that says the same */
#define RING_SHARE 4 /* a transaction fills at most a fourth of the ring */

/* Of the current transaction; NULL: nothing was said. */
static PennyPending *pending = NULL;

static bool active(void);
static PennyPending *current_pending(void);
static bool is_lasting(const PennyEventOut *event);
static bool raise_recent(PennyPending *list, PennyEventKind kind, const char *room, Size room_len,
						 uint64 version);
static bool fits(const PennyPending *list, Size bytes);
static void drop_versioned(PennyPending *list);
static void say(PennyEventKind kind, const char *room, int64 version, const char *frame,
				int frame_len, const pg_uuid_t *user_id);
static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
							 void *arg);

void
penny_publish_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	penny_prepared_init();
}

void
penny_publish_change(const char *room, int64 version, const char *frame, int frame_len)
{
	say(PENNY_EVENT_CHANGE, room, version, frame, frame_len, NULL);
}

void
penny_publish_event(const char *room, const char *frame, int frame_len)
{
	say(PENNY_EVENT_PUBLISH, room, 0, frame, frame_len, NULL);
}

void
penny_publish_signal(const char *room, const char *frame, int frame_len, int edge, uint64 member)
{
	PennyEventSender sender = {.edge = (uint64_t) edge + 1, .member = member};
	pg_uuid_t bytes;

	StaticAssertStmt(sizeof(sender) == sizeof(bytes), "a sender takes the place of a user");
	memcpy(&bytes, &sender, sizeof(bytes));
	say(PENNY_EVENT_PUBLISH, room, 0, frame, frame_len, &bytes);
}

void
penny_publish_hint(const char *room, const char *frame, int frame_len)
{
	say(frame != NULL ? PENNY_EVENT_PUBLISH : PENNY_EVENT_RECHECK, room, HINT, frame, frame_len,
		NULL);
}

void
penny_publish_session(const pg_uuid_t *user_id)
{
	say(PENNY_EVENT_SESSION, "", 0, NULL, 0, user_id);
}

void
penny_publish_streaming(void)
{
	if (active())
		current_pending()->streams = true;
}

void
penny_publish_executing(void)
{
	if (active())
		current_pending()->executions = true;
}

void
penny_publish_rights(void)
{
	PennyPending all = {.resync = true, .sessions = true};

	if (penny_plane() == NULL)
		return;
	atomic_fetch_add(&penny_plane()->p->keys_stamp, 1);
	penny_pending_publish(&all);
}

void
penny_publish_stream(const char *room, int64 index, const char *frame, int frame_len)
{
	say(PENNY_EVENT_STREAM, room, index, frame, frame_len, NULL);
}

void
penny_publish_recheck(const char *room)
{
	say(PENNY_EVENT_RECHECK, room, 0, NULL, 0, NULL);
}

void
penny_publish_left(const char *room, int64 version, const pg_uuid_t *user_id)
{
	say(PENNY_EVENT_LEFT, room, version, NULL, 0, user_id);
}

void
penny_publish_gone(const char *room, int64 version)
{
	say(PENNY_EVENT_GONE, room, version, NULL, 0, NULL);
}

void
penny_publish_resync(void)
{
	if (active())
		drop_versioned(current_pending());
}

void
penny_publish_routes(void)
{
	if (active())
		current_pending()->routes = true;
}

/* Is there a plane, and is this the database that it is for? */
static bool
active(void)
{
	static Oid asked = InvalidOid;
	static bool ours = false;

	if (penny_plane() == NULL || !IsTransactionState())
		return false;
	if (asked != MyDatabaseId)
	{
		const char *name = get_database_name(MyDatabaseId);

		ours = name != NULL && strcmp(name, penny_database) == 0;
		asked = MyDatabaseId;
	}
	return ours;
}

bool
penny_publish_active(void)
{
	return active();
}

bool
penny_publish_wanted(const char *room, Size room_len)
{
	return active() && penny_interest_any(penny_plane(), penny_hash(room, room_len, 0));
}

/* Is what the event says also in the tables, or said by another event? */
static bool
is_lasting(const PennyEventOut *event)
{
	return event->kind != PENNY_EVENT_PUBLISH || event->version == HINT;
}

/*
 * Something without a frame, shortly after the same of its room and level: the
 * newest version says all.
 */
static bool
raise_recent(PennyPending *list, PennyEventKind kind, const char *room, Size room_len,
			 uint64 version)
{
	int level = GetCurrentTransactionNestLevel();

	for (int i = list->n - 1; i >= 0 && i >= list->n - RECENT; i--)
	{
		PennyEventOut *event = &list->event[i];

		if (list->level[i] != level)
			break;
		if (event->kind != kind || event->frame_len != 0 || event->room_len != room_len ||
			memcmp(event->room, room, room_len) != 0)
			continue;
		/* version 0 of a change: it is known to be less than said */
		if (kind != PENNY_EVENT_CHANGE || (event->version != 0 && version != 0))
			event->version = Max(event->version, version);
		else
			event->version = 0;
		return true;
	}
	return false;
}

static PennyPending *
current_pending(void)
{
	if (pending == NULL)
	{
		PennyPending *fresh = MemoryContextAllocZero(TopTransactionContext, sizeof(*fresh));

		fresh->space = FIRST_EVENTS;
		fresh->event =
			MemoryContextAlloc(TopTransactionContext, FIRST_EVENTS * sizeof(*fresh->event));
		fresh->level =
			MemoryContextAlloc(TopTransactionContext, FIRST_EVENTS * sizeof(*fresh->level));
		pending = fresh;
	}
	return pending;
}

/* Would the transaction with these bytes more still be in its share of the ring? */
static bool
fits(const PennyPending *list, Size bytes)
{
	const PennyPlaneConfig *config = &penny_plane()->config;

	return list->n < (int) (config->events / RING_SHARE) &&
		   list->bytes + bytes <= config->event_bytes / RING_SHARE;
}

/* Drop what can be read from the tables; one event says so. */
static void
drop_versioned(PennyPending *list)
{
	int kept = 0;

	list->bytes = 0;
	for (int i = 0; i < list->n; i++)
	{
		PennyEventOut *event = &list->event[i];

		list->missed |= event->kind == PENNY_EVENT_PUBLISH && is_lasting(event);
		list->sessions |= event->kind == PENNY_EVENT_SESSION;
		if (!is_lasting(event))
		{
			list->bytes += event->room_len + event->frame_len;
			list->event[kept] = *event;
			list->level[kept] = list->level[i];
			kept++;
		}
		else
			pfree(unconstify(char *, event->room));
	}
	list->n = kept;
	list->resync = true;
}

/* Make room for one event more. */
static void
enlarge(PennyPending *list)
{
	if (list->n < list->space)
		return;
	list->event = repalloc_huge(list->event, 2 * (Size) list->space * sizeof(*list->event));
	list->level = repalloc_huge(list->level, 2 * (Size) list->space * sizeof(*list->level));
	list->space *= 2;
}

/* Note one event: room and frame are copied. */
static void
say(PennyEventKind kind, const char *room, int64 version, const char *frame, int frame_len,
	const pg_uuid_t *user_id)
{
	bool broadcast = kind == PENNY_EVENT_PUBLISH && version != HINT;
	Size room_len = strlen(room);
	PennyPending *list;
	PennyEventOut *event;
	char *bytes;

	if (!active())
		return;
	if ((room_len == 0 && kind != PENNY_EVENT_SESSION) || room_len > PENNY_ROOM_NAME_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("name of a room must have 1 to %d bytes", PENNY_ROOM_NAME_MAX)));
	if (frame == NULL)
		frame_len = 0;
	if ((uint32) frame_len > penny_event_max_frame(penny_plane()))
	{
		if (broadcast)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
							errmsg("event of %d bytes is too large to be published", frame_len),
							errdetail("An event has at most %u bytes.",
									  penny_event_max_frame(penny_plane()))));
		frame_len = 0;
	}

	list = current_pending();
	if (list->resync && !broadcast)
	{
		list->missed |= kind == PENNY_EVENT_PUBLISH;
		list->sessions |= kind == PENNY_EVENT_SESSION;
		return;
	}
	if (frame_len == 0 && (kind == PENNY_EVENT_CHANGE || kind == PENNY_EVENT_RECHECK) &&
		raise_recent(list, kind, room, room_len, (uint64) version))
		return;
	if (!fits(list, room_len + frame_len))
	{
		drop_versioned(list);
		list->missed |= kind == PENNY_EVENT_PUBLISH && !broadcast;
		list->sessions |= kind == PENNY_EVENT_SESSION;
		if (!broadcast)
			return;
		if (!fits(list, room_len + frame_len))
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
							errmsg("too many events are published in one transaction"),
							errhint("Publish in several transactions, or raise "
									"penny.event_ring_size.")));
	}

	enlarge(list);
	bytes = MemoryContextAlloc(TopTransactionContext, room_len + frame_len);
	memcpy(bytes, room, room_len);
	if (frame_len > 0)
		memcpy(bytes + room_len, frame, frame_len);
	event = &list->event[list->n];
	memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->version = (uint64) version;
	event->room = bytes;
	event->room_len = room_len;
	event->frame = bytes + room_len;
	event->frame_len = frame_len;
	if (user_id != NULL)
		memcpy(event->user, user_id->data, sizeof(event->user));
	list->level[list->n] = GetCurrentTransactionNestLevel();
	list->bytes += room_len + frame_len;
	list->n++;
}

static inline bool
somebody_listens(const PennyPlane *plane, const PennyEventOut *event)
{
	return penny_event_is_roomless(event->kind) ||
		   penny_interest_any(plane, penny_hash(event->room, event->room_len, 0));
}

/* Publish what somebody listens to, in runs; false: there was nothing. */
static bool
publish_wanted(PennyPlane *plane, const PennyPending *list, uint64 now_ns)
{
	bool any = false;

	for (int i = 0; i < list->n; i++)
	{
		int first = i;

		while (i < list->n && somebody_listens(plane, &list->event[i]))
			i++;
		if (i == first)
			continue;
		penny_event_publish(plane, &list->event[first], i - first, now_ns);
		any = true;
	}
	return any;
}

/*
 * Publish a list; cannot fail, allocate or wait.  The transaction is visible
 * to new snapshots already, which is what the look at the bits relies on.
 */
void
penny_pending_publish(const PennyPending *list)
{
	PennyPlane *plane = penny_plane();
	bool wake = list->resync || list->routes;
	struct timespec now;
	uint64 now_ns;

	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ns = (uint64) now.tv_sec * UINT64CONST(1000000000) + (uint64) now.tv_nsec;
	if (list->resync)
	{
		PennyEventOut all[2] = {{.kind = PENNY_EVENT_RESYNC, .room = "", .frame = ""},
								{.kind = PENNY_EVENT_SESSION, .room = "", .frame = ""}};

		all[0].version = list->missed ? PENNY_EVENT_MISSED : 0;
		penny_event_publish(plane, all, list->sessions ? 2 : 1, now_ns);
	}
	penny_interest_fence();
	wake |= publish_wanted(plane, list, now_ns);
	if (list->streams && pg_atomic_fetch_add_u32(&penny_registry()->streams, 1) == 0)
		penny_supervisor_wake();
	if (list->executions && pg_atomic_fetch_add_u32(&penny_registry()->executions, 1) == 0)
		penny_supervisor_wake();
	if (list->routes)
		atomic_fetch_add(&plane->p->routes_stamp, 1);
	if (wake)
		penny_wake_edges(plane);
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (pending != NULL)
				penny_pending_publish(pending);
			pending = NULL;
			break;
		case XACT_EVENT_PRE_PREPARE:
			penny_prepared_reserve(pending);
			break;
		case XACT_EVENT_PREPARE:
			penny_prepared_keep();
			pending = NULL;
			break;
		case XACT_EVENT_ABORT:
			penny_prepared_cancel();
			pending = NULL;
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	(void) mine;
	(void) parent;
	(void) arg;
	if (pending == NULL || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	for (int i = pending->n - 1; i >= 0 && pending->level[i] >= level; i--)
	{
		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			pending->bytes -= pending->event[i].room_len + pending->event[i].frame_len;
			pfree(unconstify(char *, pending->event[i].room));
			pending->n = i;
		}
		else
			pending->level[i] = level - 1;
	}
}
