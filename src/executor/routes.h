/*-------------------------------------------------------------------------
 *
 * routes.h
 *		The executor's view of penny.routes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EXECUTOR_ROUTES_H
#define PENNY_EXECUTOR_ROUTES_H

#include "postgres.h"

#include "plane/route.h"

/* A row of penny.routes, by the number of its line in the table's text. */
typedef struct PennyRouteRow
{
	PennyMethod method;
	const char *pattern;
	const char *handler;
	bool builtin; /* of penny itself: may tell the edge something */
	int timeout;  /* ms; 0: penny.statement_timeout */
	Oid function; /* resolved handler, InvalidOid: not yet, or not there */
} PennyRouteRow;

typedef struct PennyRouteTable
{
	uint64 stamp;          /* routes_stamp before the snapshot that it was read under */
	bool settled;          /* nothing that changes it was in progress in that snapshot */
	uint64 seq;            /* of PENNY_STAMP_ALL then */
	PennySpan text;        /* what PENNY_OP_ROUTES answers */
	PennyRoutes *compiled; /* points into text */
	int n;
	PennyRouteRow *row;
} PennyRouteTable;

/* Callbacks of the caches; once in a process, connected. */
extern void penny_routes_init(void);

/*
 * The table, read again when it changed.  Inside a transaction with an active
 * snapshot and SPI connected, as penny_authenticator; `stamp` is routes_stamp as
 * it was before that snapshot was taken.  Valid until the next call.
 */
extern const PennyRouteTable *penny_routes_get(PennyPlane *plane, uint64 stamp);

/* The table as it was got last. */
extern const PennyRouteTable *penny_routes_current(void);

/* Function of a route's handler; an error when it is not there. */
extern Oid penny_routes_function(const PennyRouteTable *table, int route, Oid request_type);

#endif /* PENNY_EXECUTOR_ROUTES_H */
