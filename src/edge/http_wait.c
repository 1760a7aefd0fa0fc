/*-------------------------------------------------------------------------
 *
 * http_wait.c
 *		Requests that wait before they can be answered: for the rest of their
 *		body, or for the route table.
 *
 * A body has body_timeout.  One that has come for BODY_GRACE must have come at
 * min_body_rate: so few bytes at a time hold a connection and its memory for
 * long.
 *
 * The route table is not there for a moment after a start.  Who asks meanwhile
 * waits in a list, for acquire_timeout at most.  (Who waits for the answer to
 * an equal request: gather.c.)
 *
 *-------------------------------------------------------------------------
 */
#include "edge/http_private.h"

#include "edge/routes.h"

#define BODY_GRACE 5000 /* ms after which its rate is looked at */
#define BODY_LOOK 1000  /* ms between looks */

static PennyHttp *waiting; /* for the route table */

/* ---- for a body ------------------------------------------------------------- */

void
penny_http_wait_body(PennyHttp *http)
{
	uint64_t due = http->body_since + penny_edge.settings.body_timeout;
	uint64_t look = http->body_since + BODY_GRACE;

	if (look <= penny_edge.now)
		look = penny_edge.now + BODY_LOOK;
	if (penny_edge.settings.min_body_rate != 0 && look < due)
		due = look;
	penny_connection_deadline(http->connection, due);
}

void
penny_http_look_at_body(PennyHttp *http)
{
	uint64_t elapsed = penny_edge.now - http->body_since;
	uint64_t came = http->connection->in_len - http->parser->head_len;
	const char *wrong = NULL;

	if (elapsed >= penny_edge.settings.body_timeout)
		wrong = "the body of the request did not come in time";
	else if (elapsed >= BODY_GRACE && came * 1000 < penny_edge.settings.min_body_rate * elapsed)
		wrong = "the body of the request comes too slowly";
	if (wrong == NULL)
	{
		penny_http_wait_body(http);
		return;
	}
	http->keep_alive = false;
	penny_http_problem(http, 408, wrong, NULL);
}

/* ---- for the route table ---------------------------------------------------- */

void
penny_http_wait_routes(PennyHttp *http)
{
	http->state = PENNY_HTTP_ROUTES;
	http->prev_waiting = NULL;
	http->next_waiting = waiting;
	if (waiting != NULL)
		waiting->prev_waiting = http;
	waiting = http;
	penny_connection_deadline(http->connection,
							  penny_edge.now + penny_edge.settings.acquire_timeout);
}

void
penny_http_stop_waiting(PennyHttp *http)
{
	if (http->state != PENNY_HTTP_ROUTES)
		return;
	if (http->prev_waiting != NULL)
		http->prev_waiting->next_waiting = http->next_waiting;
	else
		waiting = http->next_waiting;
	if (http->next_waiting != NULL)
		http->next_waiting->prev_waiting = http->prev_waiting;
}

/* There are other routes, or none can be served: who waited gets an answer. */
void
penny_http_routes_changed(void)
{
	PennyHttp *list = waiting;

	if (penny_routes_refusal() != NULL)
		penny_connections_interrupt();
	waiting = NULL;
	while (list != NULL)
	{
		PennyHttp *http = list;

		list = http->next_waiting;
		http->next_waiting = http->prev_waiting = NULL;
		if (list != NULL)
			list->prev_waiting = NULL;
		http->state = PENNY_HTTP_HEAD;
		penny_http_go_on(http->connection);
	}
}
