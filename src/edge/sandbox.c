/*-------------------------------------------------------------------------
 *
 * sandbox.c
 *		What penny-edge gives up, beyond what every program does
 *		(program/sandbox.c): no new socket, no writable view of what PostgreSQL
 *		trusts.
 *
 * It has all its sockets when it starts and accepts from those that listen.
 * Sockets of its own making, and connections, would only serve an intruder.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/sandbox.h"

#include <seccomp.h>

#include "edge/edge.h"
#include "program/sandbox.h"

#define ADDRESS_SPACE (UINT64_C(2) << 30) /* beside the plane */
/* Those given at start, one for each sleeper among them, and some to spare. */
#define SPARE_DESCRIPTORS (PENNY_FD_SLEEPER + PENNY_MAX_EXECUTORS + 1 + 16)

static const int allowed_calls[] = {SCMP_SYS(accept4)};
static const int fatal_calls[] = {SCMP_SYS(socket), SCMP_SYS(connect)};

uint32_t
penny_sandbox_limits(uint32_t connections)
{
	return penny_sandbox_limit(connections, SPARE_DESCRIPTORS,
							   ADDRESS_SPACE + penny_edge.plane.sizes.p_size +
								   penny_edge.plane.sizes.e_size + sizeof(PennySharedHeader));
}

const char *
penny_sandbox_enter(void)
{
	return penny_sandbox_load(PENNY_CALLS(allowed_calls), PENNY_CALLS(fatal_calls), NULL);
}
