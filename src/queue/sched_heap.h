/*-------------------------------------------------------------------------
 *
 * sched_heap.h
 *		A pairing heap whose links are indexes: a template, included once for
 *		each order.  Private to src/queue/sched*.c.
 *
 * Before including it, define
 *	HEAP(verb)			name of a function
 *	HEAP_NODE			type of a node, with heap_child, heap_next, heap_prev
 *	HEAP_AT(s, ref)		the node of an index; 0 is none
 *	HEAP_BEFORE(a, b)	the order
 *
 * Insertion is O(1); taking the first, or any other, out is O(log n) amortised.
 * heap_prev of a first child is its parent, of another its elder sibling.
 *
 *-------------------------------------------------------------------------
 */

/* Make the later of two roots the first child of the other. */
static inline uint32_t
HEAP(meld)(PennySched *s, uint32_t a, uint32_t b)
{
	HEAP_NODE *x = HEAP_AT(s, a);
	HEAP_NODE *y = HEAP_AT(s, b);

	if (a == 0)
		return b;
	if (b == 0)
		return a;
	if (HEAP_BEFORE(y, x))
	{
		HEAP_NODE *other = x;
		uint32_t ref = a;

		x = y;
		y = other;
		a = b;
		b = ref;
	}
	y->heap_prev = a;
	y->heap_next = x->heap_child;
	if (x->heap_child != 0)
		HEAP_AT(s, x->heap_child)->heap_prev = b;
	x->heap_child = b;
	return a;
}

/* One heap out of a row of siblings: in pairs from the left, then from the right. */
static inline uint32_t
HEAP(combine)(PennySched *s, uint32_t first)
{
	uint32_t pairs = 0;
	uint32_t root = 0;

	while (first != 0)
	{
		HEAP_NODE *a = HEAP_AT(s, first);
		uint32_t second = a->heap_next;
		uint32_t rest = 0;
		uint32_t pair;

		a->heap_next = a->heap_prev = 0;
		if (second != 0)
		{
			HEAP_NODE *b = HEAP_AT(s, second);

			rest = b->heap_next;
			b->heap_next = b->heap_prev = 0;
		}
		pair = HEAP(meld)(s, first, second);
		HEAP_AT(s, pair)->heap_next = pairs;
		pairs = pair;
		first = rest;
	}
	while (pairs != 0)
	{
		uint32_t rest = HEAP_AT(s, pairs)->heap_next;

		HEAP_AT(s, pairs)->heap_next = 0;
		root = HEAP(meld)(s, root, pairs);
		pairs = rest;
	}
	return root;
}

static inline void
HEAP(put)(PennySched *s, uint32_t *root, uint32_t ref)
{
	HEAP_NODE *node = HEAP_AT(s, ref);

	node->heap_child = node->heap_next = node->heap_prev = 0;
	*root = HEAP(meld)(s, *root, ref);
}

static inline void
HEAP(remove)(PennySched *s, uint32_t *root, uint32_t ref)
{
	HEAP_NODE *node = HEAP_AT(s, ref);
	uint32_t children = node->heap_child;

	node->heap_child = 0;
	if (*root == ref)
	{
		*root = HEAP(combine)(s, children);
		return;
	}
	if (HEAP_AT(s, node->heap_prev)->heap_child == ref)
		HEAP_AT(s, node->heap_prev)->heap_child = node->heap_next;
	else
		HEAP_AT(s, node->heap_prev)->heap_next = node->heap_next;
	if (node->heap_next != 0)
		HEAP_AT(s, node->heap_next)->heap_prev = node->heap_prev;
	node->heap_next = node->heap_prev = 0;
	*root = HEAP(meld)(s, *root, HEAP(combine)(s, children));
}

#undef HEAP
#undef HEAP_NODE
#undef HEAP_AT
#undef HEAP_BEFORE
