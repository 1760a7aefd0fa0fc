/*-------------------------------------------------------------------------
 *
 * rotate.c
 *		Emptying segments: which one, and when.
 *
 * A segment is emptied when ids have gone on to the next one and all its jobs have
 * ended.  Few that have not are moved to the deferred jobs (rotate_move.c), after a
 * while, or at once when ids come close to the segment's tables again.
 *
 * In a system with little to do ids would stay in one segment for months, and what
 * has ended with them.  So when much of the newest segment has ended, or some after an
 * hour, and little waits, the sequence is moved on to the next segment.
 *
 * _penny.rotate_jobs() asks for all of it now, whatever little has ended.
 *
 * Steps: the segment is closed, so that no row comes in any more (who writes rows
 * holds a lock on the table when he looks); the tables are locked without waiting,
 * looked through and truncated in one transaction (rotate_empty.c); the table is
 * free.  Should that fail, the segment is opened again.  A process that dies between
 * the steps leaves the segment closed, which is seen and mended here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "queue/load.h"
#include "queue/rotate.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define BUSY_PAUSE (10 * USECS_PER_SEC) /* until a lock is asked for again */
#define MANY_ENDED 100000               /* in the newest segment: ids go on */
#define SOME_ENDED 1000                 /* likewise after an hour */
#define HOUR (INT64CONST(3600) * USECS_PER_SEC)
#define MOVE_AFTER (60 * USECS_PER_SEC) /* since ids went on */
#define MOVED_PAUSE (USECS_PER_SEC / 10)
#define FEW 5000   /* jobs are moved */
#define SOME 50000 /* likewise when ids come close */
#define CLOSE (PENNY_SEGMENTS - 2)

typedef struct Look
{
	int64 segment; /* -1: the table holds none */
	uint32 seen;
	uint32 ended;
	int64 opened_at;
	int64 left_at;
} Look;

/* What there is; the newest segment, -1: none. */
static int64
look(Look *segments, int64 now)
{
	PennyQueueShared *s = penny_queue_shared;
	int64 newest = -1;

	penny_queue_lock();
	penny_sched_drain(penny_queue_sched(), now);
	for (int n = 0; n < PENNY_SEGMENTS; n++)
	{
		Look *it = &segments[n];

		it->segment = (int64) pg_atomic_read_u64(&s->open[n]) - 1;
		it->opened_at = s->opened_at[n];
		it->left_at = s->left_at[n];
		newest = Max(newest, it->segment);
		if (it->segment >= 0)
			penny_sched_segment_counts(penny_queue_sched(), it->segment, &it->seen, &it->ended);
	}
	penny_queue_unlock();
	return newest;
}

/* Segments that somebody closed and did not live to empty, or to say so. */
static void
mend(int64 now)
{
	PennyQueueShared *s = penny_queue_shared;

	for (int n = 0; n < PENNY_SEGMENTS; n++)
	{
		PennyOpenTable open;
		int64 segment;

		if (pg_atomic_read_u64(&s->open[n]) != 0 || s->empty[n])
			continue;
		StartTransactionCommand();
		penny_table_open(&open, (PennyQueueTable) (PENNY_TABLE_JOB + n), AccessShareLock);
		segment = penny_segment_in_table(&open);
		penny_table_close(&open);
		CommitTransactionCommand();
		penny_queue_lock();
		s->empty[n] = true;
		if (segment >= 0)
			(void) penny_segment_open(segment, now);
		penny_queue_unlock();
	}
}

/* Ids are to go on in the segment after this one. */
static bool
move_on(int64 segment)
{
	int n = (int) ((segment + 1) % PENNY_SEGMENTS);
	bool free;
	bool moved;

	penny_queue_lock();
	free = pg_atomic_read_u64(&penny_queue_shared->open[n]) == 0 && penny_queue_shared->empty[n];
	penny_queue_unlock();
	if (!free)
		return false;
	StartTransactionCommand();
	moved = penny_sequence_to((segment + 1) << PENNY_SEGMENT_BITS);
	CommitTransactionCommand();
	return moved;
}

static PennyEmptied
empty(int64 segment, int64 now)
{
	PennyQueueShared *s = penny_queue_shared;
	int n = (int) (segment % PENNY_SEGMENTS);
	PennyEmptied how;
	int64 first = PENNY_QUEUE_NOT_MISSED;

	penny_queue_lock();
	pg_atomic_write_u64(&s->open[n], 0);
	penny_queue_unlock();
	StartTransactionCommand();
	how = penny_segment_empty(segment, &first);
	if (how == PENNY_EMPTIED)
		CommitTransactionCommand();
	else
		AbortCurrentTransaction();
	penny_queue_lock();
	s->empty[n] = true;
	if (how != PENNY_EMPTIED)
		(void) penny_segment_open(segment, now);
	penny_queue_unlock();
	if (how == PENNY_EMPTIED)
		penny_queue_count(PENNY_QUEUE_ROTATIONS, 1);
	else if (how == PENNY_EMPTIED_NOT)
		penny_queue_missed_all(first);
	return how;
}

/* A segment that ids have left; when to look at it again. */
static int64
finish(Look *it, int64 newest, int64 now, bool asked)
{
	bool close = newest - it->segment >= CLOSE;
	uint32 live = it->seen - it->ended;
	int n = (int) (it->segment % PENNY_SEGMENTS);

	if (it->left_at == 0)
		it->left_at = penny_queue_shared->left_at[n] = now;
	if (live > 0)
	{
		if (live > (close ? SOME : FEW) || (!close && !asked && now - it->left_at < MOVE_AFTER))
			return now + PENNY_ROTATE_PAUSE;
		penny_segment_move_jobs(it->segment, (int) live);
		return now + MOVED_PAUSE;
	}
	return empty(it->segment, now) == PENNY_EMPTIED ? 0 : now + BUSY_PAUSE;
}

/* The segment of the newest ids. */
static bool
leave(const Look *it, int64 now, bool asked)
{
	uint32 live = it->seen - it->ended;

	if (live > FEW || it->ended < (asked ? 1 : SOME_ENDED) ||
		(it->ended < MANY_ENDED && now - it->opened_at < HOUR && !asked))
		return false;
	return move_on(it->segment);
}

int64
penny_rotate(int64 now)
{
	PennyQueueShared *s = penny_queue_shared;
	Look segments[PENNY_SEGMENTS];
	int64 next = PENNY_SCHED_NEVER;
	int64 newest;

	bool asked = pg_atomic_exchange_u32(&s->rotate_now, 0) != 0;

	if (now < s->rotate_at && s->rotate_at - now <= PENNY_ROTATE_PAUSE && !asked)
		return s->rotate_at;
	mend(now);
	newest = look(segments, now);
	if (newest >= 0 && leave(&segments[newest % PENNY_SEGMENTS], now, asked))
		newest++;
	for (int n = 0; n < PENNY_SEGMENTS; n++)
	{
		if (segments[n].segment < 0)
			continue;
		if (segments[n].segment != newest)
			next = Min(next, finish(&segments[n], newest, now, asked));
		else if (segments[n].seen > 0)
			next = Min(next, now + PENNY_ROTATE_PAUSE);
	}
	s->rotate_at = next;
	return next;
}
