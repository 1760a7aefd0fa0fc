/*-------------------------------------------------------------------------
 *
 * progress.c
 *		How far a job is, as its handler says.
 *
 * What a transaction writes is seen when it commits, and a handler's is over then.  So
 * progress goes past it: the last text of each of the last jobs that told any lies in
 * shared memory, under the queue's lock, and listeners are told at once.  It is lost
 * with the server, and when PLACES other jobs have told theirs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/shmem.h"
#include "queue/ending.h"
#include "queue/progress.h"
#include "queue/run.h"

#define PLACES 1024
#define WAYS 4 /* places that a job may have */

typedef struct Place
{
	int64 id;  /* 0: free */
	int64 at;  /* when it was told */
	int16 len; /* of the text */
	char text[PENNY_PROGRESS_MAX];
} Place;

static Place *places = NULL;

static Size
places_size(void)
{
	return sizeof(Place) * PLACES;
}

static const PennyShmemPart progress_part = {
	.name = "penny progress of jobs", .size = places_size, .area = (void **) &places};

void
penny_progress_init(void)
{
	penny_shmem_register(&progress_part);
}

/* The place of a job, or, to write, the one that was told longest ago. */
static Place *
place_of(int64 id, bool to_write)
{
	Place *first = &places[(uint64) id % (PLACES / WAYS) * WAYS];
	Place *oldest = first;

	for (int i = 0; i < WAYS; i++)
	{
		if (first[i].id == id)
			return &first[i];
		if (first[i].at < oldest->at)
			oldest = &first[i];
	}
	return to_write ? oldest : NULL;
}

/* Is the job held with this token, or, with 0, at all? */
static bool
is_held(int64 id, uint64 token)
{
	PennyJobRef ref = penny_sched_find(penny_queue_sched(), id, penny_queue_now());
	const PennyJob *job = ref == 0 ? NULL : penny_sched_job(penny_queue_sched(), ref);
	uint8 state;

	if (job == NULL)
		return false;
	state = job->state == PENNY_JOB_ENDING ? job->before : job->state;
	return state == PENNY_JOB_ACTIVE && (token == 0 || job->token == token);
}

bool
penny_progress_tell(Jsonb *progress, int64 id, uint64 token)
{
	const PennyRunningJob *running = penny_running_job();
	char *text = JsonbToCString(NULL, &progress->root, VARSIZE(progress));
	Size len = strlen(text);
	PennyJobRow row;
	bool held;

	if (len > PENNY_PROGRESS_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("progress of a job has %zu bytes, and at most %d are allowed", len,
							   PENNY_PROGRESS_MAX)));
	if (id == 0 && running == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("no job runs here"),
				 errhint("Give the id and the token of a job that was claimed.")));
	if (id != 0 && token == 0)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("token must not be null")));
	if (!penny_queue_here() || places == NULL)
		return false;
	if (id == 0)
		id = running->row->id;
	penny_queue_lock();
	held = is_held(id, token);
	if (held)
	{
		Place *place = place_of(id, true);

		place->id = id;
		place->at = penny_queue_now();
		place->len = (int16) len;
		memcpy(place->text, text, len);
	}
	penny_queue_unlock();
	if (held && running != NULL && running->row->id == id)
		penny_progress_event(running->row, progress);
	else if (held && penny_job_read_id(id, &row))
		penny_progress_event(&row, progress);
	return held;
}

Jsonb *
penny_progress_of(int64 id)
{
	char text[PENNY_PROGRESS_MAX + 1];
	Place *place;
	int len = -1;

	if (!penny_queue_here() || places == NULL)
		return NULL;
	penny_queue_lock();
	place = place_of(id, false);
	if (place != NULL)
	{
		len = place->len;
		memcpy(text, place->text, (size_t) len);
	}
	penny_queue_unlock();
	if (len < 0)
		return NULL;
	text[len] = '\0';
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}
