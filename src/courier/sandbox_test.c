/*-------------------------------------------------------------------------
 *
 * sandbox_test.c
 *		penny-courier --sandbox-test: tries of the courier's sandbox, as TAP
 *		(program/sandbox_try.h).
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "courier/courier.h"
#include "courier/names.h"
#include "program/sandbox_try.h"

static int listening = -1; /* a socket to connect to */
static int pair[2];        /* that of a worker */
static struct sockaddr_in place;

static bool
bind_socket(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};

	return bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *) &any, sizeof(any)) == 0;
}

static bool
listen_socket(void)
{
	return listen(socket(AF_INET, SOCK_STREAM, 0), 1) == 0;
}

static bool
accept_socket(void)
{
	return accept4(listening, NULL, NULL, 0) >= 0;
}

static bool
raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0;
}

static bool
lite_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE) >= 0;
}

/* What poll() is on machines without that call. */
static bool
poll_as_elsewhere(void)
{
	struct timespec none = {0};

	return syscall(SYS_ppoll, NULL, 0, &none, NULL, 0) == 0;
}

static bool
packet_socket(void)
{
	return socket(AF_PACKET, SOCK_DGRAM, 0) >= 0;
}

static bool
netlink_socket(void)
{
	return socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE) >= 0;
}

static bool
socket_pair(void)
{
	int fds[2];

	return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0;
}

static bool
make_blocking(void)
{
	return fcntl(pair[1], F_SETFL, 0) == 0;
}

static bool
copy_descriptor(void)
{
	return dup(pair[1]) >= 0;
}

static bool
connect_out(void)
{
	return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *) &place, sizeof(place)) == 0;
}

static bool
write_worker(void)
{
	return write(pair[1], "x", 1) == 1;
}

/* A request that libcurl makes whole: nothing that it needs is missing. */
static bool
call_somebody(void)
{
	char url[64];
	PennyCourierRequest request = {.timeout = 300, .response_max = 1000};
	char payload[256];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/x", ntohs(place.sin_port));
	request.url = (PennyCourierText){url, (uint32_t) strlen(url)};
	penny_courier_request_write(&request, payload);
	penny_transfer_begin(1, payload, penny_courier_request_size(&request));
	penny_courier.draining = true;
	/* nobody accepts, so it runs out of time, and that is its answer */
	return penny_courier_loop_run() == 0 && penny_transfers_running() == 0;
}

static const PennyTry tries[] = {
	{"bind a socket", PENNY_KILLED, bind_socket},
	{"listen", PENNY_KILLED, listen_socket},
	{"accept a connection", PENNY_KILLED, accept_socket},
	{"make a raw socket", PENNY_REFUSED, raw_socket},
	{"make a socket of another protocol", PENNY_REFUSED, lite_socket},
	{"make a packet socket", PENNY_REFUSED, packet_socket},
	{"make a netlink socket", PENNY_REFUSED, netlink_socket},
	{"make a pair of local sockets", PENNY_KILLED, socket_pair},
	{"make the worker's socket blocking", PENNY_REFUSED, make_blocking},
	{"copy a descriptor", PENNY_REFUSED, copy_descriptor},
	{"poll", PENNY_WORKS, poll_as_elsewhere},
	{"connect", PENNY_WORKS, connect_out},
	{"write to the worker", PENNY_WORKS, write_worker},
	{"make a request", PENNY_WORKS, call_somebody},
};

/* As main() enters it. */
static const char *
enter(void)
{
	const char *failed;

	penny_courier_limits(16);
	penny_courier.requests_max = 16;
	penny_courier_stream_init(&penny_courier.worker, pair[1]);
	failed = penny_courier_loop_create();
	if (failed == NULL)
		failed = penny_transfers_init();
	if (failed == NULL)
		failed = penny_names_init("");
	penny_trust_load("");
	return failed != NULL ? failed : penny_courier_enter();
}

int
penny_courier_sandbox_test(void)
{
	socklen_t len = sizeof(place);
	char allow[64];
	const char *entry;
	size_t entry_len;

	place.sin_family = AF_INET;
	place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listening = socket(AF_INET, SOCK_STREAM, 0);
	if (listening < 0 || bind(listening, (struct sockaddr *) &place, sizeof(place)) != 0 ||
		listen(listening, 16) != 0 ||
		getsockname(listening, (struct sockaddr *) &place, &len) != 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0)
	{
		printf("Bail out! could not prepare: %s\n", strerror(errno));
		return 1;
	}
	snprintf(allow, sizeof(allow), "127.0.0.1:%d", ntohs(place.sin_port));
	(void) penny_webhook_rules_parse(allow, &penny_courier.rules, &entry, &entry_len);
	return penny_sandbox_tries(tries, sizeof(tries) / sizeof(tries[0]), enter);
}
