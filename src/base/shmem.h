/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		Registry of the shared parts of penny.
 *
 * A module registers its parts from its *_init function, in _PG_init of the
 * postmaster.  One request hook asks PostgreSQL for their memory, one startup
 * hook finds or makes them, both chained.  A part holds no pointer,
 * descriptor or handle of a process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SHMEM_H
#define PENNY_SHMEM_H

#include "postgres.h"

typedef struct PennyShmemPart
{
	const char *name;   /* unique, as shown in pg_shmem_allocations */
	Size (*size)(void); /* bytes; NULL: the part has no memory of its own */
	void **area;        /* the process's pointer to it, set by the registry */
	void (*init)(void); /* called once for each fresh area (all zero), in the postmaster:
							  * at server start and at a restart after a crash */
	int locks;          /* LWLocks in a tranche of the part's name, or 0 */
} PennyShmemPart;

/* Register a part; `part` must live as long as the process. */
extern void penny_shmem_register(const PennyShmemPart *part);

/* Install the hooks; from _PG_init, after all parts were registered. */
extern void penny_shmem_init(void);

#endif /* PENNY_SHMEM_H */
