/*-------------------------------------------------------------------------
 *
 * http.c
 *		The HTTP parser: what it takes, what it refuses, however bytes arrive.
 *
 * The tables are after RFC 9110 and 9112 and what smuggling and malformed
 * request suites try.  Every row is parsed whole, byte by byte, and with a
 * second request behind it; all must agree.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/handshake.h"
#include "edge/http_parse.h"
#include "edge/http_target.h"

#define G "GET / HTTP/1.1\r\nHost: a\r\n"
#define P "POST / HTTP/1.1\r\nHost: a\r\n"
#define WS                                                                         \
	"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
	"Sec-WebSocket-Version: 13\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

typedef struct Row
{
	const char *text;
	int status; /* 0 = accepted */
	size_t len; /* when the text holds a NUL */
} Row;

static PennyHttpParser parser;
static char buffer[65536];

static PennyHttpResult
parse_whole(const char *text, size_t len)
{
	memcpy(buffer, text, len);
	penny_http_init(&parser, 16384, 8192);
	return penny_http_parse(&parser, buffer, len);
}

/* Byte by byte, the buffer moved each time. */
static PennyHttpResult
parse_bytes(const char *text, size_t len)
{
	PennyHttpResult result = PENNY_HTTP_NEED_MORE;
	char *moved = NULL;

	penny_http_init(&parser, 16384, 8192);
	for (size_t n = 1; n <= len && result == PENNY_HTTP_NEED_MORE; n++)
	{
		char *grown = malloc(n);

		if (n > 1)
			memcpy(grown, moved, n - 1);
		grown[n - 1] = text[n - 1];
		free(moved);
		moved = grown;
		result = penny_http_parse(&parser, moved, n);
	}
	memcpy(buffer, moved, len < sizeof(buffer) ? parser.head_len : 0);
	free(moved);
	return result;
}

static void
check_row(const Row *row)
{
	size_t len = row->len > 0 ? row->len : strlen(row->text);
	PennyHttpResult whole = parse_whole(row->text, len);
	int status = whole == PENNY_HTTP_ERROR ? parser.status : whole == PENNY_HTTP_DONE ? 0 : -1;
	uint32_t head_len = parser.head_len;
	PennyHttpResult slow;

	if (status != row->status)
		printf("# got %d (%s)\n", status, parser.reason != NULL ? parser.reason : "-");
	CHECK_ROW(status == row->status, row->text);
	slow = parse_bytes(row->text, len);
	CHECK_ROW(slow == whole, row->text);
	CHECK_ROW((slow == PENNY_HTTP_ERROR ? parser.status : 0) == (status > 0 ? status : 0),
			  row->text);
	CHECK_ROW(slow != PENNY_HTTP_DONE || parser.head_len == head_len, row->text);
}

static const Row rows[] = {
	/* accepted */
	{G "\r\n", 0, 0},
	{"\r\n" G "\r\n", 0, 0},
	{"GET / HTTP/1.0\r\n\r\n", 0, 0},
	{"GET / HTTP/1.9\r\nHost: a\r\n\r\n", 0, 0},
	{"OPTIONS /x HTTP/1.1\r\nHost:a\r\n\r\n", 0, 0},
	{"GET /a%20b?c=%7B%7D&d HTTP/1.1\r\nHost: a:80\r\n\r\n", 0, 0},
	{"GET /a?b={}[]|? HTTP/1.1\r\nHost: [::1]:3000\r\n\r\n", 0, 0},
	{"GET /... HTTP/1.1\r\nHost: a.b_c-d~e\r\n\r\n", 0, 0},
	{"GET /.a/b. HTTP/1.1\r\nHost: a\r\n\r\n", 0, 0},
	{G "X: \r\n\r\n", 0, 0},
	{G "X:\t a b \t\r\n\r\n", 0, 0},
	{G "X: \xC3\xA4\r\n\r\n", 0, 0},
	{G "Connection: close, foo\r\n\r\n", 0, 0},
	{G "Connection: , ,close\r\n\r\n", 0, 0},
	{G "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n"
	   "\r\n",
	 0, 0},
	{P "Content-Length: 0\r\n\r\n", 0, 0},
	{P "Content-Length: 0005\r\n\r\n", 0, 0},
	{P "Content-Length: 9223372036854775807\r\n\r\n", 0, 0},
	{P "Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n", 0, 0},
	{WS KEY "\r\n", 0, 0},
	/* request line */
	{"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, 0},
	{" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /\r\n\r\n", 400, 0},
	{"GET\r\n\r\n", 400, 0},
	{"\r\n\r\n" G "\r\n", 400, 0},
	{"\n" G "\r\n", 400, 0},
	{"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\nHost: a\n\n", 400, 0},
	{"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\rHost: a\r\n\r\n", 400, 0},
	{"GET / http/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / FTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, 0},
	{"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, 0},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 0},
	{"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501, 0},
	{"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501, 0},
	{"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501, 0},
	{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 501, 0},
	{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, 11},
	/* target */
	{"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 0, 0},
	{"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /\xC3\xA4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /a\x7F HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 29},
	{"GET /% HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /%1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /?a=%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /?a=%q0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /. HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /.. HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /a/./b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /a/%2e%2E/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET /a/.%2e HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	/* header lines */
	{G "X : a\r\n\r\n", 400, 0},
	{G " X: a\r\n\r\n", 400, 0},
	{G "X: a\r\n b\r\n\r\n", 400, 0},
	{G "X: a\r\n\tb\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, 0},
	{G ": a\r\n\r\n", 400, 0},
	{G "X\r\n\r\n", 400, 0},
	{G "X(: a\r\n\r\n", 400, 0},
	{G "X\xC3: a\r\n\r\n", 400, 0},
	{G "X: a\rb\r\n\r\n", 400, 0},
	{G "X: a\nY: b\r\n\r\n", 400, 0},
	{G "X: a\r\n\n", 400, 0},
	{G "X: a\x01\r\n\r\n", 400, 0},
	{G "X: a\x7F\r\n\r\n", 400, 0},
	{G "X: \xFF\r\n\r\n", 400, 0},
	{G "X: a\0b\r\n\r\n", 400, sizeof(G) - 1 + 10},
	/* Host */
	{"GET / HTTP/1.1\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400, 0},
	{"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, 0},
	/* where a body ends */
	{P "Content-Length: -1\r\n\r\n", 400, 0},
	{P "Content-Length: +1\r\n\r\n", 400, 0},
	{P "Content-Length: 1 1\r\n\r\n", 400, 0},
	{P "Content-Length: 1, 1\r\n\r\n", 400, 0},
	{P "Content-Length: 0x10\r\n\r\n", 400, 0},
	{P "Content-Length: 1.0\r\n\r\n", 400, 0},
	{P "Content-Length: 1e1\r\n\r\n", 400, 0},
	{P "Content-Length:\r\n\r\n", 400, 0},
	{P "Content-Length: 9223372036854775808\r\n\r\n", 400, 0},
	{P "Content-Length: 18446744073709551617\r\n\r\n", 400, 0},
	{P "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400, 0},
	{P "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, 0},
	{P "content-length: 5\r\nCONTENT-LENGTH: 6\r\n\r\n", 400, 0},
	{P "Content-Length : 5\r\n\r\n", 400, 0},
	{P "Transfer-Encoding: chunked\r\n\r\n", 501, 0},
	{P "Transfer-Encoding: identity\r\n\r\n", 501, 0},
	{P "Transfer-Encoding: xchunked\r\n\r\n", 501, 0},
	{P "Transfer-Encoding:\r\n\r\n", 501, 0},
	{P "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501, 0},
	{P "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400, 0},
	{P "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, 0},
	{P "Content-Length: 5\r\nTransfer-Encoding:\tchunked\r\n\r\n", 400, 0},
	{P "Transfer-Encoding : chunked\r\n\r\n", 400, 0},
	{P "Transfer-Encoding\r\n : chunked\r\n\r\n", 400, 0},
	{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 501, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501, 0},
	/* the rest */
	{P "Content-Length: 5\r\nExpect: 200-ok\r\n\r\n", 417, 0},
	{G "Connection: a b\r\n\r\n", 400, 0},
	/* WebSocket */
	{WS "\r\n", 400, 0},
	{WS KEY KEY "\r\n", 400, 0},
	{WS "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n", 400, 0},
	{WS "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n\r\n", 400, 0},
	{WS "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==\r\n\r\n", 400, 0},
	{"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	 "Sec-WebSocket-Version: 8\r\n" KEY "\r\n",
	 426, 0},
	{"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" KEY "\r\n", 426,
	 0},
	{"POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	 "Sec-WebSocket-Version: 13\r\n" KEY "\r\n",
	 400, 0},
	{WS KEY "Content-Length: 5\r\n\r\n", 400, 0},
};

TEST(table)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i]);
}

static bool
slice_is(PennyHttpSlice slice, const char *text)
{
	return slice.len == strlen(text) && memcmp(buffer + slice.at, text, slice.len) == 0;
}

static bool
span_is(PennySpan span, const char *text)
{
	return span.len == strlen(text) && memcmp(span.data, text, span.len) == 0;
}

TEST(result)
{
	const char *text = "\r\nPOST /a/b?c=d HTTP/1.1\r\nHost: Example:3000\r\nX-One:  1 \r\n"
					   "COOKIE: k=v\r\nContent-Length: 12\r\nConnection: Keep-Alive\r\n"
					   "Authorization: bearer  abc.d-_~+/=\r\nExpect: 100-continue\r\n\r\nbody";
	PennySpan value;
	char lines[256];

	CHECK(parse_whole(text, strlen(text)) == PENNY_HTTP_DONE);
	CHECK(strcmp(buffer + parser.head_len, "body") == 0 ||
		  !memcmp(buffer + parser.head_len, "body", 4));
	CHECK(parser.method == PENNY_POST && parser.keep_alive && !parser.http10);
	CHECK(parser.has_length && parser.content_length == 12 && parser.expect_continue);
	CHECK(slice_is(parser.target, "/a/b?c=d") && slice_is(parser.path, "/a/b"));
	CHECK(slice_is(parser.query, "c=d") && slice_is(parser.host, "Example:3000"));
	CHECK(!parser.websocket && parser.headers == 7);
	CHECK(penny_http_header(&parser, buffer, "x-one", &value) && span_is(value, "1"));
	CHECK(!penny_http_header(&parser, buffer, "x-two", &value));
	CHECK(penny_http_bearer(&parser, buffer, &value) && span_is(value, "abc.d-_~+/="));
	value.len = penny_http_header_lines(&parser, buffer, lines, sizeof(lines));
	value.data = lines;
	CHECK(span_is(value, "host: Example:3000\nx-one: 1\ncookie: k=v\n"));
	CHECK(penny_http_parse(&parser, buffer, strlen(text)) == PENNY_HTTP_DONE);
}

TEST(keep_alive)
{
	const char *old = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
	const char *closing = G "Connection: x, Close\r\n\r\n";

	CHECK(parse_whole(old, strlen(old)) == PENNY_HTTP_DONE && !parser.keep_alive && parser.http10);
	CHECK(parse_whole(closing, strlen(closing)) == PENNY_HTTP_DONE && !parser.keep_alive);
	CHECK(parse_whole(G "\r\n", strlen(G "\r\n")) == PENNY_HTTP_DONE && parser.keep_alive);
}

TEST(pipelining)
{
	const char *text = G "\r\nGET /two HTTP/1.1\r\nHost: b\r\n\r\nGET /thr";
	size_t len = strlen(text);
	uint32_t first;

	CHECK(parse_whole(text, len) == PENNY_HTTP_DONE && slice_is(parser.path, "/"));
	first = parser.head_len;
	penny_http_init(&parser, 16384, 8192);
	CHECK(penny_http_parse(&parser, buffer + first, len - first) == PENNY_HTTP_DONE);
	CHECK(span_is(penny_http_span(buffer + first, parser.path), "/two"));
	first += parser.head_len;
	penny_http_init(&parser, 16384, 8192);
	CHECK(penny_http_parse(&parser, buffer + first, len - first) == PENNY_HTTP_NEED_MORE);
}

TEST(websocket)
{
	const char *text = WS KEY "Origin: http://a\r\nSec-WebSocket-Protocol: x, penny.v1\r\n\r\n";
	const char *other = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
						"Upgrade: websocket, h2c\r\nSec-WebSocket-Version: 13\r\n" KEY "\r\n";
	const char *plain = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
						"Sec-WebSocket-Version: 13\r\n" KEY "\r\n";
	char accept[PENNY_WEBSOCKET_ACCEPT_LEN + 1];
	PennySpan protocols;

	CHECK(parse_whole(text, strlen(text)) == PENNY_HTTP_DONE && parser.websocket);
	penny_handshake_accept(buffer + parser.websocket_key.at, accept);
	CHECK(strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == 0);
	CHECK(penny_http_header(&parser, buffer, "sec-websocket-protocol", &protocols));
	CHECK(penny_http_list_has(protocols, "penny.v1") && !penny_http_list_has(protocols, "penny"));
	CHECK(parse_whole(other, strlen(other)) == PENNY_HTTP_DONE && !parser.websocket);
	CHECK(parse_whole(plain, strlen(plain)) == PENNY_HTTP_DONE && !parser.websocket);
}

/* A request with a target and headers of given sizes. */
static size_t
make_request(char *out, size_t target, size_t headers)
{
	size_t at = 0;

	at += (size_t) sprintf(out, "GET /");
	memset(out + at, 'a', target - 1);
	at += target - 1;
	at += (size_t) sprintf(out + at, " HTTP/1.1\r\nHost: a\r\n");
	for (size_t i = 1; i < headers; i++)
		at += (size_t) sprintf(out + at, "x%zu: y\r\n", i);
	at += (size_t) sprintf(out + at, "\r\n");
	return at;
}

TEST(limits)
{
	static char text[40000];
	size_t len = make_request(text, 8192, 1);

	CHECK(parse_whole(text, len) == PENNY_HTTP_DONE);
	len = make_request(text, 8193, 1);
	CHECK(parse_whole(text, len) == PENNY_HTTP_ERROR && parser.status == 414);
	/* told before the line is complete */
	CHECK(parse_whole(text, 8200) == PENNY_HTTP_ERROR && parser.status == 414);
	len = make_request(text, 10, 100);
	CHECK(parse_whole(text, len) == PENNY_HTTP_DONE && parser.headers == 100);
	len = make_request(text, 10, 101);
	CHECK(parse_whole(text, len) == PENNY_HTTP_ERROR && parser.status == 431);

	len = make_request(text, 10, 50);
	memcpy(buffer, text, len);
	penny_http_init(&parser, (uint32_t) len, 8192);
	CHECK(penny_http_parse(&parser, buffer, len) == PENNY_HTTP_DONE);
	memcpy(buffer, text, len);
	penny_http_init(&parser, (uint32_t) len - 1, 8192);
	CHECK(penny_http_parse(&parser, buffer, len) == PENNY_HTTP_ERROR && parser.status == 431);
	CHECK(penny_http_parse(&parser, buffer, len) == PENNY_HTTP_ERROR && parser.status == 431);
	penny_http_init(&parser, 12, 8192);
	CHECK(penny_http_parse(&parser, buffer, len) == PENNY_HTTP_ERROR && parser.status == 414);
}

TEST(bearer)
{
	static const struct
	{
		const char *header;
		bool there;
		const char *token;
	} bearers[] = {
		{"", false, ""},
		{"Authorization: Bearer abc\r\n", true, "abc"},
		{"Authorization: BEARER abc\r\n", true, "abc"},
		{"Authorization: Basic abc\r\n", true, ""},
		{"Authorization: Bearer\r\n", true, ""},
		{"Authorization: Bearer a b\r\n", true, ""},
		{"Authorization: Bearer a,b\r\n", true, ""},
		{"Authorization: Bearer a\"\r\n", true, ""},
		{"Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", true, ""},
		{"Authorization:\r\n", true, ""},
	};

	for (size_t i = 0; i < sizeof(bearers) / sizeof(bearers[0]); i++)
	{
		char text[256];
		PennySpan token;

		snprintf(text, sizeof(text), G "%s\r\n", bearers[i].header);
		CHECK(parse_whole(text, strlen(text)) == PENNY_HTTP_DONE);
		CHECK_ROW(penny_http_bearer(&parser, buffer, &token) == bearers[i].there,
				  bearers[i].header);
		CHECK_ROW(span_is(token, bearers[i].token), bearers[i].header);
	}
}

TEST(decoding)
{
	char out[16];
	size_t len;
	PennySpan query = {"ab=1&a=x%2Fy+z&a=2&b&c=%zz", 26};

	CHECK(penny_http_decode((PennySpan){"a%2Fb+c", 7}, out, 16, &len) && len == 5 &&
		  memcmp(out, "a/b+c", 5) == 0);
	CHECK(!penny_http_decode((PennySpan){"abc", 3}, out, 2, &len));
	CHECK(!penny_http_decode((PennySpan){"a%2", 3}, out, 16, &len));
	CHECK(penny_http_query_value(query, "a", out, 16, &len) && len == 5 &&
		  memcmp(out, "x/y z", 5) == 0);
	CHECK(!penny_http_query_value(query, "a", out, 4, &len));
	CHECK(!penny_http_query_value(query, "b", out, 16, &len));
	CHECK(!penny_http_query_value(query, "c", out, 16, &len));
	CHECK(!penny_http_query_value((PennySpan){"", 0}, "a", out, 16, &len));
}

int
main(void)
{
	RUN(table);
	RUN(result);
	RUN(keep_alive);
	RUN(pipelining);
	RUN(websocket);
	RUN(limits);
	RUN(bearer);
	RUN(decoding);
	return unit_done();
}
