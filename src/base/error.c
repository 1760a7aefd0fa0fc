/*-------------------------------------------------------------------------
 *
 * error.c
 *		Broken invariants, and the one error for a server without penny.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/error.h"
#include "base/planemap.h"

/* Report a broken invariant; see penny_ensure(). */
void
penny_broken(const char *condition, const char *file, int line)
{
#ifdef USE_ASSERT_CHECKING
	ExceptionalCondition(condition, "BrokenInvariant", file, line);
#else
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
					errmsg("broken invariant \"%s\" at %s:%d", condition, file, line)));
#endif
	pg_unreachable();
}

/* What needs the plane cannot work in a server that was started without penny. */
void
penny_require_preload(void)
{
	if (penny_plane() == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("penny is not preloaded"),
						errdetail("The library was loaded into a running session only."),
						errhint("Add the line \"shared_preload_libraries = 'penny'\" to "
								"postgresql.conf and restart the server.")));
}
