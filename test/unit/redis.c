/*-------------------------------------------------------------------------
 *
 * redis.c
 *		The plain parts of redis: URLs, replies, envelopes, the breaker, the
 *		ring that many fill.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

#include "redis/breaker.h"
#include "redis/envelope.h"
#include "redis/ring.h"
#include "redis/url.h"
#include "redis/wire.h"

/* ---- URLs ------------------------------------------------------------------ */

TEST(urls)
{
	static const struct
	{
		const char *text;
		bool local;
		const char *host;
		int port;
		unsigned db;
		const char *user;
		const char *password;
	} good[] = {
		{"redis://localhost", false, "localhost", 6379, 0, "", ""},
		{"redis://localhost/", false, "localhost", 6379, 0, "", ""},
		{"redis://10.0.0.1:7000/3", false, "10.0.0.1", 7000, 3, "", ""},
		{"redis://[::1]:6380/15", false, "::1", 6380, 15, "", ""},
		{"redis://:secret@h", false, "h", 6379, 0, "", "secret"},
		{"redis://ada:p%40ss%2Fw@h:1/2", false, "h", 1, 2, "ada", "p@ss/w"},
		{"redis://ada:a@b@h", false, "h", 6379, 0, "ada", "a@b"},
		{"unix:///run/redis.sock", true, "/run/redis.sock", 0, 0, "", ""},
		{"unix:///run/redis.sock?db=7", true, "/run/redis.sock", 0, 7, "", ""},
		{"unix://:pw@/run/r%20s", true, "/run/r s", 0, 0, "", "pw"},
	};
	PennyRedisUrl url;
	const char *hint;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		CHECK_ROW(penny_redis_url_parse(good[i].text, &url, &hint) == NULL, good[i].text);
		CHECK_ROW(hint == NULL && url.local == good[i].local && url.port == good[i].port &&
					  url.db == good[i].db && strcmp(url.host, good[i].host) == 0 &&
					  strcmp(url.user, good[i].user) == 0 &&
					  strcmp(url.password, good[i].password) == 0,
				  good[i].text);
	}
}

TEST(bad_urls)
{
	static const char *const bad[] = {
		"",
		"localhost:6379",
		"http://localhost",
		"redis:/localhost",
		"redis://",
		"redis://:6379",
		"redis://h:0",
		"redis://h:65536",
		"redis://h:6379x",
		"redis://h:",
		"redis://h/x",
		"redis://h/-1",
		"redis://h/65536",
		"redis://h/1/2",
		"redis://h?db=1",
		"redis://user@h",
		"redis://[::1",
		"redis://[]",
		"redis://[::1]x",
		"redis://h h",
		"redis://h%0",
		"redis://h%zz",
		"redis://h%00",
		"redis://h\n",
		"redis://h:99999999999999999999",
		"unix://run/redis.sock",
		"unix://",
		"unix:///run/s?db=",
		"unix:///run/s?x=1",
		"unix:///run/s?db=1&x",
		"unix:///run/%00",
	};
	char text[2048];
	PennyRedisUrl url;
	const char *hint;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_ROW(penny_redis_url_parse(bad[i], &url, &hint) != NULL && hint != NULL, bad[i]);

	CHECK(strstr(penny_redis_url_parse("rediss://h", &url, &hint), "TLS") != NULL);
	CHECK(hint != NULL && strstr(hint, "stunnel") != NULL);

	/* nothing is cut off in silence */
	memset(text, 'a', sizeof(text));
	memcpy(text, "redis://", 8);
	text[8 + 300] = '\0';
	CHECK(penny_redis_url_parse(text, &url, &hint) != NULL);
	memcpy(text, "unix:///", 8);
	text[7 + 107] = '\0';
	CHECK(penny_redis_url_parse(text, &url, &hint) == NULL && strlen(url.host) == 107);
	text[7 + 107] = 'a';
	text[7 + 108] = '\0';
	CHECK(penny_redis_url_parse(text, &url, &hint) != NULL);
}

/* ---- replies ----------------------------------------------------------------- */

/* Feed a text in pieces of n bytes; the first reply, or NULL. */
static PennyReply *
reply_of(PennyWire *wire, const char *text, size_t len, size_t n)
{
	PennyReply *reply = NULL;

	for (size_t at = 0; at < len; at += n)
	{
		size_t more = len - at < n ? len - at : n;

		CHECK(reply == NULL);
		if (penny_wire_feed(wire, text + at, more) == PENNY_WIRE_LOST ||
			penny_wire_reply(wire, &reply) == PENNY_WIRE_LOST)
			return NULL;
	}
	return reply;
}

TEST(replies)
{
	static const char scan[] = "*2\r\n$2\r\n17\r\n*3\r\n$1\r\na\r\n$-1\r\n:-5\r\n";

	for (size_t n = 1; n < sizeof(scan); n++)
	{
		PennyWire wire;
		PennyReply *reply;

		penny_wire_init(&wire, 1000);
		reply = reply_of(&wire, scan, sizeof(scan) - 1, n);
		CHECK(reply != NULL && reply->type == PENNY_REPLY_ARRAY && reply->len == 2);
		if (reply != NULL)
		{
			CHECK(reply->element[0]->type == PENNY_REPLY_STRING &&
				  strcmp(reply->element[0]->text, "17") == 0);
			CHECK(reply->element[1]->len == 3 &&
				  reply->element[1]->element[1]->type == PENNY_REPLY_NIL &&
				  reply->element[1]->element[2]->integer == -5);
		}
		penny_reply_free(reply);
		reply = reply_of(&wire, "-ERR no\r\n", 9, n);
		CHECK(reply != NULL && reply->type == PENNY_REPLY_ERROR &&
			  strcmp(reply->text, "ERR no") == 0);
		penny_reply_free(reply);
		reply = reply_of(&wire, "$4\r\na\0\r\n\r\n", 10, n);
		CHECK(reply != NULL && reply->len == 4 && memcmp(reply->text, "a\0\r\n", 5) == 0);
		penny_reply_free(reply);
		penny_wire_close(&wire);
	}
}

TEST(broken_replies)
{
	static const char *const bad[] = {
		"hello\r\n",
		"*2147483647\r\n",
		"*16385\r\n",
		":x\r\n",
		"*x\r\n",
		"$x\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
		"*3\r\n$1\r\na\r\n*2\r\n:1\r\n?\r\n",
		"HTTP/1.1 400 Bad Request\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		PennyWire wire;
		PennyReply *reply;

		penny_wire_init(&wire, 100000);
		CHECK_ROW(reply_of(&wire, bad[i], strlen(bad[i]), 3) == NULL, bad[i]);
		CHECK_ROW(penny_wire_reply(&wire, &reply) == PENNY_WIRE_LOST, bad[i]);
		CHECK_ROW(wire.why[0] != '\0', bad[i]);
		penny_wire_close(&wire);
		/* usable again */
		reply = reply_of(&wire, "+OK\r\n", 5, 5);
		CHECK_ROW(reply != NULL && reply->type == PENNY_REPLY_STATUS, bad[i]);
		penny_reply_free(reply);
		penny_wire_close(&wire);
	}
}

TEST(limits_of_replies)
{
	PennyWire wire;
	PennyReply *reply;
	char bytes[200];

	memset(bytes, 'x', sizeof(bytes));
	penny_wire_init(&wire, 1000);
	CHECK(penny_wire_feed(&wire, "$100000\r\n", 9) == PENNY_WIRE_DONE);
	for (int i = 0; i < 4; i++)
		CHECK(penny_wire_feed(&wire, bytes, sizeof(bytes)) == PENNY_WIRE_DONE &&
			  penny_wire_reply(&wire, &reply) == PENNY_WIRE_AGAIN);
	CHECK(penny_wire_feed(&wire, bytes, sizeof(bytes)) == PENNY_WIRE_LOST);
	CHECK(strstr(wire.why, "1000 bytes") != NULL);
	penny_wire_close(&wire);

	/* many small ones in one array are bounded, too, though each is taken from the buffer */
	CHECK(penny_wire_feed(&wire, "*16000\r\n", 8) == PENNY_WIRE_DONE);
	for (int i = 0; i < 16000; i++)
	{
		if (penny_wire_feed(&wire, "$100\r\n", 6) == PENNY_WIRE_LOST ||
			penny_wire_feed(&wire, bytes, 100) == PENNY_WIRE_LOST ||
			penny_wire_feed(&wire, "\r\n", 2) == PENNY_WIRE_LOST ||
			penny_wire_reply(&wire, &reply) != PENNY_WIRE_AGAIN)
			break;
	}
	CHECK(wire.broken);
	penny_wire_close(&wire);
}

/* A socket whose other end is ours. */
static int
wire_with_peer(PennyWire *wire)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0)
	{
		printf("Bail out! socketpair\n");
		exit(1);
	}
	penny_wire_init(wire, 1000000);
	wire->fd = pair[0];
	return pair[1];
}

TEST(socket)
{
	const char *argv[3] = {"SET", "a", "1\r\n2"};
	size_t len[3] = {3, 1, 4};
	static const char expected[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n1\r\n2\r\n";
	PennyWire wire;
	PennyReply *reply;
	char got[200];
	int peer = wire_with_peer(&wire);

	CHECK(penny_wire_command(&wire, 3, argv, len) && penny_wire_unsent(&wire) > 0);
	CHECK(penny_wire_send(&wire) == PENNY_WIRE_DONE && penny_wire_unsent(&wire) == 0);
	CHECK(read(peer, got, sizeof(got)) == sizeof(expected) - 1 &&
		  memcmp(got, expected, sizeof(expected) - 1) == 0);
	CHECK(penny_wire_receive(&wire) == PENNY_WIRE_AGAIN);
	CHECK(write(peer, "+O", 2) == 2 && penny_wire_receive(&wire) == PENNY_WIRE_DONE);
	CHECK(penny_wire_reply(&wire, &reply) == PENNY_WIRE_AGAIN);
	CHECK(write(peer, "K\r\n:1\r\n", 7) == 7 && penny_wire_receive(&wire) == PENNY_WIRE_DONE);
	CHECK(penny_wire_reply(&wire, &reply) == PENNY_WIRE_DONE && reply->type == PENNY_REPLY_STATUS);
	penny_reply_free(reply);
	CHECK(penny_wire_reply(&wire, &reply) == PENNY_WIRE_DONE && reply->integer == 1);
	penny_reply_free(reply);
	CHECK(penny_wire_reply(&wire, &reply) == PENNY_WIRE_AGAIN);
	CHECK(write(peer, "$5\r\nab", 6) == 6);
	close(peer);
	CHECK(penny_wire_receive(&wire) == PENNY_WIRE_DONE);
	CHECK(penny_wire_reply(&wire, &reply) == PENNY_WIRE_AGAIN);
	CHECK(penny_wire_receive(&wire) == PENNY_WIRE_LOST);
	CHECK(penny_wire_command(&wire, 3, argv, len));
	CHECK(penny_wire_send(&wire) == PENNY_WIRE_LOST);
	penny_wire_close(&wire);
}

/* Who does not read stops us without blocking us, and nothing is lost or sent twice. */
TEST(full_socket)
{
	static char big[100000];
	const char *argv[2] = {"ECHO", big};
	size_t len[2] = {4, sizeof(big)};
	static char sink[65536];
	size_t wanted, received = 0;
	PennyWire wire;
	int peer = wire_with_peer(&wire);
	ssize_t n;

	memset(big, 'b', sizeof(big));
	for (int i = 0; i < 20; i++)
		CHECK(penny_wire_command(&wire, 2, argv, len));
	wanted = penny_wire_unsent(&wire);
	CHECK(penny_wire_send(&wire) == PENNY_WIRE_AGAIN);
	for (int turns = 0; received < wanted && turns < 10000; turns++)
	{
		if (turns == 5)
		{
			CHECK(penny_wire_command(&wire, 2, argv, len));
			wanted += wanted / 20;
		}
		while ((n = read(peer, sink, sizeof(sink))) > 0)
			received += (size_t) n;
		CHECK(penny_wire_send(&wire) != PENNY_WIRE_LOST);
	}
	CHECK(received == wanted && penny_wire_unsent(&wire) == 0);
	close(peer);
	penny_wire_close(&wire);
}

/* ---- envelopes ------------------------------------------------------------------ */

TEST(envelopes)
{
	static const char body[] = "{\"id\":1}";
	char value[PENNY_ENVELOPE_MAX + 100];
	PennyEnvelope out = {.token = 0x0123456789abcdefu, .hash = {1, UINT64_MAX}};
	PennyEnvelope in;

	for (size_t head = 0; head <= PENNY_ENVELOPE_HEAD_MAX; head += 341)
	{
		size_t body_len = 0;
		size_t len;

		out.head_len = head;
		memset(out.head, 0, sizeof(out.head));
		for (size_t i = 0; i < head; i++)
			out.head[i] = (char) i;
		for (int i = 0; i < PENNY_MAC_LEN; i++)
			out.mac[i] = (uint8_t) (i * 7);
		memcpy(value, body, sizeof(body) - 2);
		len = sizeof(body) - 2 + penny_envelope_write(&out, value + sizeof(body) - 2);
		CHECK(len == sizeof(body) - 2 + PENNY_ENVELOPE_FIXED + 2 * head);
		CHECK(penny_envelope_read(value, len, &in, &body_len));
		CHECK(body_len == sizeof(body) - 2);
		CHECK(memcmp(&in, &out, sizeof(in)) == 0);

		/* cut anywhere, it is none; changed anywhere, it is none or another */
		for (size_t cut = 0; cut < len; cut++)
			CHECK(!penny_envelope_read(value, cut, &in, &body_len));
		for (size_t at = body_len; at < len; at++)
		{
			char old = value[at];

			value[at] ^= 1;
			CHECK(!penny_envelope_read(value, len, &in, &body_len) ||
				  memcmp(&in, &out, sizeof(in)) != 0);
			value[at] = old;
		}
	}
	CHECK(penny_envelope_fits("{\"a\":1}", 7, 0));
	CHECK(!penny_envelope_fits("{}", 2, 0));
	CHECK(!penny_envelope_fits("[1,2]", 5, 0));
	CHECK(!penny_envelope_fits("{\"a\":1} ", 8, 0));
	CHECK(!penny_envelope_fits("{\"a\":1}", 7, PENNY_ENVELOPE_HEAD_MAX + 1));
}

/* ---- the breaker ----------------------------------------------------------------- */

TEST(breaker)
{
	PennyBreaker breaker;
	int64_t now = 1000;
	int64_t last = 0;

	penny_breaker_init(&breaker);
	CHECK(atomic_load(&breaker.state) == PENNY_BREAKER_OPEN);
	CHECK(penny_breaker_probe(&breaker, now));
	penny_breaker_probed(&breaker, true, now, 0);
	CHECK(atomic_load(&breaker.state) == PENNY_BREAKER_CLOSED);

	for (int i = 0; i < 4; i++)
		CHECK(!penny_breaker_bad(&breaker, now, 7));
	penny_breaker_good(&breaker, 100, 20000, now, 7);
	for (int i = 0; i < 4; i++)
		CHECK(!penny_breaker_bad(&breaker, now, 7));
	CHECK(penny_breaker_bad(&breaker, now, 7)); /* the fifth in a row */
	CHECK(!penny_breaker_bad(&breaker, now, 7) && breaker.opened == 1);

	/* pauses of 0.2 to 5 s, whatever the jitter, growing */
	for (int i = 0; i < 12; i++)
	{
		int64_t pause = breaker.retry_at - now;

		CHECK(pause >= PENNY_BREAKER_PAUSE_MIN && pause <= PENNY_BREAKER_PAUSE_MAX);
		CHECK(i >= 5 || pause > last);
		last = pause;
		CHECK(!penny_breaker_probe(&breaker, breaker.retry_at - 1));
		now = breaker.retry_at;
		CHECK(penny_breaker_probe(&breaker, now));
		CHECK(atomic_load(&breaker.state) == PENNY_BREAKER_HALF_OPEN);
		/* readers that began before change nothing */
		penny_breaker_good(&breaker, 1, 20000, now, 0);
		penny_breaker_bad(&breaker, now, 0);
		CHECK(atomic_load(&breaker.state) == PENNY_BREAKER_HALF_OPEN);
		penny_breaker_probed(&breaker, false, now, i % 2 ? 0 : UINT64_MAX);
	}
	penny_breaker_reset(&breaker);
	CHECK(penny_breaker_probe(&breaker, now));
	penny_breaker_probed(&breaker, true, now, 0);
	CHECK(atomic_load(&breaker.state) == PENNY_BREAKER_CLOSED);
}

TEST(slow_server)
{
	PennyBreaker breaker;

	penny_breaker_init(&breaker);
	penny_breaker_probe(&breaker, 0);
	penny_breaker_probed(&breaker, true, 0, 0);
	/* one of a hundred may be slow, for ever */
	for (int i = 0; i < 10000; i++)
		CHECK(!penny_breaker_good(&breaker, i % 100 == 0 ? 15000 : 100, 20000, 0, 0));
	CHECK(!penny_breaker_good(&breaker, 15000, 20000, 0, 0));
	CHECK(penny_breaker_good(&breaker, 15000, 20000, 0, 0)); /* two may not */
	CHECK(atomic_load(&breaker.state) == PENNY_BREAKER_OPEN);
}

/* ---- the ring --------------------------------------------------------------------- */

#define WRITERS 4
#define EACH 50000
#define PLACES 64

static PennyRing *ring;

static void *
write_items(void *arg)
{
	uint64_t writer = (uint64_t) (uintptr_t) arg;

	for (uint64_t i = 0; i < EACH;)
	{
		uint64_t item[3];
		uint32_t n = 1 + (uint32_t) (i % 3);

		if (i + n > EACH)
			n = 1;
		if (!penny_ring_claim(ring, n))
		{
			sched_yield();
			continue;
		}
		if (i % 7 == 0) /* an aborted transaction */
		{
			penny_ring_unclaim(ring, n);
			while (!penny_ring_claim(ring, n))
				sched_yield();
		}
		for (uint32_t j = 0; j < n; j++)
			item[j] = writer << 32 | (i + j);
		penny_ring_publish(ring, item, n);
		i += n;
	}
	return NULL;
}

TEST(ring_of_many)
{
	pthread_t thread[WRITERS];
	uint64_t next[WRITERS] = {0};
	uint64_t taken = 0;
	uint64_t item;

	ring = aligned_alloc(PENNY_CACHE_LINE, (penny_ring_size(PLACES, 8) + PENNY_CACHE_LINE) /
											   PENNY_CACHE_LINE * PENNY_CACHE_LINE);
	penny_ring_init(ring, PLACES, 8);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&thread[i], NULL, write_items, (void *) i);
	while (taken < (uint64_t) WRITERS * EACH)
	{
		uint64_t writer;

		if (!penny_ring_take(ring, &item))
		{
			sched_yield();
			continue;
		}
		writer = item >> 32;
		/* everything once, and in each writer's order */
		if (writer >= WRITERS || (item & UINT32_MAX) != next[writer])
		{
			CHECK(!"lost, twice, or out of order");
			break;
		}
		next[writer]++;
		taken++;
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	CHECK(penny_ring_claimed(ring) == 0 && !penny_ring_waits(ring));

	/* full is full, and what waits long holds nobody up */
	CHECK(penny_ring_claim(ring, PLACES - 1) && penny_ring_claim(ring, 1));
	CHECK(!penny_ring_claim(ring, 1));
	item = 5;
	penny_ring_publish(ring, &item, 1);
	CHECK(penny_ring_take(ring, &item) && item == 5 && !penny_ring_take(ring, &item));
	CHECK(penny_ring_claim(ring, 1) && !penny_ring_claim(ring, 1));
	free(ring);
}

int
main(void)
{
	RUN(urls);
	RUN(bad_urls);
	RUN(replies);
	RUN(broken_replies);
	RUN(limits_of_replies);
	RUN(socket);
	RUN(full_socket);
	RUN(envelopes);
	RUN(breaker);
	RUN(slow_server);
	RUN(ring_of_many);
	return unit_done();
}
