/*-------------------------------------------------------------------------
 *
 * origin.c
 *		Compare the Origin of a request with its Host and with the list.
 *
 * Listed origins are compared exactly, in any case of letters.  The same host
 * means host and port alike, where a scheme's own port may be left out.  An
 * Origin that is repeated, "null" or not of http or https is of no host.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/origin.h"

#include <string.h>
#include <strings.h>

#include "edge/edge.h"

static bool
same_text(PennySpan a, PennySpan b)
{
	return a.len == b.len && strncasecmp(a.data, b.data, a.len) == 0;
}

/* Cut ":80" or ":443" off a host. */
static PennySpan
without_port(PennySpan host, const char *port)
{
	size_t len = strlen(port);

	if (host.len > len && memcmp(host.data + host.len - len, port, len) == 0)
		host.len -= len;
	return host;
}

static bool
is_same_host(PennySpan origin, PennySpan host)
{
	static const struct
	{
		const char *scheme;
		const char *port;
	} schemes[] = {{"http://", ":80"}, {"https://", ":443"}};

	for (int i = 0; i < 2; i++)
	{
		size_t len = strlen(schemes[i].scheme);

		if (origin.len > len && strncasecmp(origin.data, schemes[i].scheme, len) == 0)
			return same_text(
				without_port((PennySpan){origin.data + len, origin.len - len}, schemes[i].port),
				without_port(host, schemes[i].port));
	}
	return false;
}

static bool
is_listed(PennySpan origin)
{
	const char *list = penny_edge.settings.origins;

	while (*list != '\0')
	{
		size_t len = strcspn(list, " ");

		if (same_text(origin, (PennySpan){list, len}))
			return true;
		list += len;
		list += strspn(list, " ");
	}
	return false;
}

bool
penny_origin_is_loopback(PennySpan host)
{
	static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

	for (int i = 0; i < 3; i++)
	{
		size_t len = strlen(names[i]);

		if (host.len >= len && strncasecmp(host.data, names[i], len) == 0 &&
			(host.len == len || host.data[len] == ':'))
			return true;
	}
	return false;
}

bool
penny_origin_allowed(const PennyHttpParser *parser, const char *bytes)
{
	PennySpan origin;

	if (!penny_http_header(parser, bytes, "origin", &origin))
		return true;
	if (origin.len == 0 || penny_http_header_count(parser, bytes, "origin") != 1)
		return false;
	return is_same_host(origin, penny_http_span(bytes, parser->host)) || is_listed(origin);
}
