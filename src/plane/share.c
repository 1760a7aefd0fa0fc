/*-------------------------------------------------------------------------
 *
 * share.c
 *		What all edges count together.  See share.h.
 *
 * Taking an entry over.  A key is 0 (never used), RETIRED, the number of the
 * edge that is just taking the entry plus one, or has the bit ADDRESS.  Who
 * takes an entry puts its own number there, then looks whether anybody is
 * connected by it; who joins an entry counts itself and then looks at the key.
 * One of both sees the other and steps back.
 *
 * An address stands at most PROBES entries behind where its hash points, and
 * never behind an entry that was never used.  Two edges that enter the same
 * address at the same moment look again afterwards and meet at the first;
 * only if an entry becomes free between their two looks may it stand in two,
 * for as long as it is connected by both.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/share.h"

#define ADDRESS UINT64_C(0x8000000000000000)
#define RETIRED (PENNY_MAX_EDGES + 1)
#define PROBES 32
#define TRIES 8        /* then the address is counted by this edge alone */
#define SECOND 1000000 /* us */
#define USER_WAYS 8    /* places that a user's bucket may have */

/* ---- connections ----------------------------------------------------------- */

static uint32_t
sum(const _Atomic uint32_t open[PENNY_MAX_EDGES])
{
	uint32_t n = 0;

	for (int i = 0; i < PENNY_MAX_EDGES; i++)
		n += atomic_load(&open[i]);
	return n;
}

bool
penny_shared_connect(PennyPlane *plane, uint32_t limit)
{
	atomic_fetch_add(&plane->s->open[plane->self], 1);
	if (sum(plane->s->open) <= limit)
		return true;
	penny_shared_disconnect(plane);
	return false;
}

void
penny_shared_disconnect(PennyPlane *plane)
{
	atomic_fetch_sub(&plane->s->open[plane->self], 1);
}

void
penny_shared_serving(PennyPlane *plane, bool serving)
{
	atomic_store(&plane->s->serving[plane->self], serving ? 1 : 0);
}

bool
penny_shared_ahead(const PennyPlane *plane, uint32_t by)
{
	uint32_t mine = atomic_load_explicit(&plane->s->open[plane->self], memory_order_relaxed);

	for (uint32_t i = 0; i < plane->config.edges; i++)
	{
		uint32_t open = atomic_load_explicit(&plane->s->open[i], memory_order_relaxed);

		if (open < mine && mine - open >= by &&
			atomic_load_explicit(&plane->s->serving[i], memory_order_relaxed) != 0)
			return true;
	}
	return false;
}

/* ---- addresses --------------------------------------------------------------- */

/* Count a connection by this entry, if it is still the address's. */
static bool
join(PennyPlane *plane, PennySharedAddress *entry, uint64_t key)
{
	atomic_fetch_add(&entry->open[plane->self], 1);
	if (atomic_load(&entry->key) == key)
		return true;
	atomic_fetch_sub(&entry->open[plane->self], 1);
	return false;
}

/* Is a bucket empty?  A time that nobody would have put there says nothing. */
static bool
is_empty(const _Atomic uint64_t *at, uint64_t now_us)
{
	uint64_t until = atomic_load(at);

	return until <= now_us || until - now_us > 2 * SECOND;
}

/* Does nobody need this entry any more? */
static bool
is_idle(const PennySharedAddress *entry, uint64_t now_us)
{
	return sum(entry->open) == 0 && is_empty(&entry->connects_at, now_us) &&
		   is_empty(&entry->requests_at, now_us);
}

/* Is this the key of an entry that no edge is taking at this moment? */
static bool
may_be_taken(uint64_t key)
{
	return key == 0 || key == RETIRED || (key & ADDRESS) != 0;
}

/* Give an idle entry, whose key was `old`, to another address. */
static bool
take_over(PennyPlane *plane, PennySharedAddress *entry, uint64_t old, uint64_t key, uint64_t now_us)
{
	if (!may_be_taken(old) ||
		!atomic_compare_exchange_strong(&entry->key, &old, (uint64_t) plane->self + 1))
		return false;
	if (!is_idle(entry, now_us))
	{
		atomic_store(&entry->key, old);
		return false;
	}
	atomic_store(&entry->key, key);
	return true;
}

/* Where the address stands, and where it could; both NULL when nowhere. */
static PennySharedAddress *
look(PennyPlane *plane, uint64_t key, uint64_t now_us, PennySharedAddress **idle)
{
	*idle = NULL;
	for (uint64_t i = 0; i < PROBES; i++)
	{
		PennySharedAddress *entry = &plane->s->address[(key + i) % PENNY_SHARED_ADDRESSES];
		uint64_t found = atomic_load(&entry->key);

		if (found == key)
			return entry;
		if (*idle == NULL && may_be_taken(found) && is_idle(entry, now_us))
			*idle = entry;
		if (found == 0)
			break;
	}
	return NULL;
}

int
penny_shared_hold(PennyPlane *plane, const void *address, size_t len, uint64_t now_us)
{
	uint64_t key = penny_hash(address, len, plane->s->seed) | ADDRESS;

	for (int i = 0; i < TRIES; i++)
	{
		PennySharedAddress *idle;
		PennySharedAddress *entry = look(plane, key, now_us, &idle);

		if (entry != NULL)
		{
			if (join(plane, entry, key))
				return (int) (entry - plane->s->address);
		}
		else if (idle == NULL)
			break;
		else
			take_over(plane, idle, atomic_load(&idle->key), key, now_us);
	}
	return PENNY_SHARED_NOWHERE;
}

void
penny_shared_hold_again(PennyPlane *plane, int entry)
{
	if (entry != PENNY_SHARED_NOWHERE)
		atomic_fetch_add(&plane->s->address[entry].open[plane->self], 1);
}

void
penny_shared_release(PennyPlane *plane, int entry)
{
	if (entry != PENNY_SHARED_NOWHERE)
		atomic_fetch_sub(&plane->s->address[entry].open[plane->self], 1);
}

uint32_t
penny_shared_open(const PennyPlane *plane, int entry)
{
	return entry == PENNY_SHARED_NOWHERE ? 0 : sum(plane->s->address[entry].open);
}

/* ---- rates ------------------------------------------------------------------- */

bool
penny_shared_take(PennyPlane *plane, int entry, PennySharedRate which, uint32_t rate,
				  uint64_t now_us)
{
	PennySharedAddress *address;

	if (rate == 0 || entry == PENNY_SHARED_NOWHERE)
		return true;
	address = &plane->s->address[entry];
	return penny_rate_take(
		which == PENNY_RATE_CONNECTS ? &address->connects_at : &address->requests_at, rate, now_us);
}

/* The user's bucket, taken from another user if there is none; two edges may do so at once. */
static PennySharedUser *
bucket_of(PennySharedHeader *s, uint64_t id_hash)
{
	uint64_t key = penny_hash(&id_hash, sizeof(id_hash), s->seed) | ADDRESS;
	PennySharedUser *set = &s->user[key % (PENNY_SHARED_USERS / USER_WAYS) * USER_WAYS];
	PennySharedUser *first = &set[0];

	for (int i = 0; i < USER_WAYS; i++)
	{
		if (atomic_load(&set[i].key) == key)
			return &set[i];
		if (atomic_load(&set[i].requests_at) < atomic_load(&first->requests_at))
			first = &set[i];
	}
	atomic_store(&first->requests_at, 0);
	atomic_store(&first->key, key);
	return first;
}

bool
penny_shared_take_user(PennyPlane *plane, uint64_t id_hash, uint32_t rate, uint64_t now_us)
{
	return rate == 0 || penny_rate_take(&bucket_of(plane->s, id_hash)->requests_at, rate, now_us);
}

bool
penny_rate_take(_Atomic uint64_t *at, uint32_t rate, uint64_t now_us)
{
	uint64_t each = SECOND / rate;
	uint64_t old = atomic_load(at);

	for (int i = 0; i < TRIES; i++)
	{
		uint64_t full = old > now_us ? old : now_us;

		/* further ahead than anybody would have put it: of a higher rate, or nonsense */
		if (full - now_us > SECOND)
			full = now_us + SECOND;
		if (full - now_us + each > SECOND)
			return false;
		if (atomic_compare_exchange_weak(at, &old, full + each))
			return true;
	}
	return true;
}

/* ---- end of an edge ------------------------------------------------------------ */

void
penny_shared_sweep(PennyPlane *plane, int edge)
{
	PennySharedHeader *s = plane->s;

	atomic_store(&s->serving[edge], 0);
	atomic_store(&s->open[edge], 0);
	for (int i = 0; i < PENNY_SHARED_ADDRESSES; i++)
	{
		uint64_t taken = (uint64_t) edge + 1;

		/* most entries were never used: do not dirty their pages */
		if (atomic_load_explicit(&s->address[i].key, memory_order_relaxed) == 0)
			continue;
		atomic_store(&s->address[i].open[edge], 0);
		atomic_compare_exchange_strong(&s->address[i].key, &taken, RETIRED);
	}
}
