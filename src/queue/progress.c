/*-------------------------------------------------------------------------
 *
 * progress.c
 *		How far jobs are, as their handlers and workers say.
 *
 * Progress is for who looks, and worth nothing after the job: it is told and kept
 * at once, beside the transaction of a handler, which ends when there is no more of
 * it.  A bounded table in shared memory has what was said last of PLACES jobs; the
 * one that was silent for longest makes room.  It is kept when the job has ended,
 * until others need the place, and does not outlive the server.
 *
 * The places of a job are a set of WAYS by its id, so a look compares few.  One
 * LWLock, held for a copy of PENNY_PROGRESS_MAX bytes at most; nothing is called
 * under it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/lwlock.h"

#include "base/shmem.h"
#include "queue/ending.h"
#include "queue/progress.h"

#define PLACES 512
#define WAYS 16

typedef struct Place
{
	int64 id; /* 0: free */
	uint64 said;
	uint32 size;
	char value[PENNY_PROGRESS_MAX + VARHDRSZ]; /* jsonb */
} Place;

typedef struct Progress
{
	uint64 clock;
	Place place[PLACES];
} Progress;

static Progress *progress = NULL;

static Size
progress_size(void)
{
	return sizeof(Progress);
}

static const PennyShmemPart part = {
	.name = "penny progress", .size = progress_size, .area = (void **) &progress, .locks = 1};

void
penny_progress_init(void)
{
	penny_shmem_register(&part);
}

static LWLock *
lock(void)
{
	static LWLock *the = NULL;

	if (the == NULL)
		the = &GetNamedLWLockTranche(part.name)->lock;
	return the;
}

/* The place of the job; NULL: it has none, and `*oldest` is the one to take. */
static Place *
find(int64 id, Place **oldest)
{
	Place *set = &progress->place[(uint64) id % (PLACES / WAYS) * WAYS];

	*oldest = set;
	for (int i = 0; i < WAYS; i++)
	{
		if (set[i].id == id)
			return &set[i];
		if (set[i].said < (*oldest)->said)
			*oldest = &set[i];
	}
	return NULL;
}

void
penny_progress_set(const PennyJobRow *row, const Jsonb *value)
{
	Size size = VARSIZE(value);
	Place *place;
	Place *oldest;

	if (size > sizeof(place->value))
		return;
	LWLockAcquire(lock(), LW_EXCLUSIVE);
	place = find(row->id, &oldest);
	if (place == NULL)
		place = oldest;
	place->id = row->id;
	place->said = ++progress->clock;
	place->size = (uint32) size;
	memcpy(place->value, value, size);
	LWLockRelease(lock());
	penny_progress_event(row, unconstify(Jsonb *, value));
}

Jsonb *
penny_progress_get(int64 id)
{
	Jsonb *copy = palloc(PENNY_PROGRESS_MAX + VARHDRSZ);
	Place *oldest;
	Place *place;

	LWLockAcquire(lock(), LW_SHARED);
	place = find(id, &oldest);
	if (place != NULL)
		memcpy(copy, place->value, place->size);
	LWLockRelease(lock());
	if (place != NULL)
		return copy;
	pfree(copy);
	return NULL;
}
