/*-------------------------------------------------------------------------
 *
 * session_frames.c
 *		Frames to a client, as JSON text.
 *
 * One is built at a time, in a buffer that all sessions share.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/session.h"

#include <stdio.h>
#include <string.h>

#include "edge/response.h"

static char *text;
static size_t text_len;
static size_t text_size;

/* Room for that many bytes more. */
static char *
reserve(size_t len)
{
	if (text_len + len > text_size)
	{
		text_size = (text_len + len) * 2;
		text = penny_realloc(text, text_size);
	}
	return text + text_len;
}

static void
append(const char *bytes, size_t len)
{
	memcpy(reserve(len), bytes, len);
	text_len += len;
}

static void
append_quoted(PennySpan span)
{
	size_t most = 6 * span.len + 2;

	text_len += penny_json_quote(span, reserve(most), most);
}

void
penny_say_begin(const char *type, PennySpan ref)
{
	text_len = 0;
	append("{\"type\":\"", 9);
	append(type, strlen(type));
	append("\"", 1);
	if (ref.len > 0)
		penny_say_raw("ref", ref);
}

/* A member whose value is JSON already. */
void
penny_say_raw(const char *name, PennySpan json)
{
	append(",\"", 2);
	append(name, strlen(name));
	append("\":", 2);
	append(json.data, json.len);
}

void
penny_say_members(PennySpan members)
{
	if (members.len == 0)
		return;
	append(",", 1);
	append(members.data, members.len);
}

void
penny_say_text(const char *name, PennySpan span)
{
	append(",\"", 2);
	append(name, strlen(name));
	append("\":", 2);
	append_quoted(span);
}

PennySpan
penny_say_end(void)
{
	append("}", 1);
	return (PennySpan){text, text_len};
}

void
penny_say_send(PennySession *session)
{
	session->transport->say(session, penny_say_end());
}

void
penny_say_error(PennySession *session, PennySpan ref, uint32_t status, const char *detail)
{
	char code[16];
	const char *title = penny_status_title(status);

	snprintf(code, sizeof(code), "PY%u", status);
	penny_say_begin("error", ref);
	penny_say_text("code", (PennySpan){code, strlen(code)});
	penny_say_text("title", (PennySpan){title, strlen(title)});
	penny_say_text("detail", (PennySpan){detail, strlen(detail)});
	penny_say_send(session);
}

/* Take over what a problem document says, as far as it says it. */
void
penny_say_problem(PennySession *session, PennySpan ref, PennySpan room, uint32_t status,
				  PennySpan problem)
{
	PennyJsonMember member[] = {{.name = "code"}, {.name = "title"}, {.name = "detail"}};
	const char *title = penny_status_title(status);
	char code[16];
	size_t where;

	if (penny_json_object(problem, member, 3, &where) != NULL)
		member[0].kind = member[1].kind = member[2].kind = PENNY_JSON_ABSENT;
	snprintf(code, sizeof(code), "PY%u", status);
	penny_say_begin("error", ref);
	if (room.len > 0)
		penny_say_text("room", room);
	if (member[0].kind == PENNY_JSON_STRING)
		penny_say_raw("code", member[0].raw);
	else
		penny_say_text("code", (PennySpan){code, strlen(code)});
	if (member[1].kind == PENNY_JSON_STRING)
		penny_say_raw("title", member[1].raw);
	else
		penny_say_text("title", (PennySpan){title, strlen(title)});
	if (member[2].kind == PENNY_JSON_STRING)
		penny_say_raw("detail", member[2].raw);
	penny_say_send(session);
}
