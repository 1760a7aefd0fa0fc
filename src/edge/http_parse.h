/*-------------------------------------------------------------------------
 *
 * http_parse.h
 *		Parser of HTTP/1.1 request heads (RFC 9112), strict.
 *
 * The caller gathers bytes in one contiguous buffer and calls
 * penny_http_parse() after each read, always with the start of the request
 * and all of its bytes so far.  The buffer may move between calls: the parser
 * keeps offsets.  It lower-cases the names of headers in place and changes
 * nothing else.  After PENNY_HTTP_DONE the body starts at `head_len`; what
 * follows the body is the next request (pipelining), to be parsed after
 * penny_http_init() from its own start.
 *
 * An error carries the status to answer with and a static text; the
 * connection must be closed after the answer, since where the next request
 * starts is not known.
 *
 * Targets: origin form; absolute form, of which the host must be that of the
 * Host header and the rest is taken as if it had come alone; and "*" for
 * OPTIONS.  CONNECT and its authority form are not known here.
 *
 * What is refused, beyond plain syntax: bare CR or LF, obs-fold, blanks before
 * the colon, control bytes, header values that are not UTF-8; Host missing
 * (1.1), repeated or malformed; Content-Length repeated, not digits alone, or
 * overflowing; any Transfer-Encoding (501, and 400 beside Content-Length); an
 * Expect other than 100-continue (417).
 * `Upgrade` is honoured for WebSocket alone; others are ignored, as RFC 9110
 * allows, so there is no h2c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_HTTP_PARSE_H
#define PENNY_EDGE_HTTP_PARSE_H

#include "plane/call.h"

#define PENNY_HTTP_MAX_HEADERS 100
#define PENNY_WEBSOCKET_KEY_LEN 24 /* base64 of 16 bytes */

typedef enum PennyHttpResult
{
	PENNY_HTTP_NEED_MORE, /* the head is not complete */
	PENNY_HTTP_DONE,      /* it is, and accepted */
	PENNY_HTTP_ERROR      /* answer with `status`, then close */
} PennyHttpResult;

/* A part of the caller's buffer; see penny_http_span(). */
typedef struct PennyHttpSlice
{
	uint32_t at;
	uint32_t len;
} PennyHttpSlice;

typedef struct PennyHttpHeader
{
	PennyHttpSlice name;  /* in lower case */
	PennyHttpSlice value; /* without blanks around it */
} PennyHttpHeader;

typedef struct PennyHttpParser
{
	/* limits */
	uint32_t header_size; /* bytes of the whole head */
	uint32_t target_size; /* bytes of the target */

	/* progress, private */
	uint32_t line;    /* start of the line that is not complete */
	uint32_t scanned; /* bytes looked at for its end */
	uint8_t phase;
	uint8_t blank_lines; /* empty lines before the request line */

	/* result, after PENNY_HTTP_DONE */
	uint32_t head_len; /* where the body starts */
	PennyMethod method;
	bool http10;             /* HTTP/1.0: keep_alive is false then */
	bool keep_alive;         /* may the connection stay open? */
	bool expect_continue;    /* client waits for "100 Continue" */
	bool has_length;         /* Content-Length was given */
	bool websocket;          /* a complete, valid WebSocket handshake */
	uint64_t content_length; /* 0 without Content-Length */
	PennyHttpSlice target;   /* path and query as received; "*" */
	PennyHttpSlice path;
	PennyHttpSlice query; /* without '?'; empty when there is none */
	PennyHttpSlice host;
	PennyHttpSlice authority;     /* of a target in absolute form, else empty */
	PennyHttpSlice websocket_key; /* PENNY_WEBSOCKET_KEY_LEN bytes when websocket */
	int headers;
	PennyHttpHeader header[PENNY_HTTP_MAX_HEADERS];

	/* error, after PENNY_HTTP_ERROR */
	int status;         /* 400 414 417 426 431 501 505 */
	const char *reason; /* static, for the problem document's detail */
} PennyHttpParser;

/* Start with a new request. */
extern void penny_http_init(PennyHttpParser *parser, uint32_t header_size, uint32_t target_size);
/* Look at len bytes from the request's start; see above. */
extern PennyHttpResult penny_http_parse(PennyHttpParser *parser, char *buffer, size_t len);

static inline PennySpan
penny_http_span(const char *buffer, PennyHttpSlice slice)
{
	return (PennySpan){buffer + slice.at, slice.len};
}

/* Value of the first header of that (lower-case) name; false when absent. */
extern bool penny_http_header(const PennyHttpParser *parser, const char *buffer, const char *name,
							  PennySpan *value);
/* How many headers of that name are there? */
extern int penny_http_header_count(const PennyHttpParser *parser, const char *buffer,
								   const char *name);
/* Does a comma-separated list hold that token, in any case? */
extern bool penny_http_list_has(PennySpan list, const char *token);
/*
 * The token of `Authorization: Bearer <token>`.  False when there is no
 * Authorization; an empty token when it is repeated, of another scheme or
 * malformed, which must be answered with 401.
 */
extern bool penny_http_bearer(const PennyHttpParser *parser, const char *buffer, PennySpan *token);
/*
 * Write the headers that an executor may see as "name: value\n" lines, leaving
 * out those of the connection, of the handshake and Authorization.  Returns
 * the bytes written; they always fit into header_size bytes.
 */
extern size_t penny_http_header_lines(const PennyHttpParser *parser, const char *buffer, char *out,
									  size_t size);

#endif /* PENNY_EDGE_HTTP_PARSE_H */
