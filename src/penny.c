/*-------------------------------------------------------------------------
 *
 * penny.c
 *		Module magic and _PG_init: the table of contents of penny.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
}
