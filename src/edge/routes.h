/*-------------------------------------------------------------------------
 *
 * routes.h
 *		The route table as this edge knows it.
 *
 * It answers 404 and 405 before anything reaches an executor; executors have
 * their own table and decide about access.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ROUTES_H
#define PENNY_EDGE_ROUTES_H

#include "edge/edge.h"
#include "plane/route.h"

/*
 * `changed` is called whenever a table has been taken over, or executors have
 * begun to refuse all calls.
 */
extern void penny_routes_init(void (*changed)(void));
/* Why executors refuse all calls (the extension was dropped), or NULL. */
extern const char *penny_routes_refusal(void);
/* Is there a table? */
extern bool penny_routes_known(void);
extern PennyRouteResult penny_routes_find(PennyMethod method, PennySpan path,
										  PennyRouteMatch *match);
/* Loop: fetch the table when there is none, or another was announced. */
extern void penny_routes_turn(void);
/* Loop: is there another table to fetch? */
extern bool penny_routes_stale(void);
/* Has the table changed since the one in force was asked for? */
extern bool penny_routes_outdated(void);

#endif /* PENNY_EDGE_ROUTES_H */
