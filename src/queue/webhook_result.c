/*-------------------------------------------------------------------------
 *
 * webhook_result.c
 *		What a webhook answered, as JSON.
 *
 * A stranger may have sent anything, and what jsonb refuses it refuses by an error
 * (no number so large, no \u0000), as is what would be longer than a payload may be
 * when it is written again: so it is read in a subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/resowner.h"

#include "queue/enqueue.h"
#include "queue/webhook_jobs.h"

Jsonb *
penny_webhook_parse(char *text)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Jsonb *volatile result = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
		penny_job_check_size(result, "the result");
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		result = NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return result;
}
