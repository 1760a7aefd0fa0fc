/*-------------------------------------------------------------------------
 *
 * fuzz_route.c
 *		Any table of routes, any path.
 *
 * The input is the table, a NUL, then paths with a method before each.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "plane/route.h"

/* A match must name a line of the table that has as many parameters. */
static void
check_match(const PennyRoutes *routes, PennySpan text, PennySpan path, const PennyRouteMatch *match)
{
	const char *line = text.data;
	const char *end = text.data + text.len;

	for (int i = 0; i < match->route; i++)
	{
		line = memchr(line, '\n', (size_t) (end - line));
		MUST(line != NULL);
		line++;
	}
	MUST(line < end && match->params <= PENNY_MAX_ROUTE_PARAMS);
	MUST(match->line.data == line && match->line.len <= (size_t) (end - line));
	MUST(memchr(line, '\n', match->line.len) == NULL);
	MUST(match->ttl < UINT64_C(1000000000000000) && (unsigned) match->scope < PENNY_SCOPES);
	MUST(match->ttl == 0 || memcmp(line, "GET ", 4) == 0);
	for (int i = 0; i < match->params; i++)
	{
		MUST(match->param[i].len > 0 && match->param[i].data > path.data);
		MUST(match->param[i].data + match->param[i].len <= path.data + path.len);
		MUST(memchr(match->param[i].data, '/', match->param[i].len) == NULL);
		MUST(penny_route_param_name(routes, match->route, i).len > 0);
	}
	MUST(penny_route_param_name(routes, match->route, match->params).len == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
	size_t text_len = nul != NULL ? (size_t) (nul - data) : size;
	char *text = malloc(text_len > 0 ? text_len : 1);
	PennySpan whole = {text, text_len};
	void *memory;
	PennyRouteErrors errors;
	PennyRoutes *routes;
	FuzzInput input = {data + text_len, size - text_len};

	if (text_len > 0)
		memcpy(text, data, text_len);
	memory = malloc(penny_routes_size(whole));
	routes = penny_routes_compile(memory, whole, &errors);
	MUST(penny_routes_count(routes) <= PENNY_MAX_ROUTES);
	MUST((errors.refused > 0) == (errors.reason != NULL));
	fuzz_byte(&input);
	while (input.size > 0)
	{
		PennyMethod method = fuzz_byte(&input) % (PENNY_METHODS + 1);
		size_t len;
		char *path = fuzz_bytes(&input, 300, &len);
		PennyRouteMatch match;
		char allow[64];

		switch (penny_route_match(routes, method, (PennySpan){path, len}, &match))
		{
			case PENNY_ROUTE_FOUND:
				check_match(routes, whole, (PennySpan){path, len}, &match);
				break;
			case PENNY_ROUTE_METHOD_NOT_ALLOWED:
				MUST(match.allowed != 0 && (match.allowed >> method & 1) == 0);
				MUST(penny_route_allow(match.allowed, allow, sizeof(allow)) > 0);
				break;
			case PENNY_ROUTE_NOT_FOUND:
				MUST(match.allowed == 0);
				break;
		}
		free(path);
	}
	free(memory);
	free(text);
	return 0;
}
