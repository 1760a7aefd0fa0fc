/*-------------------------------------------------------------------------
 *
 * origin.c
 *		Compare the Origin of a request with its Host and with the list, and the
 *		Host with the list of hosts.
 *
 * An origin is listed when scheme, host and port are those of an entry; case
 * of letters means nothing in them, and a scheme's own port may be left out.
 * The same host means host and port alike, likewise.  An Origin that is
 * repeated, empty or "null" is no origin.
 *
 * A listed host without a port stands for all its ports: what is behind a
 * proxy does not know under which it is reached.
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

/* The port that a scheme has when none is written. */
static const struct
{
	const char *scheme;
	const char *port;
} schemes[] = {{"http://", ":80"}, {"https://", ":443"}};

/* Cut ":80" or ":443" off a host. */
static PennySpan
without_port(PennySpan host, const char *port)
{
	size_t len = strlen(port);

	if (host.len > len && memcmp(host.data + host.len - len, port, len) == 0)
		host.len -= len;
	return host;
}

/* Cut the port of its own scheme off an origin. */
static PennySpan
plain_origin(PennySpan origin)
{
	for (int i = 0; i < 2; i++)
	{
		size_t len = strlen(schemes[i].scheme);

		if (origin.len > len && strncasecmp(origin.data, schemes[i].scheme, len) == 0)
			return without_port(origin, schemes[i].port);
	}
	return origin;
}

/* Cut any port off a host. */
static PennySpan
name_of(PennySpan host)
{
	size_t len = host.len;

	while (len > 0 && host.data[len - 1] >= '0' && host.data[len - 1] <= '9')
		len--;
	if (len > 0 && host.data[len - 1] == ':')
		host.len = len - 1;
	return host;
}

/* The next word of a list with spaces between; false after the last. */
static bool
next_word(const char **list, PennySpan *word)
{
	*list += strspn(*list, " ");
	*word = (PennySpan){*list, strcspn(*list, " ")};
	*list += word->len;
	return word->len > 0;
}

static bool
is_same_host(PennySpan origin, PennySpan host)
{
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

	PennySpan entry;

	while (next_word(&list, &entry))
	{
		if (same_text(plain_origin(origin), plain_origin(entry)))
			return true;
	}
	return false;
}

bool
penny_origin_listing(void)
{
	return penny_edge.settings.origins[0] != '\0';
}

bool
penny_origin_listed(const PennyHttpParser *parser, const char *bytes, PennySpan *origin)
{
	return penny_http_header(parser, bytes, "origin", origin) && origin->len > 0 &&
		   origin->len <= PENNY_ORIGIN_MAX &&
		   penny_http_header_count(parser, bytes, "origin") == 1 && is_listed(*origin);
}

bool
penny_origin_host_allowed(const PennyHttpParser *parser, const char *bytes)
{
	const char *list = penny_edge.settings.hosts;
	PennySpan host = penny_http_span(bytes, parser->host);
	PennySpan entry;

	if (*list == '\0')
		return true;
	while (next_word(&list, &entry))
	{
		bool any_port = name_of(entry).len == entry.len;

		if (same_text(any_port ? name_of(host) : host, entry))
			return true;
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
