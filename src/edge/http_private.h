/*-------------------------------------------------------------------------
 *
 * http_private.h
 *		What http.c and http_wait.c share; no interface of others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_HTTP_PRIVATE_H
#define PENNY_EDGE_HTTP_PRIVATE_H

#include "edge/http.h"

/* Wait for the rest of a body: to the end of its time, or the next look at its rate. */
extern void penny_http_wait_body(PennyHttp *http);
/* The time of a body is over, or its rate to be looked at: answer, or wait on. */
extern void penny_http_look_at_body(PennyHttp *http);

/* Wait for the route table. */
extern void penny_http_wait_routes(PennyHttp *http);
/* Take a request off the list of those that wait for it, if it is there. */
extern void penny_http_stop_waiting(PennyHttp *http);
/* There are other routes, or none can be served: who waited gets an answer. */
extern void penny_http_routes_changed(void);

#endif /* PENNY_EDGE_HTTP_PRIVATE_H */
