/*-------------------------------------------------------------------------
 *
 * params.h
 *		From the bytes of a request to a penny.request.
 *
 * Everything here is bytes from strangers: each function checks what it
 * reads and raises PY400 (or PY415) that says what is wrong and where.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PARAMS_H
#define PENNY_PARAMS_H

#include "postgres.h"

#include "auth/identity.h"
#include "plane/route.h"

/* Take a target apart: the path, and what follows its "?"; checks both. */
extern void penny_params_split_target(PennySpan target, PennySpan *path, PennySpan *query);

/* What a penny.request is made of. */
typedef struct PennyParams
{
	const PennyRequest *request;
	PennySpan path;
	PennySpan query;
	const PennyRoutes *routes;
	const PennyRouteMatch *match;
	const PennyIdentity *identity;
	const char *role; /* name; NULL when nobody is calling */
	const char *request_id;
	bool cached; /* the handler of a cached route learns nothing that its key has not */
} PennyParams;

/* Make the composite value of the given row type. */
extern Datum penny_params_request(const PennyParams *params, Oid type);

/* Text of a span in the database's encoding; `what` names it in the error. */
extern char *penny_params_text(PennySpan span, const char *what);
/* Parse a JSON text. */
extern Datum penny_params_json(PennySpan span, const char *what);
/* Value of the first header line of that (lower-case) name; data NULL if none. */
extern PennySpan penny_params_header(PennySpan headers, const char *name);
/* Has a header of that (lower-case) name, a list like Cache-Control, this member? */
extern bool penny_params_directive(PennySpan headers, const char *name, const char *directive);

#endif /* PENNY_PARAMS_H */
