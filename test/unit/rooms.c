/*-------------------------------------------------------------------------
 *
 * rooms.c
 *		The rooms, one behaviour a test, told as a log of what members got.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>

#include "unit.h"

#include "edge/rooms.h"

typedef struct Seat
{
	char name;
	PennyMember *member;
} Seat;

static PennyRooms *rooms;
static char told[4000]; /* what was told, in words */
static uint64_t asked[64];
static char since_asked[64][160];
static char asker[64];
static int reads;
static bool refuse_reads;
static uint64_t now;
static Seat seat[4] = {{'A', NULL}, {'B', NULL}, {'C', NULL}, {'D', NULL}};

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
on_joined(void *arg, void *data, PennySpan room, PennySpan position, bool recovered)
{
	(void) arg;
	(void) room;
	(void) position;
	say("%c:joined%s ", ((Seat *) data)->name, recovered ? "+" : "");
}

static void
on_deliver(void *arg, void *data, PennyFrame *frame)
{
	PennySpan text = penny_frame_text(frame);

	(void) arg;
	say("%c:%.*s ", ((Seat *) data)->name, (int) text.len, text.data);
}

static void
on_left(void *arg, void *data, PennySpan room, PennyLeaving why, bool joined, uint32_t status,
		PennySpan problem)
{
	static const char *const words[] = {"revoked", "gone", "refused", "reset"};

	(void) arg;
	(void) room;
	(void) problem;
	say("%c:%s%s%d ", ((Seat *) data)->name, joined ? "" : "not-", words[why], (int) status);
	((Seat *) data)->member = NULL;
}

static void
start(void)
{
	static const PennyRoomsCallbacks callbacks = {on_read, on_forget, on_joined, on_deliver,
												  on_left};
	PennyRoomsConfig config = {.seed = 42, .edge = 3, .kept_bytes = 1 << 20, .reads = 4};

	rooms = penny_rooms_create(&config, &callbacks, NULL);
	told[0] = '\0';
	reads = 0;
	refuse_reads = false;
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
	if (strcmp(told, what) != 0)
		printf("# told: %s\n", told);
	CHECK_ROW(strcmp(told, what) == 0, what);
	told[0] = '\0';
}

static void
join(int n, const char *since)
{
	seat[n].member = penny_rooms_join(rooms, (PennySpan){"room", 4},
									  (PennySpan){since, strlen(since)}, &seat[n], now);
	CHECK(seat[n].member != NULL);
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
	expect("B:f11 A:f11 ");
	event(PENNY_EVENT_CHANGE, 11, "f11"); /* a duplicate */
	event(PENNY_EVENT_CHANGE, 9, "f9");
	expect("");
	event(PENNY_EVENT_PUBLISH, 0, "hey");
	expect("B:hey A:hey ");
	CHECK(penny_rooms_signal(rooms, seat[0].member, (PennySpan){"typing", 6}));
	expect("B:typing ");
	sent(3, penny_rooms_number(seat[0].member), "mine");
	expect("B:mine ");
	sent(2, penny_rooms_number(seat[0].member), "another edge's");
	expect("B:another edge's A:another edge's ");
	sent(3, penny_rooms_number(seat[1].member) + 1, "gone");
	expect("B:gone A:gone ");
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
	expect("B:f11 A:f11 B:f12 A:f12 B:f13 A:f13 ");
	CHECK(penny_rooms_tick(rooms, now + 100) == UINT64_MAX && reads == 2);
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
	expect("B:t11 A:t11 B:t13 A:t13 B:f14 A:f14 ");
	stop();
}

TEST(no_frame)
{
	start_two();
	event(PENNY_EVENT_CHANGE, 11, "");
	CHECK(reads == 3); /* at once */
	event(PENNY_EVENT_CHANGE, 12, "f12");
	answer(2, 11, "11 t11\n");
	expect("B:t11 A:t11 B:f12 A:f12 ");
	stop();
}

TEST(join_between)
{
	start_two();
	join(2, "{\"epoch\":\"e\",\"version\":8}");
	event(PENNY_EVENT_CHANGE, 11, "f11");
	event(PENNY_EVENT_CHANGE, 12, "f12");
	expect("B:f11 A:f11 B:f12 A:f12 ");
	answer(2, 11, "9 t9\n11 t11\n"); /* older than the room: the log has the rest */
	expect("C:joined+ C:t9 C:t11 C:f12 ");
	CHECK(penny_rooms_counts(rooms).kept_bytes == 0);
	join(3, "");
	answer(3, 14, ""); /* ahead of the room: it gets nothing twice */
	event(PENNY_EVENT_CHANGE, 13, "f13");
	event(PENNY_EVENT_CHANGE, 14, "f14");
	event(PENNY_EVENT_CHANGE, 15, "f15");
	expect("D:joined C:f13 B:f13 A:f13 C:f14 B:f14 A:f14 D:f15 C:f15 B:f15 A:f15 ");
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
		event(PENNY_EVENT_CHANGE, version, big);
	CHECK(penny_rooms_counts(rooms).kept_bytes <= PENNY_ROOMS_LOG_MAX);
	told[0] = '\0';
	answer(2, 11, "");
	expect("C:joined ");
	CHECK(reads == 4 && strcmp(since_asked[3], "{\"epoch\":\"e\",\"version\":11}") == 0);
	event(PENNY_EVENT_CHANGE, 15, "f15");
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
	expect("B:t11 A:t11 ");
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
	expect("B:f11 A:f11 B:bye A:bye C:not-gone404 forget3 B:gone404 A:gone404 ");
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

		reads = 0;
		snprintf(name, sizeof(name), "room:%d", i);
		many[i].member = penny_rooms_join(rooms, (PennySpan){name, strlen(name)},
										  (PennySpan){"", 0}, &many[i], now);
		CHECK(many[i].member != NULL && !penny_rooms_is_in(many[i].member));
	}
	counts = penny_rooms_counts(rooms);
	CHECK(counts.rooms == 3000 && counts.members == 3000 && counts.reads == 3000);
	for (int i = 0; i < 3000; i++)
		penny_rooms_leave(rooms, many[i].member);
	CHECK(penny_rooms_join(rooms, (PennySpan){told, PENNY_ROOM_NAME_MAX + 1}, (PennySpan){"", 0},
						   &seat[0], now) == NULL);
	CHECK(penny_rooms_join(rooms, (PennySpan){"", 0}, (PennySpan){"", 0}, &seat[0], now) == NULL);
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
	return unit_done();
}
