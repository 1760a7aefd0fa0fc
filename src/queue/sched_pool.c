/*-------------------------------------------------------------------------
 *
 * sched_pool.c
 *		Entries without the lock: the free list, the inbox, what was missed.
 *
 * The free list is a stack of indexes.  Its head is a word of index and count
 * of changes, so that a compare-and-swap fails when the head went and came back
 * meanwhile (ABA); a chain of n is taken by one.  While a process follows links
 * others may take the entries and write them anew: the links are atomic, name
 * entries whatever they say, and the compare-and-swap fails.  Entries are never
 * unmapped.  Only who holds the lock puts entries back, a chain at a time.
 *
 * How many a queue may hold depends on how many are free: twice as many.  One
 * queue alone comes to two thirds, and a new queue always finds room.  The
 * numbers are read without a lock, so the limit is soft; the list is hard.
 *
 * The inbox is a stack as well, emptied by one exchange, so without ABA.  It is
 * a stack of chains, whose last entries are marked: they are handled in the
 * order in which they were posted, each from its first to its last, so that
 * ids come in nearly ascending.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#include <string.h>

static uint32_t
held(const PennySched *s, uint16_t queue)
{
	uint32_t out = atomic_load_explicit(&s->held[queue].out, memory_order_relaxed);

	return atomic_load_explicit(&s->held[queue].in, memory_order_relaxed) - out;
}

/* So many may come into a queue, one after the other, each finding twice as many free. */
uint32_t
penny_sched_room(const PennySched *s, uint16_t queue)
{
	uint32_t returned = atomic_load_explicit(&s->returned, memory_order_relaxed);
	int64_t unused = (int64_t) s->entries -
					 (int32_t) (atomic_load_explicit(&s->taken, memory_order_relaxed) - returned);
	int64_t room;

	if (queue >= PENNY_SCHED_QUEUES)
		return 0;
	room = (2 * unused - (int32_t) held(s, queue) + 2) / 3;
	if (room > unused)
		room = unused;
	return room > 0 ? (uint32_t) room : 0;
}

/* Up to n entries off the free list; the chain's first and last. */
static uint32_t
pop_chain(PennySched *s, uint32_t n, uint32_t *first, uint32_t *last)
{
	uint64_t top = atomic_load_explicit(&s->free, memory_order_acquire);

	for (;;)
	{
		uint32_t count = 1;
		uint32_t next;

		*first = *last = (uint32_t) top;
		if (*first == 0)
			return 0;
		next = penny_job_link(s, *last);
		while (count < n && next != 0 && next <= s->entries)
		{
			*last = next;
			next = penny_job_link(s, next);
			count++;
		}
		if (atomic_compare_exchange_weak_explicit(&s->free, &top, ((top >> 32) + 1) << 32 | next,
												  memory_order_acq_rel, memory_order_acquire))
			return count;
	}
}

/* Up to n entries that were never used, in a row; they are others' until the exchange succeeds. */
static uint32_t
take_fresh(PennySched *s, uint32_t n, uint32_t *first)
{
	uint32_t from = atomic_load_explicit(&s->fresh, memory_order_relaxed);
	uint32_t count;

	do
	{
		count = s->entries + 1 - from;
		if (count > n)
			count = n;
		if (count == 0)
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(&s->fresh, &from, from + count,
													memory_order_release, memory_order_relaxed));
	*first = from;
	return count;
}

static void
make_reserved(PennySched *s, uint32_t ref, uint16_t queue, uint16_t incarnation)
{
	PennyJob *job = penny_job_at(s, ref);

	job->id = 0;
	job->due = 0;
	job->priority = 0;
	job->queue = queue;
	job->flags = 0;
	job->before = job->verb = job->runner = 0;
	job->same_hash = job->heap_child = job->heap_next = job->heap_prev = 0;
	job->group_slot = job->list_next = job->list_prev = 0;
	job->incarnation = incarnation;
	job->place = job->spare = 0;
	memset(&job->kind, 0, sizeof(*job) - offsetof(PennyJob, kind));
	job->charged = queue;
	penny_job_set_state(job, PENNY_JOB_RESERVED);
}

uint32_t
penny_sched_reserve(PennySched *s, uint16_t queue, uint32_t n, PennyJobRef *first)
{
	uint16_t incarnation = (uint16_t) atomic_load_explicit(&s->incarnation, memory_order_acquire);
	uint32_t room = penny_sched_room(s, queue);
	uint32_t last = 0;
	uint32_t count;
	uint32_t row;
	uint32_t more;

	*first = 0;
	if (n > room)
		n = room;
	if (n == 0)
		return 0;
	count = pop_chain(s, n, first, &last);
	if (count > 0)
		penny_job_set_link(s, last, 0);
	more = count < n ? take_fresh(s, n - count, &row) : 0;
	for (uint32_t i = more; i > 0; i--)
	{
		penny_job_set_link(s, row + i - 1, *first);
		*first = row + i - 1;
	}
	count += more;
	atomic_fetch_add_explicit(&s->taken, count, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->held[queue].in, count, memory_order_relaxed);
	for (uint32_t ref = *first; ref != 0; ref = penny_job_link(s, ref))
		make_reserved(s, ref, queue, incarnation);
	return count;
}

PennyJob *
penny_sched_job(PennySched *s, PennyJobRef ref)
{
	return penny_job_at(s, ref);
}

PennyJobRef
penny_sched_next_of(PennySched *s, PennyJobRef ref)
{
	return penny_job_link(s, ref);
}

void
penny_sched_link(PennySched *s, PennyJobRef ref, PennyJobRef next)
{
	penny_job_set_link(s, ref, next);
}

/* ---- the inbox --------------------------------------------------------------- */

void
penny_sched_post(PennySched *s, PennyJobRef first, PennyJobRef last)
{
	uint32_t head = atomic_load_explicit(&s->inbox, memory_order_relaxed);

	penny_job_at(s, last)->chain_end = 1;
	do
		penny_job_set_link(s, last, head);
	while (!atomic_compare_exchange_weak_explicit(&s->inbox, &head, first, memory_order_release,
												  memory_order_relaxed));
}

bool
penny_sched_posted(const PennySched *s)
{
	return atomic_load_explicit(&s->inbox, memory_order_relaxed) != 0;
}

uint32_t
penny_sched_take_inbox(PennySched *s)
{
	uint32_t newest = atomic_load_explicit(&s->inbox, memory_order_relaxed);
	uint32_t chain = 0;

	if (newest != 0)
		newest = atomic_exchange_explicit(&s->inbox, 0, memory_order_acquire);
	while (newest != 0)
	{
		uint32_t last = newest;
		uint32_t older;

		while (!penny_job_at(s, last)->chain_end)
			last = penny_job_link(s, last);
		older = penny_job_link(s, last);
		penny_job_at(s, last)->chain_end = 0;
		penny_job_set_link(s, last, chain);
		chain = newest;
		newest = older;
	}
	return chain;
}

/* ---- giving back, under the lock --------------------------------------------- */

void
penny_sched_free(PennySched *s, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	PennyHeld *of = &s->held[job->charged];

	penny_job_set_state(job, PENNY_JOB_FREE);
	penny_job_set_link(s, ref, s->freed);
	if (s->freed == 0)
		s->freed_last = ref;
	s->freed = ref;
	/* one writer, so no locked instruction */
	atomic_store_explicit(&of->out, atomic_load_explicit(&of->out, memory_order_relaxed) + 1,
						  memory_order_relaxed);
	atomic_store_explicit(&s->returned,
						  atomic_load_explicit(&s->returned, memory_order_relaxed) + 1,
						  memory_order_relaxed);
}

void
penny_sched_flush(PennySched *s)
{
	uint64_t top;

	if (s->freed == 0)
		return;
	top = atomic_load_explicit(&s->free, memory_order_relaxed);
	do
		penny_job_set_link(s, s->freed_last, (uint32_t) top);
	while (!atomic_compare_exchange_weak_explicit(&s->free, &top,
												  ((top >> 32) + 1) << 32 | s->freed,
												  memory_order_release, memory_order_relaxed));
	s->freed = 0;
}

/* ---- what was missed ---------------------------------------------------------- */

void
penny_sched_missed(PennySched *s, int64_t id)
{
	int64_t now = atomic_load_explicit(&s->rescan, memory_order_relaxed);

	while (id < now && !atomic_compare_exchange_weak_explicit(
						   &s->rescan, &now, id, memory_order_release, memory_order_relaxed))
		;
}

int64_t
penny_sched_rescan(PennySched *s)
{
	if (atomic_load_explicit(&s->rescan, memory_order_relaxed) == PENNY_SCHED_NEVER)
		return PENNY_SCHED_NEVER;
	return atomic_exchange_explicit(&s->rescan, PENNY_SCHED_NEVER, memory_order_acquire);
}
