/*-------------------------------------------------------------------------
 *
 * shelf.c
 *		Where the listening sockets of a server lie, whoever comes and goes.
 *
 * The postmaster makes a pair of connected sockets, which all its children
 * inherit; it never uses them.  A gateway that has opened a listening socket
 * sends its descriptor into one end, where it stays in the queue: a reference
 * that the kernel holds for as long as any process has the pair.  Whoever
 * needs the socket receives it at the other end and sends it back.
 *
 * So a listening socket outlives every gateway, also a restart after a crash:
 * clients that connect meanwhile wait in its backlog instead of being
 * refused, and several gateways listen on the same socket.  SO_REUSEPORT is
 * not needed for that, and not wanted: closing one socket of such a group
 * throws away the connections queued at it, a gateway that does not come up
 * would hold back its share of the connections, and another server, were it
 * of the same OS user, could join the group unseen.  With one socket an
 * address another server finds it taken, as usual.
 *
 * It ends with the postmaster.  When the server is being stopped the gateways
 * take their sockets off the shelf, so that the port is closed with the last
 * of them and not after the final checkpoint.
 *
 * All that lies there is one message: so taking and putting are each one
 * system call.  A gateway killed between the two has lost the sockets; that
 * is a crash restart, and the next gateway opens others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/uio.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/lwlock.h"

#include "base/shmem.h"
#include "gateway/shelf.h"

#define PART_NAME "penny sockets"

/* Room for the descriptors of a message, aligned as the kernel wants it. */
typedef union Control
{
	struct cmsghdr header;
	char bytes[CMSG_SPACE(PENNY_SHELF_SIZE * sizeof(int))];
} Control;

static int ends[2] = {-1, -1}; /* put into the first, taken from the second */
static PennyShelf shelf;

static void make_shelf(void);
static void fetch_descriptors(struct msghdr *message);

static const PennyShmemPart shelf_part = {.name = PART_NAME, .locks = 1, .init = make_shelf};

void
penny_shelf_init(void)
{
	penny_shmem_register(&shelf_part);
}

/* Once in the life of the postmaster: what lies there outlives a crash restart. */
static void
make_shelf(void)
{
	if (!IsPostmasterEnvironment || ends[0] >= 0)
		return;
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		ereport(FATAL, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						errmsg("could not create a pair of sockets: %m")));
}

void
penny_shelf_lock(void)
{
	LWLockAcquire(&GetNamedLWLockTranche(PART_NAME)->lock, LW_EXCLUSIVE);
}

void
penny_shelf_unlock(void)
{
	LWLockRelease(&GetNamedLWLockTranche(PART_NAME)->lock);
}

/* All that lies there; the shelf is empty until something is put. */
PennyShelf *
penny_shelf_take(void)
{
	Control control;
	struct iovec bytes = {.iov_base = &shelf, .iov_len = sizeof(shelf)};
	struct msghdr message = {.msg_iov = &bytes,
							 .msg_iovlen = 1,
							 .msg_control = &control,
							 .msg_controllen = sizeof(control)};

	if (recvmsg(ends[1], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof(shelf))
		shelf.n = 0;
	else
		fetch_descriptors(&message);
	return &shelf;
}

/* The numbers that the descriptors have here. */
static void
fetch_descriptors(struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int n = 0;

	if (header != NULL && header->cmsg_type == SCM_RIGHTS)
		n = (int) ((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	shelf.n = Min(shelf.n, n);
	for (int i = 0; i < shelf.n; i++)
		memcpy(&shelf.socket[i].fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
}

void
penny_shelf_put(const PennyShelf *put)
{
	Control control;
	struct iovec bytes = {.iov_base = unconstify(PennyShelf *, put), .iov_len = sizeof(*put)};
	struct msghdr message = {.msg_iov = &bytes,
							 .msg_iovlen = 1,
							 .msg_control = &control,
							 .msg_controllen = CMSG_SPACE(put->n * sizeof(int))};
	struct cmsghdr *header;

	if (put->n == 0)
		return;
	memset(&control, 0, sizeof(control));
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(put->n * sizeof(int));
	for (int i = 0; i < put->n; i++)
		memcpy(CMSG_DATA(header) + i * sizeof(int), &put->socket[i].fd, sizeof(int));
	if (sendmsg(ends[0], &message, MSG_DONTWAIT) < 0)
		ereport(LOG, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					  errmsg("could not keep the listening sockets of penny: %m"),
					  errdetail("Connections are refused while a gateway restarts.")));
}
