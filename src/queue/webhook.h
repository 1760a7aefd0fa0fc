/*-------------------------------------------------------------------------
 *
 * webhook.h
 *		Webhooks: which may be registered, and what a response means.
 *
 * A response of 2xx completes the job, with its body as result if that is JSON.
 * What would be the same the next time is permanent: the job is a dead letter
 * at once.  Everything else is a failed attempt, and attempts go on as the job's
 * terms say, after Retry-After if a 429 or 503 has that.
 *
 *	completed	2xx, also when the body was too long or is not JSON (no result)
 *	permanent	400 405 406 410 411 413 414 415 416 417 422 426 431 451, 501 505,
 *				and what penny.webhook_allow does not allow
 *	failed		all other statuses: 3xx (not followed), 401 403 404 408 409 421
 *				423 424 425 428 429, other 4xx, 5xx; nobody there, no name, no TLS,
 *				too slow, cut off; and a courier that ended while it was on its way
 *	untried		it was not begun: nothing is counted
 *
 * 401, 403 and 404 are not permanent: so answer services that are being
 * deployed, or whose secrets are being exchanged.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WEBHOOK_H
#define PENNY_WEBHOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "plane/courier.h"

#define PENNY_WEBHOOK_ERROR_MAX 512
#define PENNY_WEBHOOK_RETRY_MAX (INT64_C(24) * 3600 * 1000000) /* us, of Retry-After */

typedef enum PennyWebhookVerdict
{
	PENNY_WEBHOOK_COMPLETED,
	PENNY_WEBHOOK_FAILED,
	PENNY_WEBHOOK_PERMANENT,
	PENNY_WEBHOOK_UNTRIED
} PennyWebhookVerdict;

typedef struct PennyWebhookEnd
{
	PennyWebhookVerdict verdict;
	bool result;                         /* the body is whole and may be JSON */
	int64_t retry_in;                    /* us; -1: as the backoff says */
	char error[PENNY_WEBHOOK_ERROR_MAX]; /* unless completed; printable */
} PennyWebhookEnd;

/* ---- webhook_judge.c: plain C ---------------------------------------------- */

extern void penny_webhook_judge(const PennyCourierAnswer *answer, PennyWebhookEnd *end);

/* ---- webhook_check.c --------------------------------------------------------- */

/* Raise an error unless the setting lets this URL be called, as far as its text says. */
extern void penny_webhook_check_url(const char *url);
/* The same as a sentence, or NULL. */
extern const char *penny_webhook_url_wrong(const char *url);

#endif /* PENNY_WEBHOOK_H */
