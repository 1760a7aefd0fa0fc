/*-------------------------------------------------------------------------
 *
 * planemap.c
 *		Makes the plane in the postmaster, gives each process its view.
 *
 * The postmaster makes the plane where PostgreSQL makes its own shared memory,
 * before it forks; its children inherit mapping and descriptors.  A restart
 * after a crash comes through here again: the old plane is released first, so
 * that crashes cost neither descriptors nor memory.  Its last user was the
 * old edge, which dies with its gateway.
 *
 * A single-user server has no workers, so it gets no plane.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/planemap.h"
#include "base/shmem.h"

static PennyPlane plane;
static bool plane_made = false;
static void (*plane_configure)(PennyPlaneConfig *config) = NULL;

static void make_plane(void);

static const PennyShmemPart plane_part = {.name = "penny plane", .init = make_plane};

PennyPlane *
penny_plane(void)
{
	return plane_made ? &plane : NULL;
}

void
penny_planemap_init(void (*configure)(PennyPlaneConfig *config))
{
	plane_configure = configure;
	penny_shmem_register(&plane_part);
}

/* Release the old plane, if any, and make a new one. */
static void
make_plane(void)
{
	PennyPlaneConfig config = {0};
	const char *failed;

	if (!IsPostmasterEnvironment)
		return;
	if (plane_made)
	{
		plane_made = false;
		penny_plane_destroy(&plane);
	}

	plane_configure(&config);
	failed = penny_plane_create(&plane, &config);
	if (failed != NULL)
		ereport(FATAL, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						errmsg("could not create the shared plane of penny: %s failed: %m", failed),
						errhint("Reduce \"penny.call_slots\", \"penny.max_body_size\", "
								"\"penny.gateways\" or \"penny.event_ring_size\".")));
	plane_made = true;
}
