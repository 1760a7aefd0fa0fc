/*-------------------------------------------------------------------------
 *
 * encoding.c
 *		Which coding is chosen, what If-None-Match matches, tags of variants.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/encoding.h"

static const uint8_t all[PENNY_CODINGS] = {PENNY_BR, PENNY_GZIP, PENNY_DEFLATE};
static const uint8_t gzip_alone[PENNY_CODINGS] = {PENNY_GZIP};
static const uint8_t gzip_first[PENNY_CODINGS] = {PENNY_GZIP, PENNY_BR};
static const uint8_t none[PENNY_CODINGS];

static const struct
{
	const char *accept;
	const uint8_t *offered;
	PennyCoding chosen;
} choices[] = {
	{"", all, PENNY_IDENTITY},
	{"gzip", all, PENNY_GZIP},
	{"br", all, PENNY_BR},
	{"deflate", all, PENNY_DEFLATE},
	{"gzip, deflate, br", all, PENNY_BR},
	{"gzip, deflate, br, zstd", all, PENNY_BR},
	{"gzip, deflate, br", gzip_first, PENNY_GZIP},
	{"gzip, deflate, br", none, PENNY_IDENTITY},
	{"br", gzip_alone, PENNY_IDENTITY},
	{"zstd", all, PENNY_IDENTITY},
	{"GZip", all, PENNY_GZIP},
	{"x-gzip", all, PENNY_GZIP},
	{"gzip;q=1.0, br;q=0.5", all, PENNY_GZIP},
	{"gzip;q=0.5, br;q=0.500", all, PENNY_BR},
	{"gzip;q=0.501, br;q=0.5", all, PENNY_GZIP},
	{"gzip ; q=0.5 ,br;q=0.4", all, PENNY_GZIP},
	{"gzip;Q=0.5", all, PENNY_GZIP},
	{"gzip;q=0", all, PENNY_IDENTITY},
	{"gzip;q=0.000", all, PENNY_IDENTITY},
	{"gzip;q=0, br;q=0, *", all, PENNY_DEFLATE},
	{"*", all, PENNY_BR},
	{"*;q=0", all, PENNY_IDENTITY},
	{"*;q=0.1, gzip;q=0.2", all, PENNY_GZIP},
	{"br;q=0, *", all, PENNY_GZIP},
	{"identity", all, PENNY_IDENTITY},
	{"identity, gzip", all, PENNY_GZIP},
	{"identity;q=1, gzip;q=0.5", all, PENNY_IDENTITY},
	{"identity;q=0.5, gzip;q=1", all, PENNY_GZIP},
	{"identity;q=0.5, gzip;q=0.4, br;q=0.6", all, PENNY_BR},
	{"identity;q=0", all, PENNY_IDENTITY}, /* nothing is acceptable: better this than 406 */
	{"identity;q=0, gzip", all, PENNY_GZIP},
	{"identity;q=0, *", all, PENNY_BR},
	{"identity;q=0, *;q=0", all, PENNY_IDENTITY},
	{"identity;q=0.5, *;q=0.1", all, PENNY_IDENTITY},
	{",, gzip ,,", all, PENNY_GZIP},
	{"\tgzip\t", all, PENNY_GZIP},
	/* malformed: as if it were not there */
	{"gzip;q=1.5", all, PENNY_IDENTITY},
	{"gzip;q=1.001", all, PENNY_IDENTITY},
	{"gzip;q=0.1234", all, PENNY_IDENTITY},
	{"gzip;q=", all, PENNY_IDENTITY},
	{"gzip;q=-1", all, PENNY_IDENTITY},
	{"gzip;q=.5", all, PENNY_IDENTITY},
	{"gzip;", all, PENNY_IDENTITY},
	{"gzip;level=9", all, PENNY_IDENTITY},
	{"gzip br", all, PENNY_IDENTITY},
	{"gzip;q=1 br", all, PENNY_IDENTITY},
	{";q=1", all, PENNY_IDENTITY},
	{"gzip, @", all, PENNY_IDENTITY},
	{"\"gzip\"", all, PENNY_IDENTITY},
};

TEST(choice)
{
	for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++)
	{
		PennyAccept accept;

		penny_accept_init(&accept);
		penny_accept_take(&accept, (PennySpan){choices[i].accept, strlen(choices[i].accept)});
		CHECK_ROW(penny_accept_choose(&accept, choices[i].offered) == choices[i].chosen,
				  choices[i].accept);
	}
}

TEST(several_headers)
{
	static const char lines[] = "accept: a\naccept-encoding: gzip;q=0.5\nx: y\n"
								"accept-encoding: br;q=0.1, deflate;q=0.9\n"
								"accept-encodings: br\n";
	static const char spoilt[] = "accept-encoding: gzip\naccept-encoding: ;;\n";
	PennyAccept accept;

	penny_accept_init(&accept);
	penny_accept_take_lines(&accept, (PennySpan){lines, sizeof(lines) - 1});
	CHECK(penny_accept_choose(&accept, all) == PENNY_DEFLATE);
	penny_accept_init(&accept);
	penny_accept_take_lines(&accept, (PennySpan){spoilt, sizeof(spoilt) - 1});
	CHECK(penny_accept_choose(&accept, all) == PENNY_IDENTITY);
}

static const struct
{
	const char *value;
	const char *etag;
	const char *match; /* NULL: does not match */
} matches[] = {
	{"\"abc\"", "\"abc\"", "\"abc\""},
	{"W/\"abc\"", "\"abc\"", "W/\"abc\""},
	{"\"abc\"", "W/\"abc\"", "\"abc\""},
	{"*", "\"abc\"", ""},
	{"\"x\", \"abc\"", "\"abc\"", "\"abc\""},
	{"\"x\",W/\"abc-gzip\" , \"y\"", "\"abc\"", "W/\"abc-gzip\""},
	{"\"abc-gzip\"", "\"abc\"", "\"abc-gzip\""},
	{"\"abc-br\"", "\"abc\"", "\"abc-br\""},
	{"\"abc-deflate\"", "\"abc\"", "\"abc-deflate\""},
	{"\"abc-gzip\"", "\"abc-gzip\"", "\"abc-gzip\""}, /* a handler's own */
	{"\"a,b\", \"abc\"", "\"a,b\"", "\"a,b\""},
	{"\"\"", "\"\"", "\"\""},
	{"\"ab\"", "\"abc\"", NULL},
	{"\"abcd\"", "\"abc\"", NULL},
	{"\"abc-zstd\"", "\"abc\"", NULL},
	{"\"abc-gzip-gzip\"", "\"abc\"", NULL},
	{"\"abc\"", "\"abc-gzip\"", NULL},
	{"", "\"abc\"", NULL},
	{"abc", "\"abc\"", NULL},
	{"\"abc", "\"abc\"", NULL},
	{"w/\"abc\"", "\"abc\"", NULL},
	{"*, \"abc\"", "\"abc\"", NULL},
	{"\"abc\" \"x\"", "\"abc\"", NULL},
	{"\"abc\"x", "\"abc\"", NULL},
	{"*", "", NULL},
	{"*", "abc", NULL},
	{"*", "\"abc\"x", NULL},
};

TEST(none_match)
{
	for (size_t i = 0; i < sizeof(matches) / sizeof(matches[0]); i++)
	{
		PennySpan match;
		bool found =
			penny_etag_matches((PennySpan){matches[i].value, strlen(matches[i].value)},
							   (PennySpan){matches[i].etag, strlen(matches[i].etag)}, &match);

		CHECK_ROW(found == (matches[i].match != NULL), matches[i].value);
		if (found && matches[i].match != NULL)
			CHECK_ROW(match.len == strlen(matches[i].match) &&
						  (match.len == 0 || memcmp(match.data, matches[i].match, match.len) == 0),
					  matches[i].value);
	}
}

TEST(variant_tags)
{
	static const struct
	{
		const char *etag;
		PennyCoding coding;
		const char *tag;
	} rows[] = {
		{"\"abc\"", PENNY_IDENTITY, "\"abc\""},  {"\"abc\"", PENNY_BR, "\"abc-br\""},
		{"\"abc\"", PENNY_GZIP, "\"abc-gzip\""}, {"\"abc\"", PENNY_DEFLATE, "\"abc-deflate\""},
		{"W/\"abc\"", PENNY_GZIP, "W/\"abc\""},  {"\"", PENNY_GZIP, "\""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		char out[64];
		size_t len = penny_etag_variant((PennySpan){rows[i].etag, strlen(rows[i].etag)},
										rows[i].coding, out);

		CHECK_ROW(len == strlen(rows[i].tag) && memcmp(out, rows[i].tag, len) == 0, rows[i].tag);
		CHECK(len <= strlen(rows[i].etag) + PENNY_ETAG_SUFFIX_MAX);
	}
}

int
main(void)
{
	RUN(choice);
	RUN(several_headers);
	RUN(none_match);
	RUN(variant_tags);
	return unit_done();
}
