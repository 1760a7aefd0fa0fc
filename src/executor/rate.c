/*-------------------------------------------------------------------------
 *
 * rate.c
 *		Requests a second of one user, over all addresses and gateways.
 *
 * Who calls is known when an executor has verified the token, so it is here
 * that a user is counted (an address is counted by the edges).  A user has a
 * bucket of one second's worth: one word, the time at which it will be empty
 * again, that executors move on by compare-and-swap.
 *
 * The table is small and fixed: a user's bucket is one of WAYS in the set that
 * its id hashes to, and the one that is empty first gives way.  So with more
 * than WAYS busy users in one set some are counted too low; none is refused
 * for what another did, except by a collision of 63 bits.  Two executors that
 * take the same place at once do the same harm.  The seed is random, so that
 * nobody can choose ids that meet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/error.h"
#include "base/shmem.h"
#include "config/config.h"
#include "executor/rate.h"
#include "plane/share.h"

#define SETS 1024
#define WAYS 8
#define USED UINT64CONST(0x8000000000000000) /* no key is 0 */

typedef struct Bucket
{
	_Atomic uint64_t key; /* of the user, 0 = none yet */
	_Atomic uint64_t at;  /* us: empty then */
} Bucket;

typedef struct Rates
{
	uint64_t seed;
	Bucket bucket[SETS][WAYS];
} Rates;

static Rates *rates = NULL;

static Size rates_size(void);
static void make_rates(void);

static const PennyShmemPart rates_part = {
	.name = "penny rates", .size = rates_size, .area = (void **) &rates, .init = make_rates};

void
penny_rate_init(void)
{
	penny_shmem_register(&rates_part);
}

static Size
rates_size(void)
{
	return sizeof(Rates);
}

static void
make_rates(void)
{
	if (!pg_strong_random(&rates->seed, sizeof(rates->seed)))
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random number")));
}

/* The user's bucket, taken from another user if it has none. */
static Bucket *
bucket_of(const pg_uuid_t *user)
{
	uint64_t key = penny_hash(user->data, UUID_LEN, rates->seed) | USED;
	Bucket *set = rates->bucket[key % SETS];
	Bucket *first = &set[0];

	for (int i = 0; i < WAYS; i++)
	{
		if (atomic_load(&set[i].key) == key)
			return &set[i];
		if (atomic_load(&set[i].at) < atomic_load(&first->at))
			first = &set[i];
	}
	atomic_store(&first->at, 0);
	atomic_store(&first->key, key);
	return first;
}

void
penny_rate_check(PennyRun *run)
{
	/* what the edge repeats for a client that waits was counted when it came */
	if (penny_requests_per_second == 0 || run->counted || !run->caller.identity.has_user ||
		(run->request.flags & PENNY_REQUEST_AGAIN) != 0)
		return;
	run->counted = true;
	if (!penny_rate_take(&bucket_of(&run->caller.identity.user_id)->at,
						 (uint32) penny_requests_per_second, (uint64) penny_run_clock()))
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_TOO_MANY_REQUESTS), errmsg("user makes too many requests"),
				 errdetail("At most %d a second are served.", penny_requests_per_second)));
}
