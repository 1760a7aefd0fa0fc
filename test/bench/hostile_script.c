/*-------------------------------------------------------------------------
 *
 * hostile_script.c
 *		The bytes of an attack, made by chance from a seed.
 *
 * Families break one rule at a time, so that input gets past the checks before
 * it; then bytes are changed anywhere.  Requests carry a good token, so that
 * what lies behind signing in is reached too; none deletes or writes anything.
 *
 *-------------------------------------------------------------------------
 */
#include "hostile.h"

#include <string.h>

Script script;

static uint64_t state = 1;

void
script_seed(uint64_t seed)
{
	state = seed * 0x9e3779b97f4a7c15 + 1;
}

static uint64_t
chance(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

static void
add(const char *bytes, size_t len)
{
	if (len > SCRIPT_MAX - script.len)
		len = SCRIPT_MAX - script.len;
	memcpy(script.bytes + script.len, bytes, len);
	script.len += len;
}

static void
add_text(const char *text)
{
	add(text, strlen(text));
}

static void
add_many(const char *text, int times)
{
	while (times-- > 0)
		add_text(text);
}

static void
add_random(size_t len)
{
	while (len-- > 0)
	{
		char byte = (char) chance(256);

		add(&byte, 1);
	}
}

/* Request line and the headers of a good request, without the empty line. */
static void
add_head(const char *method, const char *target)
{
	add_text(method);
	add_text(" ");
	add_text(target);
	add_text(" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ");
	add_text(script.token);
	add_text("\r\n");
}

/* Change a few bytes, wherever they are. */
static void
mutate(void)
{
	for (uint64_t n = chance(9); n > 0 && script.len > 0; n--)
		script.bytes[chance(script.len)] = (char) chance(256);
}

void
make_request(void)
{
	add_head("GET", script.target);
	add_text("Accept: application/json\r\nX-Padding: ");
	add_many("slow", 50);
	add_text("\r\n\r\n");
}

void
make_body(void)
{
	add_head("POST", script.target);
	add_text("Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n{\"content\":\"");
	add_many("slow", 900);
}

void
make_pipeline(void)
{
	for (int i = 0; i < 20; i++)
	{
		add_head("GET", script.target);
		add_text("\r\n");
	}
}

void
make_random(void)
{
	add_random(1 + chance(4096));
}

void
make_half(void)
{
	if (chance(2) == 0)
		make_request();
	else
		make_body();
	script.len = 1 + chance(script.len - 1);
}

void
make_http(void)
{
	static const char *const lines[] = {
		"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
		"Content-Length: -1\r\n\r\n",
		"Content-Length: 99999999999999999999\r\n\r\n",
		"Content-Length: 0x10\r\n\r\nhello",
		"Content-Length : 5\r\n\r\nhello",
		"X-Folded: a\r\n b\r\n\r\n",
		"No-Colon\r\n\r\n",
		": no name\r\n\r\n",
		"X-Bare: a\rb\r\n\r\n",
		"Host: other\r\n\r\n",
		"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\n\r\n",
		"Expect: 200-maybe\r\nContent-Length: 3\r\n\r\nabc",
		"Content-Type: application/json\r\nContent-Length: 4\r\n\r\n{{{{",
		"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
	};
	static const char *const targets[] = {"/%00",
										  "/%zz",
										  "/../../etc/passwd",
										  "/api/v1/conversations/not-a-uuid",
										  "http://[",
										  "*",
										  "/\x80\xff",
										  "//",
										  "/?a=%00&b",
										  "",
										  "/#",
										  "/api/v1/conversations/../livez"};
	static const char *const methods[] = {"GET", "POST", "PUT", "BREW", "get", "", "G\tET"};
	uint64_t kind = chance(8);

	add_head(methods[chance(7)], chance(2) == 0 ? script.target : targets[chance(12)]);
	if (kind == 0)
		add_many("X-Many: 1\r\n", (int) chance(2000)); /* more headers than any limit */
	else if (kind == 1)
	{
		add_text("X-Long: ");
		add_many("0123456789abcdef", (int) chance(1500));
	}
	else if (kind == 2)
		add("X-Nul: \0\r\n", 10);
	add_text(lines[chance(sizeof(lines) / sizeof(lines[0]))]);
	if (chance(2) == 0)
		mutate();
}

/* A frame of HTTP/2: length, type, flags, stream, payload. */
static void
add_h2_frame(void)
{
	size_t len = chance(64);
	char head[9] = {0, 0, (char) len, (char) chance(12), (char) chance(256), 0, 0, 0, 0};

	head[8] = (char) chance(4);
	if (chance(8) == 0)
		head[0] = (char) chance(256); /* a length that is not true */
	add(head, sizeof(head));
	add_random(len);
}

void
make_h2c(void)
{
	if (chance(2) == 0)
	{
		add_head("GET", script.target);
		add_text("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
				 "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n");
	}
	add_text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	add("\0\0\0\4\0\0\0\0\0", 9);
	for (uint64_t n = chance(30); n > 0; n--)
		add_h2_frame();
}

static void
add_upgrade(const char *extension)
{
	add_head("GET", "/ws");
	add_text("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			 "Sec-WebSocket-Key: cGVubnkgYmVuY2htYXJrIQ==\r\n"
			 "Sec-WebSocket-Protocol: penny.v1\r\n");
	add_text(extension);
	add_text("\r\n");
}

/* A masked frame as it should be; the mask is zero, so the payload is plain. */
static void
add_frame(int head, const char *payload, size_t len)
{
	char bytes[8] = {(char) head, (char) (0x80 | 126), (char) (len >> 8), (char) len, 0, 0, 0, 0};

	if (len < 126)
	{
		bytes[1] = (char) (0x80 | len);
		bytes[2] = bytes[3] = 0;
	}
	add(bytes, len < 126 ? 6 : 8);
	add(payload, len);
}

void
make_websocket(void)
{
	static const char *const messages[] = {
		"{}",
		"[[[[[[[[[[[[[[[[[[[[[[[[",
		"{\"type\":\"join\",\"room\":\"conversation:x\"}",
		"{\"type\":\"join\",\"room\":7,\"since\":[]}",
		"{\"type\":\"message\",\"room\":\"conversation:\\ud800\",\"content\":\"\\u0000\"}",
		"{\"type\":\"auth\",\"token\":\"pns_x\"}",
		"\xff\xfe not text",
	};
	static const unsigned char heads[] = {0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8a, 0x09,
										  0xc1, 0xf1, 0x83, 0x8f, 0x00, 0x81, 0x81, 0x81};

	add_upgrade("");
	for (uint64_t n = 1 + chance(12); n > 0; n--)
	{
		const char *message = messages[chance(7)];

		if (chance(10) == 0)
			add("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10); /* the largest length */
		else if (chance(10) == 0)
			add("\x81\x02hi", 4); /* no mask */
		else
			add_frame(heads[chance(16)], message, strlen(message));
	}
	if (chance(3) == 0)
		mutate();
	if (chance(3) == 0)
		add_random(chance(2048));
}

void
make_deflate(void)
{
	char bytes[512];

	add_upgrade("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; "
				"server_no_context_takeover; client_max_window_bits=8\r\n");
	for (uint64_t n = 1 + chance(12); n > 0; n--)
	{
		size_t len = chance(sizeof(bytes));

		for (size_t i = 0; i < len; i++)
			bytes[i] = (char) chance(256);
		add_frame(chance(2) == 0 ? 0xc1 : 0xc2, bytes, len);
	}
}
