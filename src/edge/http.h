/*-------------------------------------------------------------------------
 *
 * http.h
 *		HTTP/1.1 on one connection: one request after the other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_HTTP_H
#define PENNY_EDGE_HTTP_H

#include "edge/calls.h"
#include "edge/connection.h"
#include "edge/http_parse.h"
#include "edge/response.h"

typedef enum PennyHttpState
{
	PENNY_HTTP_HEAD,   /* waits for a head, or reads it */
	PENNY_HTTP_BODY,   /* the head is there, reads the body */
	PENNY_HTTP_ROUTES, /* the head is there, waits for the route table */
	PENNY_HTTP_GATHER, /* an equal request is with an executor: waits for its answer */
	PENNY_HTTP_WAIT,   /* the answer is kept until there is more to say (waiting.h) */
	PENNY_HTTP_CALL,   /* an executor has the request, or first its token */
	PENNY_HTTP_OVER    /* closes, or became a WebSocket */
} PennyHttpState;

typedef struct PennyHttp PennyHttp;
typedef struct PennyGather PennyGather;
typedef struct PennyWaiting PennyWaiting;

struct PennyHttp
{
	PennyConnection *connection;
	PennyHttpParser *parser; /* of the request that is being read */
	PennyPending *call;      /* while an executor has it */
	PennyHttp *next_waiting; /* for the route table */
	PennyHttp *prev_waiting;
	PennyGather *gather;      /* equal requests, of which it is one */
	PennyWaiting *waiting;    /* NULL: its answer is not waited for longer than it takes */
	PennyHttp *next_gathered; /* of those that wait */
	PennyHttp *prev_gathered;
	PennyHttpState state;
	PennyMethod method;
	uint64_t body_since; /* ms when reading the body began */
	bool again;          /* not the connection's first request */
	bool begun;          /* bytes of the request came */
	bool head_done;      /* its head is parsed */
	bool screened;       /* its host and origin were looked at */
	bool keep_alive;     /* after the answer */
	bool body_whole;     /* the body is all there */
	bool welcome;        /* may send a large body: the route is public, or it signed in */
	bool started;        /* the answer's head was sent */
	bool held;           /* a piece of the answer waits until the client reads */
	bool bodiless;       /* the answer has no body, whatever the executor sends */
	bool counted;        /* for its user's rate */
	bool waited;         /* for the answer to an equal request */
	bool http10;         /* the client speaks HTTP/1.0 */
	bool local;          /* it is on this machine; known when there is a call */
	bool follows;        /* wants the answer to the message that it sends */
	char *origin;        /* of the request, when it is listed */
	char request_id[PENNY_REQUEST_ID_MAX + 1];
};

/* At start. */
extern void penny_http_setup(void);
/* A connection begins with HTTP. */
extern void penny_http_open(PennyConnection *connection);

/* ---- request.c: what to do with a request ---------------------------------- */

/* Does the answer depend on the route table? */
extern bool penny_request_needs_routes(const PennyHttp *http, const char *bytes);
/* The head is complete: note its origin; false: the host is not ours, it was answered. */
extern bool penny_request_screen(PennyHttp *http, const char *bytes);
/* The head is complete: may its body be read?  False: it was answered. */
extern bool penny_request_admit(PennyHttp *http, const char *bytes);
/* Must the client sign in before the rest of the body is read? */
extern bool penny_request_is_strange(const PennyHttp *http);
/* Ask an executor who the client is; reading goes on when it is somebody. */
extern void penny_request_sign_in(PennyHttp *http, const char *bytes);
/*
 * Head and body are complete: answer, or hand it to an executor.  False: it
 * waits, and is to be kept and dispatched again.
 */
extern bool penny_request_dispatch(PennyHttp *http, char *bytes);
/* Is the client on this machine, with no proxy between? */
extern bool penny_request_is_local(const PennyHttp *http, const char *bytes);
/* The bearer token of a request; false when what is there is no token. */
extern bool penny_request_token(const PennyHttpParser *parser, const char *bytes, PennySpan *token);

/* ---- answer.c: how it is answered -------------------------------------------- */

/* Answer with a problem document; more = header lines with CR LF, or NULL. */
extern void penny_http_problem(PennyHttp *http, uint32_t status, const char *detail,
							   const char *more);
/* 503 with Retry-After. */
extern void penny_http_unavailable(PennyHttp *http, const char *detail);
/* Answer with a small JSON body. */
extern void penny_http_json(PennyHttp *http, uint32_t status, PennySpan body);
/* Answer with a problem document of an executor. */
extern void penny_http_document(PennyHttp *http, uint32_t status, PennySpan problem);
/* Answer without a body. */
extern void penny_http_empty(PennyHttp *http, uint32_t status, const char *more);
/* Start a call with this request; what it answers goes to the client. */
extern void penny_http_call(PennyHttp *http, const PennyCallOut *out);
/* Make a call again; false: not now. */
extern bool penny_http_call_again(PennyHttp *http, const PennyCallOut *out);
/* The answer of an executor, or a piece of it, as a handler of calls. */
extern bool penny_http_take_answer(void *owner, const PennyAnswer *answer);
/* Start a call that verifies the token; only a refusal goes to the client. */
extern void penny_http_verify(PennyHttp *http, const PennyCallOut *out);

/* ---- http_waiting.c: answers that are kept -------------------------------- */

/* A call of the client's is about to be made: is it one that waits? */
extern void penny_http_waiting_begin(PennyHttp *http, const PennyCallOut *out);
/* Its answer begins: is it kept? */
extern bool penny_http_waiting_keep(PennyHttp *http, const PennyAnswer *answer);
/* The request is over, or its client has gone. */
extern void penny_http_waiting_end(PennyHttp *http);
/* The edge stops: answer with what is there, if it is kept; false: it is not. */
extern bool penny_http_waiting_give(PennyHttp *http);

/* ---- http.c, for its neighbours --------------------------------------- */

/*
 * The connection gets another protocol now, though the request is not answered
 * yet; its answer is the last.
 */
extern void penny_http_leave(PennyHttp *http);
/* The connection has another protocol now: forget HTTP. */
extern void penny_http_detach(PennyHttp *http);

/* A request that waited for an equal one: look at it again. */
extern void penny_http_again(PennyHttp *http);
/* The answer was sent. */
extern void penny_http_end(PennyHttp *http, uint32_t status);
/* Go on with requests that were kept meanwhile. */
extern void penny_http_go_on(PennyConnection *connection);

#endif /* PENNY_EDGE_HTTP_H */
