/*-------------------------------------------------------------------------
 *
 * fuzz_plane.c
 *		A hostile edge: any bytes in region E at any moment, between the calls
 *		of PostgreSQL's side.  Nothing may be read or written out of bounds, no
 *		call may loop, and afterwards an honest edge must be served.
 *
 * Region E is put at the end of mapped memory with nothing behind it, and the
 * sanitizers watch the executor's buffer, which has exactly the agreed size.
 *
 *-------------------------------------------------------------------------
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#include "plane/call.h"
#include "plane/event.h"

#define HELD 8 /* calls an executor may hold */

static const PennyPlaneConfig config = {.edges = 2,
										.executors = 2,
										.slots = 8,
										.request_size = 1024,
										.response_size = 1024,
										.events = 16,
										.event_bytes = 4096};

static PennyPlane plane;

static void
start(void)
{
	const char *failed;
	char *fence;
	void *there;

	if (plane.p != NULL)
		return;
	failed = penny_plane_create(&plane, &config);
	MUST(failed == NULL);
	/* region E once more, with an unmapped page behind it */
	fence = mmap(NULL, plane.sizes.e_size + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(fence != MAP_FAILED);
	there = mmap(fence, plane.sizes.e_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				 plane.e_fd[0], 0);
	MUST(there == fence);
	munmap(plane.e[0], plane.sizes.e_size);
	plane.e[0] = there;
}

/* The edge writes somewhere in its region. */
static void
scribble(FuzzInput *input)
{
	size_t at = fuzz_number(input, 3);
	size_t len;
	char *bytes = fuzz_bytes(input, 64, &len);

	/* half of the writes go to the header, where the words are */
	at %= at & 1 ? sizeof(PennyEdgeHeader) : plane.sizes.e_size;
	if (len > plane.sizes.e_size - at)
		len = plane.sizes.e_size - at;
	memcpy((char *) plane.e[0] + at, bytes, len);
	free(bytes);
}

/* Make a slot and its ring entry look almost honest. */
static void
almost_submit(FuzzInput *input)
{
	PennyEdgeHeader *e = plane.e[0];
	unsigned slot = fuzz_byte(input) % 9;
	PennySlotWord *words = (PennySlotWord *) ((char *) plane.p + plane.sizes.slot_words);
	uint64_t generation = slot < 8 ? words[slot].word >> 8 : 0;
	PennyRequestHead *head = (PennyRequestHead *) ((char *) e + plane.sizes.requests +
												   (slot % 8) * plane.sizes.request_stride);

	e->slot[slot].word = (generation + fuzz_byte(input) % 3) << 8 | fuzz_byte(input) % 3;
	e->sub[e->sub_tail % PENNY_SUB_RING] = slot;
	e->sub_tail = plane.p->edge[0].sub_head + fuzz_byte(input) % 70;
	head->op = fuzz_byte(input) % (PENNY_OPS + 1);
	head->method = fuzz_byte(input) % (PENNY_METHODS + 1);
	for (int i = 0; i < PENNY_FIELDS; i++)
		head->len[i] = (uint32_t) fuzz_number(input, fuzz_byte(input) % 5);
}

/* An executor goes on with a call that it holds. */
static void
go_on(FuzzInput *input, PennyCall *held, int *n)
{
	int i = *n > 0 ? fuzz_byte(input) % *n : 0;
	static char body[3000];
	uint32_t offset = 0;
	bool last = fuzz_byte(input) & 1;
	PennyResponseExtra extra = {.age = fuzz_byte(input)};

	if (*n == 0)
		return;
	penny_call_part_taken(&plane, &held[i]);
	penny_call_cancelled(&plane, &held[i]);
	do
	{
		uint32_t written = penny_call_write(&plane, &held[i], 200, (PennySpan){"h", 1},
											(PennySpan){body, sizeof(body)},
											extra.age & 1 ? &extra : NULL, offset, last);

		MUST(written <= config.response_size);
		offset += written;
	} while (!last && offset < sizeof(body) + 1);
	held[i] = held[--*n];
}

/* An executor looks for a call. */
static void
claim(PennyCall *held, int *n)
{
	PennyCall call;
	PennyRequest request;
	char *buffer;
	size_t sum = 0;

	if (*n == HELD || !penny_call_claim(&plane, &call))
		return;
	MUST(call.edge == 0 && call.slot >= 0 && (uint32_t) call.slot < config.slots);
	for (int i = 0; i < *n; i++)
		MUST(held[i].slot != call.slot); /* nobody else holds it */
	held[(*n)++] = call;
	buffer = malloc(config.request_size);
	if (penny_call_request(&plane, &call, buffer, &request))
	{
		for (int i = 0; i < PENNY_FIELDS; i++)
		{
			MUST(request.field[i].data >= buffer);
			sum += request.field[i].len;
		}
		MUST(sum <= config.request_size && request.op < PENNY_OPS &&
			 request.method < PENNY_METHODS);
	}
	free(buffer);
}

/* After all that, a gateway sweeps and an honest edge has a call answered. */
static void
honest_edge(PennyCall *held, int n)
{
	PennyPlane edge;
	PennySpan field[PENNY_FIELDS] = {{"", 0}};
	PennyCall call;
	PennyResponseHead head;
	const char *bytes;
	PennyEventOut event = {.kind = PENNY_EVENT_RESYNC};

	penny_plane_sweep(&plane, 0);
	while (n > 0)
		penny_call_write(&plane, &held[--n], 0, (PennySpan){"", 0}, (PennySpan){"", 0}, NULL, 0,
						 true);
	edge = plane;
	edge.self = 0;
	penny_edge_init_slots(&edge);
	for (uint32_t slot = 0; slot < config.slots; slot++)
		MUST(penny_edge_slot_state(&edge, (int) slot) == PENNY_SLOT_FREE);
	penny_edge_submit(&edge, 3, PENNY_OP_READY, PENNY_GET, 0, field);
	MUST(penny_call_claim(&plane, &call) && call.slot == 3);
	penny_call_write(&plane, &call, 200, (PennySpan){"", 0}, (PennySpan){"ok", 2}, NULL, 0, true);
	MUST(penny_edge_slot_state(&edge, 3) == PENNY_SLOT_DONE);
	MUST(penny_edge_take(&edge, 3, &head, &bytes) && head.piece_len == 2);
	penny_edge_free(&edge, 3);
	penny_edge_prepare_sleep(&edge);
	penny_event_publish(&plane, &event, 1, 1);
	penny_wake_edges(&plane);
	MUST(read(plane.edge_wake[0], &(uint64_t){0}, 8) == 8);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzInput input = {data, size};
	PennyCall held[HELD];
	int n = 0;

	start();
	while (input.size > 0)
	{
		switch (fuzz_byte(&input) % 10)
		{
			case 0:
			case 1:
				scribble(&input);
				break;
			case 2:
			case 3:
			case 4:
				almost_submit(&input);
				break;
			case 5:
			case 6:
				claim(held, &n);
				break;
			case 7:
				go_on(&input, held, &n);
				break;
			case 8:
				penny_wake_edges(&plane);
				penny_call_backlog(&plane);
				penny_counter(&plane, 0, PENNY_COUNT_ERRORS);
				break;
			default:
				penny_plane_sweep(&plane, 0);
				break;
		}
	}
	honest_edge(held, n);
	return 0;
}
