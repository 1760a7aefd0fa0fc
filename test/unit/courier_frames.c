/*-------------------------------------------------------------------------
 *
 * courier_frames.c
 *		What a worker and its penny-courier say to each other: requests, answers,
 *		streams of them, whole and broken.
 *
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

#include "plane/courier_stream.h"

#define TEXT(literal)                  \
	{                                  \
		(literal), sizeof(literal) - 1 \
	}

static bool
same(PennyCourierText a, PennyCourierText b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

TEST(payloads)
{
	PennyCourierSettings settings = {
		.requests = 5, .log_level = 2, .allow = TEXT("a, b"), .resolver = TEXT("127.0.0.1:53")};
	PennyCourierSettings settings2;
	PennyCourierRequest request = {.timeout = 1000,
								   .response_max = 10,
								   .url = TEXT("http://a/"),
								   .headers = TEXT("A: b\0C-d: e f\0"),
								   .body = TEXT("{\"x\":1}\0y")};
	PennyCourierRequest request2;
	PennyCourierAnswer answer = {.outcome = PENNY_COURIER_ANSWERED,
								 .status = 200,
								 .retry_after = 7,
								 .elapsed = 3,
								 .truncated = true,
								 .type = TEXT("text/plain"),
								 .body = TEXT("body")};
	PennyCourierAnswer answer2;
	char payload[512];

	penny_courier_settings_write(&settings, payload);
	CHECK(penny_courier_settings_read(payload, penny_courier_settings_size(&settings), &settings2));
	CHECK(settings2.requests == 5 && settings2.log_level == 2 &&
		  same(settings.allow, settings2.allow) && settings2.ca_file.len == 0 &&
		  same(settings.resolver, settings2.resolver));
	settings.requests = PENNY_COURIER_REQUESTS_MAX + 1;
	penny_courier_settings_write(&settings, payload);
	CHECK(
		!penny_courier_settings_read(payload, penny_courier_settings_size(&settings), &settings2));

	penny_courier_request_write(&request, payload);
	CHECK(penny_courier_request_read(payload, penny_courier_request_size(&request), &request2));
	CHECK(request2.timeout == 1000 && request2.response_max == 10 &&
		  same(request.url, request2.url) && same(request.headers, request2.headers) &&
		  same(request.body, request2.body));
	CHECK(
		!penny_courier_request_read(payload, penny_courier_request_size(&request) - 1, &request2));
	CHECK(
		!penny_courier_request_read(payload, penny_courier_request_size(&request) + 1, &request2));

	penny_courier_answer_write(&answer, payload);
	CHECK(penny_courier_answer_read(payload, penny_courier_answer_size(&answer), &answer2));
	CHECK(answer2.status == 200 && answer2.retry_after == 7 && answer2.elapsed == 3 &&
		  answer2.truncated && same(answer.type, answer2.type) && same(answer.body, answer2.body));
	/* a response has a status, a failure a reason and no response */
	answer.status = 0;
	penny_courier_answer_write(&answer, payload);
	CHECK(!penny_courier_answer_read(payload, penny_courier_answer_size(&answer), &answer2));
	answer.outcome = PENNY_COURIER_BROKEN;
	penny_courier_answer_write(&answer, payload);
	CHECK(!penny_courier_answer_read(payload, penny_courier_answer_size(&answer), &answer2));
	answer = (PennyCourierAnswer){.outcome = PENNY_COURIER_BROKEN, .error = TEXT("why")};
	penny_courier_answer_write(&answer, payload);
	CHECK(penny_courier_answer_read(payload, penny_courier_answer_size(&answer), &answer2));
	answer.outcome = PENNY_COURIER_LOST;
	penny_courier_answer_write(&answer, payload);
	CHECK(!penny_courier_answer_read(payload, penny_courier_answer_size(&answer), &answer2));
}

TEST(request_headers)
{
	static const struct
	{
		const char *headers;
		size_t len;
		bool valid;
	} table[] = {
		{"", 0, true},
		{"A: b", 5, true},
		{"A: b\0B: c", 10, true},
		{"A: b", 4, false},   /* not terminated */
		{"A:b", 4, false},    /* no space */
		{"A: ", 4, false},    /* empty */
		{"A:  b", 6, false},  /* two spaces */
		{": b", 4, false},    /* no name */
		{"A b: c", 7, false}, /* not a token */
		{"A;", 3, false},     /* libcurl's way to an empty one */
		{"A: b\r\nX: y", 11, false},
		{"A: b\n", 6, false},
		{"A: \xc3\xa4", 6, false},
		{"Host: x", 8, false},
		{"hOST: x", 8, false},
		{"Content-Length: 3", 18, false},
		{"Transfer-Encoding: chunked", 27, false},
		{"Connection: close", 18, false},
		{"Expect: 100-continue", 21, false},
		{"Upgrade: h2c", 13, false},
		{"Accept-Encoding: gzip", 22, false},
		{"Hostess: x", 11, true},
	};
	char many[33 * 5];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		CHECK_ROW(penny_courier_headers_valid(table[i].headers, table[i].len) == table[i].valid,
				  table[i].headers);
	for (int i = 0; i < 33; i++)
		memcpy(many + i * 5, "A: b", 5);
	CHECK(penny_courier_headers_valid(many, 32 * 5));
	CHECK(!penny_courier_headers_valid(many, 33 * 5));
}

TEST(streams)
{
	PennyCourierStream a;
	PennyCourierStream b;
	PennyCourierFrame frame;
	int fds[2];
	int got = 0;
	bool whole = true;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	penny_courier_stream_init(&a, fds[0]);
	penny_courier_stream_init(&b, fds[1]);
	/* more than the socket holds, sizes from nothing to the largest */
	for (int i = 0; i < 40; i++)
	{
		size_t len = i == 20 ? PENNY_COURIER_PAYLOAD_MAX : (size_t) (i * i * 97);
		char *payload = penny_courier_stream_push(&a, PENNY_COURIER_REQUEST, (uint64_t) i, len);

		CHECK(payload != NULL);
		memset(payload, i, len);
	}
	CHECK(penny_courier_stream_push(&a, PENNY_COURIER_REQUEST, 1, PENNY_COURIER_PAYLOAD_MAX + 1) ==
		  NULL);
	for (int turn = 0; turn < 10000 && got < 40; turn++)
	{
		penny_courier_stream_flush(&a);
		penny_courier_stream_fill(&b);
		while (penny_courier_stream_next(&b, &frame))
		{
			size_t len = got == 20 ? PENNY_COURIER_PAYLOAD_MAX : (size_t) (got * got * 97);

			whole = whole && frame.ticket == (uint64_t) got && frame.len == len &&
					frame.kind == PENNY_COURIER_REQUEST;
			for (size_t i = 0; whole && i < frame.len; i++)
				whole = frame.payload[i] == (char) got;
			got++;
		}
	}
	CHECK(got == 40 && whole && penny_courier_stream_waiting(&a) == 0);
	CHECK(a.out_size <= 65536 && b.in_size <= 65536); /* memory is given back */

	/* what came before the end is still there */
	CHECK(penny_courier_stream_push(&a, PENNY_COURIER_DRAIN, 0, 0) != NULL);
	penny_courier_stream_flush(&a);
	penny_courier_stream_close(&a);
	penny_courier_stream_fill(&b);
	penny_courier_stream_fill(&b);
	CHECK(b.ended && penny_courier_stream_next(&b, &frame) && frame.kind == PENNY_COURIER_DRAIN);
	CHECK(!penny_courier_stream_next(&b, &frame) && !b.broken);
	penny_courier_stream_close(&b);
}

TEST(broken_streams)
{
	static const PennyCourierHeader bad[] = {{.len = 0, .kind = 0},
											 {.len = 0, .kind = 5},
											 {.len = 0, .kind = 18},
											 {.len = 0, .kind = 0x10002},
											 {.len = PENNY_COURIER_PAYLOAD_MAX + 1, .kind = 2},
											 {.len = UINT32_MAX, .kind = 2}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		PennyCourierStream stream;
		PennyCourierFrame frame;
		int fds[2];

		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
		penny_courier_stream_init(&stream, fds[0]);
		CHECK(write(fds[1], &bad[i], sizeof(bad[i])) == sizeof(bad[i]));
		penny_courier_stream_fill(&stream);
		CHECK(!penny_courier_stream_next(&stream, &frame) && stream.broken);
		penny_courier_stream_close(&stream);
		close(fds[1]);
	}
}

int
main(void)
{
	RUN(payloads);
	RUN(request_headers);
	RUN(streams);
	RUN(broken_streams);
	return unit_done();
}
