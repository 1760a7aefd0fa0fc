/*-------------------------------------------------------------------------
 *
 * webhook_request.c
 *		The request of a job to its webhook, signed.
 *
 * Its id is the same at every attempt, also after a restore, and another one for
 * a job of another server that has the same number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "config/config.h"
#include "queue/webhook_jobs.h"
#include "queue/webhook_sign.h"

/* "Name: value" and a zero byte. */
static void
add_header(StringInfo headers, const char *name, const char *value)
{
	appendStringInfo(headers, "%s: %s", name, value);
	appendStringInfoChar(headers, '\0');
}

void
penny_webhook_request(const PennyJobRow *row, const PennyHandler *handler, int attempt,
					  PennyCourierRequest *request)
{
	char *body = JsonbToCString(NULL, &row->payload->root, VARSIZE(row->payload));
	char *id = psprintf("job_" INT64_FORMAT "_" UINT64_FORMAT, row->id, (uint64) row->enqueued_at);
	int64 now = (int64) time(NULL);
	char *signature = penny_webhook_sign(handler->secret, id, now, body, strlen(body));
	StringInfoData headers;
	PennyJobTerms terms;

	if (signature == NULL)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not sign a webhook")));
	initStringInfo(&headers);
	add_header(&headers, "Content-Type", "application/json");
	add_header(&headers, "User-Agent", "penny/" PENNY_VERSION);
	add_header(&headers, "webhook-id", id);
	add_header(&headers, "webhook-timestamp", psprintf(INT64_FORMAT, now));
	add_header(&headers, "webhook-signature", signature);
	add_header(&headers, "Idempotency-Key", id);
	add_header(&headers, "penny-job", psprintf(INT64_FORMAT, row->id));
	add_header(&headers, "penny-kind", row->kind);
	add_header(&headers, "penny-attempt", psprintf("%d", attempt));

	penny_job_terms(row, handler, &terms);
	*request = (PennyCourierRequest){
		.timeout = (uint32) Min(Max(terms.timeout / 1000, 1), penny_webhook_timeout),
		.response_max = (uint32) penny_webhook_max_response,
		.headers = {headers.data, (uint32) headers.len},
		.body = {body, (uint32) strlen(body)},
	};
	request->url.bytes = pstrdup(handler->url);
	request->url.len = (uint32) strlen(handler->url);
}
