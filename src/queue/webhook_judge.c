/*-------------------------------------------------------------------------
 *
 * webhook_judge.c
 *		What the response to a webhook means for its job.  See webhook.h.
 *
 * Plain C: no PostgreSQL, no allocation.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/webhook.h"

#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000) /* us */
#define SHOWN 300               /* bytes of a body in an error */

static const uint16_t permanent[] = {400, 405, 406, 410, 411, 413, 414, 415,
									 416, 417, 422, 426, 431, 451, 501, 505};

static bool
is_permanent(uint32_t status)
{
	for (size_t i = 0; i < sizeof(permanent) / sizeof(permanent[0]); i++)
	{
		if (permanent[i] == status)
			return true;
	}
	return false;
}

/* What the courier says is made printable here too: it is not trusted. */
static void
copy_printable(char *to, const char *from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] = (char) (from[i] >= ' ' && from[i] <= '~' ? from[i] : ' ');
	to[len] = '\0';
}

/* The error of a status, with the beginning of the body. */
static void
describe(const PennyCourierAnswer *answer, char *error)
{
	int len = snprintf(error, PENNY_WEBHOOK_ERROR_MAX, "the webhook answered %u%s",
					   (unsigned) answer->status, answer->body.len > 0 ? ": " : "");
	uint32_t shown = answer->body.len < SHOWN ? answer->body.len : SHOWN;

	copy_printable(error + len, answer->body.bytes, shown);
}

static void
judge_status(const PennyCourierAnswer *answer, PennyWebhookEnd *end)
{
	if (answer->status >= 200 && answer->status <= 299)
	{
		end->verdict = PENNY_WEBHOOK_COMPLETED;
		end->result = answer->body.len > 0 && !answer->truncated;
		return;
	}
	end->verdict = is_permanent(answer->status) ? PENNY_WEBHOOK_PERMANENT : PENNY_WEBHOOK_FAILED;
	if ((answer->status == 429 || answer->status == 503) && answer->retry_after > 0)
	{
		end->retry_in = (int64_t) answer->retry_after * SECOND;
		if (end->retry_in > PENNY_WEBHOOK_RETRY_MAX)
			end->retry_in = PENNY_WEBHOOK_RETRY_MAX;
	}
	describe(answer, end->error);
}

void
penny_webhook_judge(const PennyCourierAnswer *answer, PennyWebhookEnd *end)
{
	memset(end, 0, sizeof(*end));
	end->retry_in = -1;
	copy_printable(end->error, answer->error.bytes,
				   answer->error.len < PENNY_WEBHOOK_ERROR_MAX ? answer->error.len
															   : PENNY_WEBHOOK_ERROR_MAX - 1);
	switch (answer->outcome)
	{
		case PENNY_COURIER_ANSWERED:
			judge_status(answer, end);
			break;
		case PENNY_COURIER_REFUSED:
			end->verdict = PENNY_WEBHOOK_PERMANENT;
			break;
		case PENNY_COURIER_BUSY:
			end->verdict = PENNY_WEBHOOK_UNTRIED;
			break;
		case PENNY_COURIER_NO_NAME:
		case PENNY_COURIER_NO_CONNECT:
		case PENNY_COURIER_NO_TLS:
		case PENNY_COURIER_TIMED_OUT:
		case PENNY_COURIER_BROKEN:
		case PENNY_COURIER_CANCELLED:
		case PENNY_COURIER_LOST:
			end->verdict = PENNY_WEBHOOK_FAILED;
			break;
	}
}
