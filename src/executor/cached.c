/*-------------------------------------------------------------------------
 *
 * cached.c
 *		A GET of a route whose answers may be kept.
 *
 * The key of an answer is route, path, query and whose it is: of the user, of
 * everybody in the role, or of everybody.  The handler is told what the key is
 * made of and no more, whether its answer will be kept or not: no headers, no
 * request id, and
 *
 *	scope user		the caller
 *	scope role		the caller's role, and no user or claims
 *	scope public	nobody, in the role of nobody
 *
 * So what one caller may see cannot get into the answer of another, whatever a
 * handler asks.  Whether the caller may use the route was decided before.
 *
 * Kept are answers of status 200 that set no cookie, are not of the kind that an
 * event changes (plane/call.h), and do not forbid it by Cache-Control; errors never.  A request with a body is not in the key: its
 * answer is built for it alone, as for Cache-Control: no-store.  With no-cache
 * the answer is built anew, and kept.
 *
 * Hit or built, If-None-Match is looked at last, so what is kept is whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "cache/cache.h"
#include "executor/cached.h"
#include "executor/caller.h"
#include "executor/result.h"

static bool make_key(const PennyRun *run, const PennyHttpRoute *route, const PennyParams *params,
					 PennyCacheKey *key);
static void restrict_caller(PennyRun *run, PennyScope scope, PennyParams *params);
static void answer_hit(PennyRun *run, const PennyCacheRead *read);
static const char *label_of(const PennyParams *params);
static void keep(PennyRun *run, const PennyHttpRoute *route, PennyCacheRead *read);
static bool may_keep(const PennyAnswer *answer, PennyScope scope);
static void put_cache_control(PennyAnswer *answer, PennyScope scope);

bool
penny_cached_route(const PennyRequest *request, const PennyRouteMatch *match)
{
	return match->ttl > 0 && (request->method == PENNY_GET || request->method == PENNY_HEAD);
}

void
penny_cached_run(PennyRun *run, const PennyHttpRoute *route, PennyParams *params)
{
	PennySpan headers = run->request.field[PENNY_FIELD_HEADERS];
	PennyCacheRead read;
	PennyCacheKey key;
	const char *label = label_of(params);
	bool around = run->request.field[PENNY_FIELD_BODY].len > 0 ||
				  penny_params_directive(headers, "cache-control", "no-store") ||
				  !make_key(run, route, params, &key);

	run->cached = true;
	params->cached = true;
	if (!around && penny_params_directive(headers, "cache-control", "no-cache"))
		penny_cache_renew(&read, PENNY_CACHE_ROUTE, &key, label);
	else if (!around)
	{
		MemoryContext old = MemoryContextSwitchTo(run->context);
		PennyCacheResult result = penny_cache_open_key(&read, PENNY_CACHE_ROUTE, &key, label);

		MemoryContextSwitchTo(old);
		if (result == PENNY_CACHE_HIT)
		{
			answer_hit(run, &read);
			return;
		}
	}

	restrict_caller(run, route->match->scope, params);
	penny_http_call(run, route, params);
	if (around)
	{
		put_cache_control(&run->answer, route->match->scope);
		run->answer.extra.mark = PENNY_MARK_BYPASS;
	}
	else
		keep(run, route, &read);
	penny_result_condition(&run->answer, &run->request);
}

/*
 * What an entry is called, also by which redis knows the answers that go there:
 * the path, and not what the query holds, which may be a token.
 */
static const char *
label_of(const PennyParams *params)
{
	return psprintf("GET %.*s%s", (int) Min(params->path.len, PENNY_CACHE_LABEL), params->path.data,
					params->query.len > 0 ? "?.." : "");
}

/* The key of the request's answer; false when it has none. */
static bool
make_key(const PennyRun *run, const PennyHttpRoute *route, const PennyParams *params,
		 PennyCacheKey *key)
{
	const PennyViewer *viewer = &run->answer.extra.viewer;
	PennySpan whose = {"", 0};

	if (route->match->scope == PENNY_SCOPE_USER)
		whose = (PennySpan){(const char *) viewer->user, sizeof(viewer->user)};
	else if (route->match->scope == PENNY_SCOPE_ROLE)
		whose = (PennySpan){(const char *) viewer->role, sizeof(viewer->role)};
	return penny_cache_http_key(run->plane, route->match->line, params->path, params->query, whose,
								key);
}

/* Leave of the caller what answers of this scope may depend on. */
static void
restrict_caller(PennyRun *run, PennyScope scope, PennyParams *params)
{
	PennyIdentity *identity = &run->caller.identity;

	if (scope == PENNY_SCOPE_USER)
		return;
	identity->has_user = false;
	identity->claims = NULL;
	memset(&identity->user_id, 0, sizeof(identity->user_id));
	if (scope == PENNY_SCOPE_PUBLIC)
		identity->role = penny_caller_nobody();
	/* nobody and a user in the role of nobody have one key */
	params->role = scope == PENNY_SCOPE_PUBLIC ? NULL : GetUserNameFromId(identity->role, false);
}

/* Answer with what was kept. */
static void
answer_hit(PennyRun *run, const PennyCacheRead *read)
{
	PennyAnswer *answer = &run->answer;
	uint64 now = (uint64) penny_run_clock() / 1000;

	penny_answer_reset(answer);
	answer->status = read->hit.status;
	appendBinaryStringInfo(&answer->head, read->head, (int) read->hit.head_len);
	answer->body = read->body;
	answer->body_len = read->hit.body_len;
	answer->extra.mark = PENNY_MARK_HIT;
	answer->extra.age =
		now > read->hit.created ? (uint32) Min((now - read->hit.created) / 1000, PG_UINT32_MAX) : 0;
	penny_result_condition(answer, &run->request);
	run->handled = penny_run_clock();
}

/* Keep what was built, if it may be kept. */
static void
keep(PennyRun *run, const PennyHttpRoute *route, PennyCacheRead *read)
{
	PennyAnswer *answer = &run->answer;
	PennyScope scope = route->match->scope;
	PennySpan head;
	PennySpan tag;
	char etag[PENNY_CACHE_ETAG_LEN + 1];
	PennyCacheRefusal refusal;

	if (!may_keep(answer, scope))
	{
		penny_cache_refuse(PENNY_CACHE_REFUSED_OTHER);
		penny_cache_abandon(read);
		put_cache_control(answer, scope);
		answer->extra.mark = PENNY_MARK_BYPASS;
		return;
	}
	put_cache_control(answer, scope);
	head.data = answer->head.data;
	head.len = (size_t) answer->head.len;
	tag = penny_params_header(head, "etag");
	if (tag.len == PENNY_CACHE_ETAG_LEN)
		memcpy(etag, tag.data, tag.len);
	etag[PENNY_CACHE_ETAG_LEN] = '\0';
	refusal =
		penny_cache_fill(read, answer->status, head, (PennySpan){answer->body, answer->body_len},
						 tag.len == PENNY_CACHE_ETAG_LEN ? etag : NULL, (int64) route->match->ttl);
	answer->extra.mark = refusal == PENNY_CACHE_FINE ? PENNY_MARK_MISS : PENNY_MARK_BYPASS;
}

/* Is this an answer that others may get? */
static bool
may_keep(const PennyAnswer *answer, PennyScope scope)
{
	PennySpan head = {answer->head.data, (size_t) answer->head.len};

	return answer->status == 200 && penny_params_header(head, "set-cookie").data == NULL &&
		   penny_params_header(head, "penny-wait").data == NULL &&
		   !penny_params_directive(head, "cache-control", "no-store") &&
		   !penny_params_directive(head, "cache-control", "no-cache") &&
		   (scope == PENNY_SCOPE_USER || !penny_params_directive(head, "cache-control", "private"));
}

/* Others may keep it too, but have to ask each time; unless the handler says otherwise. */
static void
put_cache_control(PennyAnswer *answer, PennyScope scope)
{
	PennySpan head = {answer->head.data, (size_t) answer->head.len};

	if (answer->status == 200 && penny_params_header(head, "cache-control").data == NULL)
		penny_answer_header(answer, "cache-control",
							scope == PENNY_SCOPE_PUBLIC ? "public, no-cache" : "private, no-cache");
}
