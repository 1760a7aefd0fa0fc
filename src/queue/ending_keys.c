/*-------------------------------------------------------------------------
 *
 * ending_keys.c
 *		A keyed job has ended: its key is given back, or the job that waited for
 *		its end is let go.
 *
 * The row is named by queue, key and job.  Where another job holds the key by now
 * (key_mode replace, while this one ran) it may say that it comes after this one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "queue/ending.h"
#include "queue/statements.h"
#include "queue/waiting.h"

static PennyQueueStatement drop_key = {"DELETE FROM _penny.job_keys WHERE queue" PENNY_SQL_EQ
									   "$1 AND key" PENNY_SQL_EQ "$2 AND job_id" PENNY_SQL_EQ "$3",
									   3,
									   {INT2OID, TEXTOID, INT8OID},
									   NULL};
static PennyQueueStatement let_go = {
	"UPDATE _penny.job_keys SET after = NULL WHERE queue" PENNY_SQL_EQ "$1 AND key" PENNY_SQL_EQ
	"$2 AND after" PENNY_SQL_EQ "$3 RETURNING job_id",
	3,
	{INT2OID, TEXTOID, INT8OID},
	NULL};

void
penny_ending_keys(const PennyEnding *ending)
{
	const PennyJobRow *row = ending->row;
	Datum values[3];
	int64 next;

	if ((row->flags & PENNY_JOB_KEYED) == 0 || row->key == NULL)
		return;
	values[0] = Int16GetDatum((int16) row->queue);
	values[1] = CStringGetTextDatum(row->key);
	values[2] = Int64GetDatum(row->id);
	if (penny_queue_run(&drop_key, values, NULL, false, NULL, NULL) == 0 &&
		penny_queue_run_int64(&let_go, values, NULL, false, &next))
		(void) penny_waiting_count_down(next);
}
