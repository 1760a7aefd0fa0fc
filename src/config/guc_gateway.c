/*-------------------------------------------------------------------------
 *
 * guc_gateway.c
 *		Settings of the gateway, its edge and the plane between them.
 *
 * What sizes shared memory takes effect at server start; the rest on reload,
 * without a connection being dropped (another address or port opens other
 * sockets, and for that the edge is started anew).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"
#include "utils/varlena.h"

#include "config/config.h"
#include "plane/plane.h"

#define SECOND 1000
#define HOUR (3600 * SECOND)
#define KB 1024
#define MB (1024 * KB)

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define SCHEME_CHARACTERS LETTERS_AND_DIGITS "+-."
#define HOST_CHARACTERS LETTERS_AND_DIGITS "-._"

char *penny_allowed_hosts = "";
char *penny_allowed_origins = "";
int penny_batch_window = 50;
int penny_body_timeout = 30 * SECOND;
int penny_call_queue_size = 1024;
int penny_call_slots = 24;
int penny_connections_per_second = 0;
int penny_drain_timeout = 2 * SECOND;
char *penny_edge_program = "";
int penny_event_ring_events = 16384;
int penny_event_ring_size = 8 * KB;
int penny_gateways = 1;
int penny_header_size = 16 * KB;
int penny_header_timeout = 10 * SECOND;
int penny_heartbeat_interval = 25 * SECOND;
int penny_keepalive_timeout = 75 * SECOND;
char *penny_listen_addresses = "127.0.0.1";
int penny_max_body_size = 1 * MB;
int penny_max_client_connections = 10000;
int penny_max_connections_per_address = 1000;
int penny_min_body_rate = 500;
int penny_port = 3000;
int penny_requests_per_second = 0;
int penny_rooms_per_connection = 100;
int penny_target_size = 8 * KB;
int penny_websocket_auth_timeout = 10 * SECOND;
int penny_websocket_message_size = 1 * MB;
int penny_websocket_messages_per_second = 50;
int penny_write_timeout = 10 * SECOND;

static void define_connections(void);
static void define_plane(void);
static void define_sizes(void);
static void define_timeouts(void);
static void define_websocket(void);
static void define_int(const char *name, const char *what, const char *more, int *variable,
					   int least, int greatest, GucContext context, int flags,
					   GucIntCheckHook check);
static void define_string(const char *name, const char *what, const char *more, char **variable,
						  GucContext context, int flags, GucStringCheckHook check);
static bool check_addresses(char **value, void **extra, GucSource source);
static bool check_hosts(char **value, void **extra, GucSource source);
static size_t host_length(const char *host);
static bool check_origins(char **value, void **extra, GucSource source);
static bool check_power_of_two(int *value, void **extra, GucSource source);
static bool check_program(char **value, void **extra, GucSource source);

/* Define them all, in groups; sorted within each. */
void
penny_config_gateway(void)
{
	define_connections();
	define_plane();
	define_sizes();
	define_timeouts();
	define_websocket();
}

/* Where penny listens, and to how many. */
static void
define_connections(void)
{
	define_string("penny.allowed_hosts", "Sets the names that a request may call this server.",
				  "A list of hosts separated by spaces or commas, with a port if only that one is "
				  "meant. Others are answered with 421. Empty means any.",
				  &penny_allowed_hosts, PGC_SIGHUP, 0, check_hosts);
	define_string("penny.allowed_origins",
				  "Sets the origins of web pages that may use this server.",
				  "A list separated by spaces or commas, such as https://app.example.com. "
				  "Pages of the server's own host are always allowed.",
				  &penny_allowed_origins, PGC_SIGHUP, 0, check_origins);
	define_int("penny.connections_per_second",
			   "Sets the number of HTTP connections a second that one client address may open.",
			   "Further ones are refused with 429, over all gateways. 0 sets no limit.",
			   &penny_connections_per_second, 0, 1000000, PGC_SIGHUP, 0, NULL);
	define_string("penny.edge_program", "Sets the path of the program penny-edge.",
				  "Empty means the one beside the server's own program.", &penny_edge_program,
				  PGC_POSTMASTER, GUC_SUPERUSER_ONLY, check_program);
	define_int("penny.gateways", "Sets the number of gateways.",
			   "Each has an edge of its own, a process that uses one processor.", &penny_gateways,
			   1, PENNY_MAX_EDGES, PGC_POSTMASTER, 0, NULL);
	define_string("penny.listen_addresses",
				  "Sets the host names or addresses that the gateway listens on.",
				  "A list separated by commas, of at most 8 sockets; * means all addresses.",
				  &penny_listen_addresses, PGC_SIGHUP, 0, check_addresses);
	define_int("penny.max_client_connections", "Sets the maximum number of HTTP connections.",
			   "Of all addresses together; further ones are refused.",
			   &penny_max_client_connections, 1, 1000000, PGC_SIGHUP, 0, NULL);
	define_int("penny.max_connections_per_address",
			   "Sets the maximum number of HTTP connections of one client address.",
			   "Further ones of that address are refused.", &penny_max_connections_per_address, 1,
			   1000000, PGC_SIGHUP, 0, NULL);
	define_int("penny.port", "Sets the TCP port that the gateway listens on.",
			   "When it is taken, the database runs without, and the gateway tries again.",
			   &penny_port, 1, 65535, PGC_SIGHUP, 0, NULL);
	define_int("penny.requests_per_second",
			   "Sets the number of requests a second of one client address, and of one user.",
			   "Further ones are answered with 429, over all gateways. 0 sets no limit.",
			   &penny_requests_per_second, 0, 1000000, PGC_SIGHUP, 0, NULL);
}

/* What sizes the plane. */
static void
define_plane(void)
{
	define_int("penny.call_queue_size",
			   "Sets the number of calls that may wait in the edge for a free slot.",
			   "Further calls are answered with 503 at once.", &penny_call_queue_size, 1, 1000000,
			   PGC_SIGHUP, 0, NULL);
	define_int("penny.call_slots", "Sets the number of calls that may be with the executors.",
			   "Each slot has memory for one request and one piece of an answer.",
			   &penny_call_slots, 1, PENNY_MAX_SLOTS, PGC_POSTMASTER, 0, NULL);
	define_int("penny.event_ring_events",
			   "Sets the number of committed events that the edge may fall behind.",
			   "A power of two. An edge that falls behind further reads its rooms anew.",
			   &penny_event_ring_events, 16, 1 << 20, PGC_POSTMASTER, 0, check_power_of_two);
	define_int("penny.event_ring_size",
			   "Sets the memory for frames of committed events that the edge has not read.",
			   "A power of two. An edge that falls behind further reads its rooms anew.",
			   &penny_event_ring_size, 64, 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB,
			   check_power_of_two);
}

/* How much a client may send. */
static void
define_sizes(void)
{
	define_int("penny.header_size", "Sets the maximum size of the headers of a request.",
			   "Request line included; larger ones are answered with 431.", &penny_header_size,
			   1 * KB, 256 * KB, PGC_POSTMASTER, GUC_UNIT_BYTE, NULL);
	define_int("penny.max_body_size", "Sets the maximum size of the body of a request.",
			   "Larger ones are answered with 413. Sizes the shared memory of each slot.",
			   &penny_max_body_size, 1 * KB, 32 * MB, PGC_POSTMASTER, GUC_UNIT_BYTE, NULL);
	define_int("penny.target_size", "Sets the maximum size of path and query of a request.",
			   "Larger ones are answered with 414; never more than \"penny.header_size\".",
			   &penny_target_size, 256, 256 * KB, PGC_SIGHUP, GUC_UNIT_BYTE, NULL);
}

/* How long a client may take. */
static void
define_timeouts(void)
{
	define_int("penny.body_timeout", "Sets the time in which the body of a request must arrive.",
			   NULL, &penny_body_timeout, 100, HOUR, PGC_SIGHUP, GUC_UNIT_MS, NULL);
	define_int("penny.drain_timeout",
			   "Sets the time that running requests get when the gateway stops.",
			   "What then still runs is cut off.", &penny_drain_timeout, 0, HOUR, PGC_SIGHUP,
			   GUC_UNIT_MS, NULL);
	define_int("penny.header_timeout",
			   "Sets the time in which the headers of a request must arrive.", NULL,
			   &penny_header_timeout, 100, HOUR, PGC_SIGHUP, GUC_UNIT_MS, NULL);
	define_int("penny.keepalive_timeout",
			   "Sets the time that an idle HTTP connection is kept open.", NULL,
			   &penny_keepalive_timeout, 100, HOUR, PGC_SIGHUP, GUC_UNIT_MS, NULL);
	define_int(
		"penny.min_body_rate",
		"Sets the bytes a second that a body must come with, or an answer be read with.",
		"Looked at when a body has come for 5 seconds, and whenever an answer that waits for "
		"its client has done so for \"penny.write_timeout\". 0 is no limit.",
		&penny_min_body_rate, 0, MB, PGC_SIGHUP, 0, NULL);
	define_int("penny.write_timeout",
			   "Sets the time that a client may take without reading any of its answer.", NULL,
			   &penny_write_timeout, 100, HOUR, PGC_SIGHUP, GUC_UNIT_MS, NULL);
}

/* WebSockets. */
static void
define_websocket(void)
{
	define_int("penny.batch_window", "Sets the time in which frames of a room gather.",
			   "The first after a pause goes at once. 0: each goes at once. A client may choose "
			   "its own.",
			   &penny_batch_window, 0, 500, PGC_SIGHUP, GUC_UNIT_MS, NULL);
	define_int("penny.heartbeat_interval", "Sets the time between pings on a WebSocket.",
			   "0 sends none; sockets that died silently are then found late.",
			   &penny_heartbeat_interval, 0, HOUR, PGC_SIGHUP, GUC_UNIT_MS, NULL);
	define_int("penny.rooms_per_connection",
			   "Sets the maximum number of rooms that one WebSocket may join.", NULL,
			   &penny_rooms_per_connection, 1, 10000, PGC_SIGHUP, 0, NULL);
	define_int("penny.websocket_auth_timeout",
			   "Sets the time in which a WebSocket must have signed in.",
			   "The socket is then closed with code 4401.", &penny_websocket_auth_timeout, 100,
			   HOUR, PGC_SIGHUP, GUC_UNIT_MS, NULL);
	define_int("penny.websocket_message_size", "Sets the maximum size of a WebSocket message.",
			   "Never more than \"penny.max_body_size\". The socket is closed with code 4413.",
			   &penny_websocket_message_size, 1 * KB, 32 * MB, PGC_SIGHUP, GUC_UNIT_BYTE, NULL);
	define_int("penny.websocket_messages_per_second",
			   "Sets the number of messages a second that one WebSocket may send.",
			   "The socket is closed with code 4429.", &penny_websocket_messages_per_second, 1,
			   100000, PGC_SIGHUP, 0, NULL);
}

/* The variable's initial value is the default. */
static void
define_int(const char *name, const char *what, const char *more, int *variable, int least,
		   int greatest, GucContext context, int flags, GucIntCheckHook check)
{
	DefineCustomIntVariable(name, what, more, variable, *variable, least, greatest, context, flags,
							check, NULL, NULL);
}

static void
define_string(const char *name, const char *what, const char *more, char **variable,
			  GucContext context, int flags, GucStringCheckHook check)
{
	DefineCustomStringVariable(name, what, more, variable, *variable, context, flags, check, NULL,
							   NULL);
}

/* ---- check hooks -------------------------------------------------------- */

/* A list of words, not empty: a bad one on reload leaves the sockets as they are. */
static bool
check_addresses(char **value, void **extra, GucSource source)
{
	char *copy = pstrdup(*value);
	List *hosts = NIL;
	bool valid = SplitGUCList(copy, ',', &hosts);

	(void) extra;
	(void) source;
	if (!valid)
		GUC_check_errdetail("List syntax is invalid.");
	else if (hosts == NIL)
		GUC_check_errdetail("The list must name at least one address.");
	valid = valid && hosts != NIL;
	list_free(hosts);
	pfree(copy);
	return valid;
}

/* The list travels through the plane, in a field of fixed size. */
static bool
check_origins(char **value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (strlen(*value) >= PENNY_ORIGINS_SIZE)
	{
		GUC_check_errdetail("The list must be shorter than %d bytes.", PENNY_ORIGINS_SIZE);
		return false;
	}
	for (const char *word = *value + strspn(*value, " ,"); *word != '\0';)
	{
		size_t len = strcspn(word, " ,");
		size_t scheme = strspn(word, SCHEME_CHARACTERS);

		if (len > PENNY_ORIGIN_MAX || !isalpha((unsigned char) *word) ||
			strncmp(word + scheme, "://", 3) != 0 || host_length(word + scheme + 3) == 0 ||
			scheme + 3 + host_length(word + scheme + 3) != len)
		{
			GUC_check_errdetail("An origin is a scheme, a host and maybe a port, such as "
								"https://app.example.com, without a path or a slash at its end.");
			return false;
		}
		word += len;
		word += strspn(word, " ,");
	}
	return true;
}

/* Likewise. */
static bool
check_hosts(char **value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (strlen(*value) >= PENNY_HOSTS_SIZE)
	{
		GUC_check_errdetail("The list must be shorter than %d bytes.", PENNY_HOSTS_SIZE);
		return false;
	}
	for (const char *word = *value + strspn(*value, " ,"); *word != '\0';)
	{
		size_t len = strcspn(word, " ,");

		if (host_length(word) != len)
		{
			GUC_check_errdetail("A host is a name or an address, and maybe a port, such as "
								"api.example.com or [::1]:3000.");
			return false;
		}
		word += len;
		word += strspn(word, " ,");
	}
	return true;
}

/* Length of host[:port] at the start of a text; 0 = there is none. */
static size_t
host_length(const char *host)
{
	size_t len = host[0] == '[' ? 1 + strspn(host + 1, "0123456789abcdefABCDEF:.")
								: strspn(host, HOST_CHARACTERS);
	size_t digits;

	if (len == 0 || (host[0] == '[' && host[len++] != ']'))
		return 0;
	if (host[len] != ':')
		return len;
	digits = strspn(host + len + 1, "0123456789");
	return digits > 0 && digits <= 5 ? len + 1 + digits : 0;
}

static bool
check_power_of_two(int *value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if ((*value & (*value - 1)) != 0)
	{
		GUC_check_errdetail("The value must be a power of two.");
		return false;
	}
	return true;
}

static bool
check_program(char **value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (**value != '\0' && !is_absolute_path(*value))
	{
		GUC_check_errdetail("The path must be absolute or empty.");
		return false;
	}
	return true;
}
