/*-------------------------------------------------------------------------
 *
 * fuzz_plane_edge.c
 *		A broken PostgreSQL: any bytes in region P at any moment, between the
 *		calls of the edge.  The edge may lose calls and events by it; it may not
 *		read or write out of bounds, hand over lengths that are not there, or
 *		loop.
 *
 * Region P is put at the end of mapped memory with nothing behind it; pieces
 * and events are copied into memory of exactly their size.
 *
 *-------------------------------------------------------------------------
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#include "edge/calls.h"
#include "edge/timer.h"
#include "plane/event.h"

#define HELD 12 /* calls that are open */

static const PennyPlaneConfig config = {.edges = 1,
										.executors = 2,
										.slots = 8,
										.request_size = 1024,
										.response_size = 1024,
										.events = 16,
										.event_bytes = 4096};

typedef struct Owner
{
	PennyPending *call;
	FuzzInput *input;
	bool started;
	uint64_t body; /* bytes so far */
} Owner;

static Owner owners[HELD];
static PennyEventCursor cursor;

static void
start(void)
{
	PennyPlane *plane = &penny_edge.plane;
	char *fence;
	void *there;

	if (plane->p != NULL)
		return;
	MUST(penny_plane_create(plane, &config) == NULL);
	fence = mmap(NULL, plane->sizes.p_size + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(fence != MAP_FAILED);
	/* region P itself is sealed against a second writable view; the copy serves both sides */
	there = mmap(fence, plane->sizes.p_size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MUST(there == fence);
	memcpy(there, plane->p, plane->sizes.p_size);
	munmap(plane->p, plane->sizes.p_size);
	plane->p = there;
	plane->self = 0;
	penny_edge.settings.queue_size = 4;
	penny_edge.settings.acquire_timeout = 1000;
	penny_edge.now = 1000;
	penny_calls_init();
}

/* Somewhere in region P, the words at its beginning more often. */
static void
scribble(FuzzInput *input)
{
	size_t at = fuzz_number(input, 3);
	size_t len;
	char *bytes = fuzz_bytes(input, 64, &len);

	at %= at & 1 ? sizeof(PennyPlaneHeader) : penny_edge.plane.sizes.p_size;
	if (len > penny_edge.plane.sizes.p_size - at)
		len = penny_edge.plane.sizes.p_size - at;
	memcpy((char *) penny_edge.plane.p + at, bytes, len);
	free(bytes);
}

/* Make a slot look almost like one with an answer. */
static void
almost_answer(FuzzInput *input)
{
	PennyPlane *plane = &penny_edge.plane;
	unsigned slot = fuzz_byte(input) % config.slots;
	PennySlotWord *words = (PennySlotWord *) ((char *) plane->p + plane->sizes.slot_words);
	PennyResponseHead *head = (PennyResponseHead *) ((char *) plane->p + plane->sizes.responses +
													 slot * plane->sizes.response_stride);
	uint64_t generation = plane->e[0]->slot[slot].word >> 8;
	unsigned odd = fuzz_byte(input);

	words[slot].word = (generation + (odd & 64 ? 1 : 0)) << 8 | odd % 5;
	words[slot].part = plane->e[0]->slot[slot].ack + (odd & 128 ? 0 : 1);
	head->status = (uint32_t) fuzz_number(input, 1) * 4;
	head->head_len = (uint32_t) fuzz_number(input, fuzz_byte(input) % 5);
	head->total_len = (uint32_t) fuzz_number(input, fuzz_byte(input) % 5);
	head->piece_len = (uint32_t) fuzz_number(input, fuzz_byte(input) % 5);
	if (fuzz_byte(input) & 1)
		head->total_len = head->piece_len;
}

/* An answer came to the one who asked: it must be what it says. */
static bool
on_answer(void *arg, const PennyAnswer *answer)
{
	Owner *owner = arg;
	char *copy;

	if (answer->kind == PENNY_ANSWER)
	{
		MUST(answer->status != 0 && answer->first == !owner->started);
		MUST(answer->head.len + answer->body.len <= config.response_size);
		if (fuzz_byte(owner->input) % 8 == 7)
			return false;
		copy = malloc(answer->head.len + answer->body.len + 1);
		memcpy(copy, answer->head.data, answer->head.len);
		memcpy(copy + answer->head.len, answer->body.data, answer->body.len);
		free(copy);
		owner->started = true;
		owner->body += answer->body.len;
		MUST(!answer->last || owner->body == answer->body_total);
		if (!answer->last && fuzz_byte(owner->input) % 8 == 7)
		{
			penny_call_abandon(owner->call);
			owner->call = NULL;
			return true;
		}
	}
	if (answer->last || answer->kind != PENNY_ANSWER)
		owner->call = NULL;
	return true;
}

static void
call(FuzzInput *input)
{
	Owner *owner = &owners[fuzz_byte(input) % HELD];
	PennyCallOut out = {.op = PENNY_OP_HTTP};
	size_t len;
	char *body = fuzz_bytes(input, 200, &len);

	if (owner->call == NULL)
	{
		out.field[PENNY_FIELD_BODY] = (PennySpan){body, len};
		memset(owner, 0, sizeof(*owner));
		owner->input = input;
		owner->call = penny_call_start(&out, on_answer, owner);
	}
	else if (fuzz_byte(input) & 1)
		penny_call_resume(owner->call);
	else
	{
		penny_call_abandon(owner->call);
		owner->call = NULL;
	}
	free(body);
}

static void
read_events(void)
{
	PennyPlane *plane = &penny_edge.plane;
	char *buffer = malloc(PENNY_ROOM_NAME_MAX + penny_event_max_frame(plane));
	PennyEventIn event;
	int n = 0;

	while (n++ < 64)
	{
		PennyEventResult result =
			penny_event_read(plane, &cursor, penny_edge.now, NULL, NULL, buffer, &event);

		if (result == PENNY_EVENTS_NONE || result == PENNY_EVENTS_STALL)
			break;
		if (result == PENNY_EVENTS_ONE)
			MUST(event.room_len <= PENNY_ROOM_NAME_MAX && event.kind < PENNY_EVENT_KINDS &&
				 event.frame_len <= penny_event_max_frame(plane));
	}
	free(buffer);
}

static void
publish(FuzzInput *input)
{
	size_t len;
	char *frame = fuzz_bytes(input, 700, &len);
	PennyEventOut out = {.kind = PENNY_EVENT_CHANGE,
						 .version = fuzz_byte(input),
						 .room = "r",
						 .room_len = 1,
						 .frame = frame,
						 .frame_len = (uint32_t) len};

	penny_event_publish(&penny_edge.plane, &out, 1, penny_edge.now);
	free(frame);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzInput input = {data, size};
	PennyEdgeSettings settings;

	start();
	penny_event_start(&penny_edge.plane, &cursor);
	while (input.size > 0)
	{
		switch (fuzz_byte(&input) % 12)
		{
			case 0:
				scribble(&input);
				break;
			case 1:
			case 2:
			case 3:
				almost_answer(&input);
				break;
			case 4:
			case 5:
				call(&input);
				break;
			case 6:
			case 7:
				penny_calls_turn();
				penny_calls_ready();
				break;
			case 8:
				publish(&input);
				break;
			case 9:
				read_events();
				break;
			case 10:
				penny_edge.now += fuzz_byte(&input) * 8;
				penny_timer_run();
				penny_calls_wake();
				break;
			default:
				penny_plane_settings(&penny_edge.plane, &settings);
				break;
		}
	}
	for (int i = 0; i < HELD; i++)
	{
		if (owners[i].call != NULL)
			penny_call_abandon(owners[i].call);
		owners[i].call = NULL;
	}
	MUST(penny_calls_open() == 0);
	return 0;
}
