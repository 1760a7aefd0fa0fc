/*-------------------------------------------------------------------------
 *
 * webhook_judge.c
 *		What responses mean for the jobs of webhooks.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "queue/webhook.h"

static PennyWebhookEnd end;

static PennyWebhookVerdict
judge(uint32_t status, uint32_t retry_after, const char *body, bool truncated)
{
	PennyCourierAnswer answer = {.outcome = PENNY_COURIER_ANSWERED,
								 .status = status,
								 .retry_after = retry_after,
								 .truncated = truncated,
								 .body = {body, (uint32_t) strlen(body)}};

	penny_webhook_judge(&answer, &end);
	return end.verdict;
}

TEST(statuses)
{
	static const int for_good[] = {400, 405, 406, 410, 411, 413, 414, 415,
								   416, 417, 422, 426, 431, 451, 501, 505};

	for (uint32_t status = 100; status <= 999; status++)
	{
		PennyWebhookVerdict expected = PENNY_WEBHOOK_FAILED;
		char row[16];

		if (status >= 200 && status <= 299)
			expected = PENNY_WEBHOOK_COMPLETED;
		for (size_t i = 0; i < sizeof(for_good) / sizeof(for_good[0]); i++)
		{
			if (for_good[i] == (int) status)
				expected = PENNY_WEBHOOK_PERMANENT;
		}
		snprintf(row, sizeof(row), "%u", status);
		CHECK_ROW(judge(status, 0, "", false) == expected && end.retry_in == -1, row);
		CHECK_ROW(expected == PENNY_WEBHOOK_COMPLETED || strstr(end.error, row) != NULL, row);
	}
}

TEST(results)
{
	CHECK(judge(200, 0, "{}", false) == PENNY_WEBHOOK_COMPLETED && end.result);
	CHECK(judge(200, 0, "", false) == PENNY_WEBHOOK_COMPLETED && !end.result);
	CHECK(judge(200, 0, "{}", true) == PENNY_WEBHOOK_COMPLETED && !end.result);
}

TEST(retry_after)
{
	CHECK(judge(429, 7, "", false) == PENNY_WEBHOOK_FAILED && end.retry_in == 7000000);
	CHECK(judge(503, 1, "", false) == PENNY_WEBHOOK_FAILED && end.retry_in == 1000000);
	CHECK(judge(500, 7, "", false) == PENNY_WEBHOOK_FAILED && end.retry_in == -1);
	CHECK(judge(200, 7, "", false) == PENNY_WEBHOOK_COMPLETED && end.retry_in == -1);
	CHECK(judge(429, UINT32_MAX, "", false) == PENNY_WEBHOOK_FAILED &&
		  end.retry_in == PENNY_WEBHOOK_RETRY_MAX);
}

TEST(errors)
{
	char body[5000];

	memset(body, 'x', sizeof(body) - 1);
	body[sizeof(body) - 1] = '\0';
	CHECK(judge(500, 0, body, false) == PENNY_WEBHOOK_FAILED);
	CHECK(strlen(end.error) < 350 && strncmp(end.error, "the webhook answered 500: x", 27) == 0);
	CHECK(judge(500, 0, "a\n\x1b[31m\xff<", false) == PENNY_WEBHOOK_FAILED);
	CHECK(strcmp(end.error, "the webhook answered 500: a  [31m <") == 0);
	CHECK(judge(500, 0, "", false) == PENNY_WEBHOOK_FAILED);
	CHECK(strcmp(end.error, "the webhook answered 500") == 0);
}

TEST(failures)
{
	static const PennyWebhookVerdict expected[] = {
		[PENNY_COURIER_REFUSED] = PENNY_WEBHOOK_PERMANENT,
		[PENNY_COURIER_NO_NAME] = PENNY_WEBHOOK_FAILED,
		[PENNY_COURIER_NO_CONNECT] = PENNY_WEBHOOK_FAILED,
		[PENNY_COURIER_NO_TLS] = PENNY_WEBHOOK_FAILED,
		[PENNY_COURIER_TIMED_OUT] = PENNY_WEBHOOK_FAILED,
		[PENNY_COURIER_BROKEN] = PENNY_WEBHOOK_FAILED,
		[PENNY_COURIER_CANCELLED] = PENNY_WEBHOOK_FAILED,
		[PENNY_COURIER_BUSY] = PENNY_WEBHOOK_UNTRIED,
		[PENNY_COURIER_LOST] = PENNY_WEBHOOK_FAILED,
	};

	for (int outcome = PENNY_COURIER_REFUSED; outcome <= PENNY_COURIER_LOST; outcome++)
	{
		PennyCourierAnswer answer = {.outcome = (PennyCourierOutcome) outcome, .error = {"why", 3}};

		penny_webhook_judge(&answer, &end);
		CHECK(end.verdict == expected[outcome] && strcmp(end.error, "why") == 0);
		/* not what a courier that was taken over says instead */
		answer.error = (PennyCourierText){"\xff\n\x1b[2J\xc3", 7};
		penny_webhook_judge(&answer, &end);
		CHECK(strcmp(end.error, "   [2J ") == 0);
	}
}

int
main(void)
{
	RUN(statuses);
	RUN(results);
	RUN(retry_after);
	RUN(errors);
	RUN(failures);
	return unit_done();
}
