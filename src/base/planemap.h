/*-------------------------------------------------------------------------
 *
 * planemap.h
 *		The plane in PostgreSQL's processes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANEMAP_H
#define PENNY_PLANEMAP_H

#include "plane/plane.h"

/* This process's view of the plane; NULL when penny was not preloaded. */
extern PennyPlane *penny_plane(void);

/*
 * Register the plane with base/shmem.h.  `configure` fills in the sizes when
 * the plane is made.
 */
extern void penny_planemap_init(void (*configure)(PennyPlaneConfig *config));

#endif /* PENNY_PLANEMAP_H */
