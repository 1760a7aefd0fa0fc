/*-------------------------------------------------------------------------
 *
 * response.c
 *		HTTP answers as bytes.
 *
 * Head and body go into one buffer and out in one write; that is the largest
 * saving of all in answering small requests.  The buffer takes the largest
 * head and the largest piece that a slot can hold.
 *
 * Headers of an executor are copied line by line.  The connection is the
 * edge's business, so Connection, Content-Length and their like are left out,
 * as is Access-Control-*: which pages may read an answer, the settings say.
 * Penny-* are for the edge itself (waiting.h, sse_begin.c).  Left out is, too,
 * a line that is not a header: whatever a handler wrote, it cannot split an
 * answer in two.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/response.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "edge/encoding.h"
#include "edge/http_fields.h"
#include "edge/json_span.h"

#define HEAD_SPARE 2048 /* status line and the edge's own headers */

typedef struct StatusTitle
{
	uint32_t status;
	const char *title;
} StatusTitle;

static const StatusTitle titles[] = {
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{417, "Expectation Failed"},
	{421, "Misdirected Request"},
	{422, "Unprocessable Content"},
	{426, "Upgrade Required"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
};

/* Headers that are not an executor's to set. */
static const struct
{
	const char *name;
	size_t len;
} reserved[] = {
	{"connection", 10}, {"content-length", 14},   {"date", 4},    {"keep-alive", 10},
	{"te", 2},          {"proxy-connection", 16}, {"trailer", 7}, {"transfer-encoding", 17},
	{"upgrade", 7},     {"x-request-id", 12},
};

/* Nor are these; the second is what executors tell the edge. */
#define CORS_PREFIX "access-control-"
#define OWN_PREFIX "penny-"

static char *buffer;
static size_t buffer_size;

void
penny_response_init(void)
{
	/* A line feed becomes two bytes, so lines may double at most. */
	buffer_size = penny_response_head_size(penny_edge.plane.config.response_size);
	buffer = penny_alloc(buffer_size);
}

const char *
penny_status_title(uint32_t status)
{
	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
	{
		if (titles[i].status == status)
			return titles[i].title;
	}
	return "Status";
}

bool
penny_status_has_body(uint32_t status)
{
	return status != 204 && status != 304;
}

/* Is this header one that an executor may not set? */
static bool
is_reserved(const char *name, size_t len)
{
	if (len > strlen(CORS_PREFIX) && strncasecmp(name, CORS_PREFIX, strlen(CORS_PREFIX)) == 0)
		return true;
	if (len > strlen(OWN_PREFIX) && strncasecmp(name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0)
		return true;
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
	{
		if (reserved[i].len == len && strncasecmp(reserved[i].name, name, len) == 0)
			return true;
	}
	return false;
}

/* Is this "name: value" that an executor may send? */
static bool
may_send(const char *line, size_t len)
{
	size_t name = 0;

	while (name < len && penny_http_is_token((unsigned char) line[name]))
		name++;
	if (name == 0 || name == len || line[name] != ':')
		return false;
	for (size_t i = name; i < len; i++)
	{
		unsigned char c = (unsigned char) line[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return !is_reserved(line, name);
}

/* Does a line carry this header?  Its value then. */
static bool
line_is(PennySpan line, const char *name, PennySpan *value)
{
	size_t len = strlen(name);

	if (line.len <= len || line.data[len] != ':' || strncasecmp(line.data, name, len) != 0)
		return false;
	*value = (PennySpan){line.data + len + 1, line.len - len - 1};
	while (value->len > 0 && (value->data[0] == ' ' || value->data[0] == '\t'))
	{
		value->data++;
		value->len--;
	}
	return true;
}

/* Take the next line; without what ends it. */
static PennySpan
next_line(PennySpan *lines)
{
	const char *feed = memchr(lines->data, '\n', lines->len);
	size_t len = feed != NULL ? (size_t) (feed - lines->data) : lines->len;
	PennySpan line = {lines->data, len};

	lines->data += feed != NULL ? len + 1 : len;
	lines->len -= feed != NULL ? len + 1 : len;
	if (len > 0 && line.data[len - 1] == '\r')
		line.len--;
	return line;
}

/*
 * Lines that this answer does not repeat: the tag when another is sent, what the
 * edge says of the cache, and what describes a body that is not there (RFC 9110
 * 15.4.5).
 */
static bool
is_left_out(const PennyReply *reply, PennySpan line)
{
	PennySpan value;

	if (reply->etag.len > 0 && line_is(line, "etag", &value))
		return true;
	if (reply->mark != PENNY_MARK_NONE &&
		(line_is(line, "age", &value) || line_is(line, "x-cache", &value)))
		return true;
	return reply->status == 304 && line.len > 8 && strncasecmp(line.data, "content-", 8) == 0 &&
		   !line_is(line, "content-location", &value);
}

static char *
copy_lines(char *out, const PennyReply *reply)
{
	PennySpan lines = reply->lines;

	while (lines.len > 0)
	{
		PennySpan line = next_line(&lines);

		if (may_send(line.data, line.len) && !is_left_out(reply, line))
		{
			memcpy(out, line.data, line.len);
			out += line.len;
			*out++ = '\r';
			*out++ = '\n';
		}
	}
	return out;
}

/* Is a body of this type text that is worth compressing? */
static bool
type_is_text(PennySpan type)
{
	static const char *const types[] = {"application/json",          "application/problem+json",
										"application/x-ndjson",      "application/javascript",
										"application/xml",           "application/xhtml+xml",
										"application/manifest+json", "image/svg+xml"};
	size_t len = 0;

	while (len < type.len && type.data[len] != ';' && type.data[len] != ' ')
		len++;
	if (len > 5 && strncasecmp(type.data, "text/", 5) == 0)
		return true;
	if ((len > 5 && strncasecmp(type.data + len - 5, "+json", 5) == 0) ||
		(len > 4 && strncasecmp(type.data + len - 4, "+xml", 4) == 0))
		return true;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
	{
		if (strlen(types[i]) == len && strncasecmp(type.data, types[i], len) == 0)
			return true;
	}
	return false;
}

void
penny_response_look(PennySpan lines, PennyLines *what)
{
	bool forbidden = false;
	bool text = false;

	what->etag = (PennySpan){NULL, 0};
	while (lines.len > 0)
	{
		PennySpan line = next_line(&lines);
		PennySpan value;

		if (line_is(line, "content-type", &value))
			text = type_is_text(value);
		else if (line_is(line, "etag", &value))
			what->etag = value;
		else if (line_is(line, "content-encoding", &value) ||
				 (line_is(line, "cache-control", &value) &&
				  penny_http_list_has(value, "no-transform")))
			forbidden = true;
	}
	what->compressible = text && !forbidden;
}

static char *
copy_text(char *out, const char *text)
{
	size_t len = strlen(text);

	memcpy(out, text, len);
	return out + len;
}

static char *
copy_number(char *out, uint64_t number)
{
	char digits[20];
	int n = 0;

	do
	{
		digits[n++] = (char) ('0' + number % 10);
		number /= 10;
	} while (number > 0);
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

/* "Date: …", made once a second. */
static const char *
date_line(void)
{
	static char line[64];
	static time_t of = -1;
	time_t now = (time_t) penny_edge.wall;

	if (now != of)
	{
		struct tm tm;

		gmtime_r(&now, &tm);
		strftime(line, sizeof(line), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
		of = now;
	}
	return line;
}

/* What the cache did, and what the answer depends on. */
static char *
put_cache_lines(char *out, const PennyReply *reply)
{
	static const char *const marks[PENNY_MARKS] = {
		[PENNY_MARK_MISS] = "X-Cache: miss\r\n",
		[PENNY_MARK_HIT] = "X-Cache: hit\r\nAge: ",
		[PENNY_MARK_BYPASS] = "X-Cache: bypass\r\n",
	};

	if (reply->etag.len > 0)
	{
		out = copy_text(out, "ETag: ");
		memcpy(out, reply->etag.data, reply->etag.len);
		out = copy_text(out + reply->etag.len, "\r\n");
	}
	if (reply->mark > PENNY_MARK_NONE && reply->mark < PENNY_MARKS)
		out = copy_text(out, marks[reply->mark]);
	if (reply->mark == PENNY_MARK_HIT)
	{
		out = copy_number(out, reply->age);
		out = copy_text(out, "\r\n");
	}
	if (reply->coding != PENNY_IDENTITY)
	{
		out = copy_text(out, "Content-Encoding: ");
		out = copy_text(out, penny_coding_name(reply->coding));
		out = copy_text(out, "\r\n");
	}
	if (reply->vary)
		out = copy_text(out, "Vary: Accept-Encoding\r\n");
	return out;
}

/* Which pages may read it. */
static char *
put_cors_lines(char *out, const PennyReply *reply)
{
	if (reply->cors)
		out = copy_text(out, "Vary: Origin\r\n");
	if (reply->origin != NULL)
	{
		out = copy_text(out, "Access-Control-Allow-Origin: ");
		out = copy_text(out, reply->origin);
		out = copy_text(out, "\r\nAccess-Control-Expose-Headers: Age, ETag, Location, "
							 "Retry-After, Server-Timing, X-Cache, X-Request-Id\r\n");
	}
	return out;
}

size_t
penny_response_head(const PennyReply *reply, char *out)
{
	char *start = out;

	out = copy_text(out, "HTTP/1.1 ");
	out = copy_number(out, reply->status);
	*out++ = ' ';
	out = copy_text(out, penny_status_title(reply->status));
	out = copy_text(out, "\r\n");
	out = copy_lines(out, reply);
	if (reply->endless && reply->chunked)
		out = copy_text(out, "Transfer-Encoding: chunked\r\n");
	else if (penny_status_has_body(reply->status) && !reply->endless)
	{
		out = copy_text(out, "Content-Length: ");
		out = copy_number(out, reply->length);
		out = copy_text(out, "\r\n");
	}
	out = put_cache_lines(out, reply);
	out = copy_text(out, date_line());
	if (reply->request_id[0] != '\0')
	{
		out = copy_text(out, "X-Request-Id: ");
		out = copy_text(out, reply->request_id);
		out = copy_text(out, "\r\n");
	}
	out = put_cors_lines(out, reply);
	if (reply->more != NULL)
		out = copy_text(out, reply->more);
	if (reply->close)
		out = copy_text(out, "Connection: close\r\n");
	out = copy_text(out, "\r\n");
	return (size_t) (out - start);
}

size_t
penny_response_head_size(size_t lines)
{
	return 2 * lines + HEAD_SPARE;
}

PennySpan
penny_response(const PennyReply *reply, PennySpan body)
{
	size_t len = penny_response_head(reply, buffer);

	if (body.len > 0)
		memcpy(buffer + len, body.data, body.len);
	return (PennySpan){buffer, len + body.len};
}

PennySpan
penny_problem(uint32_t status, const char *detail, const char *request_id)
{
	static char document[2048];
	char quoted[1024] = "";
	size_t len;

	if (detail != NULL)
	{
		len = penny_json_quote((PennySpan){detail, strlen(detail)}, quoted, sizeof(quoted) - 1);
		quoted[len < sizeof(quoted) ? len : 0] = '\0';
	}
	len = (size_t) snprintf(document, sizeof(document),
							"{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,%s%s%s"
							"\"code\":\"PY%u\",\"request_id\":\"%s\"}",
							penny_status_title(status), status,
							quoted[0] != '\0' ? "\"detail\":" : "", quoted,
							quoted[0] != '\0' ? "," : "", status, request_id);
	return (PennySpan){document, len};
}

/* Letters, digits and a few marks, so that it needs no escaping anywhere. */
static bool
is_sane_id(PennySpan id)
{
	if (id.len == 0 || id.len > PENNY_REQUEST_ID_MAX)
		return false;
	for (size_t i = 0; i < id.len; i++)
	{
		unsigned char c = (unsigned char) id.data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			  c == '-' || c == '_' || c == '.'))
			return false;
	}
	return true;
}

void
penny_request_id(PennySpan offered, char out[PENNY_REQUEST_ID_MAX + 1])
{
	static const char hex[] = "0123456789abcdef";
	static uint64_t seed[2];
	static uint64_t count;

	if (is_sane_id(offered))
	{
		memcpy(out, offered.data, offered.len);
		out[offered.len] = '\0';
		return;
	}
	if (count++ == 0)
		penny_random(seed, sizeof(seed));
	for (int half = 0; half < 2; half++)
	{
		uint64_t bits = penny_hash(&count, sizeof(count), seed[half]);

		for (int i = 0; i < 16; i++)
			out[half * 16 + i] = hex[bits >> (60 - 4 * i) & 15];
	}
	out[32] = '\0';
}
