/*-------------------------------------------------------------------------
 *
 * answer.c
 *		Answers to HTTP requests: of executors, and those made here.
 *
 * An answer that fits one piece is one write, compressed when the client wants
 * that.  A larger one is passed on piece
 * by piece.  Pieces are taken ahead of a client that reads slowly, so that it
 * costs memory here (bounded, see output.c) and not an executor's time; beyond
 * that the next piece is not taken, and the executor waits for it no longer
 * than write_timeout in all.  An answer that breaks
 * off after its head was sent can only be told by closing the connection before
 * Content-Length is reached.
 *
 * An answer that says "nothing yet" may be kept (http_waiting.c) and given later.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/http.h"

#include <stdio.h>
#include <string.h>

#include "edge/cached.h"
#include "edge/connection.h"
#include "edge/encoding.h"
#include "edge/gather.h"
#include "edge/origin.h"
#include "edge/orphans.h"
#include "edge/sse.h"
#include "plane/share.h"

#define ETAG_MAX 256 /* bytes of a handler's tag that gets a suffix */

static bool on_verified(void *owner, const PennyAnswer *answer);
static void start_call(PennyHttp *http, const PennyCallOut *out, PennyAnswerHandler handler);

/* Send an answer made here; the request ends with it. */
static void
send_whole(PennyHttp *http, uint32_t status, const char *more, PennySpan body)
{
	PennyReply reply;
	PennySpan bytes;

	if (!http->body_whole)
		http->keep_alive = false; /* where the next request starts is not known */
	memset(&reply, 0, sizeof(reply));
	reply.status = status;
	reply.more = more;
	reply.request_id = http->request_id;
	reply.cors = penny_origin_listing();
	reply.origin = http->origin;
	reply.length = body.len;
	reply.close = !http->keep_alive;
	if (http->method == PENNY_HEAD)
		body.len = 0;
	bytes = penny_response(&reply, body);
	penny_connection_write(http->connection, bytes.data, bytes.len);
	penny_http_end(http, status);
}

void
penny_http_problem(PennyHttp *http, uint32_t status, const char *detail, const char *more)
{
	char lines[512];

	if (http->request_id[0] == '\0')
		penny_request_id((PennySpan){NULL, 0}, http->request_id);
	snprintf(lines, sizeof(lines), "Content-Type: application/problem+json\r\n%s",
			 more != NULL ? more : "");
	send_whole(http, status, lines, penny_problem(status, detail, http->request_id));
}

void
penny_http_unavailable(PennyHttp *http, const char *detail)
{
	char more[32];

	snprintf(more, sizeof(more), "Retry-After: %u\r\n", penny_calls_retry_after());
	penny_http_problem(http, 503, detail, more);
}

void
penny_http_json(PennyHttp *http, uint32_t status, PennySpan body)
{
	send_whole(http, status, "Content-Type: application/json\r\n", body);
}

void
penny_http_document(PennyHttp *http, uint32_t status, PennySpan problem)
{
	send_whole(http, status,
			   status == 401
				   ? "Content-Type: application/problem+json\r\nWWW-Authenticate: Bearer\r\n"
				   : "Content-Type: application/problem+json\r\n",
			   problem);
}

void
penny_http_empty(PennyHttp *http, uint32_t status, const char *more)
{
	send_whole(http, status, more, (PennySpan){NULL, 0});
}

/* ---- executors' answers ------------------------------------------------------- */

void
penny_http_call(PennyHttp *http, const PennyCallOut *out)
{
	start_call(http, out, penny_http_take_answer);
}

bool
penny_http_call_again(PennyHttp *http, const PennyCallOut *out)
{
	http->call = penny_call_start(out, penny_http_take_answer, http);
	if (http->call == NULL)
		return false;
	http->state = PENNY_HTTP_CALL;
	return true;
}

void
penny_http_verify(PennyHttp *http, const PennyCallOut *out)
{
	start_call(http, out, on_verified);
}

static void
start_call(PennyHttp *http, const PennyCallOut *out, PennyAnswerHandler handler)
{
	if (!penny_edge_fits(&penny_edge.plane, out->field))
	{
		penny_http_problem(http, 413, "the request is larger than a call to the database may be",
						   NULL);
		return;
	}
	http->call = penny_call_start(out, handler, http);
	if (http->call == NULL)
	{
		penny_http_unavailable(http, "too many requests are waiting");
		return;
	}
	http->state = PENNY_HTTP_CALL;
}

/*
 * Has the client what the executor sends, or did that say so already?  The tag
 * to say then: executors do not know of which coding it is.
 */
static bool
client_has_it(const PennyHttp *http, const PennyAnswer *answer, PennySpan etag, PennySpan *tag)
{
	PennySpan lines = answer->requested;
	PennySpan value;

	if ((http->method != PENNY_GET && http->method != PENNY_HEAD) ||
		(answer->status != 200 && answer->status != 304) || etag.len == 0 ||
		!penny_lines_next(&lines, "if-none-match", &value) || !penny_etag_matches(value, etag, tag))
		return false;
	if (tag->len == 0)
		*tag = etag;
	return true;
}

/* Compress an answer that is all there, if the client wants that. */
static void
compress(const PennyAnswer *answer, PennySpan etag, PennyReply *reply, PennySpan *body)
{
	static char tag[ETAG_MAX + PENNY_ETAG_SUFFIX_MAX];
	PennyAccept accept;
	PennyCoding coding;
	PennySpan small;

	if (!answer->last || body->len < penny_edge.settings.compression_min_size ||
		etag.len > ETAG_MAX)
		return;
	penny_accept_init(&accept);
	penny_accept_take_lines(&accept, answer->requested);
	coding = penny_accept_choose(&accept, penny_edge.settings.codings);
	if (coding == PENNY_IDENTITY ||
		!penny_cached_compress(coding, PENNY_EFFORT_ONCE, *body, &small) || small.len == 0)
		return;
	*body = small;
	reply->coding = coding;
	if (etag.len > 0)
		reply->etag = (PennySpan){tag, penny_etag_variant(etag, coding, tag)};
}

/* Status line, headers and first piece. */
static void
send_first(PennyHttp *http, const PennyAnswer *answer)
{
	PennySpan body = penny_status_has_body(answer->status) ? answer->body : (PennySpan){NULL, 0};
	PennyLines lines;
	PennyReply reply;
	PennySpan bytes;

	memset(&reply, 0, sizeof(reply));
	penny_response_look(answer->head, &lines);
	reply.status = answer->status;
	reply.lines = answer->head;
	reply.request_id = http->request_id;
	reply.cors = penny_origin_listing();
	reply.origin = http->origin;
	reply.mark = answer->mark;
	reply.age = answer->age;
	reply.length = answer->body_total;
	reply.close = !http->keep_alive || penny_edge.draining;
	reply.vary = penny_edge.settings.codings[0] != PENNY_IDENTITY && lines.compressible;
	if (client_has_it(http, answer, lines.etag, &reply.etag))
	{
		reply.status = 304;
		http->bodiless = true;
		penny_count(&penny_edge.plane, PENNY_COUNT_NOT_MODIFIED, 1);
	}
	else if (reply.vary)
	{
		compress(answer, lines.etag, &reply, &body);
		if (reply.coding != PENNY_IDENTITY)
			reply.length = body.len;
	}
	http->bodiless |= http->method == PENNY_HEAD || !penny_status_has_body(answer->status);
	http->keep_alive = !reply.close;
	http->started = true;
	bytes = penny_response(&reply, http->bodiless ? (PennySpan){NULL, 0} : body);
	penny_connection_write(http->connection, bytes.data, bytes.len);
}

/*
 * An executor has said who a token is that was not known here: count this
 * request as request.c does those of known ones, so that none is left out.
 */
static void
count_user(PennyHttp *http, const PennyAnswer *answer)
{
	if (http->counted || answer->viewer.known != 1)
		return;
	http->counted = true;
	(void) penny_shared_take_user(&penny_edge.plane, answer->viewer.id_hash,
								  penny_edge.settings.requests_per_second, penny_edge.now * 1000);
}

/* The answer will not come, or not to its end. */
static void
fail(PennyHttp *http, PennyAnswerKind kind)
{
	if (http->started)
		penny_connection_cut(http->connection);
	else if (kind == PENNY_ANSWER_TIMEOUT)
		penny_http_unavailable(http, "no executor took the request in time");
	else if (http->method == PENNY_GET || http->method == PENNY_HEAD)
		penny_http_unavailable(http, "the executor gave no answer");
	else
		penny_http_problem(http, 500, "no answer came: the request may have been carried out",
						   NULL);
}

bool
penny_http_take_answer(void *owner, const PennyAnswer *answer)
{
	PennyHttp *http = owner;
	PennyConnection *connection = http->connection;
	bool sane = answer->kind == PENNY_ANSWER && answer->status >= 200 && answer->status <= 599;

	if (!sane)
	{
		if (answer->kind == PENNY_ANSWER && !answer->last)
			penny_call_abandon(http->call);
		http->call = NULL;
		fail(http, answer->kind);
		penny_http_go_on(connection);
		return true;
	}
	if (!http->started)
	{
		if (connection->state != PENNY_OPEN && http->call != NULL && answer->last)
			penny_orphan_return(http->call, answer); /* it went in this turn */
		count_user(http, answer);
		if (http->follows && penny_sse_follow(http, answer))
			return true;
		if (penny_http_waiting_keep(http, answer))
			return true;
		send_first(http, answer);
		penny_gather_end(http);
	}
	else
	{
		if (!penny_connection_takes(connection, answer->body.len))
		{
			http->held = true;
			return false;
		}
		if (!http->bodiless)
			penny_connection_write(connection, answer->body.data, answer->body.len);
	}
	if (answer->last)
	{
		http->call = NULL;
		penny_http_end(http, answer->status);
		penny_http_go_on(connection);
	}
	return true;
}

/* Somebody, whose request is read on; or nobody, who is told so. */
static bool
on_verified(void *owner, const PennyAnswer *answer)
{
	PennyHttp *http = owner;

	http->call = NULL;
	if (answer->kind == PENNY_ANSWER && answer->status == 200)
	{
		http->welcome = true;
		http->state = PENNY_HTTP_HEAD;
		penny_http_go_on(http->connection);
		return true;
	}
	http->keep_alive = false; /* the body has not come */
	if (answer->kind == PENNY_ANSWER)
		return penny_http_take_answer(owner, answer);
	penny_http_unavailable(http, "no executor verified the token in time");
	return true;
}
