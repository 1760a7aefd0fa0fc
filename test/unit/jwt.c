/*-------------------------------------------------------------------------
 *
 * jwt.c
 *		The strict reader of tokens: what is refused, and why.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/json_strict.h"
#include "auth/jwt_parse.h"
#include "unit.h"

#define SUB "\"sub\":\"0199aa00-0000-7000-8000-00000000000a\""
#define GOOD "{" SUB ",\"exp\":2000}"

/* One byte string to base64url, for headers and payloads of tests. */
static size_t
encode(const char *in, size_t len, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = 0;
	uint32_t bits = 0;
	int held = 0;

	for (size_t i = 0; i < len; i++)
	{
		bits = bits << 8 | (uint8_t) in[i];
		held += 8;
		while (held >= 6)
		{
			held -= 6;
			out[n++] = digits[bits >> held & 63];
		}
	}
	if (held > 0)
		out[n++] = digits[bits << (6 - held) & 63];
	return n;
}

/* Split a token made of this header, a payload and a signature of 32 zeros. */
static PennyJwtError
split_header(const char *header, PennyJwt *jwt)
{
	static const char zeros[32] = {0};
	static char token[4 * PENNY_JWT_MAX];
	size_t n = encode(header, strlen(header), token);

	token[n++] = '.';
	n += encode(GOOD, strlen(GOOD), token + n);
	token[n++] = '.';
	n += encode(zeros, sizeof(zeros), token + n);
	return penny_jwt_split(token, n, jwt);
}

/* Read these claims at second 1000. */
static PennyJwtError
claims(const char *payload, PennyJwt *jwt, const char *audience, const char *issuer)
{
	PennyJwtExpect expect = {1000, 30, audience, issuer};

	jwt->payload_len = strlen(payload);
	memcpy(jwt->payload, payload, jwt->payload_len + 1);
	return penny_jwt_claims(jwt, &expect);
}

TEST(base64url)
{
	static const struct
	{
		const char *in;
		long len;
	} rows[] = {{"", 0},      {"AA", 1},    {"AAA", 2},   {"AAAA", 3},   {"_-_-", 3},
				{"A", -1},    {"AB", -1},   {"AAB", -1},  {"AAAAA", -1}, {"AA==", -1},
				{"A+AA", -1}, {"A/AA", -1}, {"AA\n", -1}, {" AAA", -1},  {"A\xc3\xa4", -1}};
	uint8_t out[8];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_ROW(penny_base64url_decode(rows[i].in, strlen(rows[i].in), out, sizeof(out)) ==
					  rows[i].len,
				  rows[i].in);
	CHECK(penny_base64url_decode("AAAAAAAA", 8, out, 5) == -1);
	CHECK(penny_base64url_decode("AAAAAAAA", 8, out, 6) == 6);
}

TEST(uuid)
{
	uint8_t out[16];

	CHECK(penny_uuid_read("0199aA00-0000-7000-8000-0000000000ff", 36, out));
	CHECK(out[0] == 0x01 && out[2] == 0xaa && out[15] == 0xff);
	CHECK(!penny_uuid_read("0199aa00-0000-7000-8000-0000000000f", 35, out));
	CHECK(!penny_uuid_read("0199aa0000-00-7000-8000-0000000000ff", 36, out));
	CHECK(!penny_uuid_read("0199aa00-0000-7000-8000-0000000000fg", 36, out));
	CHECK(!penny_uuid_read("{199aa00-0000-7000-8000-0000000000f}", 36, out));
}

TEST(json)
{
	static const char *const good[] = {"{}",
									   " {\"a\" : [ ] } ",
									   "{\"a\":-0.5e+10}",
									   "{\"a\":1E5,\"b\":0}",
									   "{\"\":1}",
									   "{\"a\":{\"a\":{\"a\":1}}}",
									   "{\"a\":\"\\u00e4\\ud83d\\ude00\\n\"}",
									   "{\"a\":\"\xf0\x9f\x98\x80\xed\x9f\xbf\"}",
									   "{\"a\":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}",
									   "{\"a\":true,\"b\":false,\"c\":null}"};
	static const char *const bad[] = {"",
									  " ",
									  "[]",
									  "1",
									  "null",
									  "\"a\"",
									  "{",
									  "}",
									  "{}{}",
									  "{}x",
									  "{,}",
									  "{\"a\"}",
									  "{\"a\":}",
									  "{\"a\":1,}",
									  "{\"a\":1 \"b\":2}",
									  "{a:1}",
									  "{'a':1}",
									  "{\"a\":01}",
									  "{\"a\":1.}",
									  "{\"a\":.5}",
									  "{\"a\":+1}",
									  "{\"a\":1e}",
									  "{\"a\":-}",
									  "{\"a\":0x1}",
									  "{\"a\":NaN}",
									  "{\"a\":Infinity}",
									  "{\"a\":tru}",
									  "{\"a\":True}",
									  "{\"a\":[1,]}",
									  "{\"a\":[,1]}",
									  "{\"a\":[1}",
									  "{\"a\":\"\n\"}",
									  "{\"a\":\"\t\"}",
									  "{\"a\":\"\\x\"}",
									  "{\"a\":\"\\u12\"}",
									  "{\"a\":\"\\u0000\"}",
									  "{\"a\":\"\\ud800\"}",
									  "{\"a\":\"\\ude00\"}",
									  "{\"a\":\"\\ud800\\u0041\"}",
									  "{\"a\":\"\\ud800\\ud800\"}",
									  "{\"a\":\"\xc0\x80\"}",
									  "{\"a\":\"\xe0\x80\x80\"}",
									  "{\"a\":\"\xed\xa0\x80\"}",
									  "{\"a\":\"\xf0\x80\x80\x80\"}",
									  "{\"a\":\"\xf4\x90\x80\x80\"}",
									  "{\"a\":\"\xff\"}",
									  "{\"a\":\"\x80\"}",
									  "{\"a\":\"\xc3\"}",
									  "{\"a\":1,\"a\":2}",
									  "{\"a\":1,\"\\u0061\":2}",
									  "{\"x\":{\"a\":1,\"b\":2,\"a\":3}}",
									  "{\"x\":[{\"a\":1,\"a\":1}]}",
									  "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}",
									  "{\"a\":1}/*x*/",
									  "\xef\xbb\xbf{}"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		PennyJwt jwt;

		/* a good object without exp: what fails is the claim, not the JSON */
		CHECK_ROW(claims(good[i], &jwt, NULL, NULL) == PENNY_JWT_BAD_EXP, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		PennyJwt jwt;

		CHECK_ROW(claims(bad[i], &jwt, NULL, NULL) == PENNY_JWT_BAD_PAYLOAD, bad[i]);
	}
}

TEST(members_are_bounded)
{
	static char text[PENNY_JWT_MAX];
	PennyJwt jwt;

	for (int extra = 0; extra < 2; extra++)
	{
		int n = sprintf(text, "{");

		for (int i = 0; i < PENNY_JSON_MEMBERS + extra; i++)
			n += sprintf(text + n, "%s\"m%d\":1", i > 0 ? "," : "", i);
		sprintf(text + n, "}");
		CHECK(claims(text, &jwt, NULL, NULL) ==
			  (extra == 0 ? PENNY_JWT_BAD_EXP : PENNY_JWT_BAD_PAYLOAD));
	}
}

TEST(shape)
{
	static char long_token[PENNY_JWT_MAX + 2];
	static const char *const rows[] = {"", ".", "a.b", "a..b.c", "e30.e30", "e30.e30.e30.e30"};
	PennyJwt jwt;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_ROW(penny_jwt_split(rows[i], strlen(rows[i]), &jwt) == PENNY_JWT_NOT_THREE_PARTS,
				  rows[i]);
	memset(long_token, 'A', sizeof(long_token));
	CHECK(penny_jwt_split(long_token, PENNY_JWT_MAX + 1, &jwt) == PENNY_JWT_TOO_LONG);
	CHECK(penny_jwt_split("e30.e30.ew", 10, &jwt) == PENNY_JWT_BAD_ALG);
	CHECK(penny_jwt_split("e30.e30.e3", 10, &jwt) == PENNY_JWT_BAD_BASE64);
	CHECK(penny_jwt_split("e30.e30.e31", 11, &jwt) == PENNY_JWT_BAD_BASE64);
	CHECK(penny_jwt_split("e30=.e30.", 9, &jwt) == PENNY_JWT_BAD_BASE64);
}

TEST(header)
{
	static const struct
	{
		const char *header;
		PennyJwtError error;
	} rows[] = {
		{"{\"alg\":\"HS256\"}", PENNY_JWT_OK},
		{"{\"typ\":\"JWT\",\"alg\":\"HS256\",\"kid\":\"k\"}", PENNY_JWT_OK},
		{"{\"alg\":\"none\"}", PENNY_JWT_OK}, /* refused by the key, not here */
		{"{}", PENNY_JWT_BAD_ALG},
		{"{\"alg\":1}", PENNY_JWT_BAD_ALG},
		{"{\"alg\":\"\"}", PENNY_JWT_BAD_ALG},
		{"{\"alg\":[\"HS256\"]}", PENNY_JWT_BAD_ALG},
		{"{\"ALG\":\"HS256\"}", PENNY_JWT_BAD_ALG},
		{"{\"alg\":\"HS256\",\"alg\":\"none\"}", PENNY_JWT_BAD_HEADER},
		{"{\"alg\":\"HS256\",\"typ\":\"JWS\"}", PENNY_JWT_BAD_TYP},
		{"{\"alg\":\"HS256\",\"typ\":null}", PENNY_JWT_BAD_TYP},
		{"{\"alg\":\"HS256\",\"kid\":1}", PENNY_JWT_BAD_HEADER},
		{"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", PENNY_JWT_FORBIDDEN_HEADER},
		{"{\"alg\":\"HS256\",\"jku\":\"http://x\"}", PENNY_JWT_FORBIDDEN_HEADER},
		{"{\"alg\":\"HS256\",\"x5u\":\"http://x\"}", PENNY_JWT_FORBIDDEN_HEADER},
		{"{\"alg\":\"HS256\",\"jwk\":{}}", PENNY_JWT_FORBIDDEN_HEADER},
		{"{\"alg\":\"HS256\",\"x5c\":[]}", PENNY_JWT_FORBIDDEN_HEADER},
		{"{\"alg\":\"HS256\",\"b64\":false}", PENNY_JWT_FORBIDDEN_HEADER},
		{"{\"alg\":\"HS256\",\"\\u006aku\":\"x\"}", PENNY_JWT_FORBIDDEN_HEADER},
		{"[\"HS256\"]", PENNY_JWT_BAD_HEADER},
		{"{\"alg\":\"HS256\"} x", PENNY_JWT_BAD_HEADER},
	};
	PennyJwt jwt;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_ROW(split_header(rows[i].header, &jwt) == rows[i].error, rows[i].header);
	CHECK(split_header("{\"alg\":\"HS\\u0032\\u00356\"}", &jwt) == PENNY_JWT_OK &&
		  strcmp(jwt.alg, "HS256") == 0);
}

TEST(payload)
{
	static const struct
	{
		const char *payload;
		const char *audience;
		const char *issuer;
		PennyJwtError error;
	} rows[] = {
		{GOOD, NULL, NULL, PENNY_JWT_OK},
		{GOOD, "", "", PENNY_JWT_OK},
		{"{" SUB ",\"exp\":971}", NULL, NULL, PENNY_JWT_OK},
		{"{" SUB ",\"exp\":970}", NULL, NULL, PENNY_JWT_EXPIRED},
		{"{" SUB ",\"exp\":2000.9}", NULL, NULL, PENNY_JWT_OK},
		{"{" SUB ",\"exp\":\"2000\"}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB ",\"exp\":2e3}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB ",\"exp\":-1}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB ",\"exp\":null}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB ",\"exp\":[2000]}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB ",\"exp\":99999999999999999999}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB "}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB ",\"exp\":2000,\"nbf\":1030}", NULL, NULL, PENNY_JWT_OK},
		{"{" SUB ",\"exp\":2000,\"nbf\":1031}", NULL, NULL, PENNY_JWT_NOT_YET},
		{"{" SUB ",\"exp\":2000,\"nbf\":\"0\"}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB ",\"exp\":2000,\"iat\":1031}", NULL, NULL, PENNY_JWT_FROM_FUTURE},
		{"{" SUB ",\"exp\":2000,\"iat\":true}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{\"exp\":2000}", NULL, NULL, PENNY_JWT_BAD_SUB},
		{"{\"sub\":\"ada\",\"exp\":2000}", NULL, NULL, PENNY_JWT_BAD_SUB},
		{"{\"sub\":1,\"exp\":2000}", NULL, NULL, PENNY_JWT_BAD_SUB},
		{"{\"x\":{" SUB ",\"exp\":2000}}", NULL, NULL, PENNY_JWT_BAD_EXP},
		{"{" SUB ",\"exp\":2000,\"role\":1}", NULL, NULL, PENNY_JWT_BAD_ROLE},
		{"{" SUB ",\"exp\":2000,\"role\":\"\"}", NULL, NULL, PENNY_JWT_BAD_ROLE},
		{"{" SUB ",\"exp\":2000,\"role\":[\"penny_admin\"]}", NULL, NULL, PENNY_JWT_BAD_ROLE},
		{GOOD, "penny", NULL, PENNY_JWT_BAD_AUD},
		{"{" SUB ",\"exp\":2000,\"aud\":\"penny\"}", "penny", NULL, PENNY_JWT_OK},
		{"{" SUB ",\"exp\":2000,\"aud\":[\"x\",\"penny\"]}", "penny", NULL, PENNY_JWT_OK},
		{"{" SUB ",\"exp\":2000,\"aud\":[]}", "penny", NULL, PENNY_JWT_BAD_AUD},
		{"{" SUB ",\"exp\":2000,\"aud\":[\"penny\",1]}", "penny", NULL, PENNY_JWT_BAD_AUD},
		{"{" SUB ",\"exp\":2000,\"aud\":[[\"penny\"]]}", "penny", NULL, PENNY_JWT_BAD_AUD},
		{"{" SUB ",\"exp\":2000,\"aud\":{\"a\":\"penny\"}}", "penny", NULL, PENNY_JWT_BAD_AUD},
		{"{" SUB ",\"exp\":2000,\"aud\":\"Penny\"}", "penny", NULL, PENNY_JWT_BAD_AUD},
		{GOOD, NULL, "me", PENNY_JWT_BAD_ISS},
		{"{" SUB ",\"exp\":2000,\"iss\":\"me\"}", NULL, "me", PENNY_JWT_OK},
		{"{" SUB ",\"exp\":2000,\"iss\":\"me2\"}", NULL, "me", PENNY_JWT_BAD_ISS},
		{"{" SUB ",\"exp\":2000,\"iss\":[\"me\"]}", NULL, "me", PENNY_JWT_BAD_ISS},
	};
	PennyJwt jwt;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_ROW(claims(rows[i].payload, &jwt, rows[i].audience, rows[i].issuer) == rows[i].error,
				  rows[i].payload);
	CHECK(claims("{" SUB ",\"exp\":2000,\"role\":\"penny_agent\"}", &jwt, NULL, NULL) ==
			  PENNY_JWT_OK &&
		  strcmp(jwt.role, "penny_agent") == 0 && jwt.exp == 2000 && jwt.sub[15] == 0x0a);
	CHECK(claims(GOOD, &jwt, NULL, NULL) == PENNY_JWT_OK && jwt.role[0] == '\0');
}

TEST(every_error_has_a_text)
{
	for (int i = 0; i < PENNY_JWT_ERRORS; i++)
		CHECK(penny_jwt_error_text((PennyJwtError) i) != NULL);
	CHECK(penny_jwt_error_text((PennyJwtError) 999) != NULL);
}

int
main(void)
{
	RUN(base64url);
	RUN(uuid);
	RUN(json);
	RUN(members_are_bounded);
	RUN(shape);
	RUN(header);
	RUN(payload);
	RUN(every_error_has_a_text);
	return unit_done();
}
