/*-------------------------------------------------------------------------
 *
 * route_private.h
 *		A line of the route table, taken apart; inside the route table only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_ROUTE_PRIVATE_H
#define PENNY_PLANE_ROUTE_PRIVATE_H

#include "plane/route.h"

typedef struct PennyRouteLine
{
	int line;
	PennyMethod method;
	PennyAccess access;
	PennySpan pattern;
	PennySpan key; /* method, access and pattern */
	uint64_t ttl;
	PennyScope scope;
} PennyRouteLine;

/*
 * Take the text of a line apart, and its pattern into n segments; NULL or what
 * is wrong, static.
 */
extern const char *penny_route_read_line(PennySpan text, PennyRouteLine *line,
										 PennySpan segment[PENNY_MAX_ROUTE_SEGMENTS], int *n);

/* Take the text up to a separator, and the separator with it; false at the end. */
extern bool penny_route_next_part(PennySpan *text, char separator, PennySpan *part);
/* Split a path or pattern at its slashes; -1 when there are too many. */
extern int penny_route_split(PennySpan path, PennySpan segment[PENNY_MAX_ROUTE_SEGMENTS]);
/* Is this segment of a pattern a parameter?  Then its name is inside the braces. */
extern bool penny_route_is_parameter(PennySpan segment);
extern PennySpan penny_route_name_inside(PennySpan segment);
extern bool penny_route_spans_equal(PennySpan a, PennySpan b);

#endif /* PENNY_PLANE_ROUTE_PRIVATE_H */
