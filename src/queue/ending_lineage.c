/*-------------------------------------------------------------------------
 *
 * ending_lineage.c
 *		The end of a job that was a dead letter before: what it was is forgotten, or
 *		goes into its new dead letter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "queue/dead.h"
#include "queue/ending.h"
#include "queue/statements.h"

static PennyQueueStatement forget = {
	"DELETE FROM _penny.job_lineage WHERE id" PENNY_SQL_EQ "$1", 1, {INT8OID}, NULL};
static PennyQueueStatement join = {
	"UPDATE _penny.jobs_dead d SET redriven_from = l.redriven_from, "
	"errors = l.errors OPERATOR(pg_catalog.||) d.errors FROM _penny.job_lineage l "
	"WHERE d.id" PENNY_SQL_EQ "$1 AND l.id" PENNY_SQL_EQ "$1",
	1,
	{INT8OID},
	NULL};

void
penny_ending_lineage(const PennyEnding *ending)
{
	Datum value = Int64GetDatum(ending->row->id);

	if (ending->outcome == PENNY_OUTCOME_FAILED)
		penny_dead_count();
	if ((ending->row->flags & PENNY_JOB_REDRIVEN) == 0)
		return;
	if (ending->outcome == PENNY_OUTCOME_FAILED)
		(void) penny_queue_run(&join, &value, NULL, false, NULL, NULL);
	(void) penny_queue_run(&forget, &value, NULL, false, NULL, NULL);
}
