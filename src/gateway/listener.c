/*-------------------------------------------------------------------------
 *
 * listener.c
 *		The gateway's listening sockets.
 *
 * A gateway opens them, its edge accepts from copies: so the backlog outlives
 * an edge, and the edge needs neither socket nor bind.  What is open lies on
 * the shelf (shelf.c), where the other gateways and the next one find it: so
 * the backlog outlives a gateway, too.
 *
 * An address that cannot be had (taken, not there, not resolvable) never
 * stops anything: it is logged once, tried again by the gateway with growing
 * pauses, and its success is logged too.  SO_REUSEADDR lets a restarted server
 * take its port at once; SO_REUSEPORT is not set, so that a second cluster
 * cannot share the port unseen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "utils/memutils.h"
#include "utils/varlena.h"

#include "config/config.h"
#include "gateway/listener.h"
#include "gateway/shelf.h"
#include "plane/plane.h"

#define BACKLOG 4096          /* the kernel caps it at net.core.somaxconn */
#define KEEPALIVE_IDLE 30     /* s of silence before the first probe */
#define KEEPALIVE_INTERVAL 10 /* s between probes */
#define KEEPALIVE_COUNT 3
#define UNACKNOWLEDGED 30000 /* ms */
#define TEXT_SIZE (NI_MAXHOST + 16)

/* One socket that is wanted; unresolved ones hold the place of their name. */
typedef struct Listener
{
	char host[NI_MAXHOST]; /* as in the setting */
	bool resolved;
	bool redundant; /* names only what others name too */
	struct sockaddr_storage address;
	socklen_t address_len;
	char text[TEXT_SIZE]; /* for messages */
	int fd;               /* -1 while it is not open */
	int failure;          /* errno of the last attempt, 0 = none failed */
	bool reported;        /* its failure is in the log */
} Listener;

static Listener listeners[PENNY_MAX_LISTEN];
static int nlisteners = 0;
static char *configured_addresses = NULL;
static int configured_port = 0;
static bool quiet = false; /* another gateway says it */

static void add_host(const char *host);
static bool resolve(Listener *listener);
static void take_address(Listener *listener, const struct addrinfo *info);
static bool already_wanted(const struct addrinfo *info);
static void clear_shelf(bool all);
static bool names(const char *addresses, const char *host);
static bool find_on_shelf(Listener *listener, PennyShelf *shelf);
static void put_on_shelf(const Listener *listener, PennyShelf *shelf);
static bool open_socket(Listener *listener);
static int try_socket(const Listener *listener, const char **step);
static void report_failure(Listener *listener, const char *what, const char *why);

/* Start over with the present settings, if they are others. */
bool
penny_listeners_configure(void)
{
	MemoryContext old;
	char *copy;
	List *hosts = NIL;
	ListCell *lc;

	if (configured_addresses != NULL && configured_port == penny_port &&
		strcmp(configured_addresses, penny_listen_addresses) == 0)
		return false;

	clear_shelf(false);
	penny_listeners_close();
	nlisteners = 0;
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (configured_addresses != NULL)
		pfree(configured_addresses);
	configured_addresses = pstrdup(penny_listen_addresses);
	MemoryContextSwitchTo(old);
	configured_port = penny_port;

	copy = pstrdup(penny_listen_addresses);
	if (!SplitGUCList(copy, ',', &hosts))
		ereport(LOG, (errcode(ERRCODE_CONFIG_FILE_ERROR),
					  errmsg("invalid list syntax in parameter \"%s\"", "penny.listen_addresses")));
	foreach (lc, hosts)
		add_host((const char *) lfirst(lc));
	list_free(hosts);
	pfree(copy);
	return true;
}

/* Hold a place for a name; resolving may fail and is tried again with it. */
static void
add_host(const char *host)
{
	Listener *listener;

	if (nlisteners == PENNY_MAX_LISTEN)
	{
		ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					  errmsg("could not listen on \"%s\": more than %d sockets", host,
							 PENNY_MAX_LISTEN)));
		return;
	}
	listener = &listeners[nlisteners++];
	memset(listener, 0, sizeof(*listener));
	strlcpy(listener->host, host, sizeof(listener->host));
	snprintf(listener->text, sizeof(listener->text), "%s:%d", host, configured_port);
	listener->fd = -1;
}

/*
 * Drop from the shelf what the settings no longer name.  Another gateway may
 * know newer settings than this one, so this one drops only what itself had
 * asked for; the first time all: a process that has just been started knows
 * the newest.
 */
static void
clear_shelf(bool all)
{
	PennyShelf *shelf;
	int kept = 0;

	penny_shelf_lock();
	shelf = penny_shelf_take();
	for (int i = 0; i < shelf->n; i++)
	{
		const PennyShelved *socket = &shelf->socket[i];
		bool had = configured_addresses == NULL ||
				   (socket->port == configured_port && names(configured_addresses, socket->host));
		bool wanted =
			!all && socket->port == penny_port && names(penny_listen_addresses, socket->host);

		if ((had && !wanted) || all)
			close(socket->fd);
		else
			shelf->socket[kept++] = *socket;
	}
	shelf->n = kept;
	penny_shelf_put(shelf);
	for (int i = 0; i < kept; i++)
		close(shelf->socket[i].fd);
	penny_shelf_unlock();
}

/* Does the list name this host? */
static bool
names(const char *addresses, const char *host)
{
	char *copy = pstrdup(addresses);
	List *hosts = NIL;
	ListCell *lc;
	bool found = false;

	if (SplitGUCList(copy, ',', &hosts))
	{
		foreach (lc, hosts)
			found |= strcmp((const char *) lfirst(lc), host) == 0;
	}
	list_free(hosts);
	pfree(copy);
	return found;
}

/*
 * Open what is not open, or take it from the shelf.  Resolving may add further
 * sockets at the end, and may take its time: so it comes before the lock.
 */
int
penny_listeners_open(bool be_quiet, int *opened)
{
	PennyShelf *shelf;
	int taken = 0;
	int n;

	quiet = be_quiet;
	*opened = 0;
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i].fd < 0 && !listeners[i].redundant && !listeners[i].resolved)
			(void) resolve(&listeners[i]);
	}

	penny_shelf_lock();
	shelf = penny_shelf_take();
	n = shelf->n;
	for (int i = 0; i < nlisteners; i++)
	{
		Listener *listener = &listeners[i];

		if (listener->fd >= 0 || listener->redundant || !listener->resolved)
			continue;
		if (find_on_shelf(listener, shelf))
			taken++;
		else if (open_socket(listener))
		{
			put_on_shelf(listener, shelf);
			(*opened)++;
		}
	}
	penny_shelf_put(shelf);
	for (int i = 0; i < n; i++)
		close(shelf->socket[i].fd);
	penny_shelf_unlock();
	return taken + *opened;
}

/* Another gateway, or the one before this, has opened it. */
static bool
find_on_shelf(Listener *listener, PennyShelf *shelf)
{
	for (int i = 0; i < shelf->n; i++)
	{
		const PennyShelved *socket = &shelf->socket[i];

		if (socket->address_len != listener->address_len ||
			memcmp(&socket->address, &listener->address, listener->address_len) != 0)
			continue;
		listener->fd = fcntl(socket->fd, F_DUPFD_CLOEXEC, 0);
		if (listener->fd < 0)
			return false;
		listener->failure = 0;
		listener->reported = false;
		ereport(DEBUG1, (errmsg_internal("penny goes on listening on %s", listener->text)));
		return true;
	}
	return false;
}

static void
put_on_shelf(const Listener *listener, PennyShelf *shelf)
{
	PennyShelved *socket;

	if (shelf->n == PENNY_SHELF_SIZE)
		return; /* then it lives and dies with this gateway */
	socket = &shelf->socket[shelf->n++];
	memset(socket, 0, sizeof(*socket));
	strlcpy(socket->host, listener->host, sizeof(socket->host));
	socket->port = configured_port;
	socket->address = listener->address;
	socket->address_len = listener->address_len;
	socket->fd = listener->fd;
}

/* Find the addresses of a name; the first takes its place. */
static bool
resolve(Listener *listener)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
							 .ai_socktype = SOCK_STREAM,
							 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found;
	char port[16];
	int error;

	snprintf(port, sizeof(port), "%d", configured_port);
	error =
		getaddrinfo(strcmp(listener->host, "*") == 0 ? NULL : listener->host, port, &hints, &found);
	if (error != 0)
	{
		listener->failure = EADDRNOTAVAIL;
		report_failure(listener, "resolve the address", gai_strerror(error));
		return false;
	}
	for (struct addrinfo *info = found; info != NULL; info = info->ai_next)
	{
		if (already_wanted(info))
			continue;
		if (!listener->resolved)
			take_address(listener, info);
		else if (nlisteners < PENNY_MAX_LISTEN)
		{
			add_host(listener->host);
			take_address(&listeners[nlisteners - 1], info);
		}
	}
	freeaddrinfo(found);
	listener->redundant = !listener->resolved;
	return listener->resolved;
}

static void
take_address(Listener *listener, const struct addrinfo *info)
{
	char host[NI_MAXHOST];

	memcpy(&listener->address, info->ai_addr, info->ai_addrlen);
	listener->address_len = info->ai_addrlen;
	listener->resolved = true;
	if (getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) ==
		0)
		snprintf(listener->text, sizeof(listener->text),
				 info->ai_family == AF_INET6 ? "[%s]:%d" : "%s:%d", host, configured_port);
}

/* "localhost, 127.0.0.1" names one socket twice. */
static bool
already_wanted(const struct addrinfo *info)
{
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i].resolved && listeners[i].address_len == info->ai_addrlen &&
			memcmp(&listeners[i].address, info->ai_addr, info->ai_addrlen) == 0)
			return true;
	}
	return false;
}

/* Open one socket, and say what changed. */
static bool
open_socket(Listener *listener)
{
	const char *step = NULL;

	listener->fd = try_socket(listener, &step);
	if (listener->fd < 0)
	{
		listener->failure = errno;
		report_failure(listener, step, strerror(listener->failure));
		return false;
	}
	listener->failure = 0;
	listener->reported = false;
	ereport(LOG, (errmsg("penny listens on %s", listener->text)));
	return true;
}

/*
 * A peer that is gone without a word is noticed within a minute: probes on a
 * silent connection, and an end to sending what nobody acknowledges.  Accepted
 * sockets inherit all of it.
 */
static bool
watch_peers(int fd)
{
	const int on = 1;
	const int idle = KEEPALIVE_IDLE;
	const int interval = KEEPALIVE_INTERVAL;
	const int count = KEEPALIVE_COUNT;
	const unsigned int unacknowledged = UNACKNOWLEDGED;

	return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0 &&
		   setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) == 0 &&
		   setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval)) == 0 &&
		   setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count)) == 0 &&
		   setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged, sizeof(unacknowledged)) ==
			   0;
}

/* The steps of opening; on failure errno is set, *step says where. */
static int
try_socket(const Listener *listener, const char **step)
{
	const struct sockaddr *address = (const struct sockaddr *) &listener->address;
	const int on = 1;
	int save_errno;
	int fd;

	*step = "create a socket";
	fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	*step = "set socket options";
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 && watch_peers(fd) &&
		(address->sa_family != AF_INET6 ||
		 setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0))
	{
		*step = "bind the address";
		if (bind(fd, address, listener->address_len) == 0)
		{
			*step = "listen on the address";
			if (listen(fd, BACKLOG) == 0)
				return fd;
		}
	}
	save_errno = errno;
	close(fd);
	errno = save_errno;
	return -1;
}

/* One line for an address until it is open. */
static void
report_failure(Listener *listener, const char *what, const char *why)
{
	if (listener->reported || quiet)
		return;
	listener->reported = true;
	ereport(LOG, (errcode(ERRCODE_CONNECTION_FAILURE),
				  errmsg("penny could not %s for %s: %s", what, listener->text, why),
				  errhint("The gateway tries again. Is another server on port %d? If not, change "
						  "\"penny.port\" or \"penny.listen_addresses\".",
						  configured_port)));
}

int
penny_listeners_wanted(void)
{
	int n = 0;

	for (int i = 0; i < nlisteners; i++)
		n += !listeners[i].redundant;
	return n;
}

int
penny_listeners_fds(int *fds)
{
	int n = 0;

	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i].fd >= 0)
			fds[n++] = listeners[i].fd;
	}
	return n;
}

int
penny_listeners_errno(void)
{
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i].fd < 0 && !listeners[i].redundant)
			return listeners[i].failure;
	}
	return 0;
}

const char *
penny_listeners_text(void)
{
	static char text[PENNY_MAX_LISTEN * (INET6_ADDRSTRLEN + 16)];

	text[0] = '\0';
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i].fd < 0)
			continue;
		if (text[0] != '\0')
			strlcat(text, ", ", sizeof(text));
		strlcat(text, listeners[i].text, sizeof(text));
	}
	return text;
}

void
penny_listeners_close(void)
{
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i].fd >= 0)
			close(listeners[i].fd);
		listeners[i].fd = -1;
	}
}

/* Two sockets an address: the shelf's, and this process's own. */
void
penny_listeners_give_up(void)
{
	clear_shelf(true);
}
