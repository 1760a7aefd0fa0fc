/*-------------------------------------------------------------------------
 *
 * http_fields.c
 *		What the fields of a request head mean, and look-ups in them.
 *
 * Everything that decides where a request ends is judged here in one pass with
 * one rule: written once, in one form, or refused.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "edge/handshake.h"
#include "edge/http_fields.h"

/* What one pass over the headers gathers. */
typedef struct Fields
{
	int hosts;
	int lengths;
	int encodings;
	int expects;
	int upgrades;
	int keys;
	int versions;
	PennySpan host;
	PennySpan length;
	PennySpan expect;
	PennySpan upgrade;
	PennySpan key;
	PennySpan version;
	bool close;
	bool connection_upgrade;
	bool connection_malformed;
} Fields;

static bool
span_is(PennySpan span, const char *text)
{
	return span.len == strlen(text) && memcmp(span.data, text, span.len) == 0;
}

static bool
span_is_nocase(PennySpan span, const char *text)
{
	return span.len == strlen(text) && strncasecmp(span.data, text, span.len) == 0;
}

/* Take the next element of a comma-separated list; false at its end. */
static bool
next_element(PennySpan *list, PennySpan *element)
{
	const char *comma;
	size_t len;

	if (list->len == 0)
		return false;
	comma = memchr(list->data, ',', list->len);
	len = comma != NULL ? (size_t) (comma - list->data) : list->len;
	*element = (PennySpan){list->data, len};
	list->data += comma != NULL ? len + 1 : len;
	list->len -= comma != NULL ? len + 1 : len;
	while (element->len > 0 && (element->data[0] == ' ' || element->data[0] == '\t'))
	{
		element->data++;
		element->len--;
	}
	while (element->len > 0 &&
		   (element->data[element->len - 1] == ' ' || element->data[element->len - 1] == '\t'))
		element->len--;
	return true;
}

bool
penny_http_list_has(PennySpan list, const char *token)
{
	PennySpan element;

	while (next_element(&list, &element))
	{
		if (span_is_nocase(element, token))
			return true;
	}
	return false;
}

/* Is every element of the list a token, or empty? */
static bool
list_of_tokens(PennySpan list)
{
	PennySpan element;

	while (next_element(&list, &element))
	{
		for (size_t i = 0; i < element.len; i++)
		{
			if (!penny_http_is_token((unsigned char) element.data[i]))
				return false;
		}
	}
	return true;
}

/* Note one header that matters to the parser. */
static void
gather_field(Fields *fields, PennySpan name, PennySpan value)
{
	if (span_is(name, "host"))
	{
		fields->hosts++;
		fields->host = value;
	}
	else if (span_is(name, "content-length"))
	{
		fields->lengths++;
		fields->length = value;
	}
	else if (span_is(name, "transfer-encoding"))
		fields->encodings++;
	else if (span_is(name, "connection"))
	{
		fields->close |= penny_http_list_has(value, "close");
		fields->connection_upgrade |= penny_http_list_has(value, "upgrade");
		fields->connection_malformed |= !list_of_tokens(value);
	}
	else if (span_is(name, "expect"))
	{
		fields->expects++;
		fields->expect = value;
	}
	else if (span_is(name, "upgrade"))
	{
		fields->upgrades++;
		fields->upgrade = value;
	}
	else if (span_is(name, "sec-websocket-key"))
	{
		fields->keys++;
		fields->key = value;
	}
	else if (span_is(name, "sec-websocket-version"))
	{
		fields->versions++;
		fields->version = value;
	}
}

/* Is this port ":digits", at most 65535, or nothing? */
static bool
port_valid(const char *text, size_t len)
{
	uint32_t port = 0;

	if (len == 0)
		return true;
	if (text[0] != ':' || len > 6)
		return false;
	for (size_t i = 1; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (uint32_t) (text[i] - '0');
	}
	return port <= 65535;
}

/* Is this host[:port], with a name, an IPv4 or a bracketed IPv6 address? */
static bool
host_valid(PennySpan host)
{
	size_t i = 0;
	bool bracket = host.len > 0 && host.data[0] == '[';
	const char *others = bracket ? ".:" : "-._~";

	if (bracket)
		i++;
	while (i < host.len)
	{
		char c = host.data[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
			(c == '\0' || strchr(others, c) == NULL))
			break;
		i++;
	}
	if (i == (bracket ? 1 : 0))
		return false;
	if (bracket && (i == host.len || host.data[i++] != ']'))
		return false;
	return port_valid(host.data + i, host.len - i);
}

/* Read a Content-Length: digits alone, at most INT64_MAX. */
static bool
read_length(PennySpan text, uint64_t *length)
{
	uint64_t value = 0;

	if (text.len == 0 || text.len > 19)
		return false;
	for (size_t i = 0; i < text.len; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		value = value * 10 + (uint64_t) (text.data[i] - '0');
	}
	*length = value;
	return value <= INT64_MAX;
}

/* Judge Host, beside the authority of a target in absolute form. */
static PennyHttpResult
judge_host(PennyHttpParser *parser, const char *buffer, const Fields *fields)
{
	PennySpan authority = penny_http_span(buffer, parser->authority);
	PennySpan host = fields->hosts > 0 ? fields->host : authority;

	if (fields->hosts > 1)
		return penny_http_fail(parser, 400, "Host is repeated");
	if (fields->hosts == 0 && !parser->http10)
		return penny_http_fail(parser, 400, "Host is missing");
	if (fields->hosts == 0 && authority.len == 0)
		return PENNY_HTTP_DONE;
	if (!host_valid(host))
		return penny_http_fail(parser, 400, "Host is malformed");
	/* whoever reads one of them must not see another host than who reads the other */
	if (authority.len > 0 &&
		(authority.len != host.len || strncasecmp(authority.data, host.data, host.len) != 0))
		return penny_http_fail(parser, 400, "Host is not that of the request target");
	parser->host = penny_http_slice(buffer, host);
	return PENNY_HTTP_DONE;
}

/* Judge what decides where the request ends. */
static PennyHttpResult
judge_framing(PennyHttpParser *parser, const Fields *fields)
{
	if (fields->encodings > 0)
		return fields->lengths > 0
				   ? penny_http_fail(parser, 400,
									 "Transfer-Encoding and Content-Length exclude each other")
				   : penny_http_fail(parser, 501, "Transfer-Encoding is not supported");
	if (fields->lengths > 1)
		return penny_http_fail(parser, 400, "Content-Length is repeated");
	parser->has_length = fields->lengths == 1;
	if (parser->has_length && !read_length(fields->length, &parser->content_length))
		return penny_http_fail(parser, 400, "Content-Length is malformed");
	return PENNY_HTTP_DONE;
}

/* Judge an Upgrade: a WebSocket handshake, or nothing. */
static PennyHttpResult
judge_upgrade(PennyHttpParser *parser, const char *buffer, const Fields *fields)
{
	if (fields->upgrades != 1 || !fields->connection_upgrade || parser->http10 ||
		!span_is_nocase(fields->upgrade, "websocket"))
		return PENNY_HTTP_DONE;
	if (parser->method != PENNY_GET || parser->content_length > 0)
		return penny_http_fail(parser, 400, "a WebSocket handshake must be a GET without a body");
	if (fields->versions != 1 || !span_is(fields->version, "13"))
		return penny_http_fail(parser, 426, "Sec-WebSocket-Version must be 13");
	if (fields->keys != 1 || !penny_handshake_key_valid(fields->key.data, fields->key.len))
		return penny_http_fail(parser, 400, "Sec-WebSocket-Key is malformed");
	parser->websocket = true;
	parser->websocket_key = penny_http_slice(buffer, fields->key);
	return PENNY_HTTP_DONE;
}

PennyHttpResult
penny_http_judge_fields(PennyHttpParser *parser, const char *buffer)
{
	Fields fields;

	memset(&fields, 0, sizeof(fields));
	for (int i = 0; i < parser->headers; i++)
		gather_field(&fields, penny_http_span(buffer, parser->header[i].name),
					 penny_http_span(buffer, parser->header[i].value));

	if (judge_host(parser, buffer, &fields) == PENNY_HTTP_ERROR)
		return PENNY_HTTP_ERROR;
	if (judge_framing(parser, &fields) == PENNY_HTTP_ERROR)
		return PENNY_HTTP_ERROR;
	if (fields.connection_malformed)
		return penny_http_fail(parser, 400, "Connection is malformed");
	parser->keep_alive = !parser->http10 && !fields.close;
	if (fields.expects > 0 && !parser->http10)
	{
		if (fields.expects > 1 || !span_is_nocase(fields.expect, "100-continue"))
			return penny_http_fail(parser, 417, "this Expect is not supported");
		parser->expect_continue = parser->content_length > 0;
	}
	return judge_upgrade(parser, buffer, &fields);
}

bool
penny_http_header(const PennyHttpParser *parser, const char *buffer, const char *name,
				  PennySpan *value)
{
	for (int i = 0; i < parser->headers; i++)
	{
		if (span_is(penny_http_span(buffer, parser->header[i].name), name))
		{
			*value = penny_http_span(buffer, parser->header[i].value);
			return true;
		}
	}
	return false;
}

int
penny_http_header_count(const PennyHttpParser *parser, const char *buffer, const char *name)
{
	int count = 0;

	for (int i = 0; i < parser->headers; i++)
		count += span_is(penny_http_span(buffer, parser->header[i].name), name);
	return count;
}

bool
penny_http_bearer(const PennyHttpParser *parser, const char *buffer, PennySpan *token)
{
	PennySpan value;
	size_t at = 7;

	*token = (PennySpan){buffer, 0};
	if (!penny_http_header(parser, buffer, "authorization", &value))
		return false;
	if (penny_http_header_count(parser, buffer, "authorization") > 1 || value.len < 8 ||
		strncasecmp(value.data, "Bearer ", 7) != 0)
		return true;
	while (at < value.len && value.data[at] == ' ')
		at++;
	/* token68 of RFC 9110 11.2; everything else is malformed */
	for (size_t i = at; i < value.len; i++)
	{
		if ((penny_http_class[(unsigned char) value.data[i]] & PENNY_HTTP_TOKEN68) == 0)
			return true;
	}
	*token = (PennySpan){value.data + at, value.len - at};
	return true;
}

/* Is this header for the connection or for the edge alone? */
static bool
is_private_header(PennySpan name)
{
	static const char *const private_names[] = {"authorization",
												"connection",
												"content-length",
												"expect",
												"http2-settings",
												"keep-alive",
												"proxy-authorization",
												"proxy-connection",
												"te",
												"trailer",
												"transfer-encoding",
												"upgrade"};

	for (size_t i = 0; i < sizeof(private_names) / sizeof(private_names[0]); i++)
	{
		if (span_is(name, private_names[i]))
			return true;
	}
	return name.len > 14 && memcmp(name.data, "sec-websocket-", 14) == 0;
}

size_t
penny_http_header_lines(const PennyHttpParser *parser, const char *buffer, char *out, size_t size)
{
	size_t at = 0;

	for (int i = 0; i < parser->headers; i++)
	{
		PennySpan name = penny_http_span(buffer, parser->header[i].name);
		PennySpan value = penny_http_span(buffer, parser->header[i].value);

		if (is_private_header(name))
			continue;
		if (name.len + value.len + 3 > size - at)
			break;
		memcpy(out + at, name.data, name.len);
		at += name.len;
		out[at++] = ':';
		out[at++] = ' ';
		memcpy(out + at, value.data, value.len);
		at += value.len;
		out[at++] = '\n';
	}
	return at;
}
