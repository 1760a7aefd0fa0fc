/*-------------------------------------------------------------------------
 *
 * kept.c
 *		A call that can be made again, and the answer that it had.
 *
 * A call's fields are copied out of its slot when the answer is there, so a
 * call that is not kept in the end costs nothing.  Both copies have a bound for
 * each and one over all; with what does not fit in, nothing waits.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/kept.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CALL_MAX (32 * 1024)   /* bytes of a call */
#define ANSWER_MAX (16 * 1024) /* bytes of an answer */
#define ALL_MAX (32 << 20)     /* bytes of everything that is kept */

static const char wait_argument[] = "?wait=";

static size_t all_size;

/* Is there room for that many bytes more?  They are taken then. */
static bool
take_room(PennyKept *kept, size_t size)
{
	if (all_size + size > ALL_MAX)
		return false;
	all_size += size;
	kept->size += size;
	return true;
}

static PennySpan
put(char **at, PennySpan bytes)
{
	PennySpan copy = {*at, bytes.len};

	if (bytes.len > 0)
		memcpy(*at, bytes.data, bytes.len);
	*at += bytes.len;
	return copy;
}

/* Copy the lines that also hold for another request: none of its body, no conditions. */
static PennySpan
put_lines(char **at, PennySpan lines)
{
	PennySpan copy = {*at, 0};

	while (lines.len > 0)
	{
		const char *feed = memchr(lines.data, '\n', lines.len);
		size_t len = feed != NULL ? (size_t) (feed - lines.data) + 1 : lines.len;
		bool other = (len > 3 && strncasecmp(lines.data, "if-", 3) == 0) ||
					 (len > 8 && strncasecmp(lines.data, "content-", 8) == 0);

		if (!other)
			copy.len += put(at, (PennySpan){lines.data, len}).len;
		lines.data += len;
		lines.len -= len;
	}
	return copy;
}

bool
penny_kept_call(PennyKept *kept, const PennyPending *call, PennySpan path, PennySpan wait)
{
	PennyCallOut out;
	size_t size = path.len + sizeof(wait_argument) + wait.len;
	char *at;

	if (kept->call_bytes != NULL)
		return true;
	penny_call_describe(call, &out);
	for (int i = 0; i < PENNY_FIELDS; i++)
		size += out.field[i].len;
	if (size > CALL_MAX || !take_room(kept, size))
		return false;
	kept->call_bytes = at = penny_alloc(size);
	kept->out = out;
	if (path.len > 0)
	{
		PennySpan *target = &kept->out.field[PENNY_FIELD_TARGET];

		kept->out.method = PENNY_GET;
		*target = put(&at, path);
		target->len += put(&at, (PennySpan){wait_argument, sizeof(wait_argument) - 1}).len;
		target->len += put(&at, wait).len;
		kept->out.field[PENNY_FIELD_BODY] = (PennySpan){at, 0};
		kept->out.field[PENNY_FIELD_HEADERS] = put_lines(&at, out.field[PENNY_FIELD_HEADERS]);
	}
	else
	{
		kept->out.field[PENNY_FIELD_TARGET] = put(&at, out.field[PENNY_FIELD_TARGET]);
		kept->out.field[PENNY_FIELD_BODY] = put(&at, out.field[PENNY_FIELD_BODY]);
		kept->out.field[PENNY_FIELD_HEADERS] = put(&at, out.field[PENNY_FIELD_HEADERS]);
	}
	kept->out.field[PENNY_FIELD_TOKEN] = put(&at, out.field[PENNY_FIELD_TOKEN]);
	kept->out.field[PENNY_FIELD_REQUEST_ID] = put(&at, out.field[PENNY_FIELD_REQUEST_ID]);
	kept->out.field[PENNY_FIELD_PEER] = put(&at, out.field[PENNY_FIELD_PEER]);
	return true;
}

/* The answer that was kept before is not needed any more. */
static void
drop_answer(PennyKept *kept)
{
	size_t size = kept->answer.head.len + kept->answer.body.len;

	if (kept->answer_bytes == NULL)
		return;
	free(kept->answer_bytes);
	kept->answer_bytes = NULL;
	kept->size -= size;
	all_size -= size;
}

bool
penny_kept_answer(PennyKept *kept, const PennyAnswer *answer)
{
	size_t size = answer->head.len + answer->body.len;
	char *at;

	if (!answer->first || !answer->last || size > ANSWER_MAX)
		return false;
	drop_answer(kept);
	if (!take_room(kept, size))
		return false;
	kept->answer_bytes = at = penny_alloc(size + 1);
	kept->answer = *answer;
	kept->answer.head = put(&at, answer->head);
	kept->answer.body = put(&at, answer->body);
	kept->answer.token = kept->out.field[PENNY_FIELD_TOKEN];
	kept->answer.requested = kept->out.field[PENNY_FIELD_HEADERS];
	return true;
}

void
penny_kept_release(PennyKept *kept)
{
	drop_answer(kept);
	free(kept->call_bytes);
	all_size -= kept->size;
	memset(kept, 0, sizeof(*kept));
}
