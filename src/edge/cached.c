/*-------------------------------------------------------------------------
 *
 * cached.c
 *		Answer from the cache in the plane, without any other process.
 *
 * A hit: who the token is, is remembered (token_memory.c), the route's access
 * is compared with what that role has, the key is made as executors make it,
 * the entry is found, its bytes are copied out of the plane into the buffer of
 * the answer, and then the stamps are compared.  That comparison is the moment
 * at which the answer is true; until then nothing was sent, and what does not
 * compare is a call.  Whatever is unusual is a call, too: executors decide.
 *
 * Nothing is copied twice: the body lies where it is sent from, and the head is
 * written before it.  What goes out compressed is kept under the hash of the
 * content (variants.c); a hit of that copies nothing of the identity, and holds
 * even when that was evicted.
 *
 * The tag of an answer is that of its content; If-None-Match is answered with
 * the tag that the client has, which may be that of another coding: it stands
 * for the same content.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/cached.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/encoding.h"
#include "edge/gather.h"
#include "edge/origin.h"
#include "edge/token_memory.h"
#include "edge/variants.h"

#define LINES_MAX (16 * 1024) /* bytes of an entry's header lines */
#define TAG_MAX 256           /* bytes of an entity tag that gets a suffix */

/* What a request says about how it wants its answer. */
typedef struct Wishes
{
	PennySpan none_match; /* empty: nothing */
	PennyAccept accept;
	bool call; /* for an executor, whatever is kept */
} Wishes;

static char *buffer; /* room for a head, then an entry */
static size_t buffer_size;

static char *
buffer_of(size_t size)
{
	if (size > buffer_size)
	{
		buffer = penny_realloc(buffer, size);
		buffer_size = size;
	}
	return buffer;
}

static bool
name_is(PennySpan name, const char *text, size_t len)
{
	return name.len == len && memcmp(name.data, text, len) == 0;
}

/* Read all that matters here in one pass. */
static void
read_wishes(const PennyHttpParser *parser, const char *bytes, Wishes *wishes)
{
	wishes->none_match = (PennySpan){NULL, 0};
	wishes->call = false;
	penny_accept_init(&wishes->accept);
	for (int i = 0; i < parser->headers; i++)
	{
		PennySpan name = penny_http_span(bytes, parser->header[i].name);
		PennySpan value = penny_http_span(bytes, parser->header[i].value);

		if (name_is(name, "accept-encoding", 15))
			penny_accept_take(&wishes->accept, value);
		else if (name_is(name, "if-none-match", 13))
			wishes->none_match = value;
		else if (name_is(name, "if-match", 8))
			wishes->call = true; /* rare with GET, executors look at it */
		else if (name_is(name, "cache-control", 13))
			wishes->call |=
				penny_http_list_has(value, "no-cache") || penny_http_list_has(value, "no-store");
	}
}

/* May this caller have what the route gives?  For whom the entry is, then. */
static bool
may_have(const PennyRouteMatch *match, PennySpan token, const PennyViewer *viewer, PennySpan *whose)
{
	*whose = (PennySpan){NULL, 0};
	if (viewer == NULL)
		return token.len == 0 && match->access == PENNY_ACCESS_PUBLIC &&
			   match->scope == PENNY_SCOPE_PUBLIC;
	if (viewer->access < (uint32_t) match->access)
		return false;
	if (match->scope == PENNY_SCOPE_USER)
		*whose = (PennySpan){(const char *) viewer->user, sizeof(viewer->user)};
	else if (match->scope == PENNY_SCOPE_ROLE)
		*whose = (PennySpan){(const char *) viewer->role, sizeof(viewer->role)};
	return true;
}

static uint64_t
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

bool
penny_cached_compress(PennyCoding coding, PennyEffort effort, PennySpan body, PennySpan *small)
{
	static char *out;
	static size_t out_size;
	uint64_t from = clock_us();
	size_t len;

	*small = (PennySpan){NULL, 0};
	if (body.len < 2 || body.len > penny_compress_max(effort))
		return true;
	if (!penny_compress_may(from))
		return false;
	if (body.len > out_size)
	{
		out = penny_realloc(out, body.len);
		out_size = body.len;
	}
	penny_count(&penny_edge.plane, PENNY_COUNT_COMPRESSED, (int64_t) body.len);
	len = penny_compress(coding, effort, body, out, body.len - 1);
	penny_compress_took(from, clock_us());
	*small = (PennySpan){out, len};
	return true;
}

/* Tell how many bytes the variants have more than before. */
static void
count_variants(size_t before)
{
	penny_count(&penny_edge.plane, PENNY_COUNT_VARIANT_BYTES,
				(int64_t) penny_variants_bytes() - (int64_t) before);
}

void
penny_cached_settings(void)
{
	size_t before = penny_variants_bytes();

	penny_variants_trim();
	count_variants(before);
}

/* ---- sending ------------------------------------------------------------------- */

/* Fill in what is the same for every hit. */
static void
begin_reply(const PennyHttp *http, const PennyCacheHit *hit, PennySpan lines, PennyReply *reply)
{
	memset(reply, 0, sizeof(*reply));
	reply->status = hit->status;
	reply->lines = lines;
	reply->request_id = http->request_id;
	reply->cors = penny_origin_listing();
	reply->origin = http->origin;
	reply->mark = PENNY_MARK_HIT;
	reply->age = penny_edge.now > hit->created ? (penny_edge.now - hit->created) / 1000 : 0;
	reply->close = !http->keep_alive || penny_edge.draining;
}

/* Send head and body, which has room for the head before it; the request ends. */
static void
send_bytes(PennyHttp *http, const PennyCacheHit *hit, const PennyReply *reply, char *body)
{
	static char head[2 * LINES_MAX + 4096];
	size_t head_len = penny_response_head(reply, head);
	bool bodiless = http->method == PENNY_HEAD || reply->status == 304;

	memcpy(body - head_len, head, head_len);
	http->keep_alive = !reply->close;
	http->started = true;
	penny_count(&penny_edge.plane, PENNY_COUNT_CACHE_HITS, 1);
	if (reply->status == 304)
		penny_count(&penny_edge.plane, PENNY_COUNT_NOT_MODIFIED, 1);
	penny_cache_hint(&penny_edge.plane, hit);
	penny_connection_write(http->connection, body - head_len,
						   head_len + (bodiless ? 0 : (size_t) reply->length));
	penny_http_end(http, reply->status);
}

/* The tag of an entry: as its lines say it, else as it was put. */
static PennySpan
tag_of(const PennyCacheHit *hit, const PennyLines *lines)
{
	if (lines->etag.len > 0 || hit->etag[0] == '\0')
		return lines->etag;
	return (PennySpan){hit->etag, strnlen(hit->etag, PENNY_CACHE_ETAG_LEN)};
}

/* Answer with 304 if the client has it. */
static bool
send_not_modified(PennyHttp *http, const PennyCacheHit *hit, const Wishes *wishes,
				  PennyReply *reply, PennySpan etag, char *end)
{
	PennySpan match;

	if (wishes->none_match.len == 0 || !penny_etag_matches(wishes->none_match, etag, &match))
		return false;
	reply->status = 304;
	reply->coding = PENNY_IDENTITY;
	if (match.len > 0)
		reply->etag = match;
	send_bytes(http, hit, reply, end);
	return true;
}

/*
 * Send a compressed body with the header lines of the entry, which may lie in
 * the buffer where an entry's do.
 */
static void
send_compressed(PennyHttp *http, const PennyCacheHit *hit, const Wishes *wishes, PennyCoding coding,
				PennySpan lines, PennySpan body)
{
	char tag[TAG_MAX + PENNY_ETAG_SUFFIX_MAX];
	size_t room = penny_response_head_size(lines.len) + lines.len;
	char *at = buffer_of(room + body.len) + room;
	PennyLines what;
	PennyReply reply;
	PennySpan etag;

	penny_response_look(lines, &what);
	etag = tag_of(hit, &what);
	begin_reply(http, hit, lines, &reply);
	reply.vary = true;
	reply.length = body.len;
	reply.coding = coding;
	if (etag.len > 0 && etag.len <= TAG_MAX)
		reply.etag = (PennySpan){tag, penny_etag_variant(etag, coding, tag)};
	if (send_not_modified(http, hit, wishes, &reply, etag, at))
		return;
	memcpy(at, body.data, body.len);
	send_bytes(http, hit, &reply, at);
}

/*
 * Compress what is in the buffer, and keep it; empty when that makes it no
 * smaller, or there is no time now.
 */
static PennySpan
make_variant(const PennyCacheHit *hit, PennyCoding coding, PennySpan lines, PennySpan body)
{
	PennyEffort effort = penny_variant_fits(body.len) ? PENNY_EFFORT_KEPT : PENNY_EFFORT_ONCE;
	size_t before = penny_variants_bytes();
	PennySpan small;

	if (penny_cached_compress(coding, effort, body, &small))
	{
		penny_variant_keep(&hit->hash, coding, lines, small);
		count_variants(before);
	}
	return small;
}

/*
 * Copy the entry out of the plane and send it; false when it went away.
 * coding: what to compress it with, when it is text.
 */
static bool
send_entry(PennyHttp *http, const PennyCacheHit *hit, const Wishes *wishes, PennyCoding coding)
{
	size_t room = penny_response_head_size(hit->head_len);
	char *entry = buffer_of(room + hit->head_len + hit->body_len) + room;
	char *body = entry + hit->head_len;
	PennySpan lines = {entry, hit->head_len};
	PennyLines what;
	PennyReply reply;

	if (!penny_cache_copy(&penny_edge.plane, hit, entry) ||
		!penny_cache_holds(&penny_edge.plane, hit))
		return false;
	penny_response_look(lines, &what);
	begin_reply(http, hit, lines, &reply);
	reply.vary = penny_edge.settings.codings[0] != PENNY_IDENTITY && what.compressible;
	reply.length = hit->body_len;
	if (what.etag.len == 0)
		reply.etag = tag_of(hit, &what);
	if (send_not_modified(http, hit, wishes, &reply, tag_of(hit, &what), body))
		return true;
	if (coding != PENNY_IDENTITY && what.compressible)
	{
		PennySpan small = make_variant(hit, coding, lines, (PennySpan){body, hit->body_len});

		if (small.len > 0)
		{
			send_compressed(http, hit, wishes, coding, lines, small);
			return true;
		}
	}
	send_bytes(http, hit, &reply, body);
	return true;
}

/* ---- looking ------------------------------------------------------------------- */

/* The coding that the client wants for a body of that size. */
static PennyCoding
choose(const Wishes *wishes, const PennyCacheHit *hit)
{
	if (penny_edge.settings.codings[0] == PENNY_IDENTITY ||
		hit->body_len < penny_edge.settings.compression_min_size)
		return PENNY_IDENTITY;
	return penny_accept_choose(&wishes->accept, penny_edge.settings.codings);
}

/* Send what the key finds; false: it is not there. */
static bool
look(PennyHttp *http, const PennyCacheKey *key, const Wishes *wishes)
{
	static PennyCacheHit hit;
	PennyCacheResult result = penny_cache_find(&penny_edge.plane, key, penny_edge.now, &hit);
	const PennyVariant *variant;
	PennyCoding coding;

	if ((result != PENNY_CACHE_HIT && result != PENNY_CACHE_NO_BODY) || hit.status < 200 ||
		hit.status > 599 || hit.head_len > LINES_MAX)
		return false;
	coding = choose(wishes, &hit);
	variant = coding != PENNY_IDENTITY ? penny_variant_find(&hit.hash, coding) : NULL;
	if (variant != NULL && penny_variant_body(variant).len > 0)
	{
		if (!penny_cache_holds(&penny_edge.plane, &hit))
			return false;
		send_compressed(http, &hit, wishes, coding, penny_variant_head(variant),
						penny_variant_body(variant));
		return true;
	}
	if (variant != NULL)
		coding = PENNY_IDENTITY; /* it was tried, and is not worth it */
	return result == PENNY_CACHE_HIT && send_entry(http, &hit, wishes, coding);
}

PennyCachedResult
penny_cached_answer(PennyHttp *http, const char *bytes, const PennyRouteMatch *match,
					PennySpan token, const PennyViewer *viewer)
{
	const PennyHttpParser *parser = http->parser;
	PennyCacheKey key;
	PennySpan whose;
	Wishes wishes;

	if ((http->method != PENNY_GET && http->method != PENNY_HEAD) || parser->content_length > 0 ||
		penny_edge.plane.config.cache_chunks == 0 || !may_have(match, token, viewer, &whose))
		return PENNY_CACHED_CALL;
	read_wishes(parser, bytes, &wishes);
	if (wishes.call ||
		!penny_cache_http_key(&penny_edge.plane, match->line, penny_http_span(bytes, parser->path),
							  penny_http_span(bytes, parser->query), whose, &key))
		return PENNY_CACHED_CALL;
	if (look(http, &key, &wishes))
		return PENNY_CACHED_SENT;
	penny_count(&penny_edge.plane, PENNY_COUNT_CACHE_MISSES, 1);
	return penny_gather_join(http, &key) ? PENNY_CACHED_CALL : PENNY_CACHED_WAIT;
}
