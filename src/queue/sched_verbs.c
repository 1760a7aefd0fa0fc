/*-------------------------------------------------------------------------
 *
 * sched_verbs.c
 *		What happens to an entry: it arrives, is owned, ends, comes again.
 *
 * drain() comes first wherever the order must be of this moment: it handles
 * what was posted, then what time brings.  Entries that are given back go onto
 * the free list together, at the end of each function here.
 *
 * A post is never trusted to fit: an entry that was reserved and is posted with
 * anything but ARRIVED is dropped, an ENDING one with anything but ENDED and
 * RETRY is what it was.  Of a post of an older incarnation only this is kept:
 * an arrived row is noted as missed, so it is not lost when it was committed
 * after the tables were read anew.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#define TOLD_BY_ROW \
	(PENNY_JOB_DEFERRED | PENNY_JOB_KEYED | PENNY_JOB_CHILD | PENNY_JOB_TOLD | PENNY_JOB_REDRIVEN)

/* ---- the hash ------------------------------------------------------------------------ */

static uint32_t
find_id(const PennySched *s, int64_t id)
{
	uint32_t ref = *penny_id_head(s, id);

	while (ref != 0 && penny_job_at(s, ref)->id != id)
		ref = penny_job_at(s, ref)->same_hash;
	return ref;
}

static void
put_id(PennySched *s, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	uint32_t *head = penny_id_head(s, job->id);

	job->same_hash = *head;
	*head = ref;
}

static void
remove_id(PennySched *s, uint32_t ref)
{
	uint32_t *link = penny_id_head(s, penny_job_at(s, ref)->id);

	while (*link != ref)
		link = &penny_job_at(s, *link)->same_hash;
	*link = penny_job_at(s, ref)->same_hash;
}

/* ---- coming and going ------------------------------------------------------------------ */

/* READY or DELAYED, by its time. */
static void
put_in(PennySched *s, uint32_t ref, int64_t now)
{
	if (penny_job_at(s, ref)->due <= now)
		penny_sched_ready(s, ref);
	else
		penny_sched_delay(s, ref);
}

/* A RESERVED entry is committed.  False: its job is known, or must be offered again. */
static bool
arrive(PennySched *s, uint32_t ref, int64_t now)
{
	PennyJob *job = penny_job_at(s, ref);

	if (job->queue >= PENNY_SCHED_QUEUES || job->id <= 0 || find_id(s, job->id) != 0)
		return false;
	if ((job->flags & PENNY_JOB_DEFERRED) == 0)
	{
		if (!penny_sched_set_seen(s, job->id))
		{
			if (!penny_sched_seen(s, job->id))
				penny_sched_missed(s, job->id);
			return false;
		}
		job->in_segment = 1;
	}
	put_id(s, ref);
	put_in(s, ref, now);
	return true;
}

/* Its start is over, if it was started and that is not over yet. */
static void
end_start(PennySched *s, PennyJob *job)
{
	if (job->token != 0)
		penny_sched_release(s, job);
}

static void
end_ended(PennySched *s, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);

	end_start(s, job);
	penny_sched_leave_group(s, job);
	penny_sched_leave_segment(s, job);
	remove_id(s, ref);
	s->queues[job->queue].ended++;
	penny_sched_free(s, ref);
}

static void
end_retry(PennySched *s, uint32_t ref, int64_t now)
{
	PennyJob *job = penny_job_at(s, ref);

	end_start(s, job);
	penny_sched_leave_group(s, job);
	if ((job->flags & PENNY_JOB_DEFERRED) != 0)
		penny_sched_leave_segment(s, job);
	else if (!job->in_segment)
		job->flags |= PENNY_JOB_DEFERRED;
	put_in(s, ref, now);
}

/* Nothing was recorded: it is what it was, and its row where it was. */
static void
end_kept(PennySched *s, uint32_t ref, int64_t now)
{
	PennyJob *job = penny_job_at(s, ref);

	if (job->in_segment)
		job->flags &= (uint16_t) ~PENNY_JOB_DEFERRED;
	else
		job->flags |= PENNY_JOB_DEFERRED;
	if (job->token != 0)
	{
		penny_job_set_state(job, PENNY_JOB_ACTIVE);
		s->queues[job->queue].active++;
		penny_sched_put_lease(s, ref);
	}
	else if (job->before == PENNY_JOB_READY)
		penny_sched_ready(s, ref);
	else
		put_in(s, ref, now);
}

static void
apply(PennySched *s, uint32_t ref, PennyJobVerb verb, int64_t now)
{
	PennyJob *job = penny_job_at(s, ref);
	uint8_t state = penny_job_state(job);

	job->verb = PENNY_VERB_NONE;
	if (state != PENNY_JOB_RESERVED && state != PENNY_JOB_ENDING)
		return;
	if (job->incarnation != (uint16_t) penny_sched_incarnation(s))
	{
		if (state == PENNY_JOB_RESERVED && verb == PENNY_VERB_ARRIVED && job->id > 0 &&
			(job->flags & PENNY_JOB_DEFERRED) == 0)
			penny_sched_missed(s, job->id);
		penny_sched_free(s, ref);
		return;
	}
	if (state == PENNY_JOB_RESERVED)
	{
		if (verb != PENNY_VERB_ARRIVED || !arrive(s, ref, now))
			penny_sched_free(s, ref);
		return;
	}
	s->queues[job->queue].ending--;
	if (verb == PENNY_VERB_ENDED)
		end_ended(s, ref);
	else if (verb == PENNY_VERB_RETRY)
		end_retry(s, ref, now);
	else
		end_kept(s, ref, now);
}

void
penny_sched_drain(PennySched *s, int64_t now)
{
	uint32_t ref;

	penny_sched_clock(s, now);
	ref = penny_sched_take_inbox(s);
	while (ref != 0)
	{
		uint32_t next = penny_job_link(s, ref);

		apply(s, ref, (PennyJobVerb) penny_job_at(s, ref)->verb, now);
		ref = next;
	}
	penny_sched_promote(s, now);
	penny_sched_open_by_time(s);
	penny_sched_flush(s);
}

/* ---- under the lock ---------------------------------------------------------------------- */

PennyJobRef
penny_sched_find(PennySched *s, int64_t id, int64_t now)
{
	penny_sched_drain(s, now);
	return find_id(s, id);
}

bool
penny_sched_own(PennySched *s, PennyJobRef ref, int64_t now)
{
	PennyJob *job = penny_job_at(s, ref);
	PennySchedQueue *queue = &s->queues[job->queue % PENNY_SCHED_QUEUES];

	penny_sched_clock(s, now);
	if (!penny_job_known(s, job) || job->state == PENNY_JOB_ENDING)
		return false;
	job->before = job->state;
	if (job->state == PENNY_JOB_READY)
		penny_sched_unready(s, ref);
	else if (job->state == PENNY_JOB_DELAYED)
		penny_sched_undelay(s, ref);
	else
	{
		penny_sched_remove_lease(s, ref);
		queue->active--;
	}
	penny_job_set_state(job, PENNY_JOB_ENDING);
	queue->ending++;
	return true;
}

void
penny_sched_lease(PennySched *s, PennyJobRef ref, int64_t until, int64_t now)
{
	PennyJob *job = penny_job_at(s, ref);

	penny_sched_clock(s, now);
	if (!penny_job_known(s, job) || job->state != PENNY_JOB_ACTIVE)
		return;
	penny_sched_remove_lease(s, ref);
	job->until = until;
	penny_sched_put_lease(s, ref);
}

void
penny_sched_put_back(PennySched *s, PennyJobRef ref, int64_t now)
{
	PennyJob *job = penny_job_at(s, ref);

	penny_sched_clock(s, now);
	if (!penny_job_known(s, job) || job->state != PENNY_JOB_ACTIVE)
		return;
	penny_sched_remove_lease(s, ref);
	s->queues[job->queue].active--;
	penny_sched_release(s, job);
	penny_sched_ready(s, ref);
}

/* Newest first, so that each goes before those that are back already. */
uint32_t
penny_sched_give_up(PennySched *s, uint32_t holder, uint64_t token, int64_t now)
{
	uint32_t back = 0;
	uint32_t ref;

	penny_sched_drain(s, now);
	while (holder < PENNY_SCHED_HOLDERS && (ref = s->holders[holder].first) != 0)
	{
		PennyJob *job = penny_job_at(s, ref);

		if (job->token < token)
			break;
		if (job->state == PENNY_JOB_ACTIVE)
		{
			penny_sched_put_back(s, ref, now);
			back++;
			continue;
		}
		/* another's transaction ends it; if it does not, it is ready */
		job->before = PENNY_JOB_READY;
		penny_sched_release(s, job);
	}
	return back;
}

uint32_t
penny_sched_abandon(PennySched *s, uint32_t holder, int64_t now)
{
	return penny_sched_give_up(s, holder, 0, now);
}

void
penny_sched_finish(PennySched *s, PennyJobRef ref, PennyJobVerb verb, int64_t now)
{
	if (penny_job_state(penny_job_at(s, ref)) != PENNY_JOB_ENDING)
		penny_sched_own(s, ref, now);
	penny_sched_clock(s, now);
	apply(s, ref, verb, now);
	penny_sched_flush(s);
}

uint32_t
penny_sched_expired(PennySched *s, int64_t now, uint32_t max, PennyJobRef *refs)
{
	uint32_t n = 0;

	penny_sched_drain(s, now);
	while (n < max && s->leases != 0 && penny_job_at(s, s->leases)->until <= now)
	{
		refs[n] = s->leases;
		penny_sched_own(s, refs[n++], now);
	}
	return n;
}

PennyJobRef
penny_sched_offer(PennySched *s, const PennyJob *row, int64_t now)
{
	bool deferred = (row->flags & PENNY_JOB_DEFERRED) != 0;
	PennyJobRef ref;
	PennyJob *job;

	penny_sched_clock(s, now);
	if (row->id <= 0 || row->queue >= PENNY_SCHED_QUEUES || find_id(s, row->id) != 0 ||
		(!deferred && penny_sched_seen(s, row->id)))
		return 0;
	if ((!deferred && !penny_sched_is_open(s, penny_segment_of(row->id))) ||
		penny_sched_reserve(s, row->queue, 1, &ref) == 0)
	{
		penny_sched_missed(s, row->id);
		return PENNY_SCHED_ANY;
	}
	job = penny_job_at(s, ref);
	job->id = row->id;
	job->due = row->due;
	job->kind = row->kind;
	job->group = row->group;
	job->block = row->block;
	job->offset = row->offset;
	job->priority = row->priority;
	job->flags = row->flags & TOLD_BY_ROW;
	job->attempt = row->attempt;
	arrive(s, ref, now);
	return ref;
}
