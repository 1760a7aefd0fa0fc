/*-------------------------------------------------------------------------
 *
 * plane.c
 *		The plane in one process that plays all sides: slots, rings, wakes,
 *		and the values that a hostile edge may leave behind.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

#include "plane/call.h"
#include "plane/event.h"

static const PennyPlaneConfig small = {.edges = 2,
									   .executors = 3,
									   .slots = 64,
									   .request_size = 1024,
									   .response_size = 1024,
									   .events = 16,
									   .event_bytes = 4096};

static PennyPlane pg;   /* PostgreSQL's view */
static PennyPlane edge; /* the view of edge 0, over the same mappings */
static char copy[1024];
static char event_buffer[PENNY_ROOM_NAME_MAX + 4096];

static void
start_edge(void)
{
	edge = pg;
	edge.self = 0;
	memset(edge.last_woken, 0, sizeof(edge.last_woken));
	penny_edge_init_slots(&edge);
}

static void
start(void)
{
	const char *failed = penny_plane_create(&pg, &small);

	if (failed != NULL)
	{
		printf("Bail out! %s\n", failed);
		exit(1);
	}
	penny_plane_sweep(&pg, 0);
	start_edge();
}

static void
stop(void)
{
	penny_plane_destroy(&pg);
}

static void
submit(int slot, const char *body)
{
	PennySpan field[PENNY_FIELDS] = {{NULL, 0}};

	field[PENNY_FIELD_TARGET] = (PennySpan){"/x", 2};
	field[PENNY_FIELD_BODY] = (PennySpan){body, strlen(body)};
	CHECK(penny_edge_fits(&edge, field));
	penny_edge_submit(&edge, slot, PENNY_OP_HTTP, PENNY_POST, 0, field);
}

/* Answer a call whole with this body. */
static void
answer(const PennyCall *call, const char *body)
{
	PennySpan none = {"", 0};

	penny_call_write(&pg, call, 200, none, (PennySpan){body, strlen(body)}, NULL, 0, true);
}

static bool
eventfd_signalled(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

TEST(sizes)
{
	PennyPlaneSizes sizes;
	PennyPlaneConfig config = small;

	CHECK(penny_plane_sizes(&config, &sizes) && sizes.e_size > 64 * 1024);
	config.slots = PENNY_MAX_SLOTS + 1;
	CHECK(!penny_plane_sizes(&config, &sizes));
	config = small;
	config.edges = 0;
	CHECK(!penny_plane_sizes(&config, &sizes));
	config = small;
	config.events = 17;
	CHECK(!penny_plane_sizes(&config, &sizes));
	config = small;
	config.request_size = UINT32_MAX / 64 * 64;
	CHECK(!penny_plane_sizes(&config, &sizes));
	config.request_size = 1025;
	CHECK(!penny_plane_sizes(&config, &sizes));
}

TEST(call)
{
	PennyCall call;
	PennyRequest request;
	PennyResponseHead head;
	const char *bytes;

	start();
	CHECK(!penny_call_claim(&pg, &call) && penny_call_backlog(&pg) == 0);
	CHECK(penny_edge_slot_state(&edge, 5) == PENNY_SLOT_FREE);
	submit(5, "hello");
	CHECK(penny_edge_slot_state(&edge, 5) == PENNY_SLOT_WAITING && penny_call_backlog(&pg) == 1);
	CHECK(penny_call_claim(&pg, &call) && call.edge == 0 && call.slot == 5);
	CHECK(penny_edge_slot_state(&edge, 5) == PENNY_SLOT_WAITING);
	CHECK(penny_call_request(&pg, &call, copy, &request));
	CHECK(request.op == PENNY_OP_HTTP && request.method == PENNY_POST);
	CHECK(request.field[PENNY_FIELD_BODY].len == 5 &&
		  memcmp(request.field[PENNY_FIELD_BODY].data, "hello", 5) == 0);
	CHECK(!penny_call_cancelled(&pg, &call));
	penny_edge_cancel(&edge, 5);
	CHECK(penny_call_cancelled(&pg, &call));
	answer(&call, "world");
	CHECK(penny_edge_slot_state(&edge, 5) == PENNY_SLOT_DONE);
	CHECK(penny_edge_take(&edge, 5, &head, &bytes) && head.status == 200 && head.piece_len == 5 &&
		  memcmp(bytes, "world", 5) == 0);
	penny_edge_free(&edge, 5);
	CHECK(penny_edge_slot_state(&edge, 5) == PENNY_SLOT_FREE);
	/* the cancel of the last call does not cling to the next */
	submit(5, "again");
	CHECK(penny_call_claim(&pg, &call) && !penny_call_cancelled(&pg, &call));
	stop();
}

TEST(full_ring)
{
	PennyCall call;
	int seen = 0;

	start();
	for (int round = 0; round < 5; round++)
	{
		uint64_t slots = 0;

		for (int slot = 0; slot < PENNY_MAX_SLOTS; slot++)
			submit(slot, "x");
		CHECK(penny_call_backlog(&pg) == PENNY_MAX_SLOTS);
		for (seen = 0; penny_call_claim(&pg, &call); seen++)
		{
			slots |= UINT64_C(1) << call.slot;
			answer(&call, "y");
		}
		CHECK(seen == PENNY_MAX_SLOTS && slots == UINT64_MAX);
		for (int slot = 0; slot < PENNY_MAX_SLOTS; slot++)
		{
			CHECK(penny_edge_slot_state(&edge, slot) == PENNY_SLOT_DONE);
			penny_edge_free(&edge, slot);
		}
	}
	stop();
}

/* The edge's word must be exactly one generation ahead, and submitted. */
TEST(stale_slot)
{
	PennyCall call;
	_Atomic uint64_t *word;
	uint64_t good;

	start();
	word = &pg.e[0]->slot[3].word;
	submit(3, "x");
	good = *word;
	for (int ahead = -2; ahead <= 3; ahead++)
	{
		uint64_t tail = pg.e[0]->sub_tail;

		if (ahead == 1)
			continue;
		atomic_store(word, ((uint64_t) ahead << 8) + PENNY_E_SUBMITTED);
		CHECK(!penny_call_claim(&pg, &call));
		pg.e[0]->sub[tail % PENNY_SUB_RING] = 3;
		atomic_store(&pg.e[0]->sub_tail, tail + 1);
	}
	atomic_store(word, UINT64_MAX);
	CHECK(!penny_call_claim(&pg, &call));
	atomic_store(word, good);
	pg.e[0]->sub[pg.e[0]->sub_tail % PENNY_SUB_RING] = 3;
	atomic_fetch_add(&pg.e[0]->sub_tail, 1);
	CHECK(penny_call_claim(&pg, &call) && call.slot == 3);
	/* a second entry for the same call gives nothing */
	pg.e[0]->sub[pg.e[0]->sub_tail % PENNY_SUB_RING] = 3;
	atomic_fetch_add(&pg.e[0]->sub_tail, 1);
	CHECK(!penny_call_claim(&pg, &(PennyCall){0}));
	stop();
}

TEST(dead_peer)
{
	PennyCall running, next;
	PennyResponseHead head;
	const char *bytes;

	start();
	submit(0, "runs");
	submit(1, "waits");
	CHECK(penny_call_claim(&pg, &running) && running.slot == 0);
	/* the edge dies; what runs is told, what waited is discarded */
	CHECK(!penny_call_cancelled(&pg, &running));
	penny_plane_sweep(&pg, 0);
	CHECK(penny_call_cancelled(&pg, &running));
	CHECK(!penny_call_claim(&pg, &next) && penny_call_backlog(&pg) == 0);
	start_edge();
	CHECK(penny_edge_slot_state(&edge, 0) == PENNY_SLOT_WAITING);
	CHECK(penny_edge_slot_state(&edge, 1) == PENNY_SLOT_FREE);
	CHECK(!penny_edge_take(&edge, 1, &head, &bytes));
	answer(&running, "late");
	CHECK(penny_edge_slot_state(&edge, 0) == PENNY_SLOT_FREE);
	submit(0, "new");
	submit(1, "new");
	CHECK(penny_edge_slot_state(&edge, 0) == PENNY_SLOT_WAITING);
	CHECK(penny_call_claim(&pg, &next) && penny_call_claim(&pg, &next));
	answer(&next, "new answer");
	CHECK(penny_edge_take(&edge, next.slot, &head, &bytes) && head.piece_len == 10);
	/* also a second death finds everything in order */
	penny_plane_sweep(&pg, 0);
	penny_plane_sweep(&pg, 0);
	start_edge();
	submit(2, "x");
	CHECK(penny_call_claim(&pg, &next) && next.slot == 2);
	stop();
}

TEST(wrapped_counters)
{
	PennyCall call;
	PennyEventOut event = {.kind = PENNY_EVENT_CHANGE, .version = 1, .room = "r", .room_len = 1};
	PennyEventCursor cursor;
	PennyEventIn in;

	start();
	atomic_store(&pg.p->edge[0].sub_head, UINT64_MAX - 10);
	atomic_store(&pg.e[0]->sub_tail, UINT64_MAX - 10);
	for (int i = 0; i < 100; i++)
	{
		submit(i % 7, "x");
		CHECK(penny_call_claim(&pg, &call) && call.slot == i % 7);
		answer(&call, "y");
		penny_edge_free(&edge, i % 7);
	}
	CHECK(pg.p->edge[0].sub_head < 1000);
	atomic_store(&pg.p->ev_tail, UINT64_MAX - 20);
	atomic_store(&pg.p->ev_data, UINT64_MAX - 100);
	penny_event_start(&edge, &cursor);
	for (int i = 0; i < 50; i++)
	{
		event.version = (uint64_t) i + 1;
		penny_event_publish(&pg, &event, 1, 1);
		CHECK(penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) ==
				  PENNY_EVENTS_ONE &&
			  in.version == (uint64_t) i + 1);
	}
	stop();
}

/*
 * The gateway is restarted while its edge slept: the word is odd, and the value
 * was woken already.  The next edge must be woken all the same.
 */
TEST(missed_sweep)
{
	uint64_t before;

	start();
	penny_edge_prepare_sleep(&edge);
	penny_wake_edge(&pg, 0);
	CHECK(eventfd_signalled(pg.edge_wake[0]));
	before = pg.e[0]->sleep_word;
	CHECK((before & 1) == 1);
	penny_plane_sweep(&pg, 0);
	CHECK((pg.e[0]->sleep_word & 1) == 0 && pg.e[0]->sleep_word > before);
	start_edge();
	penny_wake_edge(&pg, 0);
	CHECK(!eventfd_signalled(pg.edge_wake[0])); /* it does not sleep yet */
	penny_edge_prepare_sleep(&edge);
	penny_wake_edge(&pg, 0);
	CHECK(eventfd_signalled(pg.edge_wake[0]));
	penny_wake_edge(&pg, 0);
	CHECK(!eventfd_signalled(pg.edge_wake[0])); /* once a sleep */
	penny_edge_awake(&edge);
	penny_edge_prepare_sleep(&edge);
	penny_wake_edge(&pg, 0);
	CHECK(eventfd_signalled(pg.edge_wake[0]));
	/* whatever word a hostile edge leaves */
	for (int i = 0; i < 4; i++)
	{
		static const uint64_t words[] = {UINT64_MAX, UINT64_MAX - 1, 1, UINT64_C(1) << 63};

		atomic_store(&pg.e[0]->sleep_word, words[i]);
		penny_wake_edge(&pg, 0);
		eventfd_signalled(pg.edge_wake[0]);
		penny_plane_sweep(&pg, 0);
		CHECK((pg.e[0]->sleep_word & 1) == 0);
		start_edge();
		penny_edge_prepare_sleep(&edge);
		penny_wake_edge(&pg, 0);
		CHECK(eventfd_signalled(pg.edge_wake[0]));
	}
	stop();
}

TEST(hostile_values)
{
	PennyCall call;
	PennyRequest request;
	PennyRequestHead *head;
	static const uint32_t lengths[] = {1025, UINT32_MAX, UINT32_MAX - 5, 1 << 31, 1024};
	uint64_t word;

	start();
	/* a tail far away moves the head there, and both go on from it */
	atomic_store(&pg.e[0]->sub_tail, UINT64_C(1) << 63);
	CHECK(!penny_call_claim(&pg, &call) && penny_call_backlog(&pg) == 0);
	CHECK(pg.p->edge[0].sub_head == UINT64_C(1) << 63);
	submit(0, "x");
	CHECK(penny_call_claim(&pg, &call));
	answer(&call, "y");
	penny_edge_free(&edge, 0);
	/* entries out of range, a whole ring of them */
	for (int i = 0; i < PENNY_SUB_RING; i++)
		pg.e[0]->sub[i] = i % 2 ? UINT32_MAX : PENNY_MAX_SLOTS;
	atomic_fetch_add(&pg.e[0]->sub_tail, PENNY_SUB_RING);
	CHECK(!penny_call_claim(&pg, &call));
	/* lengths and codes that do not fit */
	head = (PennyRequestHead *) ((char *) pg.e[0] + pg.sizes.requests);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
	{
		submit(0, "x");
		head->len[PENNY_FIELD_TOKEN] = lengths[i];
		CHECK(penny_call_claim(&pg, &call));
		CHECK(!penny_call_request(&pg, &call, copy, &request));
		answer(&call, "bad");
		penny_edge_free(&edge, 0);
	}
	submit(0, "x");
	head->op = PENNY_OPS;
	CHECK(penny_call_claim(&pg, &call) && !penny_call_request(&pg, &call, copy, &request));
	head->op = PENNY_OP_HTTP;
	head->method = UINT32_MAX;
	CHECK(!penny_call_request(&pg, &call, copy, &request));
	answer(&call, "bad");
	/* the words of all slots are noise */
	word = UINT64_C(0x123456789ABCDEF1);
	for (int slot = 0; slot < PENNY_MAX_SLOTS; slot++)
	{
		atomic_store(&pg.e[0]->slot[slot].word, unit_random(&word));
		atomic_store(&pg.e[0]->slot[slot].ack, unit_random(&word));
		atomic_store(&pg.e[0]->slot[slot].cancel, unit_random(&word));
	}
	penny_plane_sweep(&pg, 0);
	start_edge();
	for (int slot = 0; slot < PENNY_MAX_SLOTS; slot++)
		CHECK(penny_edge_slot_state(&edge, slot) == PENNY_SLOT_FREE);
	submit(0, "x");
	CHECK(penny_call_claim(&pg, &call) && penny_call_request(&pg, &call, copy, &request));
	stop();
}

/* An answer of several pieces: each is taken before the next is written. */
TEST(pieces)
{
	static char body[2500];
	char got[2600];
	size_t have = 0;
	uint32_t offset = 0;
	PennyCall call;
	PennySpan head = {"head", 4};
	PennyResponseExtra extra = {PENNY_MARK_HIT, 7, {.user = "u", .until = 9, .known = 1}};

	start();
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char) (i * 7);
	submit(1, "x");
	CHECK(penny_call_claim(&pg, &call));
	while (have < sizeof(body) + 4)
	{
		PennyResponseHead answer_head;
		const char *bytes;
		bool last;
		PennySlotState state;

		offset += penny_call_write(&pg, &call, 201, head, (PennySpan){body, sizeof(body)},
								   offset == 0 ? &extra : NULL, offset, false);
		last = offset == sizeof(body) + 4;
		state = penny_edge_slot_state(&edge, 1);
		CHECK(state == (last ? PENNY_SLOT_DONE : PENNY_SLOT_PART));
		CHECK(last || !penny_call_part_taken(&pg, &call));
		CHECK(penny_edge_take(&edge, 1, &answer_head, &bytes));
		CHECK(answer_head.status == 201 && answer_head.total_len == sizeof(body) + 4 &&
			  answer_head.head_len == 4);
		CHECK(answer_head.mark == PENNY_MARK_HIT && answer_head.age == 7 &&
			  memcmp(&answer_head.viewer, &extra.viewer, sizeof(extra.viewer)) == 0);
		if (have + answer_head.piece_len > sizeof(got) || answer_head.piece_len == 0)
			break;
		memcpy(got + have, bytes, answer_head.piece_len);
		have += answer_head.piece_len;
		if (!last)
		{
			penny_edge_ack(&edge, 1);
			CHECK(penny_call_part_taken(&pg, &call));
			CHECK(penny_edge_slot_state(&edge, 1) == PENNY_SLOT_WAITING);
		}
	}
	CHECK(have == sizeof(body) + 4 && memcmp(got, "head", 4) == 0 &&
		  memcmp(got + 4, body, sizeof(body)) == 0);
	penny_edge_free(&edge, 1);
	/* the rest is dropped: done, without a status; nothing is left of the viewer before */
	submit(1, "x");
	CHECK(penny_call_claim(&pg, &call));
	penny_call_write(&pg, &call, 200, head, (PennySpan){body, sizeof(body)}, NULL, 0, false);
	{
		PennyResponseHead first;

		CHECK(penny_edge_take(&edge, 1, &first, &(const char *){NULL}));
		CHECK(first.mark == PENNY_MARK_NONE && first.age == 0 && first.viewer.known == 0 &&
			  first.viewer.until == 0);
	}
	penny_edge_ack(&edge, 1);
	penny_call_write(&pg, &call, 200, head, (PennySpan){body, sizeof(body)}, NULL, 1024, true);
	CHECK(penny_edge_slot_state(&edge, 1) == PENNY_SLOT_DONE);
	CHECK(penny_edge_take(&edge, 1, &(PennyResponseHead){0}, &(const char *){NULL}));
	stop();
}

TEST(waking_executors)
{
	start();
	penny_wake_executor(&edge);
	for (int i = 0; i < 4; i++)
	{
		penny_sleeper_set_present(&pg, i, true);
		CHECK(!eventfd_signalled(pg.sleeper_wake[i]));
	}
	penny_sleeper_prepare(&pg, 1);
	penny_sleeper_prepare(&pg, 2);
	penny_sleeper_prepare(&pg, 3);
	penny_wake_executor(&edge);
	CHECK(eventfd_signalled(pg.sleeper_wake[1]) && !eventfd_signalled(pg.sleeper_wake[2]));
	penny_wake_executor(&edge);
	CHECK(eventfd_signalled(pg.sleeper_wake[2]));
	penny_wake_executor(&edge);
	CHECK(eventfd_signalled(pg.sleeper_wake[3])); /* the supervisor, as all are busy */
	penny_wake_executor(&edge);
	for (int i = 0; i < 4; i++)
		CHECK(!eventfd_signalled(pg.sleeper_wake[i]));
	penny_sleeper_awake(&pg, 1);
	penny_sleeper_prepare(&pg, 1);
	penny_wake_executor(&edge);
	CHECK(eventfd_signalled(pg.sleeper_wake[1]));
	/* one that left is not woken, its successor is */
	penny_sleeper_awake(&pg, 2);
	penny_sleeper_set_present(&pg, 2, false);
	penny_sleeper_prepare(&pg, 2);
	penny_wake_executor(&edge);
	CHECK(!eventfd_signalled(pg.sleeper_wake[2]));
	penny_sleeper_set_present(&pg, 2, true);
	penny_sleeper_prepare(&pg, 2);
	penny_wake_executor(&edge);
	CHECK(eventfd_signalled(pg.sleeper_wake[2]));
	stop();
}

TEST(settings)
{
	PennyEdgeSettings in = {.max_connections = 7}, out;

	start();
	memset(in.origins, 'x', sizeof(in.origins));
	CHECK(!penny_plane_settings(&edge, &out));
	penny_plane_set_settings(&pg, &in);
	CHECK(penny_plane_settings(&edge, &out) && out.max_connections == 7);
	CHECK(out.origins[PENNY_ORIGINS_SIZE - 1] == '\0');
	atomic_fetch_add(&pg.p->settings_seq, 1); /* a gateway died while writing */
	CHECK(!penny_plane_settings(&edge, &out));
	penny_plane_set_settings(&pg, &in);
	CHECK(penny_plane_settings(&edge, &out));
	stop();
}

static void
publish(uint64_t version, const char *frame, uint32_t len)
{
	PennyEventOut event = {.kind = PENNY_EVENT_CHANGE,
						   .version = version,
						   .room = "room",
						   .room_len = 4,
						   .frame = frame,
						   .frame_len = len,
						   .user = {1, 2, 3}};

	penny_event_publish(&pg, &event, 1, 42);
}

static bool
wants_nothing(void *arg, uint64_t hash)
{
	(void) arg;
	(void) hash;
	return false;
}

TEST(events)
{
	PennyEventCursor cursor;
	PennyEventIn in;
	PennyEventResult result;
	static char big[5000];

	start();
	penny_event_start(&edge, &cursor);
	CHECK(penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) == PENNY_EVENTS_NONE);
	for (uint64_t i = 1; i <= 100; i++)
	{
		char frame[100];

		memset(frame, (int) i, sizeof(frame));
		publish(i, frame, (uint32_t) i);
		result = penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in);
		CHECK(result == PENNY_EVENTS_ONE && in.version == i && in.room_len == 4 &&
			  memcmp(in.room, "room", 4) == 0 && in.frame_len == i &&
			  memcmp(in.frame, frame, i) == 0 && in.user[2] == 3 && in.committed == 42 &&
			  in.room_hash == penny_hash("room", 4, 0));
	}
	/* too large: without its frame */
	publish(101, big, penny_event_max_frame(&pg) + 1);
	CHECK(penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) == PENNY_EVENTS_ONE &&
		  in.version == 101 && in.frame_len == 0);
	publish(102, "x", 1);
	CHECK(penny_event_read(&edge, &cursor, 1, wants_nothing, NULL, event_buffer, &in) ==
		  PENNY_EVENTS_NONE);
	stop();
}

TEST(events_lost)
{
	PennyEventCursor cursor;
	PennyEventIn in;
	static char frame[256];
	int read = 0;

	start();
	penny_event_start(&edge, &cursor);
	/* descriptors overrun */
	for (uint64_t i = 1; i <= 17; i++)
		publish(i, "x", 1);
	CHECK(penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) == PENNY_EVENTS_LOST);
	CHECK(penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) == PENNY_EVENTS_NONE);
	/* bytes overrun, while the descriptors still stand */
	for (uint64_t i = 1; i <= 16; i++)
		publish(i, frame, 256);
	publish(17, frame, 256);
	cursor.next++;
	while (penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) == PENNY_EVENTS_LOST)
		read++;
	CHECK(read > 0 && in.version > 1);
	/* somebody wrote over the bytes, or the descriptor */
	penny_event_start(&edge, &cursor);
	publish(1, "abcdefgh", 8);
	((char *) pg.p + pg.sizes.event_bytes)[(pg.p->ev_data - 1) & 4095] ^= 1;
	((char *) pg.p + pg.sizes.event_bytes)[(pg.p->ev_data - 8) & 4095] ^= 1;
	CHECK(penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) == PENNY_EVENTS_LOST);
	publish(1, "abc", 3);
	((PennyEventSlot *) ((char *) pg.p + pg.sizes.events))[cursor.next & 15].version++;
	CHECK(penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) == PENNY_EVENTS_LOST);
	publish(9, "abc", 3);
	CHECK(penny_event_read(&edge, &cursor, 1, NULL, NULL, event_buffer, &in) == PENNY_EVENTS_ONE &&
		  in.version == 9);
	stop();
}

/* A writer that took its place and was stopped. */
TEST(events_stalled)
{
	const uint64_t ms = 1000000;
	PennyEventCursor cursor;
	PennyEventIn in;

	start();
	penny_event_start(&edge, &cursor);
	atomic_fetch_add(&pg.p->ev_tail, 1);
	publish(2, "x", 1);
	CHECK(penny_event_read(&edge, &cursor, ms, NULL, NULL, event_buffer, &in) ==
		  PENNY_EVENTS_STALL);
	CHECK(penny_event_read(&edge, &cursor, 900 * ms, NULL, NULL, event_buffer, &in) ==
		  PENNY_EVENTS_STALL);
	CHECK(penny_event_read(&edge, &cursor, 1100 * ms, NULL, NULL, event_buffer, &in) ==
		  PENNY_EVENTS_LOST);
	CHECK(penny_event_read(&edge, &cursor, 1100 * ms, NULL, NULL, event_buffer, &in) ==
			  PENNY_EVENTS_ONE &&
		  in.version == 2);
	stop();
}

/* Seals: what an edge is given cannot be mapped for writing. */
TEST(seals)
{
	int fd;

	start();
	fd = penny_plane_readonly_fd(&pg);
	CHECK(fd >= 0);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, pg.p_fd, 0) == MAP_FAILED);
	CHECK(ftruncate(pg.p_fd, 4096) < 0 && ftruncate(pg.e_fd[0], 4096) < 0);
	CHECK(write(pg.p_fd, "x", 1) < 0);
	close(fd);
	stop();
}

int
main(void)
{
	RUN(sizes);
	RUN(call);
	RUN(full_ring);
	RUN(stale_slot);
	RUN(dead_peer);
	RUN(wrapped_counters);
	RUN(missed_sweep);
	RUN(hostile_values);
	RUN(pieces);
	RUN(waking_executors);
	RUN(settings);
	RUN(events);
	RUN(events_lost);
	RUN(events_stalled);
	RUN(seals);
	return unit_done();
}
