/*-------------------------------------------------------------------------
 *
 * cache_key.c
 *		Keys of the plane's cache, and its stamps against a model.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_plane.h"

/* Vectors of the authors' reference: key 00 .. 0f, message 00 01 02 ... */
TEST(siphash)
{
	static const struct
	{
		size_t len;
		const char *hash;
	} vector[] = {
		{0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
		{15, "5493e99933b0a8117e08ec0f97cfc3d9"}, {16, "6ee2a4ca67b054bbfd3315bf85230577"},
		{63, "5150d1772f50834a503e069a973fbd7c"},
	};
	unsigned char bytes[64];
	uint64_t secret[2];

	for (int i = 0; i < 64; i++)
		bytes[i] = (unsigned char) i;
	memcpy(secret, bytes, sizeof(secret));
	for (size_t i = 0; i < sizeof(vector) / sizeof(vector[0]); i++)
	{
		PennyCacheKey key;
		char text[33];

		penny_siphash(secret, bytes, vector[i].len, &key);
		for (int b = 0; b < 16; b++)
			snprintf(text + (size_t) b * 2, 3, "%02x", ((unsigned char *) &key)[b]);
		CHECK_ROW(strcmp(text, vector[i].hash) == 0, text);
	}
}

TEST(keys)
{
	static const struct
	{
		const char *path[2];
		const char *query[2];
		bool same;
	} row[] = {
		{{"/a/b", "/a/b"}, {"", ""}, true},
		{{"/a/b", "/%61/b"}, {"", ""}, true},
		{{"/a/b", "/a%2Fb"}, {"", ""}, false},
		{{"/x/p%2Fq/r", "/x/p/q%2Fr"}, {"", ""}, false},
		{{"/a", "/a/"}, {"", ""}, false},
		{{"/a+b", "/a%20b"}, {"", ""}, false},
		{{"/a", "/a"}, {"x=1&y=2", "y=2&x=1"}, true},
		{{"/a", "/a"}, {"x=1&x=2", "x=2&x=1"}, false},
		{{"/a", "/a"}, {"x=1&ab=0&x=2", "ab=0&x=1&x=2"}, true},
		{{"/a", "/a"}, {"x=a+b", "%78=a%20b"}, true},
		{{"/a", "/a"}, {"x", "x="}, true},
		{{"/a", "/a"}, {"x=1&access_token=t", "access%5ftoken=u&x=1"}, true},
		{{"/a", "/a"}, {"x=1%26y=2", "x=1&y=2"}, false},
		{{"/a", "/a"}, {"xy=", "x=y"}, false},
		/* between two "&" is no parameter; "=" is one without a name */
		{{"/a", "/a"}, {"&", "="}, false},
		{{"/a", "/a"}, {"&x=1&&y=2&", "y=2&x=1"}, true},
	};
	PennySpan part[2] = {span("ab"), span("c")};
	PennyCacheKey one, two;
	char query[65 * 4 + 1];

	start();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
	{
		CHECK(http_key("GET user /r", row[i].path[0], row[i].query[0], &one));
		CHECK(http_key("GET user /r", row[i].path[1], row[i].query[1], &two));
		CHECK_ROW((memcmp(&one, &two, sizeof(one)) == 0) == row[i].same, row[i].path[1]);
	}
	CHECK(http_key("GET user /s", "/a", "", &one) && http_key("GET user /r", "/a", "", &two));
	CHECK(memcmp(&one, &two, sizeof(one)) != 0);
	CHECK(penny_cache_http_key(&pg, span("GET user /s"), span("/a"), span(""), span("you"), &two));
	CHECK(memcmp(&one, &two, sizeof(one)) != 0);
	CHECK(!http_key("r", "/%", "", &one) && !http_key("r", "/%4", "", &one) &&
		  !http_key("r", "/%zz", "", &one) && !http_key("r", "/a%00", "", &one) &&
		  !http_key("r", "/a", "x=%", &one));
	memset(out, 'a', PENNY_CACHE_KEY_MAX);
	out[PENNY_CACHE_KEY_MAX] = '\0';
	CHECK(!http_key("r", "/a", out, &one));
	out[PENNY_CACHE_KEY_MAX - 5] = '\0';
	CHECK(http_key("r", "/a", out, &one));
	for (int i = 0; i < 65; i++)
		memcpy(query + (size_t) i * 4, "x=1&", 4);
	query[65 * 4 - 1] = '\0';
	CHECK(!http_key("r", "/a", query, &one));
	query[64 * 4 - 1] = '\0';
	CHECK(http_key("r", "/a", query, &one));

	penny_cache_key(&pg, part, 2, &one);
	part[0] = span("a"), part[1] = span("bc");
	penny_cache_key(&pg, part, 2, &two);
	CHECK(memcmp(&one, &two, sizeof(one)) != 0);
	stop();
}

/* ---- stamps against a model ---------------------------------------------- */

#define XIDS 40

static bool done[XIDS + 1];

static bool
is_done(uint64_t xid)
{
	return done[xid];
}

/*
 * Whatever pushes come: a pusher that is not finished is in the ring, or the
 * ring says that it has overflowed and maxxid is not below the pusher.
 */
TEST(stamps)
{
	uint64_t random = 42;
	int overflows = 0;

	for (int run = 0; run < 2000; run++)
	{
		bool pushed[XIDS + 1] = {false};
		uint64_t pushes = 0;
		PennyStampView view;

		if (run % 100 == 0)
		{
			if (run > 0)
				stop();
			start();
		}
		memset(done, 0, sizeof(done));
		for (int step = 0; step < 30; step++)
		{
			uint64_t xid = unit_random(&random) % XIDS + 1;
			uint32_t slot = (uint32_t) (run % 100) + 5;
			uint64_t seq = penny_stamp_seq(&pg, slot);

			switch (unit_random(&random) % 4)
			{
				case 0:
					done[xid] = true;
					continue;
				case 1:
					xid = 0;
					break;
				default:
					if (done[xid])
						continue;
			}
			penny_stamp_push(&pg, slot, xid, is_done);
			pushed[xid] = true;
			pushes++;
			penny_stamp_view(&pg, slot, &view);
			CHECK(view.seq == penny_stamp_seq(&pg, slot) && view.seq == seq + 2 &&
				  view.seq == pushes * 2);
			overflows += view.overflow;
			for (uint64_t x = 1; x <= XIDS; x++)
			{
				if (pushed[x] && !done[x] && view.xid[0] != x && view.xid[1] != x)
					CHECK(view.overflow && view.maxxid >= x);
				if (pushed[x])
					CHECK(view.maxxid >= x);
			}
			CHECK(xid == 0 || view.xid[0] == xid);
		}
	}
	stop();
	CHECK(overflows > 0);
}

/* Who decides what is finished may fail, and finds a stamp that others can read. */
static bool
is_done_and_whole(uint64_t xid)
{
	CHECK((penny_stamp_seq(&pg, 9) & 1) == 0);
	return is_done(xid);
}

/* Two pushers at a time fit; a push half-way refuses every fill. */
TEST(stamp_ring)
{
	PennyStampView view;

	start();
	memset(done, 0, sizeof(done));
	penny_stamp_push(&pg, 9, 5, is_done_and_whole);
	penny_stamp_push(&pg, 9, 4, is_done_and_whole);
	penny_stamp_push(&pg, 9, 4, is_done_and_whole);
	penny_stamp_view(&pg, 9, &view);
	CHECK(!view.overflow && view.xid[0] == 4 && view.xid[1] == 5 && view.maxxid == 5);
	done[5] = true;
	penny_stamp_push(&pg, 9, 6, is_done_and_whole);
	penny_stamp_view(&pg, 9, &view);
	CHECK(!view.overflow && view.xid[0] == 6 && view.xid[1] == 4 && view.maxxid == 6);
	penny_stamp_push(&pg, 9, 7, is_done_and_whole);
	penny_stamp_view(&pg, 9, &view);
	CHECK(view.overflow && view.xid[0] == 7 && view.xid[1] == 6 && view.maxxid == 7);
	penny_stamp_settle(&pg, 9, 7);
	penny_stamp_view(&pg, 9, &view);
	CHECK(view.overflow);
	penny_stamp_settle(&pg, 9, 8);
	CHECK(penny_stamp_seq(&pg, 9) == view.seq);
	penny_stamp_view(&pg, 9, &view);
	CHECK(!view.overflow && view.xid[0] == 7 && view.xid[1] == 6 && view.maxxid == 7);

	penny_version_open(&penny_cache_stamps(&pg)[9].seq);
	penny_stamp_view(&pg, 9, &view);
	CHECK((view.seq & 1) && view.overflow && view.maxxid == UINT64_MAX);
	for (int i = 0; i < 1000; i++)
	{
		char tag[16];
		uint32_t slot;

		snprintf(tag, sizeof(tag), "tag:%d", i);
		slot = penny_stamp_slot(&pg, tag, strlen(tag));
		CHECK(slot != PENNY_STAMP_ALL && slot < small.cache_stamps);
	}
	stop();
}

int
main(void)
{
	RUN(siphash);
	RUN(keys);
	RUN(stamps);
	RUN(stamp_ring);
	return unit_done();
}
