/*-------------------------------------------------------------------------
 *
 * wake.c
 *		Sleeping, waking, and what a gateway clears when its edge has died.
 *
 * A sleeper's word is odd while it sleeps, and only the sleeper writes it.
 * Sleeper: set odd, full fence, look again, sleep.  Waker: publish, full
 * fence, read; if odd and not yet woken, write the eventfd.  One of the two
 * sees the other, so a wake may be extra but never lost.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/plane.h"

#include <errno.h>
#include <unistd.h>

#include "plane/call.h"
#include "plane/interest.h"
#include "plane/share.h"

#define SLEEPERS(config) ((config)->executors + 1)

static void signal_eventfd(int fd);
static void drain_eventfd(int fd);
static uint64_t next_even(uint64_t word);

/* ---- sleeping and waking ------------------------------------------------ */

static uint64_t
next_even(uint64_t word)
{
	return (word | 1) + 1;
}

void
penny_sleeper_prepare(PennyPlane *plane, int sleeper)
{
	PennySleeper *s = &plane->p->sleeper[sleeper];
	uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	atomic_store_explicit(&s->word, word | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

void
penny_sleeper_awake(PennyPlane *plane, int sleeper)
{
	PennySleeper *s = &plane->p->sleeper[sleeper];
	uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	if (word & 1)
		atomic_store_explicit(&s->word, word + 1, memory_order_release);
	drain_eventfd(plane->sleeper_wake[sleeper]);
}

/*
 * A process takes or leaves an entry.  The word goes on from its predecessor's
 * value, never back: an edge remembers which values it has woken.
 */
void
penny_sleeper_set_present(PennyPlane *plane, int sleeper, bool present)
{
	PennySleeper *s = &plane->p->sleeper[sleeper];
	uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	atomic_store_explicit(&s->word, next_even(word), memory_order_release);
	atomic_store_explicit(&s->present, present ? 1 : 0, memory_order_release);
}

void
penny_edge_prepare_sleep(PennyPlane *plane)
{
	PennyEdgeHeader *e = plane->e[plane->self];
	uint64_t word = atomic_load_explicit(&e->sleep_word, memory_order_relaxed);

	atomic_store_explicit(&e->sleep_word, word | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

void
penny_edge_awake(PennyPlane *plane)
{
	PennyEdgeHeader *e = plane->e[plane->self];
	uint64_t word = atomic_load_explicit(&e->sleep_word, memory_order_relaxed);

	if (word & 1)
		atomic_store_explicit(&e->sleep_word, word + 1, memory_order_release);
}

/*
 * Wake an edge.  Many processes may try: the one that takes `woken` to the
 * word it saw writes the eventfd.  The word is read once, so that an edge that
 * changes it all the time cannot hold anybody here.
 */
void
penny_wake_edge(PennyPlane *plane, int edge)
{
	PennyEdgeControl *control = &plane->p->edge[edge];
	uint64_t word;
	uint64_t woken;

	atomic_thread_fence(memory_order_seq_cst);
	word = atomic_load_explicit(&plane->e[edge]->sleep_word, memory_order_relaxed);
	if ((word & 1) == 0)
		return;
	woken = atomic_load_explicit(&control->woken, memory_order_relaxed);
	while (woken != word)
	{
		if (atomic_compare_exchange_weak_explicit(&control->woken, &woken, word,
												  memory_order_seq_cst, memory_order_relaxed))
		{
			signal_eventfd(plane->edge_wake[edge]);
			return;
		}
	}
}

void
penny_wake_edges(PennyPlane *plane)
{
	for (uint32_t i = 0; i < plane->config.edges; i++)
		penny_wake_edge(plane, (int) i);
}

/* Edge: wake a sleeper that sleeps and was not yet woken in this sleep. */
static bool
wake_once(PennyPlane *plane, uint32_t i)
{
	PennySleeper *s = &plane->p->sleeper[i];
	uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	if ((word & 1) == 0 || word == plane->last_woken[i] ||
		atomic_load_explicit(&s->present, memory_order_relaxed) == 0)
		return false;
	plane->last_woken[i] = word;
	signal_eventfd(plane->sleeper_wake[i]);
	return true;
}

/*
 * Wake one executor.  Low numbers first, so that the warm ones work and the
 * others may end.  When all are busy they look at the ring before they sleep;
 * the supervisor is told, it may start another.
 */
void
penny_wake_executor(PennyPlane *plane)
{
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < SLEEPERS(&plane->config); i++)
	{
		if (wake_once(plane, i))
			return;
	}
}

/* Other than an edge, it does not remember whom it woke: a wake may be extra. */
void
penny_wake_next(PennyPlane *plane)
{
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < SLEEPERS(&plane->config); i++)
	{
		PennySleeper *s = &plane->p->sleeper[i];

		if ((atomic_load_explicit(&s->word, memory_order_relaxed) & 1) != 0 &&
			atomic_load_explicit(&s->present, memory_order_relaxed) != 0)
		{
			signal_eventfd(plane->sleeper_wake[i]);
			return;
		}
	}
}

/*
 * Wake every executor that sleeps, each once.  Waking one after the other
 * with penny_wake_executor() would not do: the first may sleep again meanwhile
 * and be woken twice, the last never.
 */
void
penny_wake_executors(PennyPlane *plane)
{
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < plane->config.executors; i++)
		wake_once(plane, i);
}

void
penny_wake_sleeper(PennyPlane *plane, int sleeper)
{
	signal_eventfd(plane->sleeper_wake[sleeper]);
}

/* EAGAIN means that the counter is full, so the descriptor is readable. */
static void
signal_eventfd(int fd)
{
	const uint64_t one = 1;
	int save_errno = errno;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	errno = save_errno;
}

static void
drain_eventfd(int fd)
{
	uint64_t count;
	int save_errno = errno;

	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	errno = save_errno;
}

/* ---- life cycle of an edge ---------------------------------------------- */

/*
 * The gateway in the place of the dead edge: what was submitted and not
 * claimed is discarded, what is claimed runs on and is freed by the next edge.
 * The sleep word is set from both sides' last values and not merely counted
 * up: a word inherited odd would invert the parity, and the new edge would
 * never be woken.
 */
void
penny_plane_sweep(PennyPlane *plane, int edge)
{
	PennyPlaneHeader *p = plane->p;
	PennyEdgeHeader *e = plane->e[edge];
	PennyEdgeControl *control = &p->edge[edge];
	PennySlotWord *words = (PennySlotWord *) ((char *) p + plane->sizes.slot_words) +
						   (size_t) edge * plane->config.slots;
	uint64_t word;
	uint64_t woken;

	atomic_fetch_add(&control->incarnation, 1);
	for (uint32_t i = 0; i < plane->config.slots; i++)
	{
		uint64_t pw = atomic_load(&words[i].word);
		uint64_t ew = atomic_load(&e->slot[i].word);

		if ((ew & 0xff) == PENNY_E_SUBMITTED && (ew >> 8) == (pw >> 8) + 1 && penny_p_settled(pw))
		{
			/* Failing means that an executor claimed it just now. */
			atomic_compare_exchange_strong(&words[i].word, &pw,
										   ((pw >> 8) + 1) << 8 | PENNY_P_DISCARDED);
			pw = atomic_load(&words[i].word);
		}
		atomic_store(&e->slot[i].cancel, 0);
		atomic_store(&e->slot[i].ack, atomic_load(&words[i].part));
		atomic_store(&e->slot[i].word, (pw >> 8) << 8 | PENNY_E_IDLE);
	}
	atomic_store(&e->sub_tail, atomic_load(&control->sub_head));
	penny_shared_sweep(plane, edge);
	penny_interest_clear(plane, edge);

	word = atomic_load(&e->sleep_word);
	woken = atomic_load(&control->woken);
	word = next_even(word > woken ? word : woken);
	/* A hostile word near the end of the numbers wraps: not onto the one woken. */
	if (word + 1 == woken)
		word += 2;
	atomic_store(&e->sleep_word, word);
}
