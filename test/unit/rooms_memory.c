/*-------------------------------------------------------------------------
 *
 * rooms_memory.c
 *		What all rooms together may keep: who waits longest for its socket
 *		goes, whatever is told to whom at the moment.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/rooms.h"

#define ROOMS 8
#define MEMBERS 4 /* of each */
#define FRAME 1000
#define KEPT 20000

typedef struct Seat
{
	PennyMember *member;
	uint64_t read;
	bool blocked;
	bool slow; /* was put out */
} Seat;

static PennyRooms *rooms;
static Seat seat[ROOMS][MEMBERS];
static uint64_t version[ROOMS];
static uint64_t now;
static int slow;

static bool
on_read(void *arg, uint64_t read, void *data, PennySpan room, PennySpan since)
{
	(void) arg;
	(void) room;
	(void) since;
	((Seat *) data)->read = read;
	return true;
}

static void
on_forget(void *arg, uint64_t read)
{
	(void) arg;
	(void) read;
}

static void
on_joined(void *arg, void *data, PennySpan room, const PennyJoined *how)
{
	(void) arg;
	(void) data;
	(void) room;
	(void) how;
}

static void
on_deliver(void *arg, void *data, PennyFrame *frame)
{
	(void) arg;
	(void) data;
	(void) frame;
}

static void
on_ready(void *arg, void *data)
{
	(void) arg;
	(void) data;
}

static bool
on_takes(void *arg, void *data)
{
	(void) arg;
	return !((Seat *) data)->blocked;
}

static void
on_left(void *arg, void *data, PennySpan room, PennyLeaving why, bool joined, uint32_t status,
		PennySpan problem)
{
	Seat *of = data;

	(void) arg;
	(void) room;
	(void) joined;
	(void) status;
	(void) problem;
	CHECK(why == PENNY_LEAVING_SLOW);
	of->member = NULL;
	of->slow = true;
	slow++;
}

static bool
on_same(void *arg, void *data, void *other)
{
	(void) arg;
	(void) data;
	(void) other;
	return false;
}

static PennySpan
name_of(int room)
{
	static char name[8];

	name[0] = 'r';
	name[1] = (char) ('0' + room);
	return (PennySpan){name, 2};
}

static void
start(void)
{
	static const PennyRoomsCallbacks callbacks = {
		on_read, on_forget, on_joined, on_deliver, on_ready, on_takes, on_left, NULL, on_same};
	static const char head[] = "{\"position\":{\"epoch\":\"e\",\"version\":10},\"recovered\":false,"
							   "\"user_id\":\"00000000-0000-0000-0000-000000000000\"}";
	PennyRoomsConfig config = {.seed = 42,
							   .edge = 1,
							   .kept_bytes = KEPT,
							   .reads = 4,
							   .behind_bytes = 1 << 20,
							   .behind_grace = 100000,
							   .behind_time = 1000000,
							   .behind_most = 1 << 24,
							   .position_interval = 1000000};

	memset(seat, 0, sizeof(seat));
	rooms = penny_rooms_create(&config, &callbacks, NULL);
	slow = 0;
	now = 1000;
	for (int i = 0; i < ROOMS; i++)
	{
		version[i] = 10;
		for (int j = 0; j < MEMBERS; j++)
		{
			PennyJoin as = {.room = name_of(i)};

			seat[i][j].member = penny_rooms_join(rooms, &as, &seat[i][j], now);
			penny_rooms_answer(rooms, seat[i][j].read, 200, (PennySpan){head, sizeof(head) - 1},
							   (PennySpan){"", 0}, now);
		}
	}
}

static void
stop(void)
{
	for (int i = 0; i < ROOMS; i++)
	{
		for (int j = 0; j < MEMBERS; j++)
		{
			if (seat[i][j].member != NULL)
				penny_rooms_leave(rooms, seat[i][j].member);
		}
	}
	CHECK(penny_rooms_counts(rooms).kept_bytes == 0);
	penny_rooms_destroy(rooms);
}

/* A change of a room. */
static void
publish(int room)
{
	static char frame[FRAME];
	PennySpan name = name_of(room);
	PennyEventIn in = {.kind = PENNY_EVENT_CHANGE,
					   .version = ++version[room],
					   .room = name.data,
					   .room_len = (uint32_t) name.len,
					   .room_hash = penny_hash(name.data, name.len, 0),
					   .frame = frame,
					   .frame_len = sizeof(frame)};

	memset(frame, 'x', sizeof(frame));
	penny_rooms_event(rooms, &in, now);
}

/* The same; then sockets that are not blocked take it, and time passes. */
static void
tell(int room, bool take)
{
	publish(room);
	for (int j = 0; j < MEMBERS && take; j++)
	{
		PennyFrame *taken = NULL;

		while (seat[room][j].member != NULL && !seat[room][j].blocked &&
			   (taken = penny_rooms_take(seat[room][j].member, SIZE_MAX)) != NULL)
			penny_frame_unref(taken);
	}
	now++;
	penny_rooms_tick(rooms, now);
}

/* One that is stuck pins more and more; others are only told something. */
TEST(who_waits_longest_goes)
{
	start();
	seat[7][2].blocked = true;
	tell(7, true);
	for (int i = 0; i < 100; i++)
	{
		/* these have not taken theirs at the moment at which it becomes too much */
		for (int j = 0; j < MEMBERS; j++)
			tell(j, false);
		CHECK(i > 2 || slow == 0);
		for (int j = 0; j < MEMBERS; j++)
			tell(j, true);
		tell(7, true);
	}
	CHECK(slow == 1 && seat[7][2].slow);
	CHECK(penny_rooms_counts(rooms).kept_bytes == 0);
	stop();
}

/* Some who are in many rooms: they go, and nobody else. */
TEST(some_in_many_rooms)
{
	start();
	for (int i = 0; i < ROOMS; i++)
		seat[i][0].blocked = seat[i][1].blocked = true;
	for (int round = 0; round < 40; round++)
	{
		for (int i = 0; i < ROOMS; i++)
		{
			tell(i, true);
			CHECK(penny_rooms_counts(rooms).kept_bytes <= KEPT + 2 * FRAME);
		}
	}
	for (int i = 0; i < ROOMS; i++)
		CHECK(!seat[i][2].slow && !seat[i][3].slow);
	CHECK(slow == 2 * ROOMS);
	stop();
}

/* In the turn in which it becomes too much, nobody who was only just told. */
TEST(not_in_the_same_turn)
{
	start();
	for (int n = 0; n < 4 * ROOMS; n++)
		publish(n % ROOMS);
	CHECK(penny_rooms_counts(rooms).kept_bytes > KEPT);
	CHECK(penny_rooms_tick(rooms, now) == now + 1);
	CHECK(slow == 0);
	penny_rooms_tick(rooms, now + 1);
	CHECK(slow > 0 && slow < ROOMS * MEMBERS && penny_rooms_counts(rooms).kept_bytes <= KEPT);
	stop();
}

int
main(void)
{
	RUN(who_waits_longest_goes);
	RUN(some_in_many_rooms);
	RUN(not_in_the_same_turn);
	return unit_done();
}
