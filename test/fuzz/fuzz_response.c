/*-------------------------------------------------------------------------
 *
 * fuzz_response.c
 *		Answers that the edge builds of what an executor says: whatever the
 *		header lines hold, one answer comes out, of one meaning; whatever the
 *		problem document holds, the frame or document is valid JSON.
 *
 *-------------------------------------------------------------------------
 */
#include <strings.h>

#include "fuzz.h"

#include "edge/response.h"
#include "edge/session.h"

#define PIECE 2048

static char *sent; /* to the session's client */
static size_t sent_len;

static void
say(PennySession *session, PennySpan text)
{
	(void) session;
	free(sent);
	sent = malloc(text.len > 0 ? text.len : 1);
	memcpy(sent, text.data, text.len);
	sent_len = text.len;
}

/* How many lines of a head begin with that? */
static int
lines_of(const char *head, size_t len, const char *name)
{
	int count = 0;

	for (size_t at = 0; at + strlen(name) <= len; at++)
		count +=
			(at == 0 || head[at - 1] == '\n') && strncasecmp(head + at, name, strlen(name)) == 0;
	return count;
}

static void
check_answer(const PennyReply *reply, PennySpan bytes, PennySpan body)
{
	size_t head = bytes.len - body.len;

	MUST(head >= 4 && memcmp(bytes.data + head - 4, "\r\n\r\n", 4) == 0);
	MUST(memmem(bytes.data, head, "\r\n\r\n", 4) == bytes.data + head - 4);
	for (size_t i = 0; i < head; i++)
	{
		char c = bytes.data[i];

		MUST(c != '\0' && (c != '\r' || bytes.data[i + 1] == '\n'));
		MUST(c != '\n' || (i > 0 && bytes.data[i - 1] == '\r'));
	}
	MUST(lines_of(bytes.data, head, "content-length:") == penny_status_has_body(reply->status));
	MUST(lines_of(bytes.data, head, "transfer-encoding:") == 0);
	MUST(lines_of(bytes.data, head, "connection:") == reply->close);
	MUST(lines_of(bytes.data, head, "date:") == 1);
	MUST(body.len == 0 || memcmp(bytes.data + head, body.data, body.len) == 0);
}

static void
try_reply(FuzzInput *input)
{
	PennyReply reply;
	char id[PENNY_REQUEST_ID_MAX + 1];
	char *lines, *body, *offered;
	size_t lines_len, body_len, offered_len;
	PennySpan span;

	memset(&reply, 0, sizeof(reply));
	reply.status = (uint32_t) fuzz_number(input, 2);
	reply.close = fuzz_byte(input) & 1;
	reply.length = fuzz_number(input, 8);
	offered = fuzz_bytes(input, 80, &offered_len);
	penny_request_id((PennySpan){offered, offered_len}, id);
	MUST(strlen(id) > 0);
	reply.request_id = id;
	lines = fuzz_bytes(input, PIECE, &lines_len);
	body = fuzz_bytes(input, PIECE - lines_len, &body_len);
	reply.lines = (PennySpan){lines, lines_len};
	span = (PennySpan){body, body_len};
	check_answer(&reply, penny_response(&reply, span), span);
	free(offered);
	free(lines);
	free(body);
}

static void
must_be_json(PennySpan text)
{
	PennyJsonMember type = {.name = "type"};
	size_t where;

	MUST(penny_json_object(text, &type, 1, &where) == NULL && type.kind == PENNY_JSON_STRING);
}

/* Text that is valid UTF-8, as everything that comes so far is. */
static char *
ascii(FuzzInput *input, size_t max, size_t *len)
{
	char *text = fuzz_bytes(input, max, len);

	for (size_t i = 0; i < *len; i++)
		text[i] &= 0x7F;
	return text;
}

static void
try_problem(FuzzInput *input)
{
	static const PennyTransport transport = {.say = say};
	PennySession session = {.transport = &transport};
	char *problem, *room, *detail;
	size_t problem_len, room_len, detail_len;

	problem = fuzz_bytes(input, PIECE, &problem_len);
	room = ascii(input, PENNY_ROOM_NAME_MAX, &room_len);
	detail = ascii(input, 300, &detail_len);
	penny_say_problem(&session, (PennySpan){"\"r\"", 3}, (PennySpan){room, room_len},
					  (uint32_t) fuzz_number(input, 2), (PennySpan){problem, problem_len});
	must_be_json((PennySpan){sent, sent_len});
	detail = realloc(detail, detail_len + 1);
	detail[detail_len] = '\0';
	must_be_json(penny_problem((uint32_t) fuzz_number(input, 2), detail, "id"));
	free(problem);
	free(room);
	free(detail);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzInput input = {data, size};

	if (penny_edge.plane.config.response_size == 0)
	{
		penny_edge.plane.config.response_size = PIECE;
		penny_response_init();
	}
	if (fuzz_byte(&input) & 1)
		try_reply(&input);
	else
		try_problem(&input);
	return 0;
}
