/*-------------------------------------------------------------------------
 *
 * sched_check_heap.c
 *		A pairing heap, looked through: links and order.  For sched_check.c.
 *
 * Goes through all nodes without a stack: down by the first child, on by the
 * next sibling, up by the way over the elder ones.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

/* The three links of a node (child, next, prev), and the order. */
typedef struct HeapView
{
	uint32_t *(*links)(const PennySched *s, uint32_t ref);
	bool (*before)(const PennySched *s, uint32_t a, uint32_t b);
} HeapView;

static uint32_t *
job_links(const PennySched *s, uint32_t ref)
{
	return &penny_job_at(s, ref)->heap_child;
}

static uint32_t *
group_links(const PennySched *s, uint32_t ref)
{
	return &penny_group_at(s, ref)->heap_child;
}

static bool
before_in_lane(const PennySched *s, uint32_t a, uint32_t b)
{
	return penny_job_before(penny_job_at(s, a), penny_job_at(s, b));
}

static bool
before_by_due(const PennySched *s, uint32_t a, uint32_t b)
{
	return penny_job_at(s, a)->due < penny_job_at(s, b)->due;
}

static bool
before_by_until(const PennySched *s, uint32_t a, uint32_t b)
{
	return penny_job_at(s, a)->until < penny_job_at(s, b)->until;
}

static bool
before_by_at(const PennySched *s, uint32_t a, uint32_t b)
{
	return penny_group_at(s, a)->at < penny_group_at(s, b)->at;
}

static const HeapView views[] = {[PENNY_HEAP_LANE] = {job_links, before_in_lane},
								 [PENNY_HEAP_DUE] = {job_links, before_by_due},
								 [PENNY_HEAP_UNTIL] = {job_links, before_by_until},
								 [PENNY_HEAP_GROUP] = {group_links, before_by_at}};

/* The node after this one and all below it. */
static uint32_t
heap_after(const PennySched *s, const HeapView *view, uint32_t ref)
{
	while (ref != 0 && view->links(s, ref)[1] == 0)
	{
		uint32_t prev = view->links(s, ref)[2];

		while (prev != 0 && view->links(s, prev)[0] != ref)
		{
			ref = prev;
			prev = view->links(s, ref)[2];
		}
		ref = prev;
	}
	return ref == 0 ? 0 : view->links(s, ref)[1];
}

const char *
penny_check_heap(const PennySched *s, PennyHeapOrder order, uint32_t root, uint64_t *count)
{
	const HeapView *view = &views[order];
	uint32_t ref = root;

	PENNY_HOLDS(root == 0 || (view->links(s, root)[1] == 0 && view->links(s, root)[2] == 0));
	while (ref != 0)
	{
		uint32_t prev = ref;

		(*count)++;
		PENNY_HOLDS(*count <= (uint64_t) s->entries + s->blocks);
		for (uint32_t child = view->links(s, ref)[0]; child != 0; child = view->links(s, child)[1])
		{
			PENNY_HOLDS(view->links(s, child)[2] == prev);
			PENNY_HOLDS(!view->before(s, child, ref));
			prev = child;
		}
		ref = view->links(s, ref)[0] != 0 ? view->links(s, ref)[0] : heap_after(s, view, ref);
	}
	return NULL;
}
