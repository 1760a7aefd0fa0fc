/*-------------------------------------------------------------------------
 *
 * routes.c
 *		Fetch the route table (PENNY_OP_ROUTES) and swap it in.
 *
 * routes_stamp in region P is raised by the commit that changes the table.
 * The stamp is read before the call is made, so a change that comes while the
 * answer is on its way makes another call.  The old table serves until the new
 * one is compiled; when a fetch fails, the old one stays and it is tried again.
 *
 * Executors that cannot serve anything (the extension is not there, or the
 * database was asked for) answer this call with 503 as they do every other;
 * the stamp is raised when that begins and when it ends.  So this is where the
 * edge learns that it has nothing to serve.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/calls.h"
#include "edge/json_span.h"
#include "edge/timer.h"

#define RETRY 500          /* ms after a fetch that failed */
#define RETRY_REFUSED 5000 /* ms after one that was refused; the stamp tells earlier */

static void (*on_change)(void);
static PennyRoutes *routes; /* NULL: not known yet */
static char *text;          /* what routes points into */
static void *memory;        /* what routes lies in */
static uint64_t stamp;      /* of the table in force */
static uint64_t asked;      /* stamp when the call was made */
static char refusal[256];   /* why calls are refused; empty = they are not */
static PennyPending *call;
static PennyTimer retry_timer;

static void
on_retry(PennyTimer *timer)
{
	(void) timer; /* the turn looks whether there is something to fetch */
}

void
penny_routes_init(void (*changed)(void))
{
	on_change = changed;
	penny_timer_init(&retry_timer, on_retry);
}

bool
penny_routes_known(void)
{
	return routes != NULL;
}

PennyRouteResult
penny_routes_find(PennyMethod method, PennySpan path, PennyRouteMatch *match)
{
	return penny_route_match(routes, method, path, match);
}

/* Compile a table and put it in the place of the old one. */
static void
take_over(PennySpan body)
{
	char *new_text = penny_alloc(body.len + 1);
	PennySpan span = {new_text, body.len};
	PennyRouteErrors errors;
	void *new_memory;

	memcpy(new_text, body.data, body.len);
	new_memory = penny_alloc(penny_routes_size(span));
	routes = penny_routes_compile(new_memory, span, &errors);
	if (errors.refused > 0)
		penny_log(PENNY_LOG_WARNING, "%d routes left out, the first on line %d: %s", errors.refused,
				  errors.first_line, errors.reason);
	free(text);
	free(memory);
	text = new_text;
	memory = new_memory;
	stamp = asked;
	refusal[0] = '\0';
	penny_log(PENNY_LOG_DEBUG, "%d routes", penny_routes_count(routes));
	on_change();
}

const char *
penny_routes_refusal(void)
{
	return refusal[0] != '\0' ? refusal : NULL;
}

/* Executors refuse everything: remember why, tell it once. */
static void
take_refusal(PennySpan problem)
{
	PennyJsonMember detail = {.name = "detail"};
	bool told = refusal[0] != '\0';
	size_t where;
	size_t len;

	if (penny_json_object(problem, &detail, 1, &where) != NULL ||
		detail.kind != PENNY_JSON_STRING ||
		!penny_json_string(detail.raw, refusal, sizeof(refusal) - 1, &len) || len == 0)
		len = (size_t) snprintf(refusal, sizeof(refusal), "the server cannot serve now");
	refusal[len] = '\0';
	if (!told)
		on_change();
}

static bool
on_answer(void *owner, const PennyAnswer *answer)
{
	(void) owner;
	call = NULL;
	if (answer->kind == PENNY_ANSWER && answer->status == 200)
		take_over(answer->body);
	else if (answer->kind == PENNY_ANSWER && answer->status == 503)
	{
		penny_timer_set(&retry_timer, penny_edge.now + RETRY_REFUSED);
		take_refusal(answer->body);
	}
	else
		penny_timer_set(&retry_timer, penny_edge.now + RETRY);
	return true;
}

bool
penny_routes_outdated(void)
{
	return stamp != atomic_load_explicit(&penny_edge.plane.p->routes_stamp, memory_order_acquire);
}

bool
penny_routes_stale(void)
{
	uint64_t current =
		atomic_load_explicit(&penny_edge.plane.p->routes_stamp, memory_order_acquire);

	if (call != NULL || penny_edge.draining)
		return false;
	if (routes != NULL && current == stamp && refusal[0] == '\0')
		return false;
	return !penny_timer_is_set(&retry_timer) || current != asked;
}

void
penny_routes_turn(void)
{
	PennyCallOut out = {.op = PENNY_OP_ROUTES, .whole = true};

	if (!penny_routes_stale())
		return;
	penny_timer_stop(&retry_timer);
	asked = atomic_load_explicit(&penny_edge.plane.p->routes_stamp, memory_order_acquire);
	call = penny_call_start(&out, on_answer, NULL);
	if (call == NULL)
		penny_timer_set(&retry_timer, penny_edge.now + RETRY);
}
