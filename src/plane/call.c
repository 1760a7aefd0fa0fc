/*-------------------------------------------------------------------------
 *
 * call.c
 *		Call slots, from both sides.  See call.h for the life of a slot.
 *
 * Order of stores: bytes before the word that publishes them (release), the
 * word before the bytes on the reading side (acquire).  A request is copied
 * once and then checked, since the edge may change it at any moment.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/call.h"

#include <string.h>

static const char *const method_names[PENNY_METHODS] = {"GET",   "HEAD",   "POST",   "PUT",
														"PATCH", "DELETE", "OPTIONS"};

static bool claim_from(PennyPlane *plane, int edge, PennyCall *call);
static bool claim_slot(PennyPlane *plane, int edge, uint32_t slot, PennyCall *call);

static inline PennySlotWord *
slot_word(const PennyPlane *plane, int edge, int slot)
{
	return (PennySlotWord *) ((char *) plane->p + plane->sizes.slot_words) +
		   (size_t) edge * plane->config.slots + slot;
}

static inline PennyResponseHead *
response(const PennyPlane *plane, int edge, int slot)
{
	return (PennyResponseHead *) ((char *) plane->p + plane->sizes.responses +
								  ((size_t) edge * plane->config.slots + slot) *
									  plane->sizes.response_stride);
}

static inline PennyRequestHead *
request(const PennyPlane *plane, int edge, int slot)
{
	return (PennyRequestHead *) ((char *) plane->e[edge] + plane->sizes.requests +
								 (size_t) slot * plane->sizes.request_stride);
}

static inline uint64_t
word_of(uint64_t generation, unsigned state)
{
	return generation << 8 | state;
}

const char *
penny_method_name(PennyMethod method)
{
	return method_names[method];
}

/* ---- edge ---------------------------------------------------------------- */

void
penny_edge_init_slots(PennyPlane *plane)
{
	PennyEdgeHeader *e = plane->e[plane->self];

	for (uint32_t i = 0; i < plane->config.slots; i++)
	{
		PennySlotWord *p = slot_word(plane, plane->self, (int) i);
		uint64_t pw = atomic_load_explicit(&p->word, memory_order_acquire);

		atomic_store_explicit(&e->slot[i].cancel, 0, memory_order_relaxed);
		atomic_store_explicit(&e->slot[i].ack, atomic_load_explicit(&p->part, memory_order_relaxed),
							  memory_order_relaxed);
		atomic_store_explicit(&e->slot[i].word, word_of(pw >> 8, PENNY_E_IDLE),
							  memory_order_release);
	}
}

bool
penny_edge_fits(const PennyPlane *plane, const PennySpan field[PENNY_FIELDS])
{
	size_t sum = 0;

	for (int i = 0; i < PENNY_FIELDS; i++)
	{
		if (field[i].len > plane->config.request_size)
			return false;
		sum += field[i].len;
	}
	return sum <= plane->config.request_size;
}

void
penny_edge_submit(PennyPlane *plane, int slot, PennyOp op, PennyMethod method, uint32_t flags,
				  const PennySpan field[PENNY_FIELDS])
{
	PennyEdgeHeader *e = plane->e[plane->self];
	PennyRequestHead *head = request(plane, plane->self, slot);
	PennySlotWord *p = slot_word(plane, plane->self, slot);
	char *bytes = (char *) (head + 1);
	uint64_t generation = (atomic_load_explicit(&p->word, memory_order_acquire) >> 8) + 1;
	uint64_t tail = atomic_load_explicit(&e->sub_tail, memory_order_relaxed);

	head->op = op;
	head->method = method;
	head->flags = flags;
	for (int i = 0; i < PENNY_FIELDS; i++)
	{
		head->len[i] = (uint32_t) field[i].len;
		if (field[i].len > 0)
			memcpy(bytes, field[i].data, field[i].len);
		bytes += field[i].len;
	}
	atomic_store_explicit(&e->slot[slot].cancel, 0, memory_order_relaxed);
	atomic_store_explicit(&e->slot[slot].ack, atomic_load_explicit(&p->part, memory_order_relaxed),
						  memory_order_relaxed);
	atomic_store_explicit(&e->slot[slot].word, word_of(generation, PENNY_E_SUBMITTED),
						  memory_order_release);
	atomic_store_explicit(&e->sub[tail % PENNY_SUB_RING], (uint32_t) slot, memory_order_relaxed);
	atomic_store_explicit(&e->sub_tail, tail + 1, memory_order_release);
}

PennySpan
penny_edge_submitted(const PennyPlane *plane, int slot, PennyField field)
{
	const PennyRequestHead *head = request(plane, plane->self, slot);
	const char *bytes = (const char *) (head + 1);

	for (int i = 0; i < (int) field; i++)
		bytes += head->len[i];
	return (PennySpan){bytes, head->len[field]};
}

PennySlotState
penny_edge_slot_state(const PennyPlane *plane, int slot)
{
	PennyEdgeSlot *e = &plane->e[plane->self]->slot[slot];
	PennySlotWord *p = slot_word(plane, plane->self, slot);
	uint64_t ew = atomic_load_explicit(&e->word, memory_order_relaxed);
	uint64_t pw = atomic_load_explicit(&p->word, memory_order_acquire);

	/* Idle here: free, unless a call of a dead predecessor still runs. */
	if ((ew & 0xff) == PENNY_E_IDLE)
		return penny_p_settled(pw) ? PENNY_SLOT_FREE : PENNY_SLOT_WAITING;
	if ((pw >> 8) != (ew >> 8))
		return PENNY_SLOT_WAITING; /* not claimed yet */
	if (penny_p_settled(pw))
		return PENNY_SLOT_DONE;
	if ((pw & 0xff) == PENNY_P_PART && atomic_load_explicit(&p->part, memory_order_acquire) !=
										   atomic_load_explicit(&e->ack, memory_order_relaxed))
		return PENNY_SLOT_PART;
	return PENNY_SLOT_WAITING;
}

bool
penny_edge_slot_claimed(const PennyPlane *plane, int slot)
{
	uint64_t ew =
		atomic_load_explicit(&plane->e[plane->self]->slot[slot].word, memory_order_relaxed);
	uint64_t pw =
		atomic_load_explicit(&slot_word(plane, plane->self, slot)->word, memory_order_acquire);

	return (pw >> 8) == (ew >> 8);
}

bool
penny_edge_take(const PennyPlane *plane, int slot, PennyResponseHead *head, const char **bytes)
{
	const PennyResponseHead *r = response(plane, plane->self, slot);
	uint64_t pw =
		atomic_load_explicit(&slot_word(plane, plane->self, slot)->word, memory_order_acquire);

	if ((pw & 0xff) == PENNY_P_DISCARDED)
		return false;
	*head = *r;
	*bytes = (const char *) (r + 1);
	return head->piece_len <= plane->config.response_size && head->piece_len <= head->total_len &&
		   head->head_len <= head->total_len;
}

void
penny_edge_ack(PennyPlane *plane, int slot)
{
	PennySlotWord *p = slot_word(plane, plane->self, slot);

	atomic_store_explicit(&plane->e[plane->self]->slot[slot].ack,
						  atomic_load_explicit(&p->part, memory_order_relaxed),
						  memory_order_release);

	/*
	 * Which executor holds the slot is not the edge's to know.  Those that
	 * wait for an ack sleep like any other.
	 */
	penny_wake_executors(plane);
}

void
penny_edge_free(PennyPlane *plane, int slot)
{
	PennyEdgeSlot *e = &plane->e[plane->self]->slot[slot];
	uint64_t ew = atomic_load_explicit(&e->word, memory_order_relaxed);

	atomic_store_explicit(&e->word, word_of(ew >> 8, PENNY_E_IDLE), memory_order_release);
}

void
penny_edge_cancel(PennyPlane *plane, int slot)
{
	PennyEdgeSlot *e = &plane->e[plane->self]->slot[slot];
	uint64_t ew = atomic_load_explicit(&e->word, memory_order_relaxed);

	atomic_store_explicit(&e->cancel, ew >> 8, memory_order_release);
}

/* ---- PostgreSQL ----------------------------------------------------------- */

bool
penny_call_claim(PennyPlane *plane, PennyCall *call)
{
	uint32_t edges = plane->config.edges;
	uint32_t first = plane->next_edge++;

	for (uint32_t i = 0; i < edges; i++)
	{
		if (claim_from(plane, (int) ((first + i) % edges), call))
			return true;
	}
	return false;
}

/*
 * Take entries off one edge's ring until one of them is a call.  The ring is
 * the edge's memory: a tail that is out of range moves the head to it (all
 * between is lost, which only a lying edge suffers from), and no more than a
 * ring of entries is looked at.
 */
static bool
claim_from(PennyPlane *plane, int edge, PennyCall *call)
{
	PennyEdgeControl *control = &plane->p->edge[edge];
	PennyEdgeHeader *e = plane->e[edge];

	for (int i = 0; i < PENNY_SUB_RING; i++)
	{
		uint64_t head = atomic_load_explicit(&control->sub_head, memory_order_acquire);
		uint64_t tail = atomic_load_explicit(&e->sub_tail, memory_order_acquire);
		uint32_t slot;

		if (tail == head)
			return false;
		if (tail - head > PENNY_SUB_RING)
		{
			atomic_compare_exchange_strong(&control->sub_head, &head, tail);
			return false;
		}
		slot = atomic_load_explicit(&e->sub[head % PENNY_SUB_RING], memory_order_relaxed);
		if (atomic_compare_exchange_strong(&control->sub_head, &head, head + 1) &&
			claim_slot(plane, edge, slot, call))
			return true;
	}
	return false;
}

static bool
claim_slot(PennyPlane *plane, int edge, uint32_t slot, PennyCall *call)
{
	PennySlotWord *p;
	uint64_t incarnation = atomic_load(&plane->p->edge[edge].incarnation);
	uint64_t ew;
	uint64_t pw;

	if (slot >= plane->config.slots)
		return false;
	p = slot_word(plane, edge, (int) slot);
	ew = atomic_load_explicit(&plane->e[edge]->slot[slot].word, memory_order_acquire);
	pw = atomic_load_explicit(&p->word, memory_order_acquire);
	if ((ew & 0xff) != PENNY_E_SUBMITTED || !penny_p_settled(pw) || (ew >> 8) != (pw >> 8) + 1)
		return false;
	if (!atomic_compare_exchange_strong(&p->word, &pw, word_of((pw >> 8) + 1, PENNY_P_CLAIMED)))
		return false;
	call->edge = edge;
	call->slot = (int) slot;
	call->generation = (pw >> 8) + 1;
	call->incarnation = incarnation;
	return true;
}

uint32_t
penny_call_backlog(const PennyPlane *plane)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < plane->config.edges; i++)
	{
		uint64_t head = atomic_load_explicit(&plane->p->edge[i].sub_head, memory_order_relaxed);
		uint64_t tail = atomic_load_explicit(&plane->e[i]->sub_tail, memory_order_relaxed);

		if (tail - head <= PENNY_SUB_RING)
			sum += (uint32_t) (tail - head);
	}
	return sum;
}

bool
penny_call_request(const PennyPlane *plane, const PennyCall *call, char *buffer, PennyRequest *out)
{
	const PennyRequestHead *shared = request(plane, call->edge, call->slot);
	PennyRequestHead head;
	size_t sum = 0;

	memcpy(&head, shared, sizeof(head));
	/* Every check below is of the copy. */
	atomic_thread_fence(memory_order_seq_cst);
	if (head.op >= PENNY_OPS || head.method >= PENNY_METHODS)
		return false;
	for (int i = 0; i < PENNY_FIELDS; i++)
	{
		if (head.len[i] > plane->config.request_size)
			return false;
		out->field[i].data = buffer + sum;
		out->field[i].len = head.len[i];
		sum += head.len[i];
		if (sum > plane->config.request_size)
			return false;
	}
	memcpy(buffer, shared + 1, sum);
	out->op = (PennyOp) head.op;
	out->method = (PennyMethod) head.method;
	out->flags = head.flags;
	return true;
}

bool
penny_call_cancelled(const PennyPlane *plane, const PennyCall *call)
{
	return atomic_load_explicit(&plane->e[call->edge]->slot[call->slot].cancel,
								memory_order_relaxed) == call->generation ||
		   atomic_load_explicit(&plane->p->edge[call->edge].incarnation, memory_order_relaxed) !=
			   call->incarnation;
}

uint32_t
penny_call_write(PennyPlane *plane, const PennyCall *call, uint32_t status, PennySpan head,
				 PennySpan body, const PennyResponseExtra *extra, uint32_t offset, bool last)
{
	static const PennyResponseExtra none = {.mark = PENNY_MARK_NONE};
	PennyResponseHead *r = response(plane, call->edge, call->slot);
	PennySlotWord *p = slot_word(plane, call->edge, call->slot);
	char *bytes = (char *) (r + 1);
	size_t total = head.len + body.len;
	size_t room = plane->config.response_size;
	size_t n = total - offset < room ? total - offset : room;
	size_t from_head = 0;
	bool complete = offset + n == total;

	if (offset < head.len)
	{
		from_head = head.len - offset < n ? head.len - offset : n;
		memcpy(bytes, head.data + offset, from_head);
	}
	if (n > from_head)
		memcpy(bytes + from_head, body.data + (offset + from_head - head.len), n - from_head);
	r->status = complete || !last ? status : 0;
	r->head_len = (uint32_t) head.len;
	r->total_len = (uint32_t) total;
	r->piece_len = (uint32_t) n;
	if (offset == 0)
	{
		if (extra == NULL)
			extra = &none;
		r->mark = extra->mark;
		r->age = extra->age;
		r->viewer = extra->viewer;
	}
	if (!complete && !last)
		atomic_fetch_add_explicit(&p->part, 1, memory_order_release);
	atomic_store_explicit(&p->word,
						  word_of(call->generation, complete || last ? PENNY_P_DONE : PENNY_P_PART),
						  memory_order_release);
	penny_wake_edge(plane, call->edge);
	return (uint32_t) n;
}

bool
penny_call_part_taken(const PennyPlane *plane, const PennyCall *call)
{
	PennySlotWord *p = slot_word(plane, call->edge, call->slot);

	return atomic_load_explicit(&plane->e[call->edge]->slot[call->slot].ack,
								memory_order_acquire) ==
		   atomic_load_explicit(&p->part, memory_order_relaxed);
}
