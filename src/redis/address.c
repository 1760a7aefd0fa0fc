/*-------------------------------------------------------------------------
 *
 * address.c
 *		Where Redis is: the only place that resolves a name, and only the relay
 *		comes here.
 *
 * The resolver blocks.  It is told to ask once and to wait a second, so that
 * the relay still ends in time when the server stops.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "redis/link.h"

/* last: it makes "_res", a name in PostgreSQL's headers, a macro */
#include <resolv.h>

static void local_address(const PennyRedisUrl *url, PennyAddresses *addresses);

const char *
penny_address_find(const PennyRedisUrl *url, PennyAddresses *addresses)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *list = NULL;
	char port[8];
	int error;

	memset(addresses, 0, sizeof(*addresses));
	if (url->local)
	{
		local_address(url, addresses);
		return NULL;
	}
	snprintf(port, sizeof(port), "%u", url->port);
	error = getaddrinfo(url->host, port, &hints, &list);
	if (error == EAI_NONAME)
	{
		(void) res_init();
		_res.retrans = 1;
		_res.retry = 1;
		hints.ai_flags = AI_ADDRCONFIG;
		error = getaddrinfo(url->host, port, &hints, &list);
	}
	if (error != 0)
		return gai_strerror(error);
	for (struct addrinfo *one = list; one != NULL && addresses->n < lengthof(addresses->address);
		 one = one->ai_next)
	{
		if (one->ai_addrlen > sizeof(addresses->address[0]))
			continue;
		memcpy(&addresses->address[addresses->n], one->ai_addr, one->ai_addrlen);
		addresses->len[addresses->n++] = one->ai_addrlen;
	}
	freeaddrinfo(list);
	return addresses->n > 0 ? NULL : "no address";
}

static void
local_address(const PennyRedisUrl *url, PennyAddresses *addresses)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strlcpy(address.sun_path, url->host, sizeof(address.sun_path));
	memcpy(&addresses->address[0], &address, sizeof(address));
	addresses->len[0] = sizeof(address);
	addresses->n = 1;
}
