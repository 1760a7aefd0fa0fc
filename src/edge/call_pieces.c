/*-------------------------------------------------------------------------
 *
 * call_pieces.c
 *		What a slot holds of an answer: one piece, described and checked; or all
 *		pieces, gathered.
 *
 * Lengths come from region P.  None is used before it was compared with the
 * size of a slot (penny_edge_take()) and with what came before; an answer
 * that does not add up is broken.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/calls_private.h"

#include <string.h>

#include "edge/token_memory.h"

#define WHOLE_MAX (64 << 20) /* bytes of an answer taken whole */

bool
penny_call_gather(PennyPending *call, PennyAnswer *answer)
{
	if (call->gathered == NULL)
	{
		if (answer->head.len + answer->body_total > WHOLE_MAX)
			return false;
		call->gathered_size = answer->head.len + answer->body_total;
		call->gathered = penny_alloc(call->gathered_size + 1);
		memcpy(call->gathered, answer->head.data, answer->head.len);
		call->head = (PennySpan){call->gathered, answer->head.len};
		call->gathered_len = answer->head.len;
	}
	if (answer->body.len > call->gathered_size - call->gathered_len)
		return false;
	memcpy(call->gathered + call->gathered_len, answer->body.data, answer->body.len);
	call->gathered_len += answer->body.len;
	answer->first = true;
	answer->head = call->head;
	answer->body =
		(PennySpan){call->gathered + call->head.len, call->gathered_len - call->head.len};
	return true;
}

/* What comes with the first piece: marks of the executor, and what was asked. */
static void
view_surroundings(PennyPending *call, const PennyResponseHead *head, PennyAnswer *answer)
{
	answer->mark = head->mark < PENNY_MARKS ? (PennyCacheMark) head->mark : PENNY_MARK_NONE;
	answer->age = head->age;
	answer->viewer = head->viewer;
	answer->token = penny_edge_submitted(&penny_edge.plane, call->slot, PENNY_FIELD_TOKEN);
	answer->requested = penny_edge_submitted(&penny_edge.plane, call->slot, PENNY_FIELD_HEADERS);
	/* In one place for all that is called: HTTP, sign-ins, WebSockets. */
	if (answer->status != 401)
		penny_token_remember(answer->token, &answer->viewer);
}

bool
penny_call_view(PennyPending *call, bool done, PennyAnswer *answer)
{
	PennyResponseHead head;
	const char *bytes;
	size_t from_head;

	if (!penny_edge_take(&penny_edge.plane, call->slot, &head, &bytes) || head.status == 0)
		return false;
	from_head = call->started ? 0 : head.head_len;
	if (from_head > head.piece_len)
		return false;
	memset(answer, 0, sizeof(*answer));
	answer->kind = PENNY_ANSWER;
	answer->status = head.status;
	answer->first = !call->started;
	answer->last = done;
	answer->head = (PennySpan){bytes, from_head};
	answer->body = (PennySpan){bytes + from_head, head.piece_len - from_head};
	answer->body_total = head.total_len - head.head_len;
	if (answer->first)
		view_surroundings(call, &head, answer);
	/* The last piece completes it, and no earlier one goes beyond. */
	return done ? call->body_seen + answer->body.len == answer->body_total
				: call->body_seen + answer->body.len <= answer->body_total;
}
