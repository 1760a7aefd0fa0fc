/*-------------------------------------------------------------------------
 *
 * webhook_url.c
 *		The URL of a webhook.  See webhook_url.h.
 *
 * Strict, because two parsers that disagree about a URL are how a check is
 * gone around: what is not plainly one thing is refused.  Pure: no allocation,
 * no I/O.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/webhook_url.h"

#include <stdio.h>
#include <string.h>

#define LABEL_MAX 63

/* Whatever is between scheme and path. */
typedef struct Authority
{
	const char *text;
	size_t len;
} Authority;

static const char *split(const char *text, size_t len, PennyWebhookUrl *url, Authority *authority);
static const char *take_authority(Authority authority, PennyWebhookUrl *url);
static const char *take_name(const char *text, size_t len, char *host);

const char *
penny_webhook_url_parse(const char *text, size_t len, PennyWebhookUrl *url)
{
	Authority authority;
	const char *wrong;

	memset(url, 0, sizeof(*url));
	if (len > PENNY_WEBHOOK_URL_MAX)
		return "The URL is too long.";
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] <= ' ' || text[i] > '~')
			return "A URL consists of printable ASCII characters without spaces.";
		if (strchr("\\\"<>^`{|}", text[i]) != NULL)
			return "The URL has a character that must be written as %XX.";
		if (text[i] == '#')
			return "A fragment (#) has no meaning here.";
	}
	wrong = split(text, len, url, &authority);
	return wrong != NULL ? wrong : take_authority(authority, url);
}

/* Scheme, authority, and the rest. */
static const char *
split(const char *text, size_t len, PennyWebhookUrl *url, Authority *authority)
{
	const char *end = text + len;
	const char *start;

	if (len >= 8 && strncasecmp(text, "https://", 8) == 0)
	{
		url->https = true;
		start = text + 8;
	}
	else if (len >= 7 && strncasecmp(text, "http://", 7) == 0)
		start = text + 7;
	else
		return "The URL must begin with https:// or http://.";

	authority->text = start;
	while (start < end && *start != '/' && *start != '?')
		start++;
	authority->len = (size_t) (start - authority->text);
	url->path = start;
	url->path_len = (size_t) (end - start);
	return NULL;
}

/* Host and port. */
static const char *
take_authority(Authority authority, PennyWebhookUrl *url)
{
	const char *text = authority.text;
	const char *host_end = text + authority.len;
	const char *port = NULL;
	const char *wrong;

	if (memchr(text, '@', authority.len) != NULL)
		return "User and password in a URL are not supported.";
	if (authority.len > 0 && text[0] == '[')
	{
		host_end = memchr(text, ']', authority.len);
		if (host_end == NULL)
			return "The bracket of the address is not closed.";
		host_end++;
		if (host_end < text + authority.len)
			port = host_end;
	}
	else
	{
		port = memchr(text, ':', authority.len);
		if (port != NULL)
			host_end = port;
	}
	wrong = penny_webhook_host_parse(text, (size_t) (host_end - text), url->host, &url->literal,
									 &url->address);
	if (wrong != NULL)
		return wrong;
	url->port = url->https ? 443 : 80;
	if (port == NULL)
		return NULL;
	if (*port == ':')
		url->port = penny_webhook_port_parse(port + 1, (size_t) (text + authority.len - port - 1));
	return *port != ':' || url->port == 0 ? "The port must be a number from 1 to 65535." : NULL;
}

const char *
penny_webhook_host_parse(const char *text, size_t len, char *host, bool *literal,
						 PennyAddress *address)
{
	*literal = false;
	memset(address, 0, sizeof(*address));
	host[0] = '\0';
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
	{
		if (!penny_address_parse(text + 1, len - 2, address) || !address->ipv6)
			return "The address in brackets must be one of IPv6, without a zone.";
		*literal = true;
	}
	else if (penny_address_parse(text, len, address) && !address->ipv6)
		*literal = true;
	else
	{
		memset(address, 0, sizeof(*address));
		return take_name(text, len, host);
	}
	/* one spelling for each address */
	penny_address_text(address, host);
	return NULL;
}

/* A host name in lower case. */
static const char *
take_name(const char *text, size_t len, char *host)
{
	size_t label = 0; /* where the present one begins */
	bool digits = true;

	if (len == 0)
		return "The host is missing.";
	if (len > PENNY_WEBHOOK_HOST_MAX)
		return "The name of the host is too long.";
	for (size_t i = 0; i < len; i++)
	{
		char c = text[i];

		if (c >= 'A' && c <= 'Z')
			c = (char) (c - 'A' + 'a');
		host[i] = c;
		if (c == '.')
		{
			if (i == label || i - label > LABEL_MAX || text[i - 1] == '-')
				return "The name of the host is malformed.";
			label = i + 1;
			digits = true;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
			  (c == '-' && i > label)))
			return "The name of the host is malformed; write others than ASCII as xn--.";
		digits = digits && c >= '0' && c <= '9';
	}
	if (label == len || len - label > LABEL_MAX || text[len - 1] == '-')
		return "The name of the host is malformed.";
	/* 127.1, 2130706433, 0x7f.0.0.1: somebody would take these for addresses */
	if (digits || (len - label >= 2 && memcmp(host + label, "0x", 2) == 0))
		return "An address must be written as four decimal numbers, or in brackets as one of IPv6.";
	host[len] = '\0';
	return NULL;
}

uint16_t
penny_webhook_port_parse(const char *text, size_t len)
{
	uint32_t port = 0;

	if (len == 0 || len > 5 || text[0] == '0')
		return 0;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return 0;
		port = port * 10 + (uint32_t) (text[i] - '0');
	}
	return port <= 65535 ? (uint16_t) port : 0;
}

size_t
penny_webhook_url_text(const PennyWebhookUrl *url, char text[PENNY_WEBHOOK_URL_MAX + 17])
{
	bool brackets = url->literal && url->address.ipv6;
	bool slash = url->path_len == 0 || url->path[0] != '/';
	int len = snprintf(text, PENNY_WEBHOOK_URL_MAX + 17, "%s://%s%s%s:%u%s%.*s",
					   url->https ? "https" : "http", brackets ? "[" : "", url->host,
					   brackets ? "]" : "", (unsigned) url->port, slash ? "/" : "",
					   (int) url->path_len, url->path_len > 0 ? url->path : "");

	return (size_t) len;
}
