/*-------------------------------------------------------------------------
 *
 * ending_flow.c
 *		A job of a flow has ended: its parent waits for one less, fails with it, or
 *		waits on; its children are forgotten.  What the modes mean is in flow.h.
 *
 * Children of one parent that end at once queue up at the parent's row, so the
 * last of them sees 0, and its commit offers the parent.  Workers end the children
 * of younger parents first, and who cancels a flow locks it in that order.
 * Transactions that end children of several parents in other orders may deadlock;
 * PostgreSQL ends one, and the jobs of that transaction are done again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "queue/ending.h"
#include "queue/flow.h"
#include "queue/statements.h"
#include "queue/waiting.h"

static PennyQueueStatement end_edge = {
	"UPDATE _penny.job_edges SET outcome = $2, result = $3, error = $4, ended = $2" PENNY_SQL_NE
	"'failed' OR on_failure" PENNY_SQL_NE "'wait' WHERE child" PENNY_SQL_EQ
	"$1 AND NOT ended RETURNING parent, on_failure",
	4,
	{INT8OID, TEXTOID, JSONBOID, TEXTOID},
	NULL};
static PennyQueueStatement forget = {"DELETE FROM _penny.job_edges WHERE parent" PENNY_SQL_EQ
									 "$1 RETURNING child, ended",
									 1,
									 {INT8OID},
									 NULL};

typedef struct Edge
{
	int64 parent; /* 0: none */
	char mode;
} Edge;

typedef struct Children
{
	int n;
	int space;
	int64 *id;
} Children;

static void
read_edge(const Datum *values, const bool *nulls, void *arg)
{
	Edge *edge = arg;

	edge->parent = DatumGetInt64(values[0]);
	(void) nulls;
	edge->mode = *TextDatumGetCString(values[1]);
}

static void
fail_parent(int64 parent, const PennyEnding *child)
{
	PennyJobRow row;
	PennyEnding ending = {.row = &row,
						  .outcome = PENNY_OUTCOME_FAILED,
						  .permanent = true,
						  .reason = "child",
						  .retry_in = -1,
						  .started = penny_queue_now()};

	if (!penny_waiting_lock(parent, &row))
		return; /* it has failed already, or was cancelled */
	if (child->outcome == PENNY_OUTCOME_CANCELLED)
		ending.error =
			psprintf("child " INT64_FORMAT " (%s) was cancelled", child->row->id, child->row->kind);
	else
		ending.error = psprintf("child " INT64_FORMAT " (%s) failed: %s", child->row->id,
								child->row->kind, child->error != NULL ? child->error : "");
	penny_ending_record(&ending);
}

static void
end_as_child(const PennyEnding *ending)
{
	static const char *const outcomes[] = {[PENNY_OUTCOME_COMPLETED] = "completed",
										   [PENNY_OUTCOME_FAILED] = "failed",
										   [PENNY_OUTCOME_CANCELLED] = "cancelled"};
	Datum values[4];
	char nulls[5] = "    ";
	Edge edge = {0, '\0'};

	values[0] = Int64GetDatum(ending->row->id);
	values[1] = CStringGetTextDatum(outcomes[ending->outcome]);
	values[2] = PointerGetDatum(ending->result);
	values[3] = ending->error != NULL ? CStringGetTextDatum(ending->error) : (Datum) 0;
	if (ending->result == NULL || ending->outcome != PENNY_OUTCOME_COMPLETED)
		nulls[2] = 'n';
	if (ending->error == NULL)
		nulls[3] = 'n';
	(void) penny_queue_run(&end_edge, values, nulls, false, read_edge, &edge);
	if (edge.parent == 0)
		return; /* the parent is gone */
	if (ending->outcome == PENNY_OUTCOME_COMPLETED || edge.mode == 'i' ||
		(edge.mode == 'w' && ending->outcome == PENNY_OUTCOME_CANCELLED))
		(void) penny_waiting_count_down(edge.parent);
	else if (edge.mode == 'f')
		fail_parent(edge.parent, ending);
}

static void
note_child(const Datum *values, const bool *nulls, void *arg)
{
	Children *children = arg;

	(void) nulls;
	if (DatumGetBool(values[1]))
		return;
	if (children->n == children->space)
	{
		children->space = Max(children->space * 2, 16);
		children->id = children->id == NULL
						   ? palloc(sizeof(int64) * (Size) children->space)
						   : repalloc(children->id, sizeof(int64) * (Size) children->space);
	}
	children->id[children->n++] = DatumGetInt64(values[0]);
}

/*
 * Its children's rows go, unless it is a dead letter, which may be redriven.  With
 * a parent that is cancelled go the children that have not started.
 */
static void
end_as_parent(const PennyEnding *ending)
{
	Datum value = Int64GetDatum(ending->row->id);
	Children children = {0, 0, NULL};

	if (ending->outcome == PENNY_OUTCOME_FAILED)
		return;
	(void) penny_queue_run(&forget, &value, NULL, false, note_child, &children);
	if (ending->outcome != PENNY_OUTCOME_CANCELLED)
		return;
	for (int i = 0; i < children.n; i++)
	{
		PennyWaitingJob waiting;

		if (penny_waiting_take(children.id[i], &waiting) == PENNY_OWNED)
			penny_waiting_cancel(&waiting);
	}
}

void
penny_ending_flow(const PennyEnding *ending)
{
	if ((ending->row->flags & PENNY_JOB_CHILD) != 0)
		end_as_child(ending);
	if (ending->row->on_child_failure != '\0')
		end_as_parent(ending);
}
