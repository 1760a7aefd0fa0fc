/*-------------------------------------------------------------------------
 *
 * response.h
 *		HTTP answers as bytes: status line, headers, problem documents.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_RESPONSE_H
#define PENNY_EDGE_RESPONSE_H

#include "edge/edge.h"
#include "plane/call.h"

#define PENNY_REQUEST_ID_MAX 64
/* What an answer of status 426 must say (RFC 9110 15.5.22, RFC 6455 4.4). */
#define PENNY_UPGRADE_LINES \
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"

/* What the header lines of an executor or of a cached answer say. */
typedef struct PennyLines
{
	PennySpan etag;    /* empty: there is none */
	bool compressible; /* text or its like, and nothing forbids it */
} PennyLines;

extern void penny_response_look(PennySpan lines, PennyLines *what);

typedef struct PennyReply
{
	uint32_t status;
	PennySpan lines;        /* "name: value\n" of an executor, or empty */
	const char *more;       /* further lines, ended with CR LF, or NULL */
	const char *request_id; /* with NUL */
	bool cors;              /* the answer depends on the Origin of the request */
	const char *origin;     /* whose pages may read it, with NUL; NULL: none's */
	uint64_t length;        /* of the whole body, as it is sent */
	PennySpan etag;         /* in place of the one in the lines, if any */
	PennyCoding coding;     /* of the body */
	bool vary;              /* the answer depends on Accept-Encoding */
	PennyCacheMark mark;    /* what the cache did */
	uint64_t age;           /* seconds, for PENNY_MARK_HIT */
	bool close;             /* the connection ends after this */
} PennyReply;

/* At start: buffer for the largest head and a piece of an answer. */
extern void penny_response_init(void);
/*
 * Status line, headers and a first piece of the body, ready to be sent in one
 * write; valid until the next call.
 */
extern PennySpan penny_response(const PennyReply *reply, PennySpan body);
/*
 * Status line and headers alone, into memory of the caller's of at least
 * penny_response_head_size(): what was written.
 */
extern size_t penny_response_head(const PennyReply *reply, char *out);
/* Bytes that the head may take with header lines of that length. */
extern size_t penny_response_head_size(size_t lines);
/* May an answer of this status have a body? */
extern bool penny_status_has_body(uint32_t status);
extern const char *penny_status_title(uint32_t status);
/*
 * Problem document (RFC 9457) of an error made in the edge; detail may be
 * NULL.  Valid until the next call.
 */
extern PennySpan penny_problem(uint32_t status, const char *detail, const char *request_id);

/* Take the client's request id when it is sane, else make one. */
extern void penny_request_id(PennySpan offered, char out[PENNY_REQUEST_ID_MAX + 1]);

#endif /* PENNY_EDGE_RESPONSE_H */
