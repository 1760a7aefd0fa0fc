/*-------------------------------------------------------------------------
 *
 * rooms.c
 *		The rooms, one behaviour a test, told as a log of what members got.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <time.h>

#include "unit.h"

#include "edge/rooms.h"
#include "plane/presence.h"

typedef struct Seat
{
	char name;
	PennyMember *member;
	bool ready;
	bool blocked;
} Seat;

static PennyRooms *rooms;
static char told[4000]; /* what was told, in words */
static uint64_t asked[64];
static char since_asked[64][160];
static char asker[64];
static int reads;
static bool refuse_reads;
static bool single_flight;
static uint64_t now;
static Seat seat[4] = {{.name = 'A'}, {.name = 'B'}, {.name = 'C'}, {.name = 'D'}};

static void
say(const char *format, ...)
{
	size_t len = strlen(told);
	va_list args;

	va_start(args, format);
	vsnprintf(told + len, sizeof(told) - len, format, args);
	va_end(args);
}

static bool
on_read(void *arg, uint64_t read, void *data, PennySpan room, PennySpan since)
{
	(void) arg;
	(void) room;
	if (refuse_reads)
		return false;
	asked[reads] = read;
	asker[reads] = ((Seat *) data)->name;
	snprintf(since_asked[reads++], sizeof(since_asked[0]), "%.*s", (int) since.len, since.data);
	return true;
}

static void
on_forget(void *arg, uint64_t read)
{
	(void) arg;
	say("forget%d ", (int) read);
}

static void
on_joined(void *arg, void *data, PennySpan room, const PennyJoined *how)
{
	(void) arg;
	(void) room;
	say("%c:joined%s%.*s%s ", ((Seat *) data)->name, how->recovered ? "+" : "",
		(int) how->reset.len, how->reset.data, how->write ? "" : "!");
}

static void
on_deliver(void *arg, void *data, PennyFrame *frame)
{
	PennySpan text = penny_frame_text(frame);

	(void) arg;
	say("%c:%.*s ", ((Seat *) data)->name, (int) text.len, text.data);
}

static void
on_ready(void *arg, void *data)
{
	Seat *one = data;

	(void) arg;
	one->ready = true;
}

static bool
on_takes(void *arg, void *data)
{
	(void) arg;
	return !((Seat *) data)->blocked;
}

/* A and B are the same user. */
static bool
on_same(void *arg, void *data, void *other)
{
	(void) arg;
	return single_flight && ((Seat *) data)->name <= 'B' && ((Seat *) other)->name <= 'B';
}

/* Sockets take what there is. */
static void
take_all(void)
{
	for (int i = 0; i < 4; i++)
	{
		PennyFrame *frame;

		if (!seat[i].ready || seat[i].blocked || seat[i].member == NULL)
			continue;
		while ((frame = penny_rooms_take(seat[i].member, SIZE_MAX)) != NULL)
		{
			on_deliver(NULL, &seat[i], frame);
			penny_frame_unref(frame);
		}
		seat[i].ready = false;
	}
}

static void
on_left(void *arg, void *data, PennySpan room, PennyLeaving why, bool joined, uint32_t status,
		PennySpan problem)
{
	static const char *const words[] = {"revoked", "gone", "refused", "reset", "slow"};

	(void) arg;
	(void) room;
	(void) problem;
	say("%c:%s%s%d ", ((Seat *) data)->name, joined ? "" : "not-", words[why], (int) status);
	((Seat *) data)->member = NULL;
	((Seat *) data)->ready = false;
}

static void
start(void)
{
	static const PennyRoomsCallbacks callbacks = {
		on_read, on_forget, on_joined, on_deliver, on_ready, on_takes, on_left, NULL, on_same};
	PennyRoomsConfig config = {.seed = 42,
							   .edge = 3,
							   .kept_bytes = 1 << 20,
							   .reads = 4,
							   .behind_bytes = 1000,
							   .behind_grace = 100,
							   .behind_time = 1000,
							   .behind_most = 5000,
							   .position_interval = 500,
							   .presence_window = 50,
							   .presence_renew = 5000};

	rooms = penny_rooms_create(&config, &callbacks, NULL);
	told[0] = '\0';
	reads = 0;
	refuse_reads = single_flight = false;
	now = 1000;
}

static void
stop(void)
{
	PennyRoomsCounts counts;

	for (int i = 0; i < 4; i++)
	{
		if (seat[i].member != NULL)
			penny_rooms_leave(rooms, seat[i].member);
		seat[i].member = NULL;
		seat[i].ready = seat[i].blocked = false;
	}
	counts = penny_rooms_counts(rooms);
	CHECK(counts.rooms == 0 && counts.members == 0 && counts.reads == 0 && counts.kept_bytes == 0);
	CHECK(penny_frames_alive() == 0);
	CHECK(penny_rooms_tick(rooms, now) == UINT64_MAX);
	penny_rooms_destroy(rooms);
}

/* Compare what was told since the last time. */
static void
expect(const char *what)
{
	take_all();
	if (strcmp(told, what) != 0)
		printf("# told: %.300s\n", told);
	CHECK_ROW(strcmp(told, what) == 0, what);
	told[0] = '\0';
}

static void
join_as(int n, const char *since, const char *filter, size_t filter_len, uint32_t window,
		bool conflate)
{
	PennyJoin as = {.room = {"room", 4},
					.since = {since, strlen(since)},
					.filter = {filter, filter_len},
					.window = window,
					.conflate = conflate};

	seat[n].member = penny_rooms_join(rooms, &as, &seat[n], now);
	CHECK(seat[n].member != NULL);
}

static void
join(int n, const char *since)
{
	join_as(n, since, NULL, 0, 0, false);
}

static void
answer_full(int read, uint32_t status, const char *epoch, uint64_t version, bool recovered,
			const char *body, int user)
{
	char head[256];

	snprintf(head, sizeof(head),
			 "{\"position\":{\"epoch\":\"%s\",\"version\":%llu},\"recovered\":%s,"
			 "\"user_id\":\"%02d000000-0000-0000-0000-000000000000\"}",
			 epoch, (unsigned long long) version, recovered ? "true" : "false", user);
	penny_rooms_answer(rooms, asked[read], status, (PennySpan){head, strlen(head)},
					   (PennySpan){body, strlen(body)}, now);
}

static void
answer(int read, uint64_t version, const char *body)
{
	answer_full(read, 200, "e", version, since_asked[read][0] != '\0', body, 0);
}

static void
event(PennyEventKind kind, uint64_t version, const char *frame)
{
	PennyEventIn in = {.kind = kind,
					   .version = version,
					   .room = "room",
					   .room_len = 4,
					   .room_hash = penny_hash("room", 4, 0),
					   .frame = frame,
					   .frame_len = (uint32_t) strlen(frame)};

	penny_rooms_event(rooms, &in, now);
}

/* A broadcast that a member of some edge has sent. */
static void
sent(uint64_t edge, uint64_t member, const char *frame)
{
	PennyEventSender sender = {.edge = edge, .member = member};
	PennyEventIn in = {.kind = PENNY_EVENT_PUBLISH,
					   .room = "room",
					   .room_len = 4,
					   .room_hash = penny_hash("room", 4, 0),
					   .frame = frame,
					   .frame_len = (uint32_t) strlen(frame)};

	memcpy(in.user, &sender, sizeof(in.user));
	penny_rooms_event(rooms, &in, now);
}

/* Let two members in at version 10. */
static void
start_two(void)
{
	start();
	join(0, "");
	join(1, "");
	answer_full(0, 200, "e", 10, false, "", 1);
	answer_full(1, 200, "e", 10, false, "", 2);
	expect("A:joined B:joined ");
}

TEST(live)
{
	start_two();
	CHECK(penny_rooms_wanted(rooms, penny_hash("room", 4, 0)));
	CHECK(!penny_rooms_wanted(rooms, penny_hash("other", 5, 0)));
	event(PENNY_EVENT_CHANGE, 11, "f11");
	expect("A:f11 B:f11 ");
	event(PENNY_EVENT_CHANGE, 11, "f11"); /* a duplicate */
	event(PENNY_EVENT_CHANGE, 9, "f9");
	expect("");
	event(PENNY_EVENT_PUBLISH, 0, "hey");
	expect("A:hey B:hey ");
	CHECK(penny_rooms_signal(rooms, seat[0].member, (PennySpan){"typing", 6}, now));
	expect("B:typing ");
	sent(3, penny_rooms_number(seat[0].member), "mine");
	expect("B:mine ");
	sent(2, penny_rooms_number(seat[0].member), "another edge's");
	expect("A:another edge's B:another edge's ");
	sent(3, penny_rooms_number(seat[1].member) + 1, "gone");
	expect("A:gone B:gone ");
	CHECK(penny_rooms_counts(rooms).kept_bytes == 0);
	penny_rooms_leave(rooms, seat[0].member);
	seat[0].member = NULL;
	event(PENNY_EVENT_CHANGE, 12, "f12");
	expect("B:f12 ");
	stop();
}

TEST(reordered)
{
	start_two();
	event(PENNY_EVENT_CHANGE, 13, "f13");
	event(PENNY_EVENT_CHANGE, 12, "f12");
	expect("");
	CHECK(penny_rooms_tick(rooms, now) == now + PENNY_ROOMS_PATIENCE);
	event(PENNY_EVENT_CHANGE, 11, "f11");
	expect("A:f11 A:f12 A:f13 B:f11 B:f12 B:f13 ");
	penny_rooms_tick(rooms, now + 100);
	CHECK(reads == 2);
	stop();
}

TEST(hole)
{
	start_two();
	event(PENNY_EVENT_CHANGE, 12, "f12");
	now += PENNY_ROOMS_PATIENCE - 1;
	penny_rooms_tick(rooms, now);
	CHECK(reads == 2);
	now++;
	penny_rooms_tick(rooms, now);
	CHECK(reads == 3 && strcmp(since_asked[2], "{\"epoch\":\"e\",\"version\":10}") == 0);
	event(PENNY_EVENT_CHANGE, 14, "f14");
	answer(2, 13, "11 t11\n13 t13\n"); /* 12 was superseded by 13 */
	expect("A:t11 A:t13 A:f14 B:t11 B:t13 B:f14 ");
	stop();
}

TEST(no_frame)
{
	start_two();
	event(PENNY_EVENT_CHANGE, 11, "");
	CHECK(reads == 3); /* at once */
	event(PENNY_EVENT_CHANGE, 12, "f12");
	answer(2, 11, "11 t11\n");
	expect("A:t11 A:f12 B:t11 B:f12 ");
	stop();
}

TEST(join_between)
{
	start_two();
	join(2, "{\"epoch\":\"e\",\"version\":8}");
	event(PENNY_EVENT_CHANGE, 11, "f11");
	event(PENNY_EVENT_CHANGE, 12, "f12");
	expect("A:f11 A:f12 B:f11 B:f12 ");
	answer(2, 11, "9 t9\n11 t11\n"); /* older than the room: the log has the rest */
	expect("C:joined+ C:t9 C:t11 C:f12 ");
	CHECK(penny_rooms_counts(rooms).kept_bytes == 0);
	join(3, "");
	answer(3, 14, ""); /* ahead of the room: it gets nothing twice */
	event(PENNY_EVENT_CHANGE, 13, "f13");
	event(PENNY_EVENT_CHANGE, 14, "f14");
	event(PENNY_EVENT_CHANGE, 15, "f15");
	expect("D:joined A:f13 A:f14 A:f15 B:f13 B:f14 B:f15 C:f13 C:f14 C:f15 D:f15 ");
	stop();
}

/* The log does not reach back to the answer: the member is read again. */
TEST(log_too_short)
{
	static char big[PENNY_ROOMS_LOG_MAX / 2];

	memset(big, 'x', sizeof(big) - 1);
	start_two();
	join(2, "");
	for (uint64_t version = 11; version <= 14; version++)
	{
		event(PENNY_EVENT_CHANGE, version, big);
		take_all();
	}
	CHECK(penny_rooms_counts(rooms).kept_bytes <= PENNY_ROOMS_LOG_MAX);
	told[0] = '\0';
	answer(2, 11, "");
	expect("C:joined ");
	CHECK(reads == 4 && strcmp(since_asked[3], "{\"epoch\":\"e\",\"version\":11}") == 0);
	event(PENNY_EVENT_CHANGE, 15, "f15");
	take_all();
	told[0] = '\0';
	answer(3, 14, "12 t12\n13 t13\n14 t14\n");
	expect("C:t12 C:t13 C:t14 C:f15 ");
	stop();
}

TEST(refused)
{
	start_two();
	join(2, "");
	answer_full(2, 403, "e", 0, false, "{}", 0);
	expect("C:not-refused403 ");
	/* the room is read with one token; refused, with the next */
	event(PENNY_EVENT_CHANGE, 11, "");
	CHECK(reads == 4 && asker[3] == 'B');
	answer_full(3, 404, "e", 0, false, "{}", 0);
	expect("B:refused404 ");
	CHECK(reads == 5 && asker[4] == 'A');
	answer(4, 11, "11 t11\n");
	expect("A:t11 ");
	stop();
}

TEST(read_fails)
{
	start_two();
	event(PENNY_EVENT_CHANGE, 11, "");
	answer_full(2, 503, "e", 0, false, "{}", 0);
	CHECK(reads == 3);
	now = penny_rooms_tick(rooms, now);
	penny_rooms_tick(rooms, now);
	CHECK(reads == 4);
	refuse_reads = true;
	answer_full(3, 500, "e", 0, false, "{}", 0);
	now = penny_rooms_tick(rooms, now);
	penny_rooms_tick(rooms, now);
	CHECK(reads == 4);
	refuse_reads = false;
	now = penny_rooms_tick(rooms, now);
	penny_rooms_tick(rooms, now);
	CHECK(reads == 5);
	penny_rooms_answer(rooms, asked[4], 200, (PennySpan){"{}", 2}, (PennySpan){"", 0}, now);
	now = penny_rooms_tick(rooms, now);
	penny_rooms_tick(rooms, now);
	CHECK(reads == 6);
	answer(5, 11, "11 t11\n");
	expect("A:t11 B:t11 ");
	stop();
}

TEST(reader_leaves)
{
	start_two();
	event(PENNY_EVENT_CHANGE, 11, "");
	penny_rooms_leave(rooms, seat[1].member);
	seat[1].member = NULL;
	expect("forget3 ");
	CHECK(reads == 4 && asker[3] == 'A');
	answer(2, 11, "11 wrong\n"); /* forgotten: ignored */
	answer(3, 11, "11 t11\n");
	expect("A:t11 ");
	stop();
}

TEST(revoked)
{
	PennyEventIn in = {.kind = PENNY_EVENT_LEFT,
					   .version = 11,
					   .room = "room",
					   .room_len = 4,
					   .room_hash = penny_hash("room", 4, 0),
					   .user = {0x01}};

	start_two();
	join(2, "");
	penny_rooms_event(rooms, &in, now);
	expect("A:revoked403 ");
	event(PENNY_EVENT_CHANGE, 11, "f11"); /* the frame of the same version */
	event(PENNY_EVENT_CHANGE, 12, "f12");
	expect("B:f11 B:f12 ");
	/* the answer may be from before: it is read again rather than trusted */
	answer_full(2, 200, "e", 10, false, "", 1);
	expect("");
	CHECK(reads == 4);
	answer_full(3, 403, "e", 0, false, "", 1);
	expect("C:not-refused403 ");
	/* who came in after it is not put out by it */
	join(3, "");
	answer_full(4, 200, "e", 12, false, "", 1);
	penny_rooms_event(rooms, &in, now);
	expect("D:joined ");
	stop();
}

TEST(gone)
{
	start_two();
	join(2, "");
	event(PENNY_EVENT_GONE, 12, "bye");
	expect("");
	event(PENNY_EVENT_CHANGE, 11, "f11");
	expect("B:f11 B:bye A:f11 A:bye C:not-gone404 forget3 B:gone404 A:gone404 ");
	stop();
	start_two();
	event(PENNY_EVENT_GONE, 15, "bye"); /* what lies between cannot be read any more */
	now += PENNY_ROOMS_PATIENCE;
	penny_rooms_tick(rooms, now);
	expect("B:bye A:bye B:gone404 A:gone404 ");
	stop();
}

TEST(lost)
{
	start_two();
	penny_rooms_lost(rooms, now);
	CHECK(reads == 4);
	event(PENNY_EVENT_PUBLISH, 0, "secret"); /* not before access is sure again */
	expect("");
	answer(2, 12, "11 t11\n12 t12\n");
	expect("B:t11 B:t12 B:{\"type\":\"event\",\"room\":\"room\",\"event\":{\"type\":\"missed\"}} ");
	answer_full(3, 403, "e", 0, false, "", 0);
	expect("A:refused403 ");
	event(PENNY_EVENT_CHANGE, 13, "f13");
	expect("B:f13 ");
	event(PENNY_EVENT_RESYNC, 0, "");
	CHECK(reads == 5);
	answer(4, 13, "");
	event(PENNY_EVENT_CHANGE, 14, "f14");
	expect("B:f14 ");
	stop();
}

TEST(other_epoch)
{
	start_two();
	event(PENNY_EVENT_CHANGE, 11, "");
	answer_full(2, 200, "other", 3, false, "", 0);
	expect("B:reset409 A:reset409 ");
	stop();
	start_two();
	join(2, "");
	answer_full(2, 200, "other", 3, false, "", 0);
	expect("B:reset409 A:reset409 ");
	answer_full(3, 200, "other", 3, false, "", 0);
	event(PENNY_EVENT_CHANGE, 4, "f4");
	expect("C:joined C:f4 ");
	stop();
}

TEST(many_rooms)
{
	static Seat many[3000];
	PennyRoomsCounts counts;

	start();
	for (int i = 0; i < 3000; i++)
	{
		char name[32];
		PennyJoin as = {.room = {name, 0}};

		reads = 0;
		snprintf(name, sizeof(name), "room:%d", i);
		as.room.len = strlen(name);
		many[i].member = penny_rooms_join(rooms, &as, &many[i], now);
		CHECK(many[i].member != NULL && !penny_rooms_is_in(many[i].member));
	}
	counts = penny_rooms_counts(rooms);
	CHECK(counts.rooms == 3000 && counts.members == 3000 && counts.reads == 3000);
	for (int i = 0; i < 3000; i++)
		penny_rooms_leave(rooms, many[i].member);
	CHECK(penny_rooms_join(rooms, &(PennyJoin){.room = {told, PENNY_ROOM_NAME_MAX + 1}}, &seat[0],
						   now) == NULL);
	CHECK(penny_rooms_join(rooms, &(PennyJoin){.room = {"", 0}}, &seat[0], now) == NULL);
	stop();
}

/* Time passes, and what is due is done. */
static void
pass(uint64_t ms)
{
	now += ms;
	penny_rooms_tick(rooms, now);
}

static void
answer_more(int read, uint64_t version, const char *body)
{
	char head[256];

	snprintf(head, sizeof(head),
			 "{\"position\":{\"epoch\":\"e\",\"version\":%llu},\"recovered\":true,\"more\":true,"
			 "\"user_id\":\"00000000-0000-0000-0000-000000000000\"}",
			 (unsigned long long) version);
	penny_rooms_answer(rooms, asked[read], 200, (PennySpan){head, strlen(head)},
					   (PennySpan){body, strlen(body)}, now);
}

/* The right to write is that of the last answer: it may be taken, and come back. */
TEST(may_write)
{
	static const char head[] = "{\"position\":{\"epoch\":\"e\",\"version\":10},\"recovered\":true,"
							   "\"write\":false}";

	start_two();
	CHECK(penny_rooms_may_write(seat[0].member));
	event(PENNY_EVENT_RECHECK, 0, "");
	CHECK(reads == 4);
	for (int i = 2; i < 4; i++)
		penny_rooms_answer(rooms, asked[i], 200, (PennySpan){head, sizeof(head) - 1},
						   (PennySpan){"", 0}, now);
	expect("");
	CHECK(!penny_rooms_may_write(seat[0].member) && !penny_rooms_may_write(seat[1].member));
	event(PENNY_EVENT_RECHECK, 0, "");
	answer(4, 10, "");
	CHECK(penny_rooms_may_write(seat[0].member) || penny_rooms_may_write(seat[1].member));
	stop();
}

TEST(batches)
{
	start();
	join_as(0, "", NULL, 0, 50, false);
	join(1, "");
	answer(0, 10, "");
	answer(1, 10, "");
	expect("A:joined B:joined ");
	event(PENNY_EVENT_CHANGE, 11, "f11"); /* at once */
	event(PENNY_EVENT_CHANGE, 12, "f12");
	event(PENNY_EVENT_PUBLISH, 0, "hey");
	expect("A:f11 B:f11 B:f12 B:hey ");
	pass(49);
	expect("");
	pass(1);
	expect("A:{\"type\":\"batch\",\"room\":\"room\",\"version\":12,\"messages\":[f12,hey]} ");
	event(PENNY_EVENT_CHANGE, 13, "f13"); /* the window is open again */
	expect("B:f13 ");
	pass(50);
	expect("A:f13 "); /* alone: as itself */
	pass(50);
	event(PENNY_EVENT_CHANGE, 14, "f14"); /* it had closed */
	expect("A:f14 B:f14 ");
	event(PENNY_EVENT_CHANGE, 15, "f15");
	CHECK(penny_rooms_set_window(rooms, seat[0].member, 0, now));
	event(PENNY_EVENT_CHANGE, 16, "f16");
	expect("A:f15 A:f16 B:f15 B:f16 ");
	CHECK(penny_rooms_counts(rooms).audiences == 1);
	stop();
}

/* One encoding for all who get the same, and nothing kept when it was taken. */
TEST(shared)
{
	PennyFrame *one, *other;

	start();
	for (int i = 0; i < 3; i++)
		join_as(i, "", NULL, 0, i < 2 ? 50 : 10, false);
	for (int i = 0; i < 3; i++)
		answer(i, 10, "");
	for (uint64_t version = 11; version < 14; version++)
		event(PENNY_EVENT_CHANGE, version, "x");
	expect("A:joined B:joined C:joined A:x B:x C:x ");
	pass(50);
	one = penny_rooms_take(seat[0].member, SIZE_MAX);
	CHECK(penny_rooms_take(seat[1].member, one->len - 1) == NULL);
	CHECK(penny_rooms_has_more(seat[1].member));
	other = penny_rooms_take(seat[1].member, one->len);
	CHECK(one == other && one->refs == 2);
	CHECK(penny_rooms_counts(rooms).kept_bytes > 0); /* C has not taken its own */
	penny_frame_unref(one);
	penny_frame_unref(other);
	take_all();
	CHECK(penny_rooms_counts(rooms).kept_bytes == 0);
	stop();
}

TEST(joins_into_a_batch)
{
	start();
	join_as(0, "", NULL, 0, 50, false);
	join_as(1, "", NULL, 0, 50, false);
	answer(0, 10, "");
	event(PENNY_EVENT_CHANGE, 11, "f11");
	event(PENNY_EVENT_CHANGE, 12, "f12");
	answer(1, 12, ""); /* it has what gathers */
	event(PENNY_EVENT_CHANGE, 13, "f13");
	expect("A:joined B:joined B:f13 A:f11 ");
	pass(50);
	event(PENNY_EVENT_CHANGE, 14, "f14");
	event(PENNY_EVENT_CHANGE, 15, "f15");
	pass(50);
	expect("A:{\"type\":\"batch\",\"room\":\"room\",\"version\":13,\"messages\":[f12,f13]} "
		   "A:{\"type\":\"batch\",\"room\":\"room\",\"version\":15,\"messages\":[f14,f15]} "
		   "B:{\"type\":\"batch\",\"room\":\"room\",\"version\":15,\"messages\":[f14,f15]} ");
	stop();
}

TEST(filter)
{
	start();
	join_as(0, "{\"epoch\":\"e\",\"version\":8}", "a\0b", 4, 0, false);
	answer(0, 10, "9 {\"type\":\"a\",\"n\":9}\n10 {\"type\":\"c\"}\n");
	expect("A:joined+ A:{\"type\":\"a\",\"n\":9} "
		   "A:{\"type\":\"position\",\"room\":\"room\",\"version\":10} ");
	event(PENNY_EVENT_CHANGE, 11, "{\"type\":\"event\",\"event\":{\"type\":\"b\"}}");
	event(PENNY_EVENT_CHANGE, 12, "{\"type\":\"event\",\"event\":{\"type\":\"c\"}}");
	event(PENNY_EVENT_PUBLISH, 0, "{\"type\":\"event\",\"event\":{}}");
	expect("A:{\"type\":\"event\",\"event\":{\"type\":\"b\"}} ");
	pass(499);
	expect("");
	pass(1);
	expect("A:{\"type\":\"position\",\"room\":\"room\",\"version\":12} ");
	pass(1000);
	expect("");
	stop();
}

static void
expect_filter(const char *json, const char *what, size_t len)
{
	char filter[PENNY_ROOMS_FILTER_MAX];
	size_t got = 0;
	const char *wrong = penny_filter_read((PennySpan){json, strlen(json)}, filter, &got);

	if (what == NULL)
		CHECK_ROW(wrong != NULL, json);
	else
		CHECK_ROW(wrong == NULL && got == len && memcmp(filter, what, len) == 0, json);
}

static bool
passes(const char *type, const char *text)
{
	PennyFrame *frame = penny_frame_make((PennySpan){text, strlen(text)});
	bool passed = penny_filter_passes((PennySpan){type, strlen(type) + 1}, frame);

	CHECK(penny_filter_passes((PennySpan){type, strlen(type) + 1}, frame) == passed);
	penny_frame_unref(frame);
	return passed;
}

/* A large frame is looked into once, not for each of many filters. */
TEST(many_filters)
{
	static Seat many[1000];
	static char frame[1 << 20];
	static const char head[] = "{\"position\":{\"epoch\":\"e\",\"version\":10}}";
	struct timespec began, ended;

	start();
	for (int i = 0; i < 1000; i++)
	{
		char filter[8];
		PennyJoin as = {.room = {"room", 4}, .filter = {filter, 0}};

		as.filter.len = (size_t) snprintf(filter, sizeof(filter), "t%d", i) + 1;
		many[i].member = penny_rooms_join(rooms, &as, &many[i], now);
		reads = 0;
		penny_rooms_answer(rooms, asked[0], 200, (PennySpan){head, sizeof(head) - 1},
						   (PennySpan){"", 0}, now);
	}
	CHECK(penny_rooms_counts(rooms).audiences == 1000);
	told[0] = '\0';
	memset(frame, ' ', sizeof(frame) - 1);
	memcpy(frame, "{\"type\":\"t7\"", 12);
	frame[sizeof(frame) - 2] = '}';
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
	event(PENNY_EVENT_CHANGE, 11, frame);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
	CHECK(many[7].ready && !many[6].ready);
	CHECK((ended.tv_sec - began.tv_sec) * 1000 + (ended.tv_nsec - began.tv_nsec) / 1000000 < 200);
	for (int i = 0; i < 1000; i++)
		penny_rooms_leave(rooms, many[i].member);
	stop();
}

TEST(filters_as_written)
{
	expect_filter("{\"types\":[\"b\", \"a\",\"b\"]}", "a\0b", 4);
	expect_filter("{\"types\":[\"\\u0061\\\"\"]}", "a\"", 3);
	expect_filter("{\"types\":[]}", NULL, 0);
	expect_filter("{\"types\":[1]}", NULL, 0);
	expect_filter("{\"types\":[\"a\",[\"b\"]]}", NULL, 0);
	expect_filter("{\"types\":[\"\"]}", NULL, 0);
	expect_filter("{\"types\":\"a\"}", NULL, 0);
	expect_filter("{}", NULL, 0);
	CHECK(passes("a", "{\"type\":\"\\u0061\"}"));
	CHECK(passes("a", "{\"event\":{\"type\":\"a\"}}"));
	CHECK(passes("a", "[]"));
	CHECK(!passes("a", "{\"type\":\"aa\"}"));
	CHECK(!passes("a", "{\"type\":1}"));
	CHECK(!passes("a", "{\"event\":{\"type\":2}}"));
}

TEST(slow)
{
	start_two();
	seat[0].blocked = true;
	for (uint64_t version = 11; version < 15; version++)
		event(PENNY_EVENT_CHANGE, version, "x");
	expect("B:x B:x B:x B:x ");
	pass(999);
	expect("");
	CHECK(penny_rooms_counts(rooms).kept_bytes > 0);
	pass(1);
	expect("A:slow503 ");
	CHECK(penny_rooms_counts(rooms).kept_bytes == 0 && penny_rooms_counts(rooms).slow == 1);
	event(PENNY_EVENT_CHANGE, 15, "x");
	expect("B:x ");
	stop();
}

TEST(slow_by_bytes)
{
	static char big[600];

	memset(big, 'x', sizeof(big) - 1);
	start_two();
	seat[0].blocked = true;
	event(PENNY_EVENT_CHANGE, 11, big);
	pass(50);
	take_all();
	event(PENNY_EVENT_CHANGE, 12, big);
	event(PENNY_EVENT_CHANGE, 13, big);
	take_all();
	told[0] = '\0';
	pass(49); /* more than the bound, but not for long enough */
	expect("");
	pass(1);
	expect("A:slow503 ");
	stop();
	start_two();
	seat[0].blocked = true;
	for (uint64_t version = 11; version < 21; version++)
		event(PENNY_EVENT_CHANGE, version, big);
	take_all();
	told[0] = '\0';
	pass(1); /* more than anybody may have */
	expect("A:slow503 ");
	stop();
}

TEST(conflates)
{
	start();
	join_as(0, "", NULL, 0, 0, true);
	join(1, "");
	answer(0, 10, "");
	answer(1, 10, "");
	expect("A:joined B:joined ");
	event(PENNY_EVENT_CHANGE, 11, "f11");
	expect("A:f11 B:f11 ");
	seat[0].blocked = true;
	event(PENNY_EVENT_CHANGE, 12, "f12");
	event(PENNY_EVENT_PUBLISH, 0, "hey");
	take_all();
	pass(1000);
	event(PENNY_EVENT_CHANGE, 13, "f13");
	expect("B:f12 B:hey B:f13 ");
	CHECK(reads == 2); /* its socket would not take the answer */
	seat[0].blocked = false;
	penny_rooms_drained(rooms, seat[0].member, now);
	CHECK(reads == 3 && strcmp(since_asked[2], "{\"epoch\":\"e\",\"version\":11}") == 0);
	event(PENNY_EVENT_CHANGE, 14, "f14");
	answer(2, 13, "13 t13\n");
	expect("A:{\"type\":\"conflated\",\"room\":\"room\",\"from\":11,\"to\":13} A:t13 A:f14 "
		   "A:{\"type\":\"event\",\"room\":\"room\",\"event\":{\"type\":\"missed\"}} B:f14 ");
	stop();
}

TEST(pages)
{
	start_two();
	join(2, "{\"epoch\":\"e\",\"version\":2}");
	answer_more(2, 4, "3 t3\n4 t4\n");
	event(PENNY_EVENT_CHANGE, 11, "f11");
	expect("C:joined+ C:t3 C:t4 A:f11 B:f11 ");
	CHECK(reads == 4 && strcmp(since_asked[3], "{\"epoch\":\"e\",\"version\":4}") == 0);
	seat[2].blocked = true;
	answer_more(3, 7, "6 t6\n7 t7\n");
	CHECK(reads == 4); /* not before its socket has taken that */
	seat[2].blocked = false;
	penny_rooms_drained(rooms, seat[2].member, now);
	CHECK(reads == 5);
	answer(4, 11, "8 t8\n11 t11\n");
	expect("C:t6 C:t7 C:t8 C:t11 ");
	/* the room itself may be far behind, too */
	event(PENNY_EVENT_CHANGE, 15, "");
	answer_more(5, 13, "12 t12\n13 t13\n");
	CHECK(reads == 7 && strcmp(since_asked[6], "{\"epoch\":\"e\",\"version\":13}") == 0);
	answer(6, 15, "14 t14\n15 t15\n");
	expect("A:t12 A:t13 A:t14 A:t15 B:t12 B:t13 B:t14 B:t15 C:t12 C:t13 C:t14 C:t15 ");
	stop();
}

TEST(streams)
{
	start_two();
	event(PENNY_EVENT_STREAM, 1, "s1");
	join(2, "");
	event(PENNY_EVENT_STREAM, 2, "s2");
	expect("A:s1 A:s2 B:s1 B:s2 ");
	CHECK(penny_rooms_counts(rooms).kept_bytes > 0);
	answer(2, 10, "0 state1\n"); /* read before s2 was committed */
	event(PENNY_EVENT_STREAM, 3, "s3");
	expect("C:joined C:state1 C:s2 A:s3 B:s3 C:s3 ");
	CHECK(penny_rooms_counts(rooms).kept_bytes == 0);
	stop();
}

TEST(rechecked)
{
	start_two();
	event(PENNY_EVENT_RECHECK, 0, "");
	CHECK(reads == 4);
	event(PENNY_EVENT_CHANGE, 11, "f11");
	expect("");
	answer_full(2, 403, "e", 0, false, "", 0);
	answer(3, 11, "11 t11\n");
	expect("B:refused403 A:t11 ");
	stop();
}

static void
join_present(int n)
{
	PennyJoin as = {.room = {"room", 4}, .presence = true};

	seat[n].member = penny_rooms_join(rooms, &as, &seat[n], now);
	CHECK(seat[n].member != NULL);
}

/* What another edge says: one user with so many devices, and others unnamed. */
static void
state(uint64_t edge, uint64_t incarnation, uint64_t number, int user, uint32_t devices,
	  uint32_t more)
{
	PennyEventSender sender = {.edge = edge, .member = incarnation};
	PennyPresenceHead head = {.number = number, .users = 1, .more = more};
	PennyPresenceUser one = {.devices = devices};
	char frame[sizeof(head) + sizeof(one)];
	PennyEventIn in = {.kind = PENNY_EVENT_PRESENCE,
					   .room = "room",
					   .room_len = 4,
					   .room_hash = penny_hash("room", 4, 0),
					   .frame = frame,
					   .frame_len = sizeof(frame)};

	one.user[0] = (uint8_t) user;
	memcpy(frame, &head, sizeof(head));
	memcpy(frame + sizeof(head), &one, sizeof(one));
	memcpy(in.user, &sender, sizeof(sender));
	penny_rooms_event(rooms, &in, now);
}

#define USER(n) "0" #n "000000-0000-0000-0000-000000000000"
#define ONE(n, devices) "{\"user_id\":\"" USER(n) "\",\"devices\":" #devices "}"
#define LIST(members, count) \
	"{\"type\":\"presence\",\"room\":\"room\",\"members\":[" members "],\"count\":" #count "} "
#define CAME_LEFT(came, left, count)                                                 \
	"{\"type\":\"presence\",\"room\":\"room\",\"joined\":[" came "],\"left\":[" left \
	"],\"count\":" #count "} "

TEST(presence)
{
	start();
	join_present(0);
	join(1, ""); /* does not want it */
	answer_full(0, 200, "e", 10, false, "", 1);
	answer_full(1, 200, "e", 10, false, "", 2);
	expect("A:joined B:joined ");
	pass(1);
	expect("A:" LIST(ONE(1, 1), 1));
	join_present(2);
	answer_full(2, 200, "e", 10, false, "", 3);
	pass(10); /* inside the window */
	expect("C:joined ");
	pass(40);
	expect("C:" LIST(ONE(3, 1) "," ONE(1, 1),
					 2) "A:" CAME_LEFT(ONE(3, 1), "", 2) "C:" CAME_LEFT(ONE(3, 1), "", 2));
	/* a second device of the first user */
	pass(100);
	join_present(3);
	answer_full(3, 200, "e", 10, false, "", 1);
	pass(1);
	expect("D:joined D:" LIST(ONE(3, 1) "," ONE(1, 2), 2) "A:" CAME_LEFT(
		ONE(1, 2), "", 2) "C:" CAME_LEFT(ONE(1, 2), "", 2) "D:" CAME_LEFT(ONE(1, 2), "", 2));
	/* who leaves and is back within the window was never away */
	pass(100);
	penny_rooms_leave(rooms, seat[3].member);
	pass(30);
	join_present(3);
	answer_full(4, 200, "e", 10, false, "", 1);
	pass(20);
	expect("D:joined D:" LIST(ONE(3, 1) "," ONE(1, 2), 2));
	/* access is lost */
	pass(100);
	{
		PennyEventIn in = {.kind = PENNY_EVENT_LEFT,
						   .version = 11,
						   .room = "room",
						   .room_len = 4,
						   .room_hash = penny_hash("room", 4, 0),
						   .user = {0x03}};

		penny_rooms_event(rooms, &in, now);
	}
	expect("C:revoked403 ");
	pass(50);
	expect("A:" CAME_LEFT("", "\"" USER(3) "\"", 1) "D:" CAME_LEFT("", "\"" USER(3) "\"", 1));
	stop();
}

TEST(presence_of_other_edges)
{
	start();
	join_present(0);
	answer_full(0, 200, "e", 10, false, "", 1);
	pass(1);
	expect("A:joined A:" LIST(ONE(1, 1), 1));
	state(2, 7, 5, 1, 2, 0);
	state(5, 1, 1, 4, 1, 3);
	pass(50);
	expect("A:" CAME_LEFT(ONE(4, 1) "," ONE(1, 3), "", 5));
	state(3, 9, 6, 9, 1, 0); /* its own */
	state(2, 7, 4, 1, 9, 0); /* overtaken */
	state(2, 6, 9, 1, 9, 0); /* of a process before */
	pass(100);
	expect("");
	penny_rooms_edge_began(rooms, 2, 8, now);
	state(2, 7, 6, 1, 9, 0); /* the last words of the old one */
	pass(1);
	expect("A:" CAME_LEFT(ONE(1, 1), "", 5));
	/* what is not repeated ends, within four times of repeating */
	state(2, 8, 1, 5, 1, 0);
	pass(100);
	expect("A:" CAME_LEFT(ONE(5, 1), "", 6));
	for (int i = 0; i < 4; i++)
	{
		pass(5000);
		take_all();
		state(2, 8, (uint64_t) i + 2, 5, 1, 0);
	}
	pass(1);
	expect("A:" CAME_LEFT("", "\"" USER(4) "\"", 2));
	stop();
}

/* A member that skips frames gets a list, and is not told that anything was missed. */
TEST(presence_when_slow)
{
	PennyJoin as = {.room = {"room", 4}, .presence = true, .conflate = true};

	start();
	seat[0].member = penny_rooms_join(rooms, &as, &seat[0], now);
	answer_full(0, 200, "e", 10, false, "", 1);
	pass(1);
	expect("A:joined A:" LIST(ONE(1, 1), 1));
	seat[0].blocked = true;
	state(2, 7, 5, 2, 1, 0);
	pass(50);
	pass(2000);
	expect("");
	seat[0].blocked = false;
	penny_rooms_drained(rooms, seat[0].member, now);
	answer_full(1, 200, "e", 10, true, "", 1);
	pass(50);
	expect("A:{\"type\":\"conflated\",\"room\":\"room\",\"from\":10,\"to\":10} "
		   "A:" LIST(ONE(2, 1) "," ONE(1, 1), 2));
	stop();
}

static void
start_equal(void)
{
	start();
	single_flight = true;
	join(0, "{\"epoch\":\"e\",\"version\":8}");
	join(1, "{\"epoch\":\"e\",\"version\":8}");
	CHECK(reads == 1);
}

TEST(equal_joins)
{
	start_equal();
	join(2, "{\"epoch\":\"e\",\"version\":8}");
	CHECK(reads == 2); /* another user */
	event(PENNY_EVENT_CHANGE, 11, "f11");
	answer(0, 10, "9 t9\n10 t10\n");
	expect("A:joined+ A:t9 A:t10 B:joined+ B:t9 B:t10 B:f11 A:f11 ");
	stop();
	/* who asked leaves */
	start_equal();
	penny_rooms_leave(rooms, seat[0].member);
	seat[0].member = NULL;
	answer(0, 9, "9 t9\n");
	expect("B:joined+ B:t9 ");
	stop();
	/* both leave */
	start_equal();
	penny_rooms_leave(rooms, seat[1].member);
	penny_rooms_leave(rooms, seat[0].member);
	seat[0].member = seat[1].member = NULL;
	expect("forget1 ");
	stop();
	/* refused together; another since is another read */
	start_equal();
	answer_full(0, 403, "e", 0, false, "", 0);
	expect("A:not-refused403 B:not-refused403 ");
	join(0, "{\"epoch\":\"e\",\"version\":8}");
	join(1, "{\"epoch\":\"e\",\"version\":9}");
	CHECK(reads == 3);
	stop();
	/* access was in doubt in between */
	start_equal();
	event(PENNY_EVENT_RECHECK, 0, "");
	answer(0, 9, "9 t9\n");
	CHECK(reads == 2); /* both again, by one read */
	answer(1, 9, "9 t9\n");
	expect("A:joined+ A:t9 B:joined+ B:t9 ");
	stop();
}

int
main(void)
{
	RUN(live);
	RUN(reordered);
	RUN(hole);
	RUN(no_frame);
	RUN(join_between);
	RUN(log_too_short);
	RUN(refused);
	RUN(read_fails);
	RUN(reader_leaves);
	RUN(revoked);
	RUN(gone);
	RUN(lost);
	RUN(other_epoch);
	RUN(many_rooms);
	RUN(may_write);
	RUN(batches);
	RUN(shared);
	RUN(joins_into_a_batch);
	RUN(filter);
	RUN(many_filters);
	RUN(filters_as_written);
	RUN(slow);
	RUN(slow_by_bytes);
	RUN(conflates);
	RUN(pages);
	RUN(streams);
	RUN(rechecked);
	RUN(equal_joins);
	RUN(presence);
	RUN(presence_of_other_edges);
	RUN(presence_when_slow);
	return unit_done();
}
