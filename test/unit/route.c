/*-------------------------------------------------------------------------
 *
 * route.c
 *		The compiled route table.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "plane/route.h"

static char text[400000];
static void *memory;
static PennyRoutes *routes;
static PennyRouteErrors errors;
static PennyRouteMatch match;

static void
compile(const char *source)
{
	PennySpan whole = {text, strlen(source)};

	memcpy(text, source, whole.len);
	free(memory);
	memory = malloc(penny_routes_size(whole));
	routes = penny_routes_compile(memory, whole, &errors);
}

static PennyRouteResult
find(PennyMethod method, const char *path)
{
	return penny_route_match(routes, method, (PennySpan){path, strlen(path)}, &match);
}

static bool
param_is(int n, const char *name, const char *value)
{
	PennySpan found = penny_route_param_name(routes, match.route, n);

	return n < match.params && found.len == strlen(name) &&
		   memcmp(found.data, name, found.len) == 0 && match.param[n].len == strlen(value) &&
		   memcmp(match.param[n].data, value, match.param[n].len) == 0;
}

TEST(matching)
{
	compile("GET public /livez\n"
			"GET user /api/v1/conversations\n"
			"POST user /api/v1/conversations\n"
			"GET user /api/v1/conversations/{id}\n"
			"PATCH user /api/v1/conversations/{id} more words\n"
			"GET user /api/v1/conversations/{id}/messages\n"
			"DELETE admin /api/v1/conversations/{conversation}/messages/{message}\n"
			"GET agent /api/v1/conversations/newest\n"
			"GET public /\n");
	CHECK(errors.refused == 0 && penny_routes_count(routes) == 9);
	CHECK(find(PENNY_GET, "/livez") == PENNY_ROUTE_FOUND && match.route == 0 &&
		  match.access == PENNY_ACCESS_PUBLIC && match.params == 0);
	CHECK(find(PENNY_POST, "/api/v1/conversations") == PENNY_ROUTE_FOUND && match.route == 2);
	CHECK(find(PENNY_GET, "/api/v1/conversations/abc") == PENNY_ROUTE_FOUND && match.route == 3 &&
		  param_is(0, "id", "abc"));
	CHECK(find(PENNY_PATCH, "/api/v1/conversations/a%2Fb") == PENNY_ROUTE_FOUND &&
		  match.route == 4 && param_is(0, "id", "a%2Fb"));
	CHECK(find(PENNY_DELETE, "/api/v1/conversations/1/messages/2") == PENNY_ROUTE_FOUND &&
		  match.route == 6 && match.access == PENNY_ACCESS_ADMIN &&
		  param_is(0, "conversation", "1") && param_is(1, "message", "2"));
	CHECK(find(PENNY_GET, "/") == PENNY_ROUTE_FOUND && match.route == 8);
	CHECK(find(PENNY_GET, "/nothing") == PENNY_ROUTE_NOT_FOUND);
	CHECK(find(PENNY_GET, "/livez/") == PENNY_ROUTE_NOT_FOUND);
	CHECK(find(PENNY_GET, "/live") == PENNY_ROUTE_NOT_FOUND);
	CHECK(find(PENNY_GET, "/LIVEZ") == PENNY_ROUTE_NOT_FOUND);
	CHECK(find(PENNY_GET, "//livez") == PENNY_ROUTE_NOT_FOUND);
	CHECK(find(PENNY_GET, "/api/v1/conversations/") == PENNY_ROUTE_NOT_FOUND);
	CHECK(find(PENNY_GET, "") == PENNY_ROUTE_NOT_FOUND);
}

TEST(literal_beats_parameter)
{
	compile("GET user /a/{x}\nGET user /a/b\nGET user /{y}/b\nPUT user /a/{x}\n"
			"GET user /a/{x}/c\nGET user /a/b/d\n");
	CHECK(find(PENNY_GET, "/a/b") == PENNY_ROUTE_FOUND && match.route == 1 && match.params == 0);
	CHECK(find(PENNY_GET, "/a/%62") == PENNY_ROUTE_FOUND && match.route == 1);
	CHECK(find(PENNY_GET, "/a/%6") == PENNY_ROUTE_FOUND && match.route == 0);
	CHECK(find(PENNY_GET, "/a/%6z") == PENNY_ROUTE_FOUND && match.route == 0);
	CHECK(find(PENNY_GET, "/a/z") == PENNY_ROUTE_FOUND && match.route == 0);
	CHECK(find(PENNY_GET, "/z/b") == PENNY_ROUTE_FOUND && match.route == 2 &&
		  param_is(0, "y", "z"));
	/* back from the literal where it leads nowhere */
	CHECK(find(PENNY_GET, "/a/b/c") == PENNY_ROUTE_FOUND && match.route == 4 &&
		  param_is(0, "x", "b"));
	/* and where it has not the method */
	CHECK(find(PENNY_PUT, "/a/b") == PENNY_ROUTE_FOUND && match.route == 3);
}

TEST(methods)
{
	char allow[64];

	compile(
		"GET user /a\nPOST user /a\nDELETE user /{x}\nPUT user /b\nHEAD user /c\nGET user /c\n");
	CHECK(find(PENNY_HEAD, "/a") == PENNY_ROUTE_FOUND && match.route == 0);
	CHECK(find(PENNY_HEAD, "/c") == PENNY_ROUTE_FOUND && match.route == 4);
	CHECK(find(PENNY_PATCH, "/a") == PENNY_ROUTE_METHOD_NOT_ALLOWED);
	allow[penny_route_allow(match.allowed, allow, sizeof(allow) - 1)] = '\0';
	CHECK(strcmp(allow, "GET, HEAD, POST, DELETE") == 0);
	CHECK(find(PENNY_GET, "/b") == PENNY_ROUTE_METHOD_NOT_ALLOWED);
	allow[penny_route_allow(match.allowed, allow, sizeof(allow) - 1)] = '\0';
	CHECK(strcmp(allow, "PUT, DELETE") == 0);
	CHECK(penny_route_allow(match.allowed, allow, 4) == 3);
	CHECK(find((PennyMethod) 99, "/a") == PENNY_ROUTE_NOT_FOUND);
}

static bool
line_is(const char *line)
{
	return match.line.len == strlen(line) && memcmp(match.line.data, line, match.line.len) == 0;
}

TEST(caching)
{
	compile("GET user /plain\n"
			"GET public /news/{n} ttl=300000 scope=public\n"
			"GET admin /role scope=role other  ttl=999999999999999 more=1\n"
			"GET user /only ttl=1\n"
			"GET user /none ttl=0 scope=public\n"
			"POST user /plain ttl=5 scope=public\n"
			"HEAD user /head ttl=5\n"
			"GET user /twice ttl=5 ttl=6 scope=public scope=user ttls=1\n");
	CHECK(errors.refused == 0);
	CHECK(find(PENNY_GET, "/plain") == PENNY_ROUTE_FOUND && match.ttl == 0 &&
		  line_is("GET user /plain"));
	CHECK(find(PENNY_GET, "/news/7") == PENNY_ROUTE_FOUND && match.ttl == 300000 &&
		  match.scope == PENNY_SCOPE_PUBLIC && line_is("GET public /news/{n}"));
	CHECK(find(PENNY_HEAD, "/news/7") == PENNY_ROUTE_FOUND && match.ttl == 300000 &&
		  line_is("GET public /news/{n}"));
	CHECK(find(PENNY_GET, "/role") == PENNY_ROUTE_FOUND && match.ttl == UINT64_C(999999999999999) &&
		  match.scope == PENNY_SCOPE_ROLE);
	CHECK(find(PENNY_GET, "/only") == PENNY_ROUTE_FOUND && match.ttl == 1 &&
		  match.scope == PENNY_SCOPE_USER);
	CHECK(find(PENNY_GET, "/none") == PENNY_ROUTE_FOUND && match.ttl == 0);
	/* answers to GET alone are kept */
	CHECK(find(PENNY_POST, "/plain") == PENNY_ROUTE_FOUND && match.ttl == 0);
	CHECK(find(PENNY_HEAD, "/head") == PENNY_ROUTE_FOUND && match.ttl == 0);
	CHECK(find(PENNY_GET, "/twice") == PENNY_ROUTE_FOUND && match.ttl == 6 &&
		  match.scope == PENNY_SCOPE_USER);
	CHECK(find(PENNY_GET, "/nothing") == PENNY_ROUTE_NOT_FOUND && match.ttl == 0 &&
		  match.line.len == 0);
}

TEST(refused)
{
	static const char *const lines[] = {"GET",
										"GET user",
										"GET user ",
										"get user /a",
										"TRACE user /a",
										"GET all /a",
										"GET user a",
										"GET user /a//b",
										"GET user //",
										"GET user /a b",
										"GET user /a%20",
										"GET user /{",
										"GET user /{}",
										"GET user /{A}",
										"GET user /{1a}",
										"GET user /{a}b",
										"GET user /{a}/{a}",
										"GET user /a/../b",
										"GET user /.",
										"GET user /a?b",
										"GET user /\xC3\xA4",
										"GET  user /a",
										"GET user /a ttl=",
										"GET user /a ttl=-1",
										"GET user /a ttl=1s",
										"GET user /a ttl=1000000000000000",
										"GET user /a ttl=5 scope=",
										"GET user /a scope=all",
										"GET user /a scope=USER",
										" GET user /a",
										"GET user /good"};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
	{
		char source[256];
		bool good = strcmp(lines[i], "GET user /a b") == 0; /* "b" is more words */

		snprintf(source, sizeof(source), "GET user /good\n%s\nPOST user /last\n", lines[i]);
		compile(source);
		CHECK_ROW(errors.refused == !good, lines[i]);
		CHECK_ROW(good || (errors.first_line == 1 && errors.reason != NULL), lines[i]);
		CHECK_ROW(find(PENNY_POST, "/last") == PENNY_ROUTE_FOUND && match.route == 2, lines[i]);
	}
	compile("GET user /{a}/x\nGET user /{b}/x\n");
	CHECK(errors.refused == 1 && errors.first_line == 1);
	CHECK(find(PENNY_GET, "/1/x") == PENNY_ROUTE_FOUND && param_is(0, "a", "1"));
	compile("");
	CHECK(errors.refused == 0 && find(PENNY_GET, "/") == PENNY_ROUTE_NOT_FOUND);
	compile("\n\nGET user /a");
	CHECK(errors.refused == 0 && find(PENNY_GET, "/a") == PENNY_ROUTE_FOUND && match.route == 2);
}

TEST(bounds)
{
	static char source[400000];
	size_t len = 0;

	for (int i = 0; i < PENNY_MAX_ROUTES + 3; i++)
		len += (size_t) sprintf(source + len, "GET user /r%d/{x}\n", i);
	compile(source);
	CHECK(penny_routes_count(routes) == PENNY_MAX_ROUTES && errors.refused == 3 &&
		  errors.first_line == PENNY_MAX_ROUTES);
	CHECK(find(PENNY_GET, "/r1023/y") == PENNY_ROUTE_FOUND && match.route == 1023);
	CHECK(find(PENNY_GET, "/r1024/y") == PENNY_ROUTE_NOT_FOUND);

	for (int params = 16; params <= 17; params++)
	{
		len = (size_t) sprintf(source, "GET user ");
		for (int i = 0; i < params; i++)
			len += (size_t) sprintf(source + len, "/{p%c}", 'a' + i);
		compile(source);
		CHECK(errors.refused == (params == 17));
	}
	for (int segments = 32; segments <= 33; segments++)
	{
		len = (size_t) sprintf(source, "GET user ");
		for (int i = 0; i < segments; i++)
			len += (size_t) sprintf(source + len, "/a");
		compile(source);
		CHECK(errors.refused == (segments == 33));
		CHECK((find(PENNY_GET, source + 9) == PENNY_ROUTE_FOUND) == (segments == 32));
	}
}

/* Every choice between literal and parameter, many levels deep, is soon over. */
TEST(no_explosion)
{
	static char source[400000];
	char path[64] = "";
	size_t len = 0;

	for (int i = 0; i < 512; i++)
	{
		len += (size_t) sprintf(source + len, "GET user ");
		for (int bit = 0; bit < 9; bit++)
			len += (size_t) sprintf(source + len, i >> bit & 1 ? "/a" : "/{p%c}", 'a' + bit);
		len += (size_t) sprintf(source + len, "/end\n");
	}
	compile(source);
	CHECK(errors.refused == 0);
	for (int i = 0; i < 9; i++)
		strcat(path, "/a");
	for (int i = 0; i < 10000; i++)
	{
		if (find(PENNY_GET, path) != PENNY_ROUTE_NOT_FOUND)
			CHECK(false);
	}
	strcat(path, "/end");
	CHECK(find(PENNY_GET, path) == PENNY_ROUTE_FOUND && match.route == 511);
}

int
main(void)
{
	RUN(matching);
	RUN(literal_beats_parameter);
	RUN(methods);
	RUN(caching);
	RUN(refused);
	RUN(bounds);
	RUN(no_explosion);
	free(memory);
	return unit_done();
}
