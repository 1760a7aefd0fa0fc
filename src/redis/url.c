/*-------------------------------------------------------------------------
 *
 * url.c
 *		The URL of a Redis server, taken apart.  Plain C, no allocation.
 *
 * TLS is refused by name and not ignored: hiredis of Debian 12 (0.14.1) has
 * none, and a connection that was meant to be sealed must not go out in the
 * clear.
 *
 *-------------------------------------------------------------------------
 */
#include "redis/url.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define FORM_HINT                                          \
	"Write redis://[[user]:password@]host[:port][/db] or " \
	"unix://[[user]:password@]/path[?db=n]."
#define TLS_HINT                                                                        \
	"Let stunnel or another proxy on this machine speak TLS, and name its port or its " \
	"Unix socket."

static const char *parse_user(const char **text, PennyRedisUrl *url);
static const char *parse_local(const char *text, PennyRedisUrl *url);
static const char *parse_remote(const char *text, PennyRedisUrl *url);
static bool decode(const char *from, const char *to, char *out, size_t size);
static bool number(const char *text, uint32_t max, uint32_t *out);

const char *
penny_redis_url_parse(const char *text, PennyRedisUrl *url, const char **hint)
{
	const char *wrong;

	memset(url, 0, sizeof(*url));
	*hint = FORM_HINT;
	if (strncmp(text, "rediss://", 9) == 0)
	{
		*hint = TLS_HINT;
		return "Redis cannot be reached by TLS: the client library hiredis 0.14 has none.";
	}
	url->local = strncmp(text, "unix://", 7) == 0;
	if (!url->local && strncmp(text, "redis://", 8) != 0)
		return "The URL must begin with redis:// or unix://.";
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c <= ' ' || *c == 0x7f)
			return "The URL must not have spaces or control characters.";
	}
	text += url->local ? 7 : 8;
	wrong = parse_user(&text, url);
	if (wrong == NULL)
		wrong = url->local ? parse_local(text, url) : parse_remote(text, url);
	if (wrong == NULL)
		*hint = NULL;
	return wrong;
}

/* [[user]:password@], up to the last @ before the path. */
static const char *
parse_user(const char **text, PennyRedisUrl *url)
{
	const char *end = *text + strcspn(*text, "/?");
	const char *at = memrchr(*text, '@', (size_t) (end - *text));
	const char *colon;

	if (at == NULL)
		return NULL;
	colon = memchr(*text, ':', (size_t) (at - *text));
	if (colon == NULL)
		return "A user without a password cannot sign in.";
	if (!decode(*text, colon, url->user, sizeof(url->user)) ||
		!decode(colon + 1, at, url->password, sizeof(url->password)))
		return "User or password is too long, or wrongly written with %.";
	*text = at + 1;
	return NULL;
}

/* /path[?db=n] */
static const char *
parse_local(const char *text, PennyRedisUrl *url)
{
	const char *end = text + strcspn(text, "?");
	struct sockaddr_un address;

	if (*text != '/')
		return "The path of the socket must be absolute.";
	if (!decode(text, end, url->host, sizeof(url->host)) ||
		strlen(url->host) >= sizeof(address.sun_path))
		return "The path of the socket is too long, or wrongly written with %.";
	if (*end == '\0')
		return NULL;
	if (strncmp(end, "?db=", 4) != 0 || !number(end + 4, PENNY_REDIS_DB_MAX, &url->db))
		return "After the path only ?db= and a number may stand.";
	return NULL;
}

/* host[:port][/db], the host in brackets if it has colons. */
static const char *
parse_remote(const char *text, PennyRedisUrl *url)
{
	const char *end;
	const char *rest;
	uint32_t port = PENNY_REDIS_PORT;
	char digits[8];

	if (*text == '[')
	{
		text++;
		end = text + strcspn(text, "]");
		rest = *end == ']' ? end + 1 : end;
		if (*end != ']')
			return "The bracket of the address is not closed.";
	}
	else
		rest = end = text + strcspn(text, ":/?");
	if (end == text || !decode(text, end, url->host, sizeof(url->host)))
		return "The host is missing, too long, or wrongly written with %.";
	if (*rest == ':')
	{
		size_t len = strcspn(++rest, "/?");

		if (len >= sizeof(digits))
			return "The port must be a number from 1 to 65535.";
		memcpy(digits, rest, len);
		digits[len] = '\0';
		if (!number(digits, 65535, &port) || port == 0)
			return "The port must be a number from 1 to 65535.";
		rest += len;
	}
	url->port = (uint16_t) port;
	if (*rest == '/' && rest[1] == '\0')
		return NULL;
	if (*rest != '\0' && (*rest != '/' || !number(rest + 1, PENNY_REDIS_DB_MAX, &url->db)))
		return "After the host only a slash and the number of a database may stand.";
	return NULL;
}

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Percent-decoded copy; false when it does not fit or is not well written. */
static bool
decode(const char *from, const char *to, char *out, size_t size)
{
	size_t len = 0;

	while (from < to)
	{
		int byte = (unsigned char) *from++;

		if (byte == '%')
		{
			if (to - from < 2 || hex(from[0]) < 0 || hex(from[1]) < 0)
				return false;
			byte = hex(from[0]) * 16 + hex(from[1]);
			from += 2;
		}
		if (byte == '\0' || len + 1 >= size)
			return false;
		out[len++] = (char) byte;
	}
	out[len] = '\0';
	return true;
}

/* Digits alone, to the end of the text. */
static bool
number(const char *text, uint32_t max, uint32_t *out)
{
	uint32_t value = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++)
	{
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint32_t) (*text - '0');
		if (value > max)
			return false;
	}
	*out = value;
	return true;
}
