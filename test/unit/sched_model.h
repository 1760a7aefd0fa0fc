/*-------------------------------------------------------------------------
 *
 * sched_model.h
 *		The ready order of jobs once more, naively: arrays, everything counted
 *		anew from them whenever it is asked for.  Beside it the real one; both
 *		get the same operations, and after each all that can be seen is compared.
 *
 * Every choice is made by model->choose(), by a random generator or by a
 * fuzzer's input, so a schedule can be repeated.  The model does not say which
 * job must be next where turns decide, but what may be taken (states, limits
 * by every start there was, order in the group), that nothing more could have
 * been taken when less came than was asked for, and the bounds of turns: a
 * waiting rank 1, groups of a queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SCHED_MODEL_H
#define PENNY_SCHED_MODEL_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/sched_private.h"

#define QUEUES 5
#define GROUPS 5 /* 0: without */
#define KINDS 4  /* one for each runner and one without handler */
#define HOLDERS 3
#define JOBS 512    /* records; ended ones are used again */
#define STARTS 8192 /* a ring */
#define IDS 400     /* of each segment */
#define WINDOW 50000
#define GROUP_WINDOW 20000
#define BATCH 24

typedef struct Model Model;

typedef struct ModelJob
{
	PennyJob said; /* what the enqueuer says */
	PennyJobRef ref;
	PennyJobState state; /* FREE: the record is */
	PennyJobState before;
	PennyJobVerb posted;
	bool old; /* of an older incarnation */
	bool in_segment;
	bool started; /* and that is not over */
	bool serial;
	uint32_t holder;
	int64_t until;
	uint64_t token;
	uint64_t post; /* order of posts */
} ModelJob;

typedef struct ModelStart
{
	int queue;
	uint64_t group;
	int64_t at;
	bool counts;          /* for the limiter of its queue, ... */
	bool counts_in_group; /* ... of its group */
} ModelStart;

struct Model
{
	PennySched *s;
	uint32_t entries;
	uint64_t (*choose)(Model *model, uint64_t below);
	uint64_t random;
	const uint8_t *input;
	size_t input_len;
	const char *wrong;

	int64_t now;
	int64_t mono;
	int64_t skew;
	int64_t segment; /* the newest that is open */
	int64_t missed;
	uint64_t posts;
	uint64_t last_token;
	PennyQueueLimits limits[QUEUES];
	PennyRunner runner[KINDS];
	ModelJob job[JOBS];
	int used; /* records */
	uint8_t seen[PENNY_SEGMENTS][IDS];
	uint8_t done[PENNY_SEGMENTS][IDS];
	ModelStart start[STARTS];
	uint32_t starts;
	uint64_t started[QUEUES];
	uint64_t ended[QUEUES];
	uint32_t high[PENNY_RUNNERS]; /* starts of rank 0 in a row, while rank 1 waited */
	uint32_t low[PENNY_RUNNERS];  /* of rank 1, while rank 0 waited */
	uint64_t step;
	uint64_t last_start[QUEUES][PENNY_RUNNERS][GROUPS];
	uint64_t waits_since[QUEUES][PENNY_RUNNERS][GROUPS]; /* 0: it does not */
	uint64_t compared;                                   /* every so many steps all is compared */
	uint64_t taken; /* jobs, for the test that something happened */
};

#define MODEL_MUST(model, condition)                                       \
	do                                                                     \
	{                                                                      \
		if (!(condition) && (model)->wrong == NULL)                        \
			(model)->wrong = "line " MODEL_LINE(__LINE__) ": " #condition; \
	} while (0)
#define MODEL_LINE(line) MODEL_TEXT(line)
#define MODEL_TEXT(line) #line

static inline uint64_t
choose(Model *model, uint64_t below)
{
	return model->choose(model, below);
}

/* ---- what the model says ------------------------------------------------------------ */

static inline bool
is_known(const ModelJob *job)
{
	return job->state >= PENNY_JOB_DELAYED && !job->old;
}

static inline PennyRunner
runner_of(const Model *model, const ModelJob *job)
{
	return model->runner[job->said.kind - 1];
}

static ModelJob *
model_find(Model *model, int64_t id)
{
	for (int i = 0; i < model->used; i++)
		if (is_known(&model->job[i]) && model->job[i].said.id == id)
			return &model->job[i];
	return NULL;
}

static ModelJob *
model_of_ref(Model *model, PennyJobRef ref)
{
	for (int i = 0; i < model->used; i++)
		if (model->job[i].state != PENNY_JOB_FREE && model->job[i].ref == ref)
			return &model->job[i];
	return NULL;
}

static ModelJob *
model_record(Model *model)
{
	for (int i = 0; i < JOBS; i++)
		if (model->job[i].state == PENNY_JOB_FREE)
		{
			if (model->used <= i)
				model->used = i + 1;
			memset(&model->job[i], 0, sizeof(model->job[i]));
			return &model->job[i];
		}
	return NULL;
}

static inline bool
model_is_open(const Model *model, int64_t segment)
{
	return model->segment >= 0 && segment <= model->segment &&
		   segment > model->segment - PENNY_SEGMENTS && segment >= 0;
}

static inline uint8_t *
model_bit(uint8_t bits[PENNY_SEGMENTS][IDS], int64_t id)
{
	return &bits[penny_segment_of(id) % PENNY_SEGMENTS][id & ((1 << PENNY_SEGMENT_BITS) - 1)];
}

static bool
model_seen(Model *model, int64_t id, uint8_t bits[PENNY_SEGMENTS][IDS])
{
	if (!model_is_open(model, penny_segment_of(id)))
		return penny_segment_of(id) < model->segment;
	return *model_bit(bits, id) != 0;
}

static void
model_clock(Model *model)
{
	if (model->now + model->skew >= model->mono)
		model->mono = model->now + model->skew;
	else if (model->mono - model->skew - model->now > PENNY_SCHED_STEP)
		model->skew = model->mono - model->now;
}

/* Starts that count, by all that there were; when the rate-th last of them does not any more. */
static uint32_t
model_starts(const Model *model, int queue, uint64_t group, int32_t rate, int64_t window,
			 int64_t *opens)
{
	uint32_t count = 0;

	*opens = PENNY_SCHED_NEVER;
	for (uint32_t i = model->starts; i > 0 && model->starts - i < STARTS; i--)
	{
		const ModelStart *start = &model->start[(i - 1) % STARTS];

		if (start->queue != queue || (group != 0 && start->group != group) ||
			!(group != 0 ? start->counts_in_group : start->counts) ||
			start->at + window <= model->mono)
			continue;
		if (++count == (uint32_t) rate)
			*opens = start->at + window;
	}
	return count;
}

/* Busy in the queue, or in one of its groups. */
static int32_t
model_busy(const Model *model, int queue, uint64_t group)
{
	int32_t busy = 0;
	bool holds[HOLDERS] = {false};

	for (int i = 0; i < model->used; i++)
	{
		const ModelJob *job = &model->job[i];

		if (!is_known(job) || !job->started || job->said.queue != queue ||
			(group != 0 && job->said.group != group))
			continue;
		if (group == 0 && job->serial)
			holds[job->holder] = true;
		else
			busy++;
	}
	for (int i = 0; i < HOLDERS; i++)
		busy += holds[i];
	return busy;
}

/* May a job of it start, but for a rate?  Then `*opens` is when that allows it, by mono; 0: now. */
static bool
model_may(const Model *model, int queue, uint64_t group, bool in_batch, int64_t *opens)
{
	const PennyQueueLimits *limits = &model->limits[queue];
	int64_t at;

	*opens = 0;
	if (!limits->exists || limits->paused)
		return false;
	if (!in_batch && limits->concurrency > 0 && model_busy(model, queue, 0) >= limits->concurrency)
		return false;
	if (group != 0 && limits->group_concurrency > 0 &&
		model_busy(model, queue, group) >= limits->group_concurrency)
		return false;
	if (limits->rate > 0 &&
		model_starts(model, queue, 0, limits->rate, WINDOW, &at) >= (uint32_t) limits->rate)
		*opens = at;
	if (group != 0 && limits->group_rate > 0 &&
		model_starts(model, queue, group, limits->group_rate, GROUP_WINDOW, &at) >=
			(uint32_t) limits->group_rate &&
		at > *opens)
		*opens = at;
	return true;
}

static bool
model_startable(const Model *model, const ModelJob *job, bool in_batch)
{
	int64_t opens;

	return is_known(job) && job->state == PENNY_JOB_READY &&
		   model_may(model, job->said.queue, job->said.group, in_batch, &opens) && opens == 0;
}

static inline bool
model_counted(const Model *model, const ModelJob *job)
{
	const PennyQueueLimits *limits = &model->limits[job->said.queue];

	return limits->rate > 0 || (limits->group_rate > 0 && job->said.group != 0);
}

/* Is there a job that could start, for this runner, of a queue or of a rank (-1: any)? */
static bool
model_waits(const Model *model, PennyRunner runner, uint32_t queue, int rank)
{
	for (int i = 0; i < model->used; i++)
	{
		const ModelJob *job = &model->job[i];

		if (job->state == PENNY_JOB_READY && runner_of(model, job) == runner &&
			(queue == PENNY_SCHED_ANY || job->said.queue == queue) &&
			(rank < 0 || model->limits[job->said.queue].urgent == (rank == 0)) &&
			model_startable(model, job, false))
			return true;
	}
	return false;
}

/* ---- what the model does ------------------------------------------------------------ */

static void
model_put_in(Model *model, ModelJob *job)
{
	job->state = job->said.due <= model->now ? PENNY_JOB_READY : PENNY_JOB_DELAYED;
}

static void
model_miss(Model *model, int64_t id)
{
	if (id < model->missed)
		model->missed = id;
}

static void
model_arrive(Model *model, ModelJob *job)
{
	int64_t id = job->said.id;
	bool deferred = (job->said.flags & PENNY_JOB_DEFERRED) != 0;

	job->state = PENNY_JOB_FREE;
	if (model_find(model, id) != NULL || (!deferred && model_seen(model, id, model->seen)))
		return;
	if (!deferred && !model_is_open(model, penny_segment_of(id)))
	{
		model_miss(model, id);
		return;
	}
	if (!deferred)
	{
		*model_bit(model->seen, id) = 1;
		job->in_segment = true;
	}
	model_put_in(model, job);
}

static void
model_leave_segment(Model *model, ModelJob *job)
{
	if (job->in_segment)
		*model_bit(model->done, job->said.id) = 1;
	job->in_segment = false;
}

static void
model_apply(Model *model, ModelJob *job, PennyJobVerb verb)
{
	job->posted = PENNY_VERB_NONE;
	if (job->old)
	{
		if (job->state == PENNY_JOB_RESERVED && verb == PENNY_VERB_ARRIVED &&
			(job->said.flags & PENNY_JOB_DEFERRED) == 0)
			model_miss(model, job->said.id);
		job->state = PENNY_JOB_FREE;
	}
	else if (job->state == PENNY_JOB_RESERVED && verb == PENNY_VERB_ARRIVED)
		model_arrive(model, job);
	else if (job->state == PENNY_JOB_RESERVED)
		job->state = PENNY_JOB_FREE;
	else if (verb == PENNY_VERB_ENDED)
	{
		model_leave_segment(model, job);
		model->ended[job->said.queue]++;
		job->state = PENNY_JOB_FREE;
	}
	else if (verb == PENNY_VERB_RETRY)
	{
		PennyJob *real = penny_sched_job(model->s, job->ref);

		job->started = false;
		job->said.due = real->due; /* as its owner left it */
		job->said.flags = real->flags & PENNY_JOB_DEFERRED;
		if ((job->said.flags & PENNY_JOB_DEFERRED) != 0)
			model_leave_segment(model, job);
		else if (!job->in_segment)
			job->said.flags |= PENNY_JOB_DEFERRED;
		model_put_in(model, job);
	}
	else if (job->started)
		job->state = PENNY_JOB_ACTIVE;
	else if (job->before == PENNY_JOB_READY)
		job->state = PENNY_JOB_READY;
	else
		model_put_in(model, job);
}

/* What a function does that is marked (D). */
static void
model_drain(Model *model)
{
	model_clock(model);
	for (;;)
	{
		ModelJob *first = NULL;

		for (int i = 0; i < model->used; i++)
			if (model->job[i].posted != PENNY_VERB_NONE &&
				(first == NULL || model->job[i].post < first->post))
				first = &model->job[i];
		if (first == NULL)
			break;
		model_apply(model, first, first->posted);
	}
	for (int i = 0; i < model->used; i++)
		if (is_known(&model->job[i]) && model->job[i].state == PENNY_JOB_DELAYED)
			model_put_in(model, &model->job[i]);
}

/* Groups that do not wait any more, or (when `begin`) begin to. */
static void
model_mark_waiting(Model *model, bool begin)
{
	for (int queue = 0; queue < QUEUES; queue++)
		for (int runner = 0; runner < PENNY_RUNNERS; runner++)
			for (uint64_t group = 0; group < GROUPS; group++)
			{
				uint64_t *since = &model->waits_since[queue][runner][group];
				bool waits = false;

				for (int i = 0; i < model->used && (begin || *since != 0) && !waits; i++)
				{
					const ModelJob *job = &model->job[i];

					/* the queue's own limits take no group out of its turns */
					int64_t opens = 0;
					int64_t at;

					if (!is_known(job) || job->state != PENNY_JOB_READY ||
						job->said.queue != queue || job->said.group != group ||
						(int) runner_of(model, job) != runner)
						continue;
					if (group != 0 && model->limits[queue].group_concurrency > 0 &&
						model_busy(model, queue, group) >= model->limits[queue].group_concurrency)
						opens = 1;
					if (group != 0 && model->limits[queue].group_rate > 0 &&
						model_starts(model, queue, group, model->limits[queue].group_rate,
									 GROUP_WINDOW,
									 &at) >= (uint32_t) model->limits[queue].group_rate)
						opens = 1;
					waits = opens == 0;
				}
				if (!waits)
					*since = 0;
				else if (*since == 0 && begin)
					*since = model->step;
			}
}

/* ---- comparing --------------------------------------------------------------------- */

static void
compare_job(Model *model, const ModelJob *job)
{
	const PennyJob *real = penny_sched_job(model->s, job->ref);

	MODEL_MUST(model, real->state == job->state);
	if (!is_known(job))
		return;
	MODEL_MUST(model, real->id == job->said.id);
	MODEL_MUST(model, real->queue == job->said.queue && real->group == job->said.group);
	MODEL_MUST(model, real->in_segment == job->in_segment);
	MODEL_MUST(model, (real->token != 0) == job->started);
	if (job->started)
		MODEL_MUST(model, real->token == job->token && real->serial == job->serial);
	if (job->state == PENNY_JOB_READY)
		MODEL_MUST(model, real->runner == runner_of(model, job));
}

static void
compare_counts(Model *model)
{
	for (uint16_t queue = 0; queue < QUEUES; queue++)
	{
		PennyQueueCounts counts;
		PennyQueueCounts mine;
		bool oldest = false;

		memset(&mine, 0, sizeof(mine));
		penny_sched_counts(model->s, queue, model->now, &counts);
		for (int i = 0; i < model->used; i++)
		{
			const ModelJob *job = &model->job[i];

			if (!is_known(job) || job->said.queue != queue)
				continue;
			mine.ready[runner_of(model, job)] += job->state == PENNY_JOB_READY;
			mine.delayed += job->state == PENNY_JOB_DELAYED;
			mine.active += job->state == PENNY_JOB_ACTIVE;
			mine.ending += job->state == PENNY_JOB_ENDING;
			oldest |= job->state == PENNY_JOB_READY && job->said.due == counts.oldest_ready;
		}
		MODEL_MUST(model, memcmp(mine.ready, counts.ready, sizeof(mine.ready)) == 0);
		MODEL_MUST(model, mine.delayed == counts.delayed && mine.active == counts.active);
		MODEL_MUST(model, mine.ending == counts.ending);
		MODEL_MUST(model, counts.started == model->started[queue]);
		MODEL_MUST(model, counts.ended == model->ended[queue]);
		MODEL_MUST(model, oldest || (counts.oldest_ready == PENNY_SCHED_NEVER &&
									 mine.ready[0] + mine.ready[1] + mine.ready[2] == 0));
	}
}

/* Every entry is somewhere, once. */
static void
compare_conservation(Model *model)
{
	PennySched *s = model->s;
	uint32_t in_use = 0;
	uint32_t on_list = 0;

	for (int i = 0; i < model->used; i++)
		in_use += model->job[i].state != PENNY_JOB_FREE;
	for (uint32_t ref = (uint32_t) atomic_load(&s->free); ref != 0; ref = penny_job_link(s, ref))
	{
		MODEL_MUST(model, penny_job_state(penny_job_at(s, ref)) == PENNY_JOB_FREE);
		if (++on_list > s->entries)
			break;
	}
	MODEL_MUST(model, in_use + on_list + (s->entries + 1 - penny_sched_used(s)) == s->entries);
	MODEL_MUST(model, atomic_load(&s->taken) - atomic_load(&s->returned) == in_use);
}

static void
compare_all(Model *model)
{
	const char *wrong = penny_sched_check(model->s);

	if (wrong != NULL && model->wrong == NULL)
		model->wrong = wrong;
	for (int i = 0; i < model->used; i++)
		if (model->job[i].state != PENNY_JOB_FREE)
			compare_job(model, &model->job[i]);
	compare_counts(model);
	compare_conservation(model);
}

#endif /* PENNY_SCHED_MODEL_H */
