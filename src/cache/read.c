/*-------------------------------------------------------------------------
 *
 * read.c
 *		A read through the cache: look up, build, keep.  See cache.h.
 *
 * Look up: find the entry, copy its bytes, and then ask each of its stamps
 * whether it still has the seq of the entry's token and whether its pushers are
 * all over in the active snapshot.  If so, the bytes are what that snapshot
 * sees: whoever pushed before has been seen by both the fill and this
 * snapshot, whoever pushes later becomes visible later than this snapshot was
 * taken.
 *
 * Keep: the same question, of the tokens that were collected and the snapshot
 * that the value was built under; plane/cache.h says why that is enough.
 *
 * Around the cache go: SERIALIZABLE, which needs the locks that a real read
 * takes; recovery, where nobody pushes; whoever has an xid, since he may have
 * written what he reads, be it that its trigger has not fired yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/sinval.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "cache/cache_private.h"
#include "cache/l2.h"
#include "config/config.h"

#define COPY_TRIES 3

typedef enum LookUp
{
	FOUND,
	NOT_THERE,
	NOT_FOR_US /* valid, but not for this snapshot: a fill would be refused too */
} LookUp;

static bool going_around = false; /* penny_cache_go_around() */

static PennyCacheRefusal begin(PennyCacheRead *read, PennyCacheKind kind, const PennyCacheKey *key,
							   const char *label);
static void collect(PennyCacheRead *read, int flight);
static PennyCacheRefusal why_around(void);
static bool is_dirty(const PennyCacheHit *hit);
static LookUp look_up(PennyCacheRead *read);
static PennyCacheResult around(PennyCacheRead *read, PennyCacheRefusal why);
static PennyCacheRefusal may_keep(const PennyCollector *collector);
static PennyCacheRefusal put(const PennyCacheRead *read, const PennyCollector *collector,
							 uint32 status, PennySpan head, PennySpan body, const char *etag,
							 int64 ttl_ms);

/* ---- opening ------------------------------------------------------------- */

PennyCacheResult
penny_cache_open(PennyCacheRead *read, PennyCacheKind kind, int whose, const char *label,
				 const PennySpan *part, int parts)
{
	PennyCacheKey key = {{0, 0}};

	if (penny_cache_is_on())
		penny_cache_make_key(kind, whose, part, parts, &key);
	return penny_cache_open_key(read, kind, &key, label);
}

PennyCacheResult
penny_cache_open_key(PennyCacheRead *read, PennyCacheKind kind, const PennyCacheKey *key,
					 const char *label)
{
	PennyCacheRefusal why = begin(read, kind, key, label);
	PennyFlightWait wait = {0};
	int flight;

	if (why != PENNY_CACHE_FINE)
		return around(read, why);
	for (;;)
	{
		switch (look_up(read))
		{
			case FOUND:
				penny_cache_count(hits[kind]);
				if (wait.deadline != 0)
					penny_cache_count(waits_won);
				read->result = PENNY_CACHE_HIT;
				return PENNY_CACHE_HIT;
			case NOT_FOR_US:
				return around(read, PENNY_CACHE_REFUSED_FENCE);
			case NOT_THERE:
				break;
		}
		if (penny_flight_start(key, &wait, &flight) != PENNY_FLIGHT_WAITED)
			break;
	}
	collect(read, flight);
	return PENNY_CACHE_MISS;
}

void
penny_cache_renew(PennyCacheRead *read, PennyCacheKind kind, const PennyCacheKey *key,
				  const char *label)
{
	PennyCacheRefusal why = begin(read, kind, key, label);

	if (why != PENNY_CACHE_FINE)
		(void) around(read, why);
	else
		collect(read, PENNY_FLIGHT_NONE);
}

static PennyCacheRefusal
begin(PennyCacheRead *read, PennyCacheKind kind, const PennyCacheKey *key, const char *label)
{
	memset(read, 0, offsetof(PennyCacheRead, hit));
	read->head = read->body = NULL;
	read->key = *key;
	read->kind = kind;
	strlcpy(read->label, label, sizeof(read->label));
	return why_around();
}

/* Open the collector of what will be built. */
static void
collect(PennyCacheRead *read, int flight)
{
	read->level = penny_collector_open(read->kind, GetActiveSnapshot(), flight)->level;
	read->result = PENNY_CACHE_MISS;
	read->begun_us = (int64) (penny_clock_ns() / 1000);
	penny_collector_depend(PENNY_STAMP_ALL);
	AcceptInvalidationMessages(); /* after the token: see fence.c */
}

/* Why is this read none for the cache? */
static PennyCacheRefusal
why_around(void)
{
	Snapshot snapshot;

	if (!penny_cache_is_on() || going_around || !ActiveSnapshotSet() || IsParallelWorker())
		return PENNY_CACHE_REFUSED_OTHER;
	snapshot = GetActiveSnapshot();
	if (IsolationIsSerializable() || snapshot->snapshot_type != SNAPSHOT_MVCC ||
		snapshot->takenDuringRecovery || RecoveryInProgress() || HistoricSnapshotActive())
		return PENNY_CACHE_REFUSED_SERIALIZABLE;
	if (FullTransactionIdIsValid(GetTopFullTransactionIdIfAny()))
		return PENNY_CACHE_REFUSED_WRITER;
	if (penny_debug_cache_fence == PENNY_FENCE_ON && !penny_fence_started(snapshot))
		return PENNY_CACHE_REFUSED_STARTUP;
	return PENNY_CACHE_FINE;
}

static PennyCacheResult
around(PennyCacheRead *read, PennyCacheRefusal why)
{
	read->refusal = why;
	read->result = PENNY_CACHE_MISS;
	penny_cache_pass_by(read->kind, why);
	return PENNY_CACHE_MISS;
}

void
penny_cache_pass_by(PennyCacheKind kind, PennyCacheRefusal why)
{
	if (penny_cache_shared() != NULL)
	{
		penny_cache_count(refused[why]);
		penny_cache_count(misses[kind]);
	}
	/* what is built around it is no more for keeping than this */
	penny_cache_refuse(why);
}

/* Has the transaction changed something by a tag of this entry, without an xid? */
static bool
is_dirty(const PennyCacheHit *hit)
{
	for (int i = 0; i < hit->tokens; i++)
		if (penny_fence_is_dirty(hit->token[i].slot))
			return true;
	return false;
}

/* Copy the bytes of a hit; false when they went away. */
static bool
copy_bytes(PennyCacheRead *read)
{
	Size len = (Size) read->hit.head_len + read->hit.body_len;
	char *bytes = palloc(len + 1);

	if (!penny_cache_copy(penny_plane(), &read->hit, bytes))
	{
		pfree(bytes);
		return false;
	}
	bytes[len] = '\0';
	read->head = bytes;
	read->body = bytes + read->hit.head_len;
	return true;
}

static LookUp
look_up(PennyCacheRead *read)
{
	PennyCacheResult result = PENNY_CACHE_MISS;
	PennyFenceState state;

	for (int i = 0; i < COPY_TRIES; i++)
	{
		result =
			penny_cache_find(penny_plane(), &read->key, (uint64_t) penny_clock_ms(), &read->hit);
		if (result != PENNY_CACHE_HIT || copy_bytes(read))
			break;
		result = PENNY_CACHE_MISS;
	}
	pg_atomic_fetch_add_u64(&penny_cache_counts()->result[result], 1);
	if (result == PENNY_CACHE_NO_BODY && (read->head = penny_l2_get(&read->hit)) != NULL)
		read->body = read->head + read->hit.head_len;
	else if (result != PENNY_CACHE_HIT)
		return NOT_THERE;

	pg_read_barrier(); /* the copy before the stamps */
	state = penny_debug_cache_fence == PENNY_FENCE_ON
				? penny_fence_tokens(read->hit.token, read->hit.tokens, GetActiveSnapshot())
				: (penny_cache_holds(penny_plane(), &read->hit) ? PENNY_FENCE_CLEAR
																: PENNY_FENCE_MOVED);
	if (state == PENNY_FENCE_CLEAR && !is_dirty(&read->hit))
	{
		penny_cache_used(penny_plane(), &read->hit);
		penny_collector_include(&read->hit);
		for (int i = 0; i < read->hit.tokens && !read->tagged; i++)
			read->tagged = read->hit.token[i].slot != PENNY_STAMP_ALL;
		return FOUND;
	}
	pfree(read->head);
	read->head = read->body = NULL;
	return state == PENNY_FENCE_MOVED ? NOT_THERE : NOT_FOR_US;
}

/* ---- keeping ------------------------------------------------------------- */

PennyCacheRefusal
penny_cache_fill(PennyCacheRead *read, uint32 status, PennySpan head, PennySpan body,
				 const char *etag, int64 ttl_ms)
{
	PennyCollector collector;
	PennyCacheRefusal why;

	if (read->level == 0)
		return read->refusal;
	if (!penny_collector_close(read->level, &collector))
		return PENNY_CACHE_REFUSED_OTHER;
	read->level = 0;
	read->tagged = collector.tagged;
	penny_cache_count(misses[collector.kind]);
	why = may_keep(&collector);
	if (why == PENNY_CACHE_FINE)
		why = put(read, &collector, status, head, body, etag, ttl_ms);
	if (why == PENNY_CACHE_FINE)
		penny_cache_count(fills[collector.kind]);
	else
		penny_cache_count(refused[why]);
	penny_flight_end(collector.flight, why == PENNY_CACHE_FINE);
	read->refusal = why;
	return why;
}

void
penny_cache_abandon(PennyCacheRead *read)
{
	PennyCollector collector;

	if (read->level == 0 || !penny_collector_close(read->level, &collector))
		return;
	read->level = 0;
	penny_cache_count(misses[collector.kind]);
	penny_flight_end(collector.flight, false);
}

/* May the value be kept, that was built under the active snapshot? */
static PennyCacheRefusal
may_keep(const PennyCollector *collector)
{
	Snapshot snapshot;
	PennyFenceState state;

	if (collector->refusal != PENNY_CACHE_FINE)
		return collector->refusal;
	if (FullTransactionIdIsValid(GetTopFullTransactionIdIfAny()))
		return PENNY_CACHE_REFUSED_WRITER;
	for (int i = 0; i < collector->tokens; i++)
		if (penny_fence_is_dirty(collector->token[i].slot))
			return PENNY_CACHE_REFUSED_WRITER;
	if ((MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0 || !ActiveSnapshotSet())
		return PENNY_CACHE_REFUSED_OTHER;
	snapshot = GetActiveSnapshot();
	if (snapshot->xmin != collector->xmin || snapshot->xmax != collector->xmax)
		return PENNY_CACHE_REFUSED_OTHER;

	if (penny_debug_cache_fence == PENNY_FENCE_DELETE)
		return PENNY_CACHE_FINE;
	/* the count before the tokens: see fence.c */
	if (!penny_cache_catalogs_still())
		return PENNY_CACHE_REFUSED_FENCE;
	pg_read_barrier();
	state = penny_fence_tokens(collector->token, collector->tokens, snapshot);
	if (state == PENNY_FENCE_MOVED)
		return PENNY_CACHE_REFUSED_MOVED;
	if (state == PENNY_FENCE_BLOCKED && penny_debug_cache_fence == PENNY_FENCE_ON)
		return PENNY_CACHE_REFUSED_FENCE;
	penny_fence_settle(collector->token, collector->tokens);
	return PENNY_CACHE_FINE;
}

static PennyCacheRefusal
put(const PennyCacheRead *read, const PennyCollector *collector, uint32 status, PennySpan head,
	PennySpan body, const char *etag, int64 ttl_ms)
{
	LWLock *lock = penny_cache_lock(PENNY_CACHE_LOCK);
	PennyCacheToken now_token[PENNY_CACHE_TOKENS];
	PennyCachePutResult result;
	PennyCachePut what = {.key = read->key,
						  .kind = collector->kind,
						  .status = status,
						  .head = head,
						  .body = body,
						  .etag = etag,
						  .label = read->label,
						  .now = (uint64_t) penny_clock_ms(),
						  .tokens = collector->tokens,
						  .token = collector->token};
	PennyCacheKey hash;

	penny_cache_hash(penny_plane(), status, head, body, &hash);
	what.hash = &hash;
	what.expires = what.now + (uint64_t) Max(ttl_ms, 0);
	if (penny_debug_cache_fence == PENNY_FENCE_DELETE)
	{
		for (int i = 0; i < collector->tokens; i++)
		{
			now_token[i].slot = collector->token[i].slot;
			now_token[i].seq = penny_stamp_seq(penny_plane(), now_token[i].slot);
		}
		what.token = now_token;
	}
	LWLockAcquire(lock, LW_EXCLUSIVE);
	result = penny_cache_put(penny_plane(), &what);
	LWLockRelease(lock);
	switch (result)
	{
		case PENNY_CACHE_KEPT:
			penny_l2_put(what.kind, status, read->label, &read->key, &hash,
						 (int64) (penny_clock_ns() / 1000) - read->begun_us);
			return PENNY_CACHE_FINE;
		case PENNY_CACHE_TOO_LARGE:
			return PENNY_CACHE_REFUSED_SIZE;
		default:
			return PENNY_CACHE_REFUSED_OTHER;
	}
}

/* ---- beside -------------------------------------------------------------- */

bool
penny_cache_is_tagged(const PennyCacheRead *read)
{
	return read->tagged;
}

bool
penny_cache_settled(uint32 slot, uint64 *seq)
{
	PennyCacheToken token = {.slot = slot};
	bool still;

	*seq = 0;
	if (why_around() != PENNY_CACHE_FINE)
		return false;
	token.seq = *seq = penny_stamp_seq(penny_plane(), slot);
	/* the token, the count, what others were told: as for a fill, see fence.c */
	still = penny_cache_catalogs_still();
	AcceptInvalidationMessages();
	return still && penny_fence_tokens(&token, 1, GetActiveSnapshot()) == PENNY_FENCE_CLEAR;
}

bool
penny_cache_go_around(bool on)
{
	bool was = going_around;

	going_around = on;
	return was;
}

uint64
penny_cache_drop_all(void)
{
	LWLock *lock = penny_cache_lock(PENNY_CACHE_LOCK);
	PennyCacheUse use;

	if (!penny_cache_is_on())
		return 0;
	penny_cache_push_all_now();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	penny_cache_use(penny_plane(), &use);
	penny_cache_clear(penny_plane());
	LWLockRelease(lock);
	return use.entries;
}

static void
set_quota(PennyCacheKind kind, int percent)
{
	penny_cache_set_quota(penny_plane(), kind, (uint32_t) percent);
}

void
penny_cache_apply_settings(void)
{
	LWLock *lock;

	if (!penny_cache_is_on())
		return;
	lock = penny_cache_lock(PENNY_CACHE_LOCK);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int kind = 0; kind < PENNY_CACHE_KINDS; kind++)
		set_quota(kind, 100);
	(void) penny_config_quotas(penny_cache_quotas, set_quota);
	LWLockRelease(lock);
}

static void
transaction_event(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		going_around = false;
}

void
penny_cache_init(void)
{
	penny_cache_shared_init();
	penny_fence_init();
	penny_collector_init();
	penny_cache_watch_init();
	RegisterXactCallback(transaction_event, NULL);
}
