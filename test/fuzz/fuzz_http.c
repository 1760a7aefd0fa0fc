/*-------------------------------------------------------------------------
 *
 * fuzz_http.c
 *		The HTTP parser: whole, in pieces that move, pipelined; all must agree.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "edge/http_parse.h"
#include "edge/http_target.h"
#include "plane/route.h"

static const char routes_text[] = "GET public /\nGET user /a/{b}\nPOST user /{c}/d\n";

/* What an accepted request must be like. */
static void
check_request(const PennyHttpParser *parser, const char *buffer)
{
	PennySpan target = penny_http_span(buffer, parser->target);
	PennySpan path = penny_http_span(buffer, parser->path);
	char *lines = malloc(parser->head_len);
	char out[64];
	size_t len;
	PennySpan value;

	MUST(parser->head_len <= parser->header_size && parser->target.len <= parser->target_size);
	MUST(path.len > 0 && path.len <= target.len);
	MUST(path.data[0] == '/' || (path.data[0] == '*' && target.len == 1));
	MUST(parser->method < PENNY_METHODS && parser->headers <= PENNY_HTTP_MAX_HEADERS);
	MUST(memchr(target.data, ' ', target.len) == NULL);
	MUST(memcmp(buffer + parser->head_len - 4, "\r\n\r\n", 4) == 0);
	MUST(!parser->websocket || parser->websocket_key.len == PENNY_WEBSOCKET_KEY_LEN);
	MUST(penny_http_header_count(parser, buffer, "transfer-encoding") == 0);
	MUST(penny_http_header_count(parser, buffer, "content-length") <= 1);
	len = penny_http_header_lines(parser, buffer, lines, parser->head_len);
	MUST(len <= parser->head_len && memchr(lines, '\0', len) == NULL);
	free(lines);
	penny_http_bearer(parser, buffer, &value);
	penny_http_decode(path, out, sizeof(out), &len);
	penny_http_query_value(penny_http_span(buffer, parser->query), "a", out, sizeof(out), &len);
	for (int i = 0; i < parser->headers; i++)
		penny_http_list_has(penny_http_span(buffer, parser->header[i].value), "close");
}

/* Try the path on a table of routes. */
static void
check_route(const PennyHttpParser *parser, const char *buffer)
{
	static void *memory;
	static PennyRoutes *routes;
	PennyRouteErrors errors;
	PennyRouteMatch match;
	PennySpan text = {routes_text, sizeof(routes_text) - 1};

	if (routes == NULL)
	{
		memory = malloc(penny_routes_size(text));
		routes = penny_routes_compile(memory, text, &errors);
	}
	penny_route_match(routes, parser->method, penny_http_span(buffer, parser->path), &match);
}

/* Parse bytes that come in steps; the buffer is exact and moves each time. */
static PennyHttpResult
parse_in_steps(PennyHttpParser *parser, const uint8_t *data, size_t size, size_t step)
{
	PennyHttpResult result = PENNY_HTTP_NEED_MORE;
	char *buffer = NULL;

	for (size_t have = 0; have < size && result == PENNY_HTTP_NEED_MORE;)
	{
		size_t more = size - have < step ? size - have : step;
		char *moved = malloc(have + more);

		if (have > 0)
			memcpy(moved, buffer, have);
		memcpy(moved + have, data + have, more);
		free(buffer);
		buffer = moved;
		have += more;
		result = penny_http_parse(parser, buffer, have);
	}
	if (result == PENNY_HTTP_DONE)
		check_request(parser, buffer);
	free(buffer);
	return result;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PennyHttpParser whole, steps;
	uint32_t header_size = 512;
	uint32_t target_size = 64;
	PennyHttpResult result;

	if (size < 1)
		return 0;
	result = PENNY_HTTP_DONE;
	for (size_t at = 1; at < size && result == PENNY_HTTP_DONE; at += whole.head_len)
	{
		char *buffer = malloc(size - at);

		memcpy(buffer, data + at, size - at);
		penny_http_init(&whole, header_size, target_size);
		result = penny_http_parse(&whole, buffer, size - at);
		if (result == PENNY_HTTP_DONE)
		{
			check_request(&whole, buffer);
			check_route(&whole, buffer);
		}
		free(buffer);
		penny_http_init(&steps, header_size, target_size);
		MUST(parse_in_steps(&steps, data + at, size - at, (size_t) data[0] % 32 + 1) == result);
		MUST(result != PENNY_HTTP_DONE || steps.head_len == whole.head_len);
		MUST(result != PENNY_HTTP_ERROR || (whole.status >= 400 && whole.reason != NULL));
	}
	return 0;
}
