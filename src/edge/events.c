/*-------------------------------------------------------------------------
 *
 * events.c
 *		The event ring to the rooms, and the rooms' reads to executors.
 *
 * Events are taken in batches, so that sockets have their turn in between; an
 * event of a room that nobody here has joined, or waits for, is not even copied.  What goes
 * wrong in the ring is told to the rooms, which read the tables.
 *
 * A read is a call with the token of the member that it is made for.  It is
 * found by its number when the rooms do not want it any more.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/events.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/calls.h"
#include "edge/presence.h"
#include "edge/session.h"
#include "edge/timer.h"
#include "edge/waiting.h"
#include "plane/interest.h"

#define BATCH 256                /* events of one turn */
#define KEPT_BYTES (64 << 20)    /* of frames in the logs of all rooms */
#define OWN_READS 8              /* reads in flight that no client asked for */
#define BEHIND_BYTES (256 << 10) /* that may wait for a member for BEHIND_GRACE ms */
#define BEHIND_GRACE 1000
#define BEHIND_TIME 8000       /* ms that a frame may wait; with the goodbye it is 10 s */
#define BEHIND_MOST (8 << 20)  /* bytes that may wait at all */
#define POSITION_INTERVAL 5000 /* ms, see rooms.h */
#define HEARTBEAT 25000        /* ms, where there is none */
#define READ_BUCKETS 1024

typedef struct Read
{
	struct Read *next;
	uint64_t number;
	PennyPending *call;
} Read;

static PennyRooms *rooms;
static PennyEventCursor cursor;
static char *buffer;
static Read *reads[READ_BUCKETS];
static PennyInterest interest;
static uint64_t due = UINT64_MAX;
static PennyTimer stall_timer;
static PennyRoomsCounts counted; /* as the counters say */

static bool on_read(void *owner, const PennyAnswer *answer);

/* ---- reads -------------------------------------------------------------------- */

/* Take a read out of the table. */
static Read *
unlist(uint64_t number)
{
	Read **link = &reads[number % READ_BUCKETS];
	Read *read;

	while (*link != NULL && (*link)->number != number)
		link = &(*link)->next;
	read = *link;
	if (read != NULL)
		*link = read->next;
	return read;
}

/* {"since":…} or {}; in a buffer that is used once. */
static PennySpan
join_body(PennySpan since)
{
	static char body[PENNY_ROOMS_SINCE_MAX + 64];
	size_t len = 0;

	if (since.len == 0)
		return (PennySpan){"{}", 2};
	if (since.len > sizeof(body) - 16)
		return (PennySpan){NULL, 0};
	memcpy(body, "{\"since\":", 9);
	len = 9;
	memcpy(body + len, since.data, since.len);
	len += since.len;
	body[len++] = '}';
	return (PennySpan){body, len};
}

static bool
start_read(void *arg, uint64_t number, void *member, PennySpan room, PennySpan since)
{
	PennySession *session = ((PennySessionRoom *) member)->session;
	PennyConnection *connection = session->connection;
	PennyCallOut out = {.op = PENNY_OP_JOIN, .whole = true};
	Read *read;

	(void) arg;
	if (session->local)
		out.flags |= PENNY_REQUEST_LOOPBACK;
	out.field[PENNY_FIELD_TARGET] = room;
	out.field[PENNY_FIELD_TOKEN] = (PennySpan){session->token, strlen(session->token)};
	out.field[PENNY_FIELD_BODY] = join_body(since);
	if (session->request_id != NULL)
		out.field[PENNY_FIELD_REQUEST_ID] =
			(PennySpan){session->request_id, strlen(session->request_id)};
	out.field[PENNY_FIELD_PEER] = (PennySpan){connection->peer, strlen(connection->peer)};
	read = penny_alloc(sizeof(*read));
	read->number = number;
	read->call = penny_call_start(&out, on_read, read);
	if (read->call == NULL)
	{
		free(read);
		return false;
	}
	read->next = reads[number % READ_BUCKETS];
	reads[number % READ_BUCKETS] = read;
	return true;
}

static void
forget_read(void *arg, uint64_t number)
{
	Read *read = unlist(number);

	(void) arg;
	if (read == NULL)
		return;
	penny_call_abandon(read->call);
	free(read);
}

static bool
on_read(void *owner, const PennyAnswer *answer)
{
	Read *read = owner;
	uint64_t number = read->number;
	bool answered = answer->kind == PENNY_ANSWER;

	unlist(number);
	free(read);
	penny_rooms_answer(rooms, number, answered ? answer->status : 503, answer->head, answer->body,
					   penny_edge.now);
	return true;
}

/* Reads are the same for sockets that are signed in by the same token from the same place. */
static bool
is_same_reader(void *arg, void *member, void *other)
{
	const PennySession *one = ((PennySessionRoom *) member)->session;
	const PennySession *two = ((PennySessionRoom *) other)->session;

	(void) arg;
	return one->local == two->local && strcmp(one->token, two->token) == 0;
}

/* ---- events --------------------------------------------------------------------- */

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

/* Wakes the loop, so that a writer that stopped is passed over. */
static void
on_stall(PennyTimer *timer)
{
	(void) timer;
}

/*
 * ms after which it is repeated who is there: what is not repeated ends after
 * three of them, and that is to be within two heartbeats.
 */
static uint32_t
presence_renew(void)
{
	uint32_t heartbeat = penny_edge.settings.heartbeat_interval;

	return (heartbeat > 0 ? heartbeat : HEARTBEAT) / 2;
}

void
penny_events_init(void)
{
	PennyRoomsConfig config = {.kept_bytes = KEPT_BYTES,
							   .reads = OWN_READS,
							   .behind_bytes = BEHIND_BYTES,
							   .behind_grace = BEHIND_GRACE,
							   .behind_time = BEHIND_TIME,
							   .behind_most = BEHIND_MOST,
							   .position_interval = POSITION_INTERVAL,
							   .presence_window = penny_edge.settings.batch_window,
							   .presence_renew = presence_renew()};
	static PennyRoomsCallbacks callbacks = {
		.read = start_read,
		.forget = forget_read,
		.joined = penny_session_joined,
		.deliver = penny_session_deliver,
		.ready = penny_session_ready,
		.takes = penny_session_takes,
		.left = penny_session_left,
		.same = is_same_reader,
	};

	if (penny_edge.plane.config.edges > 1)
		callbacks.announce = penny_presence_announce;
	config.edge = (uint64_t) penny_edge.plane.self + 1;
	penny_random(&config.seed, sizeof(config.seed));
	rooms = penny_rooms_create(&config, &callbacks, NULL);
	if (rooms == NULL)
	{
		penny_log(PENNY_LOG_WARNING, "out of memory, edge ends");
		exit(1);
	}
	buffer = penny_alloc(PENNY_ROOM_NAME_MAX + penny_event_max_frame(&penny_edge.plane));
	penny_timer_init(&stall_timer, on_stall);
	penny_event_start(&penny_edge.plane, &cursor);
}

PennyRooms *
penny_events_rooms(void)
{
	return rooms;
}

void
penny_events_listen(uint64_t room_hash, bool listen)
{
	if (listen)
		penny_interest_add(&penny_edge.plane, &interest, room_hash);
	else
		penny_interest_remove(&penny_edge.plane, &interest, room_hash);
}

/* Is an event of this room for anybody here? */
static bool
is_wanted(void *arg, uint64_t room_hash)
{
	return penny_rooms_wanted(arg, room_hash) || penny_waiting_wanted(room_hash);
}

/*
 * Pass an event on: to members, and to requests that wait for one of the room,
 * in which there need not be any members.
 */
static void
pass_on(const PennyEventIn *event)
{
	penny_count(&penny_edge.plane, PENNY_COUNT_EVENTS, 1);
	if (event->kind == PENNY_EVENT_SESSION)
	{
		penny_sessions_doubt(event->user);
		return;
	}
	if (event->kind == PENNY_EVENT_RESYNC)
		penny_waiting_lost();
	else if (event->kind != PENNY_EVENT_PRESENCE)
		penny_waiting_event(event->room_hash);
	penny_rooms_event(rooms, event, penny_edge.now);
}

/* Take events; true when the batch was full. */
static bool
take_events(void)
{
	uint64_t ns = now_ns();

	for (int i = 0; i < BATCH; i++)
	{
		PennyEventIn event;

		switch (penny_event_read(&penny_edge.plane, &cursor, ns, is_wanted, rooms, buffer, &event))
		{
			case PENNY_EVENTS_NONE:
				return false;
			case PENNY_EVENTS_STALL:
				penny_timer_set(&stall_timer, penny_edge.now + PENNY_EVENT_PATIENCE);
				return false;
			case PENNY_EVENTS_ONE:
				pass_on(&event);
				break;
			case PENNY_EVENTS_LOST:
				penny_waiting_lost();
				penny_rooms_lost(rooms, penny_edge.now);
				break;
		}
	}
	return true;
}

/* Keep the counters of the plane as the rooms' own. */
void
penny_events_count(void)
{
	PennyRoomsCounts counts = penny_rooms_counts(rooms);

	penny_count(&penny_edge.plane, PENNY_COUNT_ROOMS, (int64_t) (counts.rooms - counted.rooms));
	penny_count(&penny_edge.plane, PENNY_COUNT_MEMBERS,
				(int64_t) (counts.members - counted.members));
	penny_count(&penny_edge.plane, PENNY_COUNT_RESYNCS,
				(int64_t) (counts.resyncs - counted.resyncs));
	penny_count(&penny_edge.plane, PENNY_COUNT_SLOW, (int64_t) (counts.slow - counted.slow));
	counted = counts;
}

bool
penny_events_turn(void)
{
	bool more = penny_events_ready() && take_events();

	penny_rooms_set_pace(rooms, penny_edge.settings.batch_window, presence_renew());
	due = penny_rooms_tick(rooms, penny_edge.now);
	penny_presence_turn(rooms);
	return more;
}

bool
penny_events_ready(void)
{
	return atomic_load_explicit(&penny_edge.plane.p->ev_tail, memory_order_acquire) != cursor.next;
}

uint64_t
penny_events_due(void)
{
	return due;
}
