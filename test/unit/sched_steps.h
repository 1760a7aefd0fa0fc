/*-------------------------------------------------------------------------
 *
 * sched_steps.h
 *		Operations on the ready order and on its model (sched_model.h), chosen
 *		step by step.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SCHED_STEPS_H
#define PENNY_SCHED_STEPS_H

#include "sched_model.h"

static int64_t
choose_due(Model *model)
{
	return choose(model, 3) > 0 ? model->now - (int64_t) choose(model, 100)
								: model->now + (int64_t) choose(model, 30000);
}

/* Of a segment that is open, mostly; now and then of one that was or will be. */
static int64_t
choose_id(Model *model)
{
	int64_t segment = model->segment - (int64_t) choose(model, 3);

	if (choose(model, 40) == 0)
		segment = model->segment + 1;
	else if (choose(model, 40) == 0)
		segment = model->segment - PENNY_SEGMENTS;
	if (segment < 0)
		segment = 0;
	return segment << PENNY_SEGMENT_BITS | (int64_t) (1 + choose(model, IDS - 1));
}

static void
choose_job(Model *model, PennyJob *job)
{
	uint64_t spread = choose(model, 4) == 0 ? 60 : 3;

	job->id = choose_id(model);
	job->due = choose_due(model);
	job->priority = (int32_t) choose(model, spread) - 1;
	job->kind = 1 + choose(model, KINDS);
	job->group = choose(model, GROUPS);
	job->flags = choose(model, 6) == 0 ? PENNY_JOB_DEFERRED : 0;
}

static ModelJob *
choose_known(Model *model, bool (*which)(const ModelJob *job))
{
	int from = (int) choose(model, (uint64_t) model->used);

	for (int i = 0; i < model->used; i++)
	{
		ModelJob *job = &model->job[(from + i) % model->used];

		if (job->state != PENNY_JOB_FREE && job->posted == PENNY_VERB_NONE && which(job))
			return job;
	}
	return NULL;
}

static bool
is_reserved(const ModelJob *job)
{
	return job->state == PENNY_JOB_RESERVED;
}

static bool
is_active(const ModelJob *job)
{
	return job->state == PENNY_JOB_ACTIVE;
}

static bool
is_ending(const ModelJob *job)
{
	return job->state == PENNY_JOB_ENDING;
}

static bool
is_any(const ModelJob *job)
{
	return job->state > PENNY_JOB_RESERVED;
}

/* ---- without the lock --------------------------------------------------------------- */

static uint32_t
model_room(const Model *model, uint16_t queue)
{
	int64_t free = model->entries;
	int64_t held = 0;
	int64_t room;

	for (int i = 0; i < model->used; i++)
		if (model->job[i].state != PENNY_JOB_FREE)
		{
			free--;
			held += model->job[i].said.queue == queue;
		}
	room = (2 * free - held + 2) / 3;
	return room < 0 ? 0 : (uint32_t) (room < free ? room : free);
}

static void
step_reserve(Model *model)
{
	uint16_t queue = (uint16_t) choose(model, QUEUES);
	uint32_t room = model_room(model, queue);
	uint32_t want = 1 + (uint32_t) choose(model, choose(model, 8) == 0 ? 60 : 6);
	PennyJobRef ref;
	uint32_t got = penny_sched_reserve(model->s, queue, want, &ref);

	MODEL_MUST(model, got == (want < room ? want : room));
	for (uint32_t i = 0; i < got; i++)
	{
		ModelJob *job = model_record(model);
		PennyJob *real = penny_sched_job(model->s, ref);

		MODEL_MUST(model, real->state == PENNY_JOB_RESERVED && real->queue == queue);
		MODEL_MUST(model, real->id == 0 && real->token == 0 && real->flags == 0);
		choose_job(model, real);
		job->said = *real;
		job->state = PENNY_JOB_RESERVED;
		job->ref = ref;
		ref = penny_sched_next_of(model->s, ref);
	}
	MODEL_MUST(model, ref == 0);
}

/* Post a few of one's own: arrivals and ends together, as a transaction may. */
static void
step_post(Model *model)
{
	PennyJobRef first = 0;
	PennyJobRef last = 0;

	for (uint64_t n = 1 + choose(model, 8); n > 0; n--)
	{
		ModelJob *job = choose_known(model, choose(model, 2) == 0 ? is_reserved : is_ending);
		PennyJob *real;

		if (job == NULL)
			continue;
		real = penny_sched_job(model->s, job->ref);
		job->posted = job->state == PENNY_JOB_RESERVED
						  ? choose(model, 6) == 0 ? PENNY_VERB_DROPPED : PENNY_VERB_ARRIVED
						  : PENNY_VERB_ENDED + (PennyJobVerb) choose(model, 3);
		if (job->posted == PENNY_VERB_RETRY)
		{
			real->due = choose_due(model);
			real->attempt++;
			if (choose(model, 6) == 0)
				real->flags |= PENNY_JOB_DEFERRED;
		}
		real->verb = (uint8_t) job->posted;
		job->post = ++model->posts;
		if (last != 0)
			penny_sched_link(model->s, last, job->ref);
		else
			first = job->ref;
		last = job->ref;
	}
	if (first == 0)
		return;
	penny_sched_post(model->s, first, last);
	MODEL_MUST(model, penny_sched_posted(model->s));
}

/* ---- taking -------------------------------------------------------------------------- */

/* A group does not start twice while another of its queue waits all the time. */
static void
check_turn(Model *model, const ModelJob *job)
{
	int queue = job->said.queue;
	PennyRunner runner = runner_of(model, job);
	uint64_t *last = &model->last_start[queue][runner][job->said.group];

	for (uint64_t group = 0; group < GROUPS; group++)
	{
		uint64_t since = model->waits_since[queue][runner][group];

		if (group != job->said.group && since != 0)
			MODEL_MUST(model, *last <= since);
	}
	*last = model->step;
	model->waits_since[queue][runner][job->said.group] = 0;
}

static void
check_rank(Model *model, PennyRunner runner, const ModelJob *job, bool high, bool low)
{
	if (model->limits[job->said.queue].urgent)
	{
		model->high[runner] = low ? model->high[runner] + 1 : 0;
		model->low[runner] = 0;
	}
	else
	{
		model->high[runner] = 0;
		model->low[runner] = high ? model->low[runner] + 1 : 0;
	}
	MODEL_MUST(model, model->high[runner] < PENNY_SCHED_TURNS);
	MODEL_MUST(model, model->low[runner] <= 2);
}

/* One that was taken: might it, and was it next in its group? */
static void
check_taken(Model *model, const PennyTake *how, ModelJob *job, uint32_t n, uint32_t got)
{
	const PennyJob *real;

	MODEL_MUST(model, job != NULL && job->state == PENNY_JOB_READY);
	if (job == NULL || model->wrong != NULL)
		return;
	real = penny_sched_job(model->s, job->ref);
	MODEL_MUST(model, runner_of(model, job) == how->runner);
	MODEL_MUST(model, how->queue == PENNY_SCHED_ANY || how->queue == job->said.queue);
	MODEL_MUST(model, model_startable(model, job, how->serial && n > 0));
	MODEL_MUST(model, !model_counted(model, job) || got == 1);
	MODEL_MUST(model, ((real->flags & PENNY_JOB_ALONE) != 0) == model_counted(model, job));
	for (int i = 0; i < model->used; i++)
	{
		const ModelJob *other = &model->job[i];

		if (is_known(other) && other->state == PENNY_JOB_READY &&
			other->said.queue == job->said.queue && other->said.group == job->said.group &&
			runner_of(model, other) == how->runner)
			MODEL_MUST(model, other->said.priority > job->said.priority ||
								  (other->said.priority == job->said.priority &&
								   other->said.id >= job->said.id));
	}
	MODEL_MUST(model, real->token > model->last_token);
	MODEL_MUST(model, real->started == model->mono - model->skew);
	MODEL_MUST(model, real->until == how->until);
	model->last_token = real->token;
}

static void
count_taken(Model *model, const PennyTake *how, ModelJob *job)
{
	job->state = PENNY_JOB_ACTIVE;
	job->started = true;
	job->serial = how->serial;
	job->holder = how->holder;
	job->until = how->until;
	job->token = penny_sched_job(model->s, job->ref)->token;
	model->started[job->said.queue]++;
	model->taken++;
	if (!model_counted(model, job))
		return;
	model->start[model->starts++ % STARTS] = (ModelStart){
		.queue = job->said.queue,
		.group = job->said.group,
		.at = model->mono,
		.counts = model->limits[job->said.queue].rate > 0,
		.counts_in_group = model->limits[job->said.queue].group_rate > 0 && job->said.group != 0};
}

/* Fewer than asked for: nothing more could be taken. */
static void
check_nothing_left(Model *model, const PennyTake *how, int queue, uint32_t n, bool counted)
{
	if (n == 0)
	{
		MODEL_MUST(model, !model_waits(model, how->runner, how->queue, -1));
		return;
	}
	for (int i = 0; i < model->used && !counted; i++)
	{
		const ModelJob *job = &model->job[i];

		if (!is_known(job) || job->state != PENNY_JOB_READY || runner_of(model, job) != how->runner)
			continue;
		/* it may have stopped before a job that is taken alone */
		if (how->serial && job->said.queue == queue && model_startable(model, job, true) &&
			model_counted(model, job))
			return;
		if (!how->serial && (how->queue == PENNY_SCHED_ANY || how->queue == job->said.queue) &&
			model_startable(model, job, false) && model_counted(model, job))
			return;
	}
	for (int i = 0; i < model->used && !counted; i++)
	{
		const ModelJob *job = &model->job[i];

		if (!is_known(job) || job->state != PENNY_JOB_READY || runner_of(model, job) != how->runner)
			continue;
		if (how->serial)
			MODEL_MUST(model, job->said.queue != queue || !model_startable(model, job, true));
		else
			MODEL_MUST(model, (how->queue != PENNY_SCHED_ANY && how->queue != job->said.queue) ||
								  !model_startable(model, job, false));
	}
}

static bool
model_holds(const Model *model, uint32_t holder)
{
	for (int i = 0; i < model->used; i++)
		if (is_known(&model->job[i]) && model->job[i].started && model->job[i].serial &&
			model->job[i].holder == holder)
			return true;
	return false;
}

static void
step_take(Model *model)
{
	PennyTake how = {.runner = (PennyRunner) choose(model, PENNY_RUNNERS),
					 .queue =
						 choose(model, 2) == 0 ? PENNY_SCHED_ANY : (uint32_t) choose(model, QUEUES),
					 .serial = choose(model, 2) == 0,
					 .holder = (uint32_t) choose(model, HOLDERS),
					 .until = PENNY_SCHED_NEVER,
					 .max = 1 + (uint32_t) choose(model, choose(model, 3) == 0 ? BATCH : 3)};
	PennyJobRef refs[BATCH];
	bool counted = false;
	int queue = -1;
	uint32_t n;

	if (!how.serial || choose(model, 8) == 0)
		how.until = model->now + 1 + (int64_t) choose(model, 20000);
	model_drain(model);
	model_mark_waiting(model, true);
	n = penny_sched_take(model->s, &how, model->now, refs);
	MODEL_MUST(model, n <= how.max);
	if (how.serial && model_holds(model, how.holder))
	{
		MODEL_MUST(model, n == 0);
		return;
	}
	for (uint32_t i = 0; i < n && model->wrong == NULL; i++)
	{
		ModelJob *job = model_of_ref(model, refs[i]);
		bool high = model_waits(model, how.runner, PENNY_SCHED_ANY, 0);
		bool low = model_waits(model, how.runner, PENNY_SCHED_ANY, 1);

		check_taken(model, &how, job, i, n);
		if (model->wrong != NULL)
			return;
		MODEL_MUST(model, !how.serial || i == 0 || job->said.queue == queue);
		if (how.queue == PENNY_SCHED_ANY && (i == 0 || !how.serial))
			check_rank(model, how.runner, job, high, low);
		check_turn(model, job);
		counted = model_counted(model, job);
		count_taken(model, &how, job);
		model->step++;
		model_mark_waiting(model, true);
		queue = job->said.queue;
	}
	if (n < how.max && model->wrong == NULL)
		check_nothing_left(model, &how, queue, n, counted);
}

/* ---- ends ------------------------------------------------------------------------------ */

static void
step_own(Model *model)
{
	ModelJob *job = choose_known(model, is_any);
	bool mine;

	if (job == NULL)
		return;
	model_clock(model);
	mine = penny_sched_own(model->s, job->ref, model->now);
	MODEL_MUST(model, mine == (is_known(job) && job->state != PENNY_JOB_ENDING));
	if (!mine)
		return;
	job->before = job->state;
	job->state = PENNY_JOB_ENDING;
}

static void
step_finish(Model *model)
{
	ModelJob *job = choose_known(model, choose(model, 2) == 0 ? is_ending : is_active);
	PennyJobVerb verb = PENNY_VERB_ENDED + (PennyJobVerb) choose(model, 3);

	if (job == NULL)
		return;
	if (verb == PENNY_VERB_RETRY)
		penny_sched_job(model->s, job->ref)->due = choose_due(model);
	model_clock(model);
	penny_sched_finish(model->s, job->ref, verb, model->now);
	job->before = job->state == PENNY_JOB_ACTIVE ? PENNY_JOB_ACTIVE : job->before;
	job->state = PENNY_JOB_ENDING;
	model_apply(model, job, verb);
}

static void
step_put_back(Model *model)
{
	ModelJob *job = choose_known(model, is_active);

	if (job == NULL)
		return;
	model_clock(model);
	penny_sched_put_back(model->s, job->ref, model->now);
	job->state = PENNY_JOB_READY;
	job->started = false;
}

/* A worker is gone, or gives up what it took from some job on. */
static void
step_abandon(Model *model)
{
	uint32_t holder = (uint32_t) choose(model, HOLDERS);
	ModelJob *first = choose(model, 2) == 0 ? choose_known(model, is_active) : NULL;
	uint64_t from = 0;
	uint32_t back = 0;
	uint32_t got;

	if (first != NULL)
		from = penny_sched_job(model->s, first->ref)->token;
	model_drain(model);
	got = from == 0 ? penny_sched_abandon(model->s, holder, model->now)
					: penny_sched_give_up(model->s, holder, from, model->now);
	for (int i = 0; i < model->used; i++)
	{
		ModelJob *job = &model->job[i];

		if (!is_known(job) || !job->started || !job->serial || job->holder != holder ||
			job->token < from)
			continue;
		job->started = false;
		if (job->state == PENNY_JOB_ACTIVE)
		{
			job->state = PENNY_JOB_READY;
			back++;
		}
		else
			job->before = PENNY_JOB_READY;
	}
	MODEL_MUST(model, back == got);
}

static void
step_lease(Model *model)
{
	ModelJob *job = choose_known(model, is_active);

	if (job == NULL)
		return;
	model_clock(model);
	job->until =
		choose(model, 4) == 0 ? PENNY_SCHED_NEVER : model->now + (int64_t) choose(model, 20000);
	penny_sched_lease(model->s, job->ref, job->until, model->now);
}

static void
step_expired(Model *model)
{
	PennyJobRef refs[BATCH];
	uint32_t max = 1 + (uint32_t) choose(model, BATCH - 1);
	int64_t last = INT64_MIN;
	uint32_t n;

	model_drain(model);
	n = penny_sched_expired(model->s, model->now, max, refs);
	for (uint32_t i = 0; i < n; i++)
	{
		ModelJob *job = model_of_ref(model, refs[i]);

		MODEL_MUST(model, job != NULL && is_known(job) && job->state == PENNY_JOB_ACTIVE &&
							  job->until <= model->now && job->until >= last);
		if (model->wrong != NULL)
			return;
		last = job->until;
		job->before = PENNY_JOB_ACTIVE;
		job->state = PENNY_JOB_ENDING;
	}
	for (int i = 0; i < model->used && n < max; i++)
		MODEL_MUST(model, !is_known(&model->job[i]) || model->job[i].state != PENNY_JOB_ACTIVE ||
							  model->job[i].until > model->now);
}

/* ---- rows and bits ------------------------------------------------------------------ */

static void
step_offer(Model *model)
{
	PennyJob row;
	ModelJob *job;
	PennyJobRef ref;
	bool deferred;
	uint32_t room;

	memset(&row, 0, sizeof(row));
	choose_job(model, &row);
	row.queue = (uint16_t) choose(model, QUEUES);
	row.attempt = (uint16_t) choose(model, 3);
	model_clock(model);
	deferred = (row.flags & PENNY_JOB_DEFERRED) != 0;
	room = model_room(model, row.queue);
	ref = penny_sched_offer(model->s, &row, model->now);
	if (model_find(model, row.id) != NULL || (!deferred && model_seen(model, row.id, model->seen)))
	{
		MODEL_MUST(model, ref == 0);
		return;
	}
	if (room == 0 || (!deferred && !model_is_open(model, penny_segment_of(row.id))))
	{
		MODEL_MUST(model, ref == PENNY_SCHED_ANY);
		model_miss(model, row.id);
		return;
	}
	MODEL_MUST(model, ref != 0 && ref != PENNY_SCHED_ANY);
	job = model_record(model);
	job->said = row;
	job->ref = ref;
	model_arrive(model, job);
}

static void
step_bits(Model *model)
{
	int64_t id = choose_id(model);

	MODEL_MUST(model, penny_sched_seen(model->s, id) == model_seen(model, id, model->seen));
	MODEL_MUST(model, penny_sched_done(model->s, id) == model_seen(model, id, model->done));
	if (choose(model, 4) == 0 && !model_seen(model, id, model->seen) &&
		model_is_open(model, penny_segment_of(id)))
	{
		penny_sched_mark_done(model->s, id);
		*model_bit(model->seen, id) = *model_bit(model->done, id) = 1;
	}
	for (int64_t at = model->segment - 1; at <= model->segment; at++)
	{
		uint32_t seen;
		uint32_t done;
		uint32_t mine[2] = {0, 0};

		penny_sched_segment_counts(model->s, at, &seen, &done);
		for (int i = 0; i < IDS && at >= 0; i++)
		{
			mine[0] += model->seen[at % PENNY_SEGMENTS][i];
			mine[1] += model->done[at % PENNY_SEGMENTS][i];
		}
		MODEL_MUST(model, seen == mine[0] && done == mine[1]);
	}
}

static void
step_open_segment(Model *model)
{
	int64_t segment = model->segment + 1;
	PennyJobRef refs[JOBS];
	uint32_t live = 0;
	bool opened;

	for (int i = 0; i < model->used; i++)
		live += is_known(&model->job[i]) && model->job[i].in_segment &&
				penny_segment_of(model->job[i].said.id) == segment - PENNY_SEGMENTS;
	MODEL_MUST(model,
			   penny_sched_of_segment(model->s, segment - PENNY_SEGMENTS, JOBS, refs) == live);
	opened = penny_sched_open_segment(model->s, segment);
	MODEL_MUST(model, opened == (live == 0));
	if (!opened)
		return;
	model->segment = segment;
	memset(model->seen[segment % PENNY_SEGMENTS], 0, IDS);
	memset(model->done[segment % PENNY_SEGMENTS], 0, IDS);
}

/* ---- settings -------------------------------------------------------------------------- */

static int32_t
choose_limit(Model *model, uint64_t most)
{
	return choose(model, 3) == 0 ? 1 + (int32_t) choose(model, most) : 0;
}

/* A limit that is taken off forgets what it counted. */
static void
forget_starts(Model *model, int queue)
{
	for (uint32_t i = 0; i < STARTS; i++)
		if (model->start[i].queue == queue)
		{
			model->start[i].counts &= model->limits[queue].rate > 0;
			model->start[i].counts_in_group &= model->limits[queue].group_rate > 0;
		}
}

static void
set_limits(Model *model, int queue)
{
	PennyQueueLimits *limits = &model->limits[queue];

	limits->exists = choose(model, 20) != 0;
	limits->paused = choose(model, 16) == 0;
	limits->urgent = choose(model, 3) == 0;
	limits->concurrency = choose_limit(model, 4);
	limits->group_concurrency = choose_limit(model, 2);
	limits->window = WINDOW;
	limits->group_window = GROUP_WINDOW;
	limits->rate = choose_limit(model, 12);
	limits->group_rate = choose_limit(model, 3);
	forget_starts(model, queue);
	memset(model->high, 0, sizeof(model->high));
	memset(model->low, 0, sizeof(model->low));
	model_clock(model);
	penny_sched_queue(model->s, (uint16_t) queue, limits, model->now);
}

static void
set_kinds(Model *model)
{
	PennyKindRunner kinds[KINDS];
	uint32_t n = 0;

	for (uint64_t kind = 1; kind <= KINDS; kind++)
	{
		model->runner[kind - 1] =
			kind == KINDS ? PENNY_RUNNER_EXTERNAL : (PennyRunner) choose(model, PENNY_RUNNERS);
		if (kind < KINDS)
			kinds[n++] = (PennyKindRunner){kind, model->runner[kind - 1]};
	}
	model_clock(model);
	penny_sched_kinds(model->s, kinds, n, model->now);
	/* a group may have left its ring and come back to its end */
	memset(model->waits_since, 0, sizeof(model->waits_since));
}

static void
step_clear(Model *model)
{
	uint64_t before = penny_sched_incarnation(model->s);

	penny_sched_clear(model->s);
	MODEL_MUST(model, penny_sched_incarnation(model->s) == before + 1);
	for (int i = 0; i < model->used; i++)
	{
		ModelJob *job = &model->job[i];

		if (job->state >= PENNY_JOB_DELAYED && job->state <= PENNY_JOB_ACTIVE)
			job->state = PENNY_JOB_FREE;
		job->old = true;
	}
	memset(model->started, 0, sizeof(model->started));
	memset(model->ended, 0, sizeof(model->ended));
	memset(model->high, 0, sizeof(model->high));
	memset(model->low, 0, sizeof(model->low));
	model->starts = 0;
	model->missed = PENNY_SCHED_NEVER;
	for (int64_t i = model->segment > 3 ? model->segment - 3 : 0; i <= model->segment; i++)
	{
		MODEL_MUST(model, penny_sched_open_segment(model->s, i));
		memset(model->seen[i % PENNY_SEGMENTS], 0, IDS);
		memset(model->done[i % PENNY_SEGMENTS], 0, IDS);
	}
	/* those before are not open, but below one that is */
	for (int i = 0; i < PENNY_SEGMENTS; i++)
		if (i > 3 && model->segment - i >= 0)
		{
			memset(model->seen[(model->segment - i) % PENNY_SEGMENTS], 1, IDS);
			memset(model->done[(model->segment - i) % PENNY_SEGMENTS], 1, IDS);
		}
}

/* ---- who looks ---------------------------------------------------------------------- */

/* The earliest time at which something comes for this runner, by the given clock. */
static int64_t
model_next(const Model *model, PennyRunner runner)
{
	int64_t next = PENNY_SCHED_NEVER;

	for (int i = 0; i < model->used; i++)
	{
		const ModelJob *job = &model->job[i];
		int64_t at = PENNY_SCHED_NEVER;

		if (!is_known(job))
			continue;
		if (job->state == PENNY_JOB_DELAYED && runner_of(model, job) == runner)
			at = job->said.due;
		else if (job->state == PENNY_JOB_ACTIVE)
			at = job->until;
		else if (job->state == PENNY_JOB_READY && runner_of(model, job) == runner &&
				 model_may(model, job->said.queue, job->said.group, false, &at))
			at = at == 0 ? PENNY_SCHED_NEVER : at - model->skew;
		else
			at = PENNY_SCHED_NEVER;
		if (at < next)
			next = at;
	}
	return next;
}

static void
step_look(Model *model)
{
	PennyRunner runner = (PennyRunner) choose(model, PENNY_RUNNERS);
	uint32_t queue = choose(model, 2) == 0 ? PENNY_SCHED_ANY : (uint32_t) choose(model, QUEUES);
	int64_t id = choose_id(model);
	const ModelJob *job;
	int64_t next;

	model_drain(model);
	MODEL_MUST(model, penny_sched_waits(model->s, runner, queue, model->now) ==
						  model_waits(model, runner, queue, -1));
	next = penny_sched_next(model->s, runner, model->now);
	MODEL_MUST(model, next <= model_next(model, runner));
	job = model_find(model, id);
	MODEL_MUST(model, penny_sched_find(model->s, id, model->now) == (job == NULL ? 0 : job->ref));
	if (choose(model, 4) == 0)
	{
		MODEL_MUST(model, penny_sched_rescan(model->s) == model->missed);
		model->missed = PENNY_SCHED_NEVER;
		MODEL_MUST(model, penny_sched_rescan(model->s) == PENNY_SCHED_NEVER);
	}
	MODEL_MUST(model, penny_sched_room(model->s, 1) == model_room(model, 1));
}

/* Mostly on, by little; now and then back, by little or by much. */
static void
step_clock(Model *model)
{
	uint64_t how = choose(model, 100);

	if (how < 90)
		model->now += (int64_t) choose(model, 3000);
	else if (how < 97)
		model->now -= (int64_t) choose(model, 20000);
	else if (how < 98)
		model->now -= PENNY_SCHED_STEP + (int64_t) choose(model, 1 << 20);
	else
		model->now += (int64_t) choose(model, 100000);
}

/* ---- a schedule ------------------------------------------------------------------------ */

static void
model_start(Model *model, PennySched *s, uint32_t entries)
{
	model->s = s;
	model->entries = entries;
	model->wrong = NULL;
	model->now = INT64_C(800000000000000);
	model->mono = INT64_MIN / 4;
	model->missed = PENNY_SCHED_NEVER;
	model->last_token = 99;
	model->step = 1;
	model->compared = 1;
	penny_sched_init(s, entries, 100);
	MODEL_MUST(model, penny_sched_open_segment(s, 0));
	set_kinds(model);
	for (int queue = 0; queue < QUEUES; queue++)
		set_limits(model, queue);
}

static void
model_step(Model *model)
{
	uint64_t what = choose(model, 100);

	model->step++;
	step_clock(model);
	if (what < 18)
		step_reserve(model);
	else if (what < 38)
		step_post(model);
	else if (what < 60)
		step_take(model);
	else if (what < 68)
		step_own(model);
	else if (what < 74)
		step_finish(model);
	else if (what < 77)
		step_put_back(model);
	else if (what < 80)
		step_abandon(model);
	else if (what < 82)
		step_lease(model);
	else if (what < 84)
		step_expired(model);
	else if (what < 90)
		step_offer(model);
	else if (what < 92)
		step_bits(model);
	else if (what < 97)
		step_look(model);
	else if (what < 98)
		set_limits(model, (int) choose(model, QUEUES));
	else if (what == 98)
		step_open_segment(model);
	else if (choose(model, 2) == 0)
		set_kinds(model);
	else if (choose(model, 8) == 0)
		step_clear(model);
	model_mark_waiting(model, false);
	if (model->step % model->compared == 0)
		compare_all(model);
}

#endif /* PENNY_SCHED_STEPS_H */
