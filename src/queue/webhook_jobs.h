/*-------------------------------------------------------------------------
 *
 * webhook_jobs.h
 *		Jobs of webhooks that the courier has, from taking them to their ends.
 *		Private to webhook.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WEBHOOK_JOBS_H
#define PENNY_WEBHOOK_JOBS_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "plane/courier.h"
#include "queue/queue.h"

/* Once in the process, connected. */
extern void penny_webhook_jobs_init(void);
/* How many may be taken now. */
extern int penny_webhook_jobs_room(void);
/* Take what may start now, read and send it; true: something was sent, there may be more. */
extern bool penny_webhook_jobs_begin(void);
/* What came of one that was sent; `stopping`: what was lost goes back. */
extern void penny_webhook_jobs_answer(uint64 cookie, const PennyCourierAnswer *answer,
									  bool stopping);
/* Ask for the end of what is to be cancelled. */
extern void penny_webhook_jobs_cancel(void);
/* Write down what has ended. */
extern void penny_webhook_jobs_record(void);
/* ms of penny_clock_ms() at which that, or taking, is to be tried again; PENNY_NEVER. */
extern int64 penny_webhook_jobs_due(void);
/* How many are not done. */
extern int penny_webhook_jobs_open(void);
/* The process ends: all go back. */
extern void penny_webhook_jobs_exit(void);

/* ---- webhook_request.c ----------------------------------------------------------- */

/* Make it in the current memory context. */
extern void penny_webhook_request(const PennyJobRow *row, const PennyHandler *handler, int attempt,
								  PennyCourierRequest *request);

/* ---- webhook_result.c ------------------------------------------------------------ */

/* The text as JSON in the current memory context, or NULL; in a transaction. */
extern Jsonb *penny_webhook_parse(char *text);

#endif /* PENNY_WEBHOOK_JOBS_H */
