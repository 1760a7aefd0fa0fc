/*-------------------------------------------------------------------------
 *
 * json.c
 *		The JSON scanner: after JSONTestSuite's classes, bounds, strings.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/json_span.h"

static PennySpan
span(const char *text)
{
	return (PennySpan){text, strlen(text)};
}

/* Scan a copy that ends where its memory ends, so that overreads show. */
static const char *
scan(PennySpan text, size_t *where)
{
	char *copy = malloc(text.len > 0 ? text.len : 1);
	const char *wrong;

	memcpy(copy, text.data, text.len);
	wrong = penny_json_valid((PennySpan){copy, text.len}, where);
	free(copy);
	return wrong;
}

TEST(accepted)
{
	static const char *const texts[] = {"{}",
										"[]",
										"null",
										"true",
										"false",
										"0",
										"-0",
										"10",
										"1.5",
										"1e9",
										"1E+9",
										"-1.25e-10",
										"\"\"",
										" [ ] ",
										"\t{\n}\r",
										"[1,2]",
										"[[],{}]",
										"{\"a\":1}",
										"{\"\":{}}",
										"[\"\\u0000\"]",
										"[\"\\ud800\"]",
										"[\"\xC3\xA4\"]",
										"[\"\x7F\"]",
										"{\"a\":1,\"a\":2}",
										"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
										"123123e100000",
										"[ 1 , { \"a\" : [ ] } ]"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		size_t where;

		CHECK_ROW(scan(span(texts[i]), &where) == NULL, texts[i]);
		CHECK_ROW(where == strlen(texts[i]), texts[i]);
	}
}

TEST(refused)
{
	static const char *const texts[] = {"",
										"   ",
										"{",
										"}",
										"[",
										"]",
										"[1",
										"[1,",
										"[1,]",
										"[,1]",
										"[1 2]",
										"[1]]",
										"{\"a\"}",
										"{\"a\":}",
										"{\"a\":1,}",
										"{,}",
										"{a:1}",
										"{'a':1}",
										"{\"a\" 1}",
										"{1:1}",
										"{\"a\":1 \"b\":2}",
										"[}",
										"{]",
										"[1}",
										"{\"a\":1]",
										"nul",
										"nulll",
										"True",
										"NaN",
										"Infinity",
										"-",
										"+1",
										"01",
										"-01",
										"1.",
										".5",
										"1.e5",
										"1e",
										"1e+",
										"0x1",
										"1a",
										"\"",
										"\"a",
										"\"\\\"",
										"\"\\x\"",
										"\"\\u12\"",
										"\"\\u123g\"",
										"\"\\\"",
										"\"\n\"",
										"\"\t\"",
										"\"\x1f\"",
										"\"\xFF\"",
										"\"\xC0\x80\"",
										"\"\xED\xA0\x80\"",
										"'a'",
										"{} {}",
										"[] x",
										"//\n[]",
										"/**/[]",
										"\xEF\xBB\xBF[]",
										"[\"a\",\n4\n,1,",
										"[1,,2]",
										"[\"\xC3\"]",
										"{\"a\":\"b\"}#",
										"\f[]"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		size_t where;

		CHECK_ROW(scan(span(texts[i]), &where) != NULL, texts[i]);
		CHECK_ROW(where <= strlen(texts[i]), texts[i]);
	}
	CHECK(scan((PennySpan){"[\0]", 3}, &(size_t){0}) != NULL);
	CHECK(scan((PennySpan){"\"\0\"", 3}, &(size_t){0}) != NULL);
}

TEST(bounds)
{
	static char text[200000];
	size_t where;
	size_t len = 0;

	memset(text, '[', 64);
	memset(text + 64, ']', 64);
	CHECK(scan((PennySpan){text, 128}, &where) == NULL);
	memset(text, '[', 65);
	memset(text + 65, ']', 65);
	CHECK(scan((PennySpan){text, 130}, &where) != NULL && where == 65);
	memset(text, '[', sizeof(text));
	CHECK(scan((PennySpan){text, sizeof(text)}, &where) != NULL);
	for (int members = PENNY_JSON_MEMBERS; members <= PENNY_JSON_MEMBERS + 1; members++)
	{
		len = 0;
		text[len++] = '[';
		for (int i = 0; i < members; i++)
		{
			text[len++] = '1';
			text[len++] = i + 1 < members ? ',' : ']';
		}
		CHECK((scan((PennySpan){text, len}, &where) == NULL) == (members == PENNY_JSON_MEMBERS));
	}
}

static bool
is(PennySpan found, const char *text)
{
	return found.len == strlen(text) && memcmp(found.data, text, found.len) == 0;
}

TEST(members)
{
	PennyJsonMember wanted[4] = {{.name = "type"}, {.name = "room"}, {.name = "n"}, {.name = "x"}};
	PennySpan text = span(" {\"type\" : \"join\", \"o\":{\"room\":1,\"type\":[{}]},\"r\\u006fom\":"
						  "\"a\\u0020b\" , \"n\":12, \"a\":1,\"a\":2} ");
	size_t where;
	int64_t n;
	char out[16];
	size_t len;

	CHECK(penny_json_object(text, wanted, 4, &where) == NULL);
	CHECK(wanted[0].kind == PENNY_JSON_STRING && is(wanted[0].raw, "\"join\""));
	CHECK(penny_json_string_is(wanted[0].raw, "join") &&
		  !penny_json_string_is(wanted[0].raw, "joi"));
	CHECK(!penny_json_string_is(wanted[0].raw, "joins"));
	CHECK(wanted[1].kind == PENNY_JSON_STRING);
	CHECK(penny_json_string(wanted[1].raw, out, sizeof(out), &len) && len == 3 &&
		  memcmp(out, "a b", 3) == 0);
	CHECK(wanted[2].kind == PENNY_JSON_NUMBER && penny_json_integer(wanted[2].raw, &n) && n == 12);
	CHECK(wanted[3].kind == PENNY_JSON_ABSENT);
	/* the same name twice, however written */
	CHECK(penny_json_object(span("{\"type\":1,\"type\":1}"), wanted, 4, &where) != NULL);
	CHECK(penny_json_object(span("{\"type\":1,\"t\\u0079pe\":1}"), wanted, 4, &where) != NULL);
	CHECK(penny_json_object(span("[]"), wanted, 4, &where) != NULL);
	CHECK(penny_json_object(span("\"{}\""), wanted, 4, &where) != NULL);
	CHECK(penny_json_object(span("{\"type\":{\"a\":[1,{\"b\":null}]}}"), wanted, 4, &where) ==
		  NULL);
	CHECK(wanted[0].kind == PENNY_JSON_OBJECT && is(wanted[0].raw, "{\"a\":[1,{\"b\":null}]}"));
	CHECK(penny_json_object(span("{\"type\":true,\"room\":false,\"n\":null,\"x\":[ ]}"), wanted, 4,
							&where) == NULL);
	CHECK(wanted[0].kind == PENNY_JSON_TRUE && wanted[1].kind == PENNY_JSON_FALSE &&
		  wanted[2].kind == PENNY_JSON_NULL && wanted[3].kind == PENNY_JSON_ARRAY);
}

TEST(strings)
{
	char out[64];
	size_t len;

	CHECK(penny_json_string(span("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), out, 64, &len) && len == 8 &&
		  memcmp(out, "\"\\/\b\f\n\r\t", 8) == 0);
	CHECK(penny_json_string(span("\"\\u00e4\\u20AC\\ud83d\\ude00\""), out, 64, &len) && len == 9 &&
		  memcmp(out, "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", 9) == 0);
	CHECK(!penny_json_string(span("\"\\u0000\""), out, 64, &len));
	CHECK(!penny_json_string(span("\"\\ud83d\""), out, 64, &len));
	CHECK(!penny_json_string(span("\"\\ude00\\ud83d\""), out, 64, &len));
	CHECK(!penny_json_string(span("\"\\ud83dx\""), out, 64, &len));
	CHECK(!penny_json_string(span("\"\\ud83d\\n\""), out, 64, &len));
	CHECK(!penny_json_string(span("12"), out, 64, &len));
	CHECK(!penny_json_string(span("\""), out, 64, &len));
	CHECK(penny_json_string(span("\"1234\""), out, 4, &len) && len == 4);
	CHECK(!penny_json_string(span("\"12345\""), out, 4, &len));
	CHECK(!penny_json_string(span("\"123\\u00e4\""), out, 4, &len));
}

TEST(integers)
{
	int64_t value;

	CHECK(penny_json_integer(span("9223372036854775807"), &value) && value == INT64_MAX);
	CHECK(!penny_json_integer(span("9223372036854775808"), &value));
	CHECK(!penny_json_integer(span("99999999999999999999"), &value));
	CHECK(!penny_json_integer(span("-1"), &value) && !penny_json_integer(span("1.0"), &value));
	CHECK(!penny_json_integer(span("1e3"), &value) && !penny_json_integer(span(""), &value));
}

/* What is quoted is valid and reads back the same, for every byte. */
TEST(quoting)
{
	char text[128];
	char quoted[6 * 128 + 2];
	char back[128];
	size_t len, back_len, where;

	for (int i = 0; i < 127; i++)
		text[i] = (char) (i + 1);
	len = penny_json_quote((PennySpan){text, 127}, quoted, sizeof(quoted));
	CHECK(penny_json_valid((PennySpan){quoted, len}, &where) == NULL);
	CHECK(penny_json_string((PennySpan){quoted, len}, back, sizeof(back), &back_len));
	CHECK(back_len == 127 && memcmp(text, back, 127) == 0);
	CHECK(penny_json_quote(span("a\"b"), quoted, 5) == 6);
	CHECK(penny_json_quote(span(""), quoted, 2) == 2 && memcmp(quoted, "\"\"", 2) == 0);
}

int
main(void)
{
	RUN(accepted);
	RUN(refused);
	RUN(bounds);
	RUN(members);
	RUN(strings);
	RUN(integers);
	RUN(quoting);
	return unit_done();
}
