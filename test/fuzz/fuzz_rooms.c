/*-------------------------------------------------------------------------
 *
 * fuzz_rooms.c
 *		The rooms: schedules chosen by the input, with the checker of the unit
 *		test's model; or, when the first bit says so, events and answers without
 *		any sense, which must do no harm.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "../unit/room_model.h"

static uint64_t
choose_input(Model *model, uint64_t below)
{
	FuzzInput input = {model->input, model->input_len};
	uint64_t number = below < 2 ? 0 : fuzz_number(&input, below > 256 ? 2 : 1) % below;

	model->input = input.data;
	model->input_len = input.size;
	return number;
}

/* ---- without sense ----------------------------------------------------- */

#define SEATS 6

typedef struct Seat
{
	PennyMember *member;
	bool in;
	bool blocked;
} Seat;

typedef struct Chaos
{
	FuzzInput input;
	uint64_t reads[64];
	unsigned read_count;
} Chaos;

static bool
chaos_read(void *arg, uint64_t read, void *data, PennySpan room, PennySpan since)
{
	Chaos *chaos = arg;

	(void) since;
	MUST(((Seat *) data)->member != NULL || room.len > 0);
	if (fuzz_byte(&chaos->input) % 8 == 7)
		return false;
	chaos->reads[chaos->read_count++ % 64] = read;
	return true;
}

static void
chaos_forget(void *arg, uint64_t read)
{
	(void) arg;
	MUST(read > 0);
}

static void
chaos_joined(void *arg, void *data, PennySpan room, const PennyJoined *how)
{
	Seat *seat = data;

	(void) arg;
	MUST(!seat->in && room.len > 0 && how->position.len > 0);
	seat->in = true;
}

static void
chaos_deliver(void *arg, void *data, PennyFrame *frame)
{
	(void) arg;
	MUST(((Seat *) data)->in && penny_frame_wire(frame).len >= 2);
}

static void
chaos_ready(void *arg, void *data)
{
	(void) arg;
	MUST(((Seat *) data)->in);
}

static bool
chaos_takes(void *arg, void *data)
{
	(void) arg;
	return !((Seat *) data)->blocked;
}

static bool
chaos_same(void *arg, void *member, void *other)
{
	(void) arg;
	MUST(member != other);
	return true;
}

static bool
chaos_announce(void *arg, PennySpan room, PennySpan statement)
{
	Chaos *chaos = arg;
	PennyPresenceHead head;

	MUST(room.len > 0 && penny_presence_head(statement, &head));
	return fuzz_byte(&chaos->input) % 8 != 0;
}

static void
chaos_left(void *arg, void *data, PennySpan room, PennyLeaving why, bool joined, uint32_t status,
		   PennySpan problem)
{
	Seat *seat = data;

	(void) arg;
	(void) why;
	(void) status;
	(void) problem;
	MUST(room.len > 0 && seat->in == joined);
	seat->member = NULL;
	seat->in = false;
}

/* An event of the ring: any kind and version, one of three rooms. */
static void
chaos_event(PennyRooms *rooms, Chaos *chaos, uint64_t now)
{
	PennyEventIn event;
	char room = (char) ('a' + fuzz_byte(&chaos->input) % 3);
	size_t len;
	char *frame = fuzz_bytes(&chaos->input, 64, &len);

	memset(&event, 0, sizeof(event));
	event.kind = fuzz_byte(&chaos->input) % PENNY_EVENT_KINDS;
	event.version = fuzz_number(&chaos->input, fuzz_byte(&chaos->input) % 64 == 0 ? 8 : 1) % 255;
	memset(event.user, fuzz_byte(&chaos->input) % 3, sizeof(event.user));
	event.room = &room;
	event.room_len = 1;
	event.room_hash = penny_hash(&room, 1, 0);
	event.frame = frame;
	event.frame_len = (uint32_t) len;
	if (event.kind == PENNY_EVENT_PRESENCE)
	{
		PennyEventSender sender = {.edge = fuzz_byte(&chaos->input) % 10, .member = event.version};
		PennyPresenceHead head = {.number = fuzz_byte(&chaos->input),
								  .users = (uint32_t) (len / sizeof(PennyPresenceUser)),
								  .flags = event.version & 1};

		memcpy(event.user, &sender, sizeof(sender));
		if (event.version & 2 && len >= sizeof(head))
		{
			head.users = (uint32_t) ((len - sizeof(head)) / sizeof(PennyPresenceUser));
			event.frame_len = (uint32_t) (sizeof(head) + head.users * sizeof(PennyPresenceUser));
			memcpy(frame, &head, sizeof(head));
		}
		if (fuzz_byte(&chaos->input) % 16 == 0 && event.user[0] > 0 && event.user[0] <= 8)
			penny_rooms_edge_began(rooms, event.user[0], event.version, now);
	}
	penny_rooms_event(rooms, &event, now);
	free(frame);
}

static void
chaos_answer(PennyRooms *rooms, Chaos *chaos, uint64_t now)
{
	static const uint32_t statuses[] = {200, 200, 200, 200, 403, 404, 503, 0};
	uint32_t status = statuses[fuzz_byte(&chaos->input) % 8];
	uint64_t read = chaos->reads[fuzz_byte(&chaos->input) % 64];
	uint8_t form = fuzz_byte(&chaos->input);
	size_t head_len, body_len;
	char *head;
	char *body;

	if (form % 4 == 0)
		head = fuzz_bytes(&chaos->input, 200, &head_len);
	else
	{
		head = malloc(200);
		head_len = (size_t) snprintf(head, 200,
									 "{\"position\":{\"epoch\":\"%d\",\"version\":%d},"
									 "\"recovered\":%s,\"more\":%s}",
									 form % 8 == 1, fuzz_byte(&chaos->input),
									 form & 16 ? "false" : "true", form & 8 ? "true" : "false");
	}
	body = fuzz_bytes(&chaos->input, 200, &body_len);
	if (form & 32)
	{
		free(body);
		body = malloc(200);
		body_len = 0;
		for (int version = fuzz_byte(&chaos->input), n = form >> 6; n >= 0; n--, version += n + 1)
			body_len += (size_t) snprintf(body + body_len, 200 - body_len, "%d f%d\n", version, n);
	}
	penny_rooms_answer(rooms, read, status, (PennySpan){head, head_len},
					   (PennySpan){body, body_len}, now);
	free(head);
	free(body);
}

/* Its socket takes some. */
static void
chaos_take(Seat *seat)
{
	PennyFrame *frame;

	for (int i = 0; i < 3 && (frame = penny_rooms_take(seat->member, 64)) != NULL; i++)
	{
		MUST(frame->len <= 64);
		penny_frame_unref(frame);
	}
}

static void
chaos_seat(PennyRooms *rooms, Chaos *chaos, Seat *seat, uint64_t now)
{
	char room = (char) ('a' + fuzz_byte(&chaos->input) % 3);
	uint8_t form = fuzz_byte(&chaos->input);
	const char *since = form % 2 ? "{\"epoch\":\"0\",\"version\":3}" : "";
	PennyJoin join = {.room = {&room, 1},
					  .since = {since, strlen(since)},
					  .filter = {"f1", form & 2 ? 3 : 0},
					  .window = form & 4 ? form : 0,
					  .conflate = form & 8,
					  .presence = form & 16};

	if (seat->member == NULL)
	{
		seat->blocked = false;
		seat->member = penny_rooms_join(rooms, &join, seat, now);
		return;
	}
	switch (fuzz_byte(&chaos->input) % 8)
	{
		case 0:
		case 1:
			penny_rooms_signal(rooms, seat->member, (PennySpan){"{}", 2}, now);
			return;
		case 2:
		case 3:
			chaos_take(seat);
			return;
		case 4:
			seat->blocked = !seat->blocked;
			if (!seat->blocked)
				penny_rooms_drained(rooms, seat->member, now);
			return;
		case 5:
			penny_rooms_set_window(rooms, seat->member, fuzz_byte(&chaos->input), now);
			return;
		default:
			break;
	}
	penny_rooms_leave(rooms, seat->member);
	seat->member = NULL;
	seat->in = false;
}

static void
run_chaos(const uint8_t *data, size_t size)
{
	static const PennyRoomsCallbacks callbacks = {chaos_read,    chaos_forget,   chaos_joined,
												  chaos_deliver, chaos_ready,    chaos_takes,
												  chaos_left,    chaos_announce, chaos_same};
	PennyRoomsConfig config = {.seed = 7,
							   .kept_bytes = 4096,
							   .reads = 2,
							   .behind_bytes = 200,
							   .behind_grace = 50,
							   .behind_time = 200,
							   .behind_most = 2000,
							   .position_interval = 100,
							   .presence_window = 20,
							   .presence_renew = 500};
	Chaos chaos = {.input = {data, size}};
	Seat seat[SEATS] = {{.member = NULL}};
	PennyRooms *rooms = penny_rooms_create(&config, &callbacks, &chaos);
	PennyRoomsCounts counts;
	uint64_t now = 1;

	while (chaos.input.size > 0)
	{
		now += fuzz_byte(&chaos.input) % 32;
		switch (fuzz_byte(&chaos.input) % 8)
		{
			case 0:
			case 1:
			case 2:
				chaos_event(rooms, &chaos, now);
				break;
			case 3:
			case 4:
				chaos_answer(rooms, &chaos, now);
				break;
			case 5:
				chaos_seat(rooms, &chaos, &seat[fuzz_byte(&chaos.input) % SEATS], now);
				break;
			case 6:
				penny_rooms_tick(rooms, now);
				break;
			default:
				if (fuzz_byte(&chaos.input) % 8 == 0)
					penny_rooms_lost(rooms, now);
				break;
		}
	}
	for (int i = 0; i < SEATS; i++)
	{
		if (seat[i].member != NULL)
			penny_rooms_leave(rooms, seat[i].member);
	}
	counts = penny_rooms_counts(rooms);
	MUST(counts.rooms == 0 && counts.members == 0 && counts.reads == 0 && counts.kept_bytes == 0 &&
		 counts.present == 0);
	MUST(penny_frames_alive() == 0);
	penny_rooms_destroy(rooms);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Model model;
	const char *wrong;

	if (size < 2)
		return 0;
	if (data[0] & 1)
	{
		run_chaos(data + 1, size - 1);
		return 0;
	}
	memset(&model, 0, offsetof(Model, read));
	model.reads = 0;
	model.wrong = NULL;
	model.choose = choose_input;
	model.input = data + 1;
	model.input_len = size - 1;
	model.lossy = data[0] & 2;
	model.endings = data[0] & 4;
	model.restores = data[0] & 8;
	model.append = data[0] & 16;
	wrong = model_run_schedule(&model, (int) (size < 800 ? size / 4 : 200));
	if (wrong != NULL)
	{
		fprintf(stderr, "%s %s\n", wrong, model.detail);
		abort();
	}
	return 0;
}
