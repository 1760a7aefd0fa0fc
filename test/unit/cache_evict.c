/*-------------------------------------------------------------------------
 *
 * cache_evict.c
 *		Which body goes from the plane's cache: quotas, uses, ghosts, what is dead;
 *		and where the arena's memory comes from.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache_plane.h"

/* Signals that come while memory is given to the arena. */
static int interruptions = 0;

int
fallocate(int fd, int mode, off_t from, off_t len)
{
	if (interruptions > 0)
	{
		interruptions--;
		errno = EINTR;
		return -1;
	}
	return (int) syscall(SYS_fallocate, fd, mode, from, len);
}

TEST(quotas)
{
	PennyCachePut put;
	PennyCacheHit hit;
	PennyCacheKey key;
	int lists = 0;

	start();
	penny_cache_set_quota(&pg, PENNY_CACHE_LIST, 25);
	put_text("models", "m");
	put = a_put(key_of("route"), span("r"));
	put.kind = PENNY_CACHE_ROUTE;
	penny_cache_put(&pg, &put);
	for (unsigned i = 0; i < 20; i++)
	{
		CHECK(put_body(key_number(i), filler(8000, i)) == PENNY_CACHE_KEPT);
		CHECK(usage().kind_bytes[PENNY_CACHE_LIST] <= 64 * 1024);
	}
	CHECK(there("route", "r"));
	for (unsigned i = 0; i < 20; i++)
	{
		key = key_number(i);
		lists += penny_cache_find(&pg, &key, NOW, &hit) == PENNY_CACHE_HIT;
	}
	CHECK(lists == 8);
	penny_cache_set_quota(&pg, PENNY_CACHE_LIST, 10);
	CHECK(usage().kind_bytes[PENNY_CACHE_LIST] <= 25 * 1024);
	CHECK(put_body(key_of("x"), filler(30000, 1)) == PENNY_CACHE_TOO_LARGE);
	penny_cache_set_quota(&pg, PENNY_CACHE_LIST, 0);
	CHECK(usage().kind_bytes[PENNY_CACHE_LIST] == 0 && put_text("y", "y") == PENNY_CACHE_TOO_LARGE);
	CHECK(there("route", "r"));
	stop();
}

/* Dead bodies go before one that was used, whatever queue they are in. */
TEST(dead_first)
{
	PennyCacheToken token = {7, 0};
	PennyCacheHit hit;

	start();
	put_body(key_of("kept"), filler(8000, 99));
	for (unsigned i = 0; i < 15; i++)
	{
		PennyCachePut put = a_put(key_number(i), filler(16000, i));

		put.tokens = 1;
		put.token = &token;
		penny_cache_put(&pg, &put);
		find("kept", &hit);
	}
	penny_stamp_push(&pg, 7, 0, all_finished);
	for (unsigned i = 100; i < 114; i++)
		put_body(key_number(i), filler(16000, i));
	CHECK(find("kept", &hit) == PENNY_CACHE_HIT);
	CHECK(usage().evictions <= 15);
	stop();
}

/* Uses keep a body, those of an edge like those of a backend, each up to three. */
TEST(uses)
{
	PennyCacheHit a, b, c;
	_Atomic uint64_t *hints;
	uint64_t before;

	start();
	put_body(key_of("a"), filler(2000, 1));
	put_body(key_of("b"), filler(2000, 2));
	put_body(key_of("c"), filler(2000, 3));
	find("a", &a);
	find("b", &b);
	find("c", &c);
	hints = penny_cache_hints(&pg, 1);
	for (int i = 0; i < 10; i++)
	{
		penny_cache_used(&pg, &a);
		penny_cache_hint(&edge, &b);
	}
	CHECK((penny_cache_bodies(&pg)[a.body - 1].uses & 3) == 3);
	CHECK((penny_cache_bodies(&pg)[b.body - 1].uses & 3) == 0);
	CHECK((hints[b.body - 1] & 3) == 3 && hints[a.body - 1] == 0);
	before = hints[a.body - 1];
	penny_cache_hint(&edge, &a);
	CHECK(hints[a.body - 1] == before);
	for (unsigned i = 0; i < 40; i++)
		put_body(key_number(i), filler(16000, i + 10));
	CHECK(find("a", &a) == PENNY_CACHE_HIT && find("b", &b) == PENNY_CACHE_HIT);
	CHECK(find("c", &c) == PENNY_CACHE_NO_BODY);
	/* the edge's count was spent once, and it may count again */
	CHECK(penny_cache_bodies(&pg)[b.body - 1].uses >> 2 != hints[b.body - 1] >> 2);
	penny_cache_hint(&edge, &b);
	CHECK((hints[b.body - 1] & 3) == 1);
	stop();
}

/* Who went out not long ago starts in the main queue, and so does an old key's new body. */
TEST(ghosts)
{
	PennyCacheHit hit;

	start();
	put_text("a", "one");
	for (unsigned i = 0; i < 20; i++)
		put_body(key_number(i), filler(16000, i));
	CHECK(find("a", &hit) == PENNY_CACHE_NO_BODY);
	put_text("a", "two");
	CHECK(find("a", &hit) == PENNY_CACHE_HIT &&
		  penny_cache_bodies(&pg)[hit.body - 1].queue == PENNY_QUEUE_MAIN);
	put_text("a", "three");
	CHECK(find("a", &hit) == PENNY_CACHE_HIT &&
		  penny_cache_bodies(&pg)[hit.body - 1].queue == PENNY_QUEUE_MAIN);
	put_text("new", "new");
	CHECK(find("new", &hit) == PENNY_CACHE_HIT &&
		  penny_cache_bodies(&pg)[hit.body - 1].queue == PENNY_QUEUE_SMALL);
	stop();
}

/* The arena has memory when it is used, and not before. */
TEST(memory_when_needed)
{
	PennyPlaneConfig large = small;
	struct stat stat;
	size_t at_start;

	large.cache_chunks = 65536;
	start_as(&large);
	CHECK(fstat(pg.p_fd, &stat) == 0 && (size_t) stat.st_size > (64 << 20));
	at_start = (size_t) stat.st_blocks * 512;
	CHECK(at_start < (2 << 20));
	for (unsigned i = 0; i < 20; i++)
		put_body(key_number(i), filler(60000, i));
	CHECK(fstat(pg.p_fd, &stat) == 0);
	CHECK((size_t) stat.st_blocks * 512 >= at_start + 20 * 60000);
	CHECK((size_t) stat.st_blocks * 512 <= at_start + 20 * 60000 + (1 << 20));
	stop();
}

/* Memory of the arena that is not to be had makes it smaller, and nothing else. */
TEST(no_memory)
{
	int fd;

	start();
	for (unsigned i = 0; i < 4; i++)
		put_body(key_number(i), filler(16000, i));
	fd = pg.p_fd;
	pg.p_fd = -1;
	penny_cache_header(&pg)->chunks_ready = penny_cache_header(&pg)->chunks_used + 8;
	for (unsigned i = 0; i < 20; i++)
		CHECK(put_body(key_number(i), filler(16000, i + 50)) == PENNY_CACHE_KEPT);
	CHECK(put_body(key_of("x"), filler(64 * 1024, 1)) == PENNY_CACHE_KEPT);
	CHECK(penny_cache_header(&pg)->chunks_used <= 72 && usage().bytes <= 72 * 1024);
	pg.p_fd = fd;
	stop();
}

/* A signal is no shortage: the arena stays as large as it is. */
TEST(interrupted)
{
	interruptions = 3;
	start();
	CHECK(interruptions == 0);
	interruptions = 3;
	CHECK(put_text("a", "a") == PENNY_CACHE_KEPT && there("a", "a") && interruptions == 0);
	CHECK(penny_cache_header(&pg)->chunks_limit == small.cache_chunks);
	stop();

	start();
	interruptions = 1000;
	CHECK(put_text("a", "a") == PENNY_CACHE_TOO_LARGE && interruptions > 0);
	interruptions = 0;
	CHECK(put_text("a", "a") == PENNY_CACHE_KEPT && there("a", "a"));
	CHECK(penny_cache_header(&pg)->chunks_limit == small.cache_chunks);
	stop();
}

int
main(void)
{
	RUN(quotas);
	RUN(dead_first);
	RUN(uses);
	RUN(ghosts);
	RUN(memory_when_needed);
	RUN(interrupted);
	RUN(no_memory);
	return unit_done();
}
