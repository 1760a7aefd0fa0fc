/*-------------------------------------------------------------------------
 *
 * shelf.h
 *		Where the listening sockets of a server lie, whoever comes and goes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SHELF_H
#define PENNY_SHELF_H

#include "postgres.h"

#include <netdb.h>
#include <sys/socket.h>

#include "plane/plane.h"

#define PENNY_SHELF_SIZE (2 * PENNY_MAX_LISTEN)

/* A listening socket, and what it was opened for. */
typedef struct PennyShelved
{
	char host[NI_MAXHOST]; /* as in penny.listen_addresses */
	int port;
	socklen_t address_len;
	struct sockaddr_storage address;
	int fd;
} PennyShelved;

typedef struct PennyShelf
{
	int n;
	PennyShelved socket[PENNY_SHELF_SIZE];
} PennyShelf;

/* From _PG_init: the postmaster makes the shelf when it makes shared memory. */
extern void penny_shelf_init(void);

/*
 * Among the gateways one at a time: between lock and unlock a gateway may take
 * everything off the shelf and put back what shall stay.  The descriptors are
 * the taker's own; putting them back leaves them open.
 */
extern void penny_shelf_lock(void);
extern void penny_shelf_unlock(void);
extern PennyShelf *penny_shelf_take(void);
extern void penny_shelf_put(const PennyShelf *shelf);

#endif /* PENNY_SHELF_H */
