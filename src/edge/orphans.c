/*-------------------------------------------------------------------------
 *
 * orphans.c
 *		Calls about jobs whose client has gone before they were answered.
 *
 * A claim that was answered after its client had gone would leave its jobs to
 * nobody until their lease ends.  So such a call is not cancelled but taken
 * over, and its jobs are given back by the route that a client would use, with
 * the client's token.  Nothing is kept for that beyond the slot that the call
 * has anyway.
 *
 * What cannot be given back (the edge is overloaded, or ends) is there again
 * when the lease is over, which is also what happens when the client goes
 * after the answer was sent.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/orphans.h"

#include <stdlib.h>
#include <string.h>

#include "edge/sse_text.h"

#define CLAIM_BEGIN "/api/v1/queues/"
#define CLAIM_END "/claim"

/* Is it a claim of jobs? */
static bool
is_claim(const PennyCallOut *out)
{
	PennySpan path = out->field[PENNY_FIELD_TARGET];
	const char *mark = path.len > 0 ? memchr(path.data, '?', path.len) : NULL;
	size_t begin = sizeof(CLAIM_BEGIN) - 1;
	size_t end = sizeof(CLAIM_END) - 1;

	if (mark != NULL)
		path.len = (size_t) (mark - path.data);
	return out->op == PENNY_OP_HTTP && out->method == PENNY_POST && path.len > begin + end &&
		   memcmp(path.data, CLAIM_BEGIN, begin) == 0 &&
		   memcmp(path.data + path.len - end, CLAIM_END, end) == 0;
}

static bool
ignore(void *owner, const PennyAnswer *answer)
{
	(void) owner;
	(void) answer;
	return true;
}

static char *
append(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	return out + len;
}

/* Ids and tokens of the jobs in {"data":[…]}; NULL when there are none. */
static char *
list_jobs(PennySpan body, size_t *len)
{
	static const char begin[] = "{\"jobs\":[";
	PennySpan data, job, id, token;
	char *text;
	char *out;
	int n = 0;

	if (!penny_sse_member(body, "data", &data) || data.data[0] != '[')
		return NULL;
	text = penny_alloc(body.len + 64); /* every byte of a job here was in the job there */
	out = append(text, begin, sizeof(begin) - 1);
	while (penny_sse_element(&data, &job))
	{
		if (!penny_sse_member(job, "id", &id) || !penny_sse_member(job, "token", &token))
			continue;
		if (n++ > 0)
			*out++ = ',';
		out = append(out, "{\"id\":", 6);
		out = append(out, id.data, id.len);
		out = append(out, ",\"token\":", 9);
		out = append(out, token.data, token.len);
		*out++ = '}';
	}
	out = append(out, "]}", 2);
	*len = (size_t) (out - text);
	if (n > 0)
		return text;
	free(text);
	return NULL;
}

void
penny_orphan_return(const PennyPending *call, const PennyAnswer *answer)
{
	static const char path[] = "/api/v1/jobs/release";
	static const char lines[] = "content-type: application/json\n";
	PennyCallOut out;
	char *jobs;
	size_t len;

	penny_call_describe(call, &out);
	if (answer->kind != PENNY_ANSWER || answer->status != 200 || !is_claim(&out))
		return;
	jobs = list_jobs(answer->body, &len);
	if (jobs == NULL)
		return;
	out.whole = true;
	out.flags &= PENNY_REQUEST_LOOPBACK;
	out.field[PENNY_FIELD_TARGET] = (PennySpan){path, sizeof(path) - 1};
	out.field[PENNY_FIELD_HEADERS] = (PennySpan){lines, sizeof(lines) - 1};
	out.field[PENNY_FIELD_BODY] = (PennySpan){jobs, len};
	if (!penny_edge_fits(&penny_edge.plane, out.field) ||
		penny_call_start(&out, ignore, NULL) == NULL)
		penny_log(PENNY_LOG_DEBUG, "claimed jobs of a client that went wait for their lease");
	free(jobs);
}

static bool
on_claimed(void *owner, const PennyAnswer *answer)
{
	penny_orphan_return(owner, answer);
	return true;
}

bool
penny_orphan_take(PennyPending *call)
{
	PennyCallOut out;

	penny_call_describe(call, &out);
	if (!penny_call_is_submitted(call) || !is_claim(&out))
		return false;
	penny_call_hand_over(call, on_claimed, call);
	return true;
}

void
penny_orphan_finish(PennyPending *call)
{
	penny_call_hand_over(call, ignore, NULL);
}
