/*-------------------------------------------------------------------------
 *
 * sandbox.c
 *		What penny-courier gives up, beyond what every program does
 *		(program/sandbox.c).
 *
 * It makes connections of its own, over TCP to where webhooks live and over
 * UDP and TCP to name servers, so sockets of IPv4 and IPv6 and connect() are
 * allowed.  A filter of system calls does not see addresses: somebody who has
 * taken the process over can connect where this machine can.  Local sockets,
 * by which one would be PostgreSQL's account to others, there are none, and
 * nothing can be waited for (bind, listen, accept).
 *
 *-------------------------------------------------------------------------
 */
#include <netinet/in.h>
#include <seccomp.h>
#include <sys/socket.h>

#include "courier/courier.h"
#include "program/sandbox.h"

/* Two buffers of libcurl and TLS for each request, beside what is counted. */
#define ADDRESS_SPACE (UINT64_C(1536) << 20)
#define SPARE_DESCRIPTORS 64
#define TYPE_MASK 0xf /* of a socket's type, without its flags */

static const int allowed_calls[] = {SCMP_SYS(connect)};
static const int fatal_calls[] = {SCMP_SYS(accept), SCMP_SYS(accept4)};

/* A request may have several connections at a time: it tries addresses side by side. */
void
penny_courier_limits(uint32_t requests)
{
	(void) penny_sandbox_limit(requests * 3, SPARE_DESCRIPTORS, ADDRESS_SPACE);
}

static int
allow_sockets(void *filter)
{
	static const int families[] = {AF_INET, AF_INET6};
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
	static const int protocols[] = {IPPROTO_TCP, IPPROTO_UDP}; /* of those types */
	int failed = 0;

	for (int i = 0; i < 2; i++)
	{
		for (int j = 0; j < 4; j++)
			failed |= seccomp_rule_add(
				filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3,
				SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) families[i]),
				SCMP_A1(SCMP_CMP_MASKED_EQ, TYPE_MASK, (scmp_datum_t) types[j / 2]),
				SCMP_A2(SCMP_CMP_EQ, j % 2 == 0 ? 0 : (scmp_datum_t) protocols[j / 2]));
	}
	failed |= seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(socket), 1,
							   SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	return failed;
}

const char *
penny_courier_enter(void)
{
	return penny_sandbox_load(PENNY_CALLS(allowed_calls), PENNY_CALLS(fatal_calls), allow_sockets);
}
