/*-------------------------------------------------------------------------
 *
 * calls.c
 *		Slots, queue, answers.  See plane/call.h for the life of a slot.
 *
 * A call goes into a free slot at once; when there is none its fields are
 * copied and it waits in a queue, first come first served.  It waits at most
 * acquire_timeout for an executor to take it, in the queue and in the slot
 * together; what an executor has taken runs as long as that allows.
 *
 * A call that was abandoned leaves its slot occupied: the slot is marked
 * cancelled and freed when the executor is done with it.  The same holds for
 * slots in which calls of a predecessor of this process still run.
 *
 * Executors are woken at the end of the turn, one for each call submitted in
 * it: waking is the dearest part of a call, and executors that are awake look
 * at the ring before they sleep.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/calls_private.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES (256 << 20) /* bytes of all queued calls */

static PennyPending *in_slot[PENNY_MAX_SLOTS]; /* NULL: nobody waits for it */
static uint64_t occupied;                      /* slots that are not free */
static PennyPending queue;                     /* head of the circular list */
static uint32_t queued;
static size_t queued_bytes;
static uint32_t open_calls;
static uint32_t to_wake;
static PennyPending *free_list;

static void on_timer(PennyTimer *timer);
static void finish(PennyPending *call);
static void submit(PennyPending *call, int slot, const PennySpan *field);
static bool take_piece(PennyPending *call, bool done);

void
penny_calls_init(void)
{
	queue.next = queue.prev = &queue;
	penny_edge_init_slots(&penny_edge.plane);
	for (uint32_t i = 0; i < penny_edge.plane.config.slots; i++)
	{
		if (penny_edge_slot_state(&penny_edge.plane, (int) i) != PENNY_SLOT_FREE)
			occupied |= UINT64_C(1) << i;
	}
}

static int
free_slot(void)
{
	uint32_t slots = penny_edge.plane.config.slots;
	uint64_t free_mask = ~occupied;

	if (slots < 64)
		free_mask &= (UINT64_C(1) << slots) - 1;
	return free_mask == 0 ? -1 : __builtin_ctzll(free_mask);
}

/* ---- starting ------------------------------------------------------------ */

static PennyPending *
make_pending(void)
{
	PennyPending *call = free_list;

	if (call != NULL)
		free_list = call->next;
	else
		call = penny_alloc(sizeof(*call));
	memset(call, 0, sizeof(*call));
	penny_timer_init(&call->timer, on_timer);
	call->slot = -1;
	open_calls++;
	return call;
}

/* Bytes of a call's fields. */
static size_t
size_of(const PennyCallOut *out)
{
	size_t len = 0;

	for (int i = 0; i < PENNY_FIELDS; i++)
		len += out->field[i].len;
	return len;
}

static void
enqueue(PennyPending *call)
{
	size_t len = 0;

	call->copy_len = size_of(&call->out);
	call->copy = penny_alloc(call->copy_len + 1);
	queued_bytes += call->copy_len;
	for (int i = 0; i < PENNY_FIELDS; i++)
	{
		PennySpan *field = &call->out.field[i];

		if (field->len > 0)
			memcpy(call->copy + len, field->data, field->len);
		field->data = call->copy + len;
		len += field->len;
	}
	call->next = &queue;
	call->prev = queue.prev;
	queue.prev->next = call;
	queue.prev = call;
	queued++;
	penny_count(&penny_edge.plane, PENNY_COUNT_WAITING, 1);
}

static void
dequeue(PennyPending *call)
{
	call->prev->next = call->next;
	call->next->prev = call->prev;
	call->next = call->prev = NULL;
	queued--;
	queued_bytes -= call->copy_len;
	penny_count(&penny_edge.plane, PENNY_COUNT_WAITING, -1);
}

static void
set_timer(PennyPending *call)
{
	uint64_t due = call->acquire_by;

	if (call->answer_by != 0 && (due == 0 || call->answer_by < due))
		due = call->answer_by;
	if (due == 0)
		penny_timer_stop(&call->timer);
	else
		penny_timer_set(&call->timer, due);
}

PennyPending *
penny_call_start(const PennyCallOut *out, PennyAnswerHandler handler, void *owner)
{
	int slot = queued == 0 ? free_slot() : -1;
	PennyPending *call;

	if (penny_edge.closing)
		return NULL;
	if (slot < 0 &&
		(queued >= penny_edge.settings.queue_size || queued_bytes + size_of(out) > QUEUE_BYTES))
	{
		penny_count(&penny_edge.plane, PENNY_COUNT_TIMEOUTS, 1);
		return NULL;
	}
	call = make_pending();
	call->out = *out;
	call->handler = handler;
	call->owner = owner;
	call->acquire_by = penny_edge.now + penny_edge.settings.acquire_timeout;
	if (out->limit != 0)
		call->answer_by = penny_edge.now + out->limit;
	if (slot >= 0)
		submit(call, slot, out->field);
	else
		enqueue(call);
	set_timer(call);
	return call;
}

void
penny_call_describe(const PennyPending *call, PennyCallOut *out)
{
	*out = call->out;
	if (call->slot < 0)
		return;
	for (int i = 0; i < PENNY_FIELDS; i++)
		out->field[i] = penny_edge_submitted(&penny_edge.plane, call->slot, (PennyField) i);
}

bool
penny_call_is_submitted(const PennyPending *call)
{
	return call->slot >= 0;
}

void
penny_call_hand_over(PennyPending *call, PennyAnswerHandler handler, void *owner)
{
	call->handler = handler;
	call->owner = owner;
	call->out.whole = true;
	call->held = false;
}

static void
submit(PennyPending *call, int slot, const PennySpan *field)
{
	penny_edge_submit(&penny_edge.plane, slot, call->out.op, call->out.method, call->out.flags,
					  field);
	penny_count(&penny_edge.plane, PENNY_COUNT_CALLS, 1);
	call->slot = slot;
	in_slot[slot] = call;
	occupied |= UINT64_C(1) << slot;
	to_wake++;
	free(call->copy);
	call->copy = NULL;
}

/* ---- ending -------------------------------------------------------------- */

static void
finish(PennyPending *call)
{
	penny_timer_stop(&call->timer);
	free(call->copy);
	free(call->gathered);
	call->next = free_list;
	free_list = call;
	open_calls--;
}

void
penny_call_abandon(PennyPending *call)
{
	if (call->slot < 0)
		dequeue(call);
	else
	{
		in_slot[call->slot] = NULL;
		penny_edge_cancel(&penny_edge.plane, call->slot);
	}
	finish(call);
}

/* End a call that gets no answer. */
static void
fail(PennyPending *call, PennyAnswerKind kind)
{
	PennyAnswer answer = {.kind = kind, .first = !call->started, .last = true};
	PennyAnswerHandler handler = call->handler;
	void *owner = call->owner;

	if (kind == PENNY_ANSWER_TIMEOUT)
		penny_count(&penny_edge.plane, PENNY_COUNT_TIMEOUTS, 1);
	penny_call_abandon(call);
	handler(owner, &answer);
}

void
penny_calls_give_up(void)
{
	for (uint32_t i = 0; i < penny_edge.plane.config.slots; i++)
	{
		PennyPending *call = in_slot[i];

		if (call != NULL)
			fail(call, penny_edge_slot_claimed(&penny_edge.plane, (int) i) ? PENNY_ANSWER_BROKEN
																		   : PENNY_ANSWER_TIMEOUT);
	}
	while (queued > 0)
		fail(queue.next, PENNY_ANSWER_TIMEOUT);
}

static void
on_timer(PennyTimer *timer)
{
	PennyPending *call = penny_timer_owner(timer, PennyPending, timer);
	uint64_t now = penny_edge.now;

	if (call->answer_by != 0 && call->answer_by <= now)
	{
		fail(call, PENNY_ANSWER_TIMEOUT);
		return;
	}
	if (call->acquire_by != 0 && call->acquire_by <= now)
	{
		if (call->slot < 0 || !penny_edge_slot_claimed(&penny_edge.plane, call->slot))
		{
			fail(call, PENNY_ANSWER_TIMEOUT);
			return;
		}
		call->acquire_by = 0;
	}
	set_timer(call);
}

/* ---- answers ------------------------------------------------------------- */

/* Free the slot of a call whose last piece was taken. */
static void
release_slot(int slot)
{
	in_slot[slot] = NULL;
	penny_edge_free(&penny_edge.plane, slot);
	occupied &= ~(UINT64_C(1) << slot);
}

/* A slot that nobody waits for: let the executor come to its end. */
static void
pass_orphan(int slot, PennySlotState state)
{
	if (state == PENNY_SLOT_DONE)
		release_slot(slot);
	else if (state == PENNY_SLOT_FREE)
		occupied &= ~(UINT64_C(1) << slot);
	else if (state == PENNY_SLOT_PART)
		penny_edge_ack(&penny_edge.plane, slot);
}

/* Look at one occupied slot. */
static void
look_at_slot(int slot)
{
	PennySlotState state = penny_edge_slot_state(&penny_edge.plane, slot);
	PennyPending *call = in_slot[slot];

	if (call == NULL)
	{
		pass_orphan(slot, state);
		return;
	}
	if (state == PENNY_SLOT_WAITING || call->held)
		return;
	if (state == PENNY_SLOT_FREE)
	{
		fail(call, PENNY_ANSWER_BROKEN); /* cannot be, unless the plane is broken */
		return;
	}
	take_piece(call, state == PENNY_SLOT_DONE);
}

/* Hand the piece that is there to the handler; false when it does not take it. */
static bool
take_piece(PennyPending *call, bool done)
{
	PennyAnswer answer;
	int slot = call->slot;

	if (!penny_call_view(call, done, &answer))
	{
		fail(call, PENNY_ANSWER_BROKEN);
		return false;
	}
	call->body_seen += answer.body.len;
	if (call->out.whole)
	{
		if (!penny_call_gather(call, &answer))
		{
			fail(call, PENNY_ANSWER_BROKEN);
			return false;
		}
		call->started = true;
		if (!done)
		{
			penny_edge_ack(&penny_edge.plane, slot);
			return true;
		}
	}
	answer.token = penny_edge_submitted(&penny_edge.plane, slot, PENNY_FIELD_TOKEN);
	if (!call->handler(call->owner, &answer) && !call->out.whole)
	{
		call->body_seen -= answer.body.len;
		call->held = true;
		return false;
	}
	/* The handler may have abandoned the call, and in_slot tells. */
	if (in_slot[slot] != call)
		return true;
	call->started = true;
	if (!done)
	{
		penny_edge_ack(&penny_edge.plane, slot);
		return true;
	}
	release_slot(slot);
	finish(call);
	return true;
}

void
penny_call_resume(PennyPending *call)
{
	call->held = false;
}

/* ---- the loop's part ------------------------------------------------------ */

void
penny_calls_turn(void)
{
	uint64_t mask = occupied;
	int slot;

	while (mask != 0)
	{
		slot = __builtin_ctzll(mask);
		mask &= mask - 1;
		look_at_slot(slot);
	}
	while (queued > 0 && (slot = free_slot()) >= 0)
	{
		PennyPending *call = queue.next;

		dequeue(call);
		submit(call, slot, call->out.field);
	}
}

bool
penny_calls_ready(void)
{
	uint64_t mask = occupied;

	while (mask != 0)
	{
		int slot = __builtin_ctzll(mask);
		PennySlotState state = penny_edge_slot_state(&penny_edge.plane, slot);

		mask &= mask - 1;
		if (state != PENNY_SLOT_WAITING && !(in_slot[slot] != NULL && in_slot[slot]->held))
			return true;
	}
	return false;
}

void
penny_calls_wake(void)
{
	uint32_t executors = penny_edge.plane.config.executors;

	for (uint32_t n = to_wake < executors ? to_wake : executors; n > 0; n--)
		penny_wake_executor(&penny_edge.plane);
	to_wake = 0;
}

uint32_t
penny_calls_open(void)
{
	return open_calls;
}

/* Longer when more are waiting, and not the same for everybody. */
uint32_t
penny_calls_retry_after(void)
{
	uint32_t random;

	penny_random(&random, sizeof(random));
	return 1 + random % (2 + queued / 64);
}
