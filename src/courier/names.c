/*-------------------------------------------------------------------------
 *
 * names.c
 *		Names of hosts to addresses: /etc/hosts, then c-ares.
 *
 * Why c-ares.  libcurl of Debian resolves by getaddrinfo() in threads.  Inside
 * the sandbox that would want clone(), files (resolv.conf, hosts, nsswitch.conf,
 * gai.conf), libraries that are loaded while it runs, and sockets of the local
 * machine; outside of it, a second process and a protocol.  c-ares reads its
 * configuration before the sandbox is closed and then needs UDP and TCP sockets
 * in our own loop, nothing else.  It also hands over all addresses of a name
 * before anything is connected, so that every one can be checked.  What it does
 * not do is NSS: of the sources of names there are /etc/hosts and DNS.
 *
 * A name is asked for as it is, without search domains.  What was found is
 * remembered as long as its records may be, MEMORY_MAX at most; what was not
 * found is not.  Requests for a name that is being asked for wait with the
 * first.  There are NAMES at a time; when all are being asked for, it is busy.
 *
 *-------------------------------------------------------------------------
 */
#include "courier/names.h"

#include <ares.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>

#include "courier/courier.h"

#define NAMES 256
#define MEMORY_MAX 30    /* s */
#define ASK_TIMEOUT 2000 /* ms, of the first try; c-ares doubles it */
#define ASK_TRIES 2

typedef struct PennyName
{
	char host[PENNY_WEBHOOK_HOST_MAX + 1]; /* empty: free */
	bool asked;                            /* an answer is to come */
	uint64_t until;                        /* remembered so long */
	PennyAddresses addresses;
	PennyNameWait *waiting;
} PennyName;

static PennyName names[NAMES];
static ares_channel channel;
static bool usable;
static int unanswered; /* names asked for */

static PennyName *look_up(const char *host);
static PennyName *make(const char *host);
static void ask(PennyName *name);
static void answered(void *arg, int status, int timeouts, struct ares_addrinfo *result);
static int take(PennyName *name, const struct ares_addrinfo *result);
static void tell(PennyName *name, PennyNameResult result, const char *failed);

static void
watch(void *arg, ares_socket_t fd, int read, int write)
{
	(void) arg;
	penny_courier_watch(PENNY_PARTY_NAMES, fd, read, write);
}

const char *
penny_names_init(const char *resolver)
{
	struct ares_options options = {
		.flags = ARES_FLAG_NOALIASES | ARES_FLAG_NOSEARCH,
		.timeout = ASK_TIMEOUT,
		.tries = ASK_TRIES,
		.sock_state_cb = watch,
		.lookups = (char *) "b",
		.ndomains = 0,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
			   ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
		ares_init_options(&channel, &options, mask) != ARES_SUCCESS)
		return "start to resolve names";
	if (resolver[0] != '\0' && ares_set_servers_ports_csv(channel, resolver) != ARES_SUCCESS)
		return "use \"penny.webhook_resolver\"";
	usable = true;
	return NULL;
}

void
penny_names_find(const char *host, PennyNameWait *wait)
{
	const PennyAddresses *listed = penny_hosts_find(host);
	PennyName *name;

	wait->name = NULL;
	if (listed != NULL)
	{
		wait->told(wait, PENNY_NAME_FOUND, listed, NULL);
		return;
	}
	name = look_up(host);
	if (name != NULL && !name->asked)
	{
		wait->told(wait, PENNY_NAME_FOUND, &name->addresses, NULL);
		return;
	}
	if (name == NULL)
		name = make(host);
	if (name == NULL || !usable)
	{
		wait->told(wait, PENNY_NAME_BUSY, NULL, "too many names are being looked up");
		return;
	}
	wait->name = name;
	wait->next = name->waiting;
	name->waiting = wait;
	if (!name->asked)
		ask(name);
}

void
penny_names_forget(PennyNameWait *wait)
{
	PennyNameWait **at;

	if (wait->name == NULL)
		return;
	for (at = &wait->name->waiting; *at != NULL && *at != wait; at = &(*at)->next)
		;
	if (*at != NULL)
		*at = wait->next;
	wait->name = NULL;
}

/* The one being asked for, or remembered and still good. */
static PennyName *
look_up(const char *host)
{
	for (int i = 0; i < NAMES; i++)
	{
		if (strcmp(names[i].host, host) != 0)
			continue;
		if (names[i].asked || penny_courier.now < names[i].until)
			return &names[i];
		names[i].host[0] = '\0';
	}
	return NULL;
}

/* A free place, or the one that is good for the shortest time. */
static PennyName *
make(const char *host)
{
	PennyName *name = NULL;

	for (int i = 0; i < NAMES; i++)
	{
		if (names[i].asked)
			continue;
		if (names[i].host[0] == '\0')
			names[i].until = 0;
		if (name == NULL || names[i].until < name->until)
			name = &names[i];
	}
	if (name == NULL)
		return NULL;
	memset(name, 0, sizeof(*name));
	snprintf(name->host, sizeof(name->host), "%s", host);
	return name;
}

static void
ask(PennyName *name)
{
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	char rooted[PENNY_WEBHOOK_HOST_MAX + 2];

	/* With the dot it is the whole name for c-ares too. */
	snprintf(rooted, sizeof(rooted), "%s.", name->host);
	name->asked = true;
	unanswered++;
	ares_getaddrinfo(channel, rooted, NULL, &hints, answered, name);
}

/* From c-ares; may come before ask() has returned. */
static void
answered(void *arg, int status, int timeouts, struct ares_addrinfo *result)
{
	PennyName *name = arg;
	char failed[PENNY_WEBHOOK_HOST_MAX + 128] = "";
	int ttl = 0;

	(void) timeouts;
	name->asked = false;
	unanswered--;
	if (status == ARES_EDESTRUCTION)
		return;
	if (status != ARES_SUCCESS)
		snprintf(failed, sizeof(failed), "could not resolve \"%s\": %s", name->host,
				 ares_strerror(status));
	else
	{
		ttl = take(name, result);
		if (ttl < 0)
			snprintf(failed, sizeof(failed), "\"%s\" has more than %d addresses", name->host,
					 PENNY_ADDRESSES_MAX);
		else if (name->addresses.n == 0)
			snprintf(failed, sizeof(failed), "\"%s\" has no address", name->host);
	}
	if (result != NULL)
		ares_freeaddrinfo(result);
	if (failed[0] == '\0')
	{
		name->until = penny_courier.now + (uint64_t) ttl * 1000;
		tell(name, PENNY_NAME_FOUND, NULL);
		return;
	}
	name->until = 0;
	tell(name, PENNY_NAME_FAILED, failed);
}

/* Copy the addresses; s that they may be remembered, -1 when there are too many. */
static int
take(PennyName *name, const struct ares_addrinfo *result)
{
	int ttl = MEMORY_MAX;

	name->addresses.n = 0;
	for (const struct ares_addrinfo_node *node = result->nodes; node != NULL; node = node->ai_next)
	{
		uint16_t port;

		if (name->addresses.n == PENNY_ADDRESSES_MAX)
			return -1;
		if (!penny_address_of(node->ai_addr, &name->addresses.address[name->addresses.n], &port))
			continue;
		name->addresses.n++;
		if (node->ai_ttl < ttl)
			ttl = node->ai_ttl < 0 ? 0 : node->ai_ttl;
	}
	return ttl;
}

/* All who wait.  They may ask for names again, so the list is theirs no more. */
static void
tell(PennyName *name, PennyNameResult result, const char *failed)
{
	PennyAddresses addresses = name->addresses;

	while (name->waiting != NULL)
	{
		PennyNameWait *wait = name->waiting;

		name->waiting = wait->next;
		wait->name = NULL;
		wait->told(wait, result, &addresses, failed);
	}
}

/* ---- loop --------------------------------------------------------------------- */

void
penny_names_ready(int fd, bool read, bool write)
{
	ares_process_fd(channel, read ? fd : ARES_SOCKET_BAD, write ? fd : ARES_SOCKET_BAD);
}

void
penny_names_turn(void)
{
	if (unanswered > 0)
		ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

uint64_t
penny_names_due(void)
{
	struct timeval max = {.tv_sec = ASK_TIMEOUT / 1000};
	struct timeval room;
	const struct timeval *left;

	if (unanswered == 0)
		return UINT64_MAX;
	left = ares_timeout(channel, &max, &room);
	return penny_courier.now + (uint64_t) left->tv_sec * 1000 + (uint64_t) left->tv_usec / 1000 + 1;
}
