/*-------------------------------------------------------------------------
 *
 * http_parse.c
 *		Parser of HTTP/1.1 request heads: lines, limits, what a head means.
 *
 * Works line by line: a line is looked at once it is complete, and what cannot
 * become a request is refused before that (a first byte that starts no method,
 * a target that is too long), so that a peer speaking something else is not
 * waited for.  Bytes are scanned for the line's end once, however they arrive.
 *
 * The meaning of the fields is judged when the head is complete, in
 * http_fields.c.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "edge/http_fields.h"
#include "edge/http_target.h"
#include "edge/utf8.h"

#define METHOD_MAX 16 /* longest method looked at */

enum
{
	PHASE_REQUEST_LINE,
	PHASE_HEADERS,
	PHASE_DONE,
	PHASE_FAILED
};

void
penny_http_init(PennyHttpParser *parser, uint32_t header_size, uint32_t target_size)
{
	/* the table of headers is valid up to `headers`: no need to clear it */
	memset(parser, 0, offsetof(PennyHttpParser, header));
	parser->status = 0;
	parser->reason = NULL;
	parser->header_size = header_size;
	parser->target_size = target_size;
}

PennyHttpResult
penny_http_fail(PennyHttpParser *parser, int status, const char *reason)
{
	parser->phase = PHASE_FAILED;
	parser->status = status;
	parser->reason = reason;
	return PENNY_HTTP_ERROR;
}

/* Characters of tokens (RFC 9110 5.6.2), and those of token68 (11.2), by bits. */
const unsigned char penny_http_class[256] = {
	['0' ... '9'] = PENNY_HTTP_TOKEN | PENNY_HTTP_TOKEN68,
	['a' ... 'z'] = PENNY_HTTP_TOKEN | PENNY_HTTP_TOKEN68,
	['A' ... 'Z'] = PENNY_HTTP_TOKEN | PENNY_HTTP_TOKEN68,
	['!'] = PENNY_HTTP_TOKEN,
	['#'] = PENNY_HTTP_TOKEN,
	['$'] = PENNY_HTTP_TOKEN,
	['%'] = PENNY_HTTP_TOKEN,
	['&'] = PENNY_HTTP_TOKEN,
	['\''] = PENNY_HTTP_TOKEN,
	['*'] = PENNY_HTTP_TOKEN,
	['+'] = PENNY_HTTP_TOKEN | PENNY_HTTP_TOKEN68,
	['-'] = PENNY_HTTP_TOKEN | PENNY_HTTP_TOKEN68,
	['.'] = PENNY_HTTP_TOKEN | PENNY_HTTP_TOKEN68,
	['^'] = PENNY_HTTP_TOKEN,
	['_'] = PENNY_HTTP_TOKEN | PENNY_HTTP_TOKEN68,
	['`'] = PENNY_HTTP_TOKEN,
	['|'] = PENNY_HTTP_TOKEN,
	['~'] = PENNY_HTTP_TOKEN | PENNY_HTTP_TOKEN68,
	['/'] = PENNY_HTTP_TOKEN68,
	['='] = PENNY_HTTP_TOKEN68,
};

/* Number of the method; PENNY_METHODS for one that penny does not know. */
static PennyMethod
find_method(const char *name, size_t len)
{
	PennyMethod method = PENNY_GET;

	while (method < PENNY_METHODS && (strlen(penny_method_name(method)) != len ||
									  memcmp(penny_method_name(method), name, len) != 0))
		method++;
	return method;
}

/* Judge a request line that is not complete: can it still become one? */
static PennyHttpResult
partial_request_line(PennyHttpParser *parser, const char *line, size_t len)
{
	size_t i = 0;

	/* what may be an empty line, or the end of the line, comes complete */
	if (len > 0 && line[len - 1] == '\r')
		len--;
	while (i < len && line[i] != ' ')
	{
		if (!penny_http_is_token((unsigned char) line[i]))
			return penny_http_fail(parser, 400, "the request line is malformed");
		if (++i > METHOD_MAX)
			return penny_http_fail(parser, 501, "the method is not known");
	}
	if (i < len)
	{
		const char *target = line + i + 1;
		const char *end = memchr(target, ' ', len - i - 1);

		if ((end != NULL ? (size_t) (end - target) : len - i - 1) > parser->target_size)
			return penny_http_fail(parser, 414, "the request target is too long");
	}
	return PENNY_HTTP_NEED_MORE;
}

/* Take the version that ends the request line. */
static PennyHttpResult
take_version(PennyHttpParser *parser, const char *text, size_t len)
{
	if (len != 8 || memcmp(text, "HTTP/", 5) != 0 || text[5] < '0' || text[5] > '9' ||
		text[6] != '.' || text[7] < '0' || text[7] > '9')
		return penny_http_fail(parser, 400, "the HTTP version is malformed");
	if (text[5] != '1')
		return penny_http_fail(parser, 505, "this HTTP version is not supported");
	parser->http10 = text[7] == '0';
	return PENNY_HTTP_DONE;
}

/* Take the target: its length, form, bytes, path and query. */
static PennyHttpResult
take_target(PennyHttpParser *parser, const char *buffer, PennySpan target)
{
	PennySpan authority, path, query;
	const char *wrong;

	if (target.len > parser->target_size)
		return penny_http_fail(parser, 414, "the request target is too long");
	if (parser->method == PENNY_OPTIONS && target.len == 1 && target.data[0] == '*')
	{
		parser->target = parser->path = penny_http_slice(buffer, target);
		return PENNY_HTTP_DONE;
	}
	penny_http_target_split(&target, &authority);
	parser->authority = penny_http_slice(buffer, authority);
	wrong = penny_http_target_check(target, &path, &query);
	if (wrong != NULL)
		return penny_http_fail(parser, 400, wrong);
	parser->target = penny_http_slice(buffer, target);
	parser->path = penny_http_slice(buffer, path);
	parser->query = penny_http_slice(buffer, query);
	return PENNY_HTTP_DONE;
}

/* Take a complete request line: method SP target SP version. */
static PennyHttpResult
take_request_line(PennyHttpParser *parser, const char *buffer, const char *line, size_t len)
{
	const char *end = line + len;
	const char *target = memchr(line, ' ', len);
	const char *version;

	if (target == NULL || target == line)
		return penny_http_fail(parser, 400, "the request line is malformed");
	for (const char *p = line; p < target; p++)
	{
		if (!penny_http_is_token((unsigned char) *p))
			return penny_http_fail(parser, 400, "the request line is malformed");
	}
	parser->method = find_method(line, (size_t) (target - line));
	target++;
	version = memchr(target, ' ', (size_t) (end - target));
	if (version == NULL)
		return penny_http_fail(parser, 400, "the request line is malformed");
	if (take_version(parser, version + 1, (size_t) (end - version) - 1) == PENNY_HTTP_ERROR)
		return PENNY_HTTP_ERROR;
	if (parser->method == PENNY_METHODS)
		return penny_http_fail(parser, 501, "the method is not known");
	return take_target(parser, buffer, (PennySpan){target, (size_t) (version - target)});
}

/* Is this a header's value: visible characters, blanks, UTF-8? */
static bool
value_valid(const char *value, size_t len)
{
	unsigned char all = 0;

	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) value[i];

		if ((c < 0x20 && c != '\t') || c == 0x7F)
			return false;
		all |= c;
	}
	return all < 0x80 || penny_utf8_valid(value, len);
}

/* Take a complete header line, lower-casing its name. */
static PennyHttpResult
take_header(PennyHttpParser *parser, char *buffer, char *line, size_t len)
{
	char *colon = memchr(line, ':', len);
	char *end = line + len;
	const char *value;
	PennyHttpHeader *header;

	if (line[0] == ' ' || line[0] == '\t')
		return penny_http_fail(parser, 400, "a header line is folded");
	if (colon == NULL || colon == line)
		return penny_http_fail(parser, 400, "a header line is malformed");
	for (char *p = line; p < colon; p++)
	{
		if (!penny_http_is_token((unsigned char) *p))
			return penny_http_fail(parser, 400, "a header's name is malformed");
		if (*p >= 'A' && *p <= 'Z')
			*p = (char) (*p - 'A' + 'a');
	}
	value = colon + 1;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	if (!value_valid(value, (size_t) (end - value)))
		return penny_http_fail(parser, 400, "a header's value is malformed");
	if (parser->headers == PENNY_HTTP_MAX_HEADERS)
		return penny_http_fail(parser, 431, "there are too many headers");
	header = &parser->header[parser->headers++];
	header->name = penny_http_slice(buffer, (PennySpan){line, (size_t) (colon - line)});
	header->value = penny_http_slice(buffer, (PennySpan){value, (size_t) (end - value)});
	return PENNY_HTTP_DONE;
}

/* Take a complete line, without its CR LF. */
static PennyHttpResult
take_line(PennyHttpParser *parser, char *buffer, char *line, size_t len)
{
	if (memchr(line, '\r', len) != NULL)
		return penny_http_fail(parser, 400, "a line holds a bare CR");
	if (parser->phase == PHASE_REQUEST_LINE)
	{
		/* RFC 9112 2.2: an empty line before the request line is skipped */
		if (len == 0 && parser->blank_lines++ == 0)
			return PENNY_HTTP_NEED_MORE;
		if (take_request_line(parser, buffer, line, len) == PENNY_HTTP_ERROR)
			return PENNY_HTTP_ERROR;
		parser->phase = PHASE_HEADERS;
		return PENNY_HTTP_NEED_MORE;
	}
	if (len > 0)
		return take_header(parser, buffer, line, len) == PENNY_HTTP_ERROR ? PENNY_HTTP_ERROR
																		  : PENNY_HTTP_NEED_MORE;
	parser->phase = PHASE_DONE;
	parser->head_len = (uint32_t) (line - buffer) + 2;
	return penny_http_judge_fields(parser, buffer);
}

/*
 * The line is not complete and len bytes are there: go on or give up?  A CR is
 * looked at once what follows it has come.
 */
static PennyHttpResult
wait_for_line(PennyHttpParser *parser, const char *buffer, size_t len)
{
	bool request_line = parser->phase == PHASE_REQUEST_LINE;
	uint32_t looked = parser->scanned > parser->line ? parser->scanned - 1 : parser->line;

	parser->scanned = (uint32_t) len;
	if (len > looked && memchr(buffer + looked, '\r', len - looked - 1) != NULL)
		return penny_http_fail(parser, 400, "a line holds a bare CR");
	if (request_line &&
		partial_request_line(parser, buffer + parser->line, len - parser->line) == PENNY_HTTP_ERROR)
		return PENNY_HTTP_ERROR;
	if (len < parser->header_size)
		return PENNY_HTTP_NEED_MORE;
	return request_line ? penny_http_fail(parser, 414, "the request line is too long")
						: penny_http_fail(parser, 431, "the headers are too large");
}

PennyHttpResult
penny_http_parse(PennyHttpParser *parser, char *buffer, size_t len)
{
	if (parser->phase == PHASE_FAILED)
		return PENNY_HTTP_ERROR;
	if (parser->phase == PHASE_DONE)
		return PENNY_HTTP_DONE;
	if (len > parser->header_size)
		len = parser->header_size;
	for (;;)
	{
		char *line = buffer + parser->line;
		char *end = len > parser->scanned
						? memchr(buffer + parser->scanned, '\n', len - parser->scanned)
						: NULL;
		PennyHttpResult result;

		if (end == NULL)
			return wait_for_line(parser, buffer, len);
		if (end == line || end[-1] != '\r')
			return penny_http_fail(parser, 400, "a line ends with a bare LF");
		parser->line = parser->scanned = (uint32_t) (end - buffer) + 1;
		result = take_line(parser, buffer, line, (size_t) (end - line) - 1);
		if (result != PENNY_HTTP_NEED_MORE)
			return result;
	}
}
