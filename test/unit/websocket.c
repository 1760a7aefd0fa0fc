/*-------------------------------------------------------------------------
 *
 * websocket.c
 *		The WebSocket framing: cases after the Autobahn test suite's numbers,
 *		fed whole and byte by byte.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/utf8.h"
#include "edge/websocket_frame.h"

#define LIMIT 70000

static PennyWebsocketParser parser;
static char input[200000];
static size_t input_len;
static char out[200000]; /* what the events told, in words */
static size_t out_len;

static void
start(void)
{
	input_len = 0;
}

/* Append a frame as a client sends it. */
static void
frame(uint8_t first, const void *payload, size_t len)
{
	static const uint8_t mask[4] = {0x12, 0xfe, 0x00, 0x77};
	uint8_t *at = (uint8_t *) input + input_len;
	size_t n = 0;

	at[n++] = first;
	if (len <= 125)
		at[n++] = (uint8_t) (0x80 | len);
	else if (len <= 0xFFFF)
	{
		at[n++] = 0x80 | 126;
		at[n++] = (uint8_t) (len >> 8);
		at[n++] = (uint8_t) len;
	}
	else
	{
		at[n++] = 0x80 | 127;
		for (int i = 7; i >= 0; i--)
			at[n++] = (uint8_t) (len >> 8 * i);
	}
	memcpy(at + n, mask, 4);
	n += 4;
	for (size_t i = 0; i < len; i++)
		at[n + i] = ((const uint8_t *) payload)[i] ^ mask[i & 3];
	input_len += n + len;
}

static void
raw(const void *bytes, size_t len)
{
	memcpy(input + input_len, bytes, len);
	input_len += len;
}

static void
say(const char *text, size_t len)
{
	memcpy(out + out_len, text, len);
	out_len += len;
	out[out_len] = '\0';
}

/* Tell an event; pieces of a message are put together. */
static void
tell(PennyWebsocketResult result, const PennyWebsocketEvent *event)
{
	char word[64];

	if (result == PENNY_WEBSOCKET_DATA)
	{
		if (event->first)
			say(event->binary ? "binary(" : "text(", event->binary ? 7 : 5);
		say(event->data, event->len);
		if (event->final)
			say(") ", 2);
		return;
	}
	snprintf(word, sizeof(word), "%s",
			 result == PENNY_WEBSOCKET_GOT_PING    ? "ping("
			 : result == PENNY_WEBSOCKET_GOT_PONG  ? "pong("
			 : result == PENNY_WEBSOCKET_GOT_CLOSE ? "close("
												   : "error(");
	say(word, strlen(word));
	if (result == PENNY_WEBSOCKET_GOT_CLOSE || result == PENNY_WEBSOCKET_ERROR)
	{
		snprintf(word, sizeof(word), "%d ", event->code);
		say(word, strlen(word));
	}
	if (result != PENNY_WEBSOCKET_ERROR)
		say(event->data, event->len);
	say(") ", 2);
}

/* Feed the input in pieces of a size; out tells what came. */
static const char *
feed(size_t piece)
{
	size_t at = 0;

	penny_websocket_init(&parser, LIMIT);
	out_len = 0;
	out[0] = '\0';
	while (at < input_len)
	{
		size_t len = input_len - at < piece ? input_len - at : piece;
		char *copy = malloc(len);
		size_t done = 0;

		memcpy(copy, input + at, len);
		for (;;)
		{
			PennyWebsocketEvent event;
			size_t used;
			PennyWebsocketResult result =
				penny_websocket_parse(&parser, copy + done, len - done, &used, &event);

			done += used;
			if (result == PENNY_WEBSOCKET_NEED_MORE)
				break;
			tell(result, &event);
		}
		CHECK(done == len);
		free(copy);
		at += len;
	}
	return out;
}

static void
expect(const char *what)
{
	for (size_t piece = 1; piece < 8; piece++)
	{
		bool same = strcmp(feed(piece), what) == 0;

		if (!same)
			printf("# pieces of %zu: %.200s\n", piece, out);
		CHECK_ROW(same, what);
	}
	CHECK_ROW(strcmp(feed(sizeof(input)), what) == 0, what);
}

TEST(messages)
{
	start();
	frame(0x81, "", 0);
	frame(0x81, "Hello", 5);
	frame(0x82, "\x00\xFF", 2);
	feed(100);
	CHECK(out_len == 30 && memcmp(out, "text() text(Hello) binary(\0\xFF) ", 30) == 0);
	start();
	frame(0x01, "", 0);
	frame(0x00, "", 0);
	frame(0x80, "", 0);
	expect("text() ");
	start();
	frame(0x01, "Hel", 3);
	frame(0x89, "p", 1);
	frame(0x00, "lo", 2);
	frame(0x8A, "q", 1);
	frame(0x80, "!", 1);
	frame(0x81, "x", 1);
	expect("text(Helping(p) lopong(q) !) text(x) ");
}

/* 1.1 and 1.2: sizes around the forms of the length. */
TEST(sizes)
{
	static const size_t sizes[] = {0, 1, 125, 126, 127, 128, 65535, 65536, LIMIT};
	static char payload[LIMIT + 1];

	memset(payload, '*', sizeof(payload));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		start();
		frame(0x81, payload, sizes[i]);
		feed(997);
		CHECK(out_len == sizes[i] + 7);
	}
	start();
	frame(0x81, payload, LIMIT + 1);
	CHECK(strcmp(feed(4096), "error(4413 ) ") == 0);
	/* told by the head alone, and for the sum of fragments */
	input_len = 14;
	CHECK(strcmp(feed(100), "error(4413 ) ") == 0);
	start();
	frame(0x01, payload, LIMIT);
	frame(0x80, payload, 1);
	feed(4096);
	CHECK(strcmp(out + out_len - 13, "error(4413 ) ") == 0);
}

/* 2: pings; 4, 3: opcodes and reserved bits; 5: fragmentation. */
TEST(refused)
{
	static const uint8_t opcodes[] = {3, 4, 5, 6, 7, 11, 12, 13, 14, 15};
	char big[126];

	memset(big, 'x', sizeof(big));
	start();
	frame(0x89, big, 125);
	feed(7);
	CHECK(out_len == 132);
	start();
	frame(0x89, big, 126);
	expect("error(1002 ) ");
	for (size_t i = 0; i < sizeof(opcodes); i++)
	{
		start();
		frame(0x80 | opcodes[i], "x", 1);
		expect("error(1002 ) ");
	}
	for (int bit = 0x10; bit <= 0x40; bit <<= 1)
	{
		start();
		frame((uint8_t) (0x81 | bit), "x", 1);
		frame(0x81, "y", 1);
		expect("error(1002 ) ");
	}
	start();
	frame(0x09, "x", 1);
	expect("error(1002 ) ");
	start();
	frame(0x08, "", 0);
	expect("error(1002 ) ");
	start();
	frame(0x80, "x", 1);
	expect("error(1002 ) ");
	start();
	frame(0x01, "x", 1);
	frame(0x81, "y", 1);
	expect("text(xerror(1002 ) ");
	start();
	frame(0x81, "x", 1);
	frame(0x00, "y", 1);
	expect("text(x) error(1002 ) ");
}

TEST(heads)
{
	start();
	raw("\x81\x05Hello", 7); /* not masked */
	expect("error(1002 ) ");
	start();
	raw("\x81\xFE\x00\x05\x00\x00\x00\x00Hello", 13); /* not the shortest length */
	expect("error(1002 ) ");
	start();
	raw("\x81\xFF\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00Hello", 19);
	expect("error(1002 ) ");
	start();
	raw("\x81\xFF\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 14); /* 2^62 */
	expect("error(4413 ) ");
	start();
	raw("\x81\xFF\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 14);
	expect("error(1002 ) ");
	start();
	raw("\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x00\x00\x00\x00", 14);
	expect("error(1002 ) ");
}

/* 6: UTF-8, also over fragments and pieces. */
TEST(text)
{
	start();
	frame(0x81, "\xCE\xBA\xE1\xBD\xB9\xF0\x90\x8D\x88", 9);
	expect("text(\xCE\xBA\xE1\xBD\xB9\xF0\x90\x8D\x88) ");
	start();
	frame(0x01, "\xF0\x90", 2);
	frame(0x80, "\x8D\x88", 2);
	expect("text(\xF0\x90\x8D\x88) ");
	start();
	frame(0x81, "\xF0\x90\x8D", 3); /* ends inside a character */
	feed(100);
	CHECK(strcmp(out, "error(1007 ) ") == 0);
	start();
	frame(0x01, "a\xED\xA0\x80", 4); /* surrogate, told before the message ends */
	feed(100);
	CHECK(strcmp(out, "error(1007 ) ") == 0);
	start();
	frame(0x82, "\xFF\xFE", 2);
	expect("binary(\xFF\xFE) ");
}

/* 7: closing. */
TEST(close)
{
	static const uint16_t good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
									1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
	static const uint16_t bad[] = {0,    999,  1004, 1005, 1006, 1015,
								   1016, 1100, 2000, 2999, 5000, 65535};
	char payload[130];

	start();
	frame(0x88, "", 0);
	frame(0x81, "ignored", 7);
	expect("close(1005 ) ");
	start();
	frame(0x88,
		  "\x03\xE8"
		  "bye",
		  5);
	raw("\xFF\xFF\xFF", 3);
	expect("close(1000 bye) ");
	start();
	frame(0x88, "\x03", 1);
	expect("error(1002 ) ");
	start();
	frame(0x88, "\x03\xE8\xFF", 3);
	expect("error(1007 ) ");
	memset(payload, '*', sizeof(payload));
	payload[0] = 0x03;
	payload[1] = (char) 0xE8;
	start();
	frame(0x88, payload, 126);
	expect("error(1002 ) ");
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		uint8_t code[2] = {(uint8_t) (good[i] >> 8), (uint8_t) good[i]};

		start();
		frame(0x88, code, 2);
		feed(100);
		CHECK(strncmp(out, "close(", 6) == 0 && atoi(out + 6) == good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		uint8_t code[2] = {(uint8_t) (bad[i] >> 8), (uint8_t) bad[i]};

		start();
		frame(0x88, code, 2);
		expect("error(1002 ) ");
	}
}

/* Tiny fragments cannot go on for ever. */
TEST(fragments)
{
	start();
	frame(0x01, "", 0);
	for (int i = 0; i < PENNY_WEBSOCKET_FRAGMENTS; i++)
		frame(0x00, "", 0);
	frame(0x81, "x", 1);
	CHECK(strcmp(feed(4096), "text(error(1008 ) ") == 0);
}

TEST(expecting)
{
	PennyWebsocketEvent event;
	size_t used;

	start();
	frame(0x01, "0123456789", 10);
	penny_websocket_init(&parser, LIMIT);
	CHECK(penny_websocket_parse(&parser, input, 9, &used, &event) == PENNY_WEBSOCKET_DATA);
	CHECK(used == 9 && event.len == 3 && event.expect == 7 && event.first && !event.final);
	CHECK(penny_websocket_parse(&parser, input + 9, 0, &used, &event) == PENNY_WEBSOCKET_NEED_MORE);
	CHECK(penny_websocket_parse(&parser, input + 9, 7, &used, &event) == PENNY_WEBSOCKET_DATA);
	CHECK(event.len == 7 && event.expect == 0 && !event.first && !event.final);
}

TEST(sending)
{
	uint8_t head[PENNY_WEBSOCKET_HEAD_MAX];
	uint8_t whole[PENNY_WEBSOCKET_CONTROL_MAX + 2];
	char reason[200];

	CHECK(penny_websocket_head(head, PENNY_WEBSOCKET_TEXT, 125) == 2 && head[0] == 0x81 &&
		  head[1] == 125);
	CHECK(penny_websocket_head(head, PENNY_WEBSOCKET_TEXT, 126) == 4 && head[1] == 126 &&
		  head[2] == 0 && head[3] == 126);
	CHECK(penny_websocket_head(head, PENNY_WEBSOCKET_PONG, 65535) == 4 && head[0] == 0x8A);
	CHECK(penny_websocket_head(head, PENNY_WEBSOCKET_TEXT, 65536) == 10 && head[1] == 127 &&
		  head[7] == 1 && head[8] == 0 && head[9] == 0);
	CHECK(penny_websocket_close(whole, 4400, "bad", 3) == 7 && memcmp(whole,
																	  "\x88\x05\x11\x30"
																	  "bad",
																	  7) == 0);
	CHECK(penny_websocket_close(whole, 1005, NULL, 0) == 2 && whole[1] == 0);
	memset(reason, 'x', sizeof(reason));
	CHECK(penny_websocket_close(whole, 1000, reason, 200) == 127 && whole[1] == 125);
	reason[122] = (char) 0xC3;
	reason[123] = (char) 0xA4;
	CHECK(penny_websocket_close(whole, 1000, reason, 200) == 126);
}

TEST(utf8)
{
	static const char *const good[] = {"",
									   "a",
									   "\xC2\x80",
									   "\xDF\xBF",
									   "\xE0\xA0\x80",
									   "\xED\x9F\xBF",
									   "\xEE\x80\x80",
									   "\xEF\xBF\xBF",
									   "\xF0\x90\x80\x80",
									   "\xF4\x8F\xBF\xBF",
									   "0123456701234567\xC3\xA4"
									   "0123456701234567"};
	static const char *const bad[] = {"\x80",
									  "\xBF",
									  "\xC0\x80",
									  "\xC1\xBF",
									  "\xC2",
									  "\xC2\x41",
									  "\xE0\x9F\xBF",
									  "\xE0\x80\x80",
									  "\xED\xA0\x80",
									  "\xED\xBF\xBF",
									  "\xE1\x80",
									  "\xF0\x8F\xBF\xBF",
									  "\xF4\x90\x80\x80",
									  "\xF5\x80\x80\x80",
									  "\xF0\x90\x80",
									  "\xFE",
									  "\xFF",
									  "01234567\xFF",
									  "01234567012\xC3"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK_ROW(penny_utf8_valid(good[i], strlen(good[i])), good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_ROW(!penny_utf8_valid(bad[i], strlen(bad[i])), "invalid UTF-8");
	CHECK(penny_utf8_valid("a\0b", 3));
}

int
main(void)
{
	RUN(messages);
	RUN(sizes);
	RUN(refused);
	RUN(heads);
	RUN(text);
	RUN(close);
	RUN(fragments);
	RUN(expecting);
	RUN(sending);
	RUN(utf8);
	return unit_done();
}
