/*-------------------------------------------------------------------------
 *
 * fake_cached.c
 *		Routes of the fake executor that are cached.
 *
 *		/cached/{id}	for one user
 *		/shared/{id}	for everybody
 *		/agents/{id}	for a role, of agents
 *		/secret/{id}	for every agent
 *
 * with ?n= (bytes of the body, 100), &ms= (time it takes), &type= (content
 * type), &lines= (further header lines, ended by LF), &keep=0 (answer, and keep
 * nothing).  What they give depends on the tag
 * "thing:<id>", which "push" of the gateway's commands moves; it says how often
 * it was built.
 *
 * Tokens: "agent…" have the role of agents, "short…" last two seconds; each
 * has a stamp "session:<token>".
 *
 *-------------------------------------------------------------------------
 */
#include "fake_gateway.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/http_target.h"
#include "plane/cache.h"
#include "plane/route.h"

#define TTL 60000

static const char *const lines[] = {
	"GET user /cached/{id}",
	"GET public /shared/{id}",
	"GET agent /agents/{id}",
	"GET agent /secret/{id}",
};

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static bool
starts_with(PennySpan span, const char *text)
{
	return span.len >= strlen(text) && memcmp(span.data, text, strlen(text)) == 0;
}

void
fake_viewer(PennyPlane *plane, PennySpan token, PennyViewer *viewer)
{
	bool agent = starts_with(token, "agent");
	uint64_t hash = penny_hash(token.data, token.len, 5);
	char tag[256];

	memset(viewer, 0, sizeof(*viewer));
	if (token.len == 0)
		return;
	snprintf(tag, sizeof(tag), "session:%.*s", (int) token.len, token.data);
	memcpy(viewer->user, &hash, sizeof(hash));
	viewer->role[0] = agent ? 2 : 1;
	viewer->id_hash = hash;
	viewer->until = starts_with(token, "short") ? (uint64_t) time(NULL) + 2 : 0;
	viewer->keys_stamp = atomic_load(&plane->p->keys_stamp);
	viewer->all_seq = penny_stamp_seq(plane, PENNY_STAMP_ALL);
	viewer->stamp_slot = penny_stamp_slot(plane, tag, strlen(tag));
	viewer->stamp_seq = penny_stamp_seq(plane, viewer->stamp_slot);
	viewer->access = agent ? PENNY_ACCESS_AGENT : PENNY_ACCESS_USER;
	viewer->known = 1;
}

static uint64_t
number_of(PennySpan query, const char *name, uint64_t otherwise)
{
	char text[24];
	size_t len;

	if (!penny_http_query_value(query, name, text, sizeof(text) - 1, &len))
		return otherwise;
	text[len] = '\0';
	return strtoull(text, NULL, 10);
}

/* Put what was built into the cache, under the lock that fakes the server's. */
static void
keep(PennyPlane *plane, const char *line, PennySpan path, PennySpan query, PennySpan whose,
	 PennyCacheToken token, FakeBuilt *built)
{
	PennyCachePut put;

	memset(&put, 0, sizeof(put));
	if (!penny_cache_http_key(plane, (PennySpan){line, strlen(line)}, path, query, whose, &put.key))
		return;
	put.kind = PENNY_CACHE_ROUTE;
	put.status = 200;
	put.head = (PennySpan){built->head, built->head_len};
	put.body = (PennySpan){built->body, built->body_len};
	put.etag = built->etag;
	put.label = "fake";
	put.now = now_ms();
	put.expires = put.now + TTL;
	put.tokens = 1;
	put.token = &token;
	pthread_mutex_lock(&fake_shared->lock);
	penny_cache_put(plane, &put);
	pthread_mutex_unlock(&fake_shared->lock);
}

static void
build(PennySpan path, PennySpan query, FakeBuilt *built)
{
	static char *text;
	static size_t size;
	size_t n = number_of(query, "n", 100);
	char type[64];
	char more[80];
	size_t type_len;
	size_t more_len;

	if (n + 1024 > size)
	{
		size = n + 1024;
		text = realloc(text, size);
	}
	built->body = text;
	built->body_len = (size_t) snprintf(
		text, size, "{\"path\":\"%.*s\",\"built\":%lu,\"text\":\"", (int) path.len, path.data,
		(unsigned long) atomic_fetch_add(&fake_shared->built, 1) + 1);
	while (built->body_len + 2 < n)
	{
		built->body_len += (size_t) snprintf(text + built->body_len, 1000,
											 "some text that repeats itself %zu times; ",
											 built->body_len * 2654435761u % 9973);
		if (built->body_len + 2 > n)
			built->body_len = n - 2;
	}
	text[built->body_len++] = '"';
	text[built->body_len++] = '}';
	if (!penny_http_query_value(query, "type", type, sizeof(type), &type_len))
		type_len = (size_t) snprintf(type, sizeof(type), "application/json");
	snprintf(built->etag, sizeof(built->etag), "\"%016lx\"",
			 (unsigned long) penny_hash(text, built->body_len, 3));
	if (!penny_http_query_value(query, "lines", more, sizeof(more), &more_len))
		more_len = 0;
	built->head_len =
		(size_t) snprintf(built->head, sizeof(built->head),
						  "content-type: %.*s\netag: %s\ncache-control: private, no-cache\n%.*s",
						  (int) type_len, type, built->etag, (int) more_len, more);
}

bool
fake_cached(PennyPlane *plane, const PennyRequest *request, PennyResponseExtra *extra,
			FakeBuilt *built)
{
	PennySpan target = request->field[PENNY_FIELD_TARGET];
	PennySpan whose = {NULL, 0};
	PennySpan path, query;
	PennyCacheToken token;
	char tag[256];
	int which = starts_with(target, "/cached/")   ? 0
				: starts_with(target, "/shared/") ? 1
				: starts_with(target, "/agents/") ? 2
				: starts_with(target, "/secret/") ? 3
												  : -1;

	if (which < 0 || penny_http_target_check(target, &path, &query) != NULL)
		return false;
	fake_viewer(plane, request->field[PENNY_FIELD_TOKEN], &extra->viewer);
	if (which == 0)
		whose = (PennySpan){(const char *) extra->viewer.user, sizeof(extra->viewer.user)};
	else if (which == 2)
		whose = (PennySpan){(const char *) extra->viewer.role, sizeof(extra->viewer.role)};
	snprintf(tag, sizeof(tag), "thing:%.*s", (int) path.len - 8, path.data + 8);
	token.slot = penny_stamp_slot(plane, tag, strlen(tag));
	token.seq = penny_stamp_seq(plane, token.slot);
	poll(NULL, 0, (int) number_of(query, "ms", 0));
	build(path, query, built);
	extra->mark = PENNY_MARK_BYPASS;
	if (number_of(query, "keep", 1) != 0)
	{
		keep(plane, lines[which], path, query, whose, token, built);
		extra->mark = PENNY_MARK_MISS;
	}
	return true;
}
