/*-------------------------------------------------------------------------
 *
 * key.c
 *		The strict reader of files with keys: what is taken, what is left out,
 *		what refuses the file.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/key_der.h"
#include "auth/key_parse.h"
#include "unit.h"

#define RSA_PEM                                                          \
	"-----BEGIN PUBLIC KEY-----\n"                                       \
	"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqqg7c5iUOcuB6vBonN00\n" \
	"myVq4uVGJ1voZFEprjAh1kx2GMPA1hCh5HZdlxXlRwOIEOwcT/4YSrYdHoZqI/e2\n" \
	"tCNXn/LwrK45ExnOEUFmDe27IOe/TB6RZFjp/kfE8Y8UNuONZKF37eK9H0Q3J3o9\n" \
	"LCkrllqaPIR9RQTZKHn3vXnJoNOKPyfaIy769NwRtWBE7+FLpOtG3LIezsUoiDuS\n" \
	"PgGSnuI/r6yKnrzisXsG8FZbu+LGPV+uIQcC7qKkwuyaQB4WZbNR11V93A1JV01v\n" \
	"dfqS3gNqXX338q36yQ7eHqm6tYwoi1WhbyLnjwp3n6961fjHhoowsnKd0xatyl1p\n" \
	"owIDAQAB\n"                                                         \
	"-----END PUBLIC KEY-----\n"
#define RSA_1024_PEM                                                     \
	"-----BEGIN PUBLIC KEY-----\n"                                       \
	"MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDRV8JyeYN+9l42xpI1502sL3FX\n" \
	"cDd3OXpQB4Wspu1poyzsFfgzZD4H+LMHJ9x4pF4FybaA5n5StrSy7RYShvMlBw/l\n" \
	"i5OLJ/LVbsRI85K/sL4DhNey/j/dqz4c94SD82TtuQdOfnC6g9tEUbs5Enc3yfXO\n" \
	"HOyKPAIz+VQw8lWROwIDAQAB\n"                                         \
	"-----END PUBLIC KEY-----\n"
#define RSA_EXPONENT_3_PEM                                               \
	"-----BEGIN PUBLIC KEY-----\n"                                       \
	"MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEA1xPw8NdWXd1Ef4RxrbHP\n" \
	"vOX9a3RGVhNsBKI62wqpsFdaGKEyo2OtmgsA/S0UAKDH1xd7HIEKYlFNB+jnCfHR\n" \
	"dg7ZT2UcMQhje3AIKNlTr3ovsyeDZTKlkoOA4TpdSQ/QpyT3a4GoJu4c8FtOALhf\n" \
	"u514yE5jNUe7oreu7UhQbu2K9N2ZPieyLOu4GqqwPLLMa0+wJB0C0qhrJe/DQecJ\n" \
	"hrcSbi/V7dDwN2SwKE760B0qQXrGPceJkMXfWT+XB4aQSnRPdP9w10v9ysLQmuJX\n" \
	"e2WpMuBR9HSG8cLrlr3TDbRs+bGWOqSO0RqcfNvE/EIznTUOrCTn2NLuYVXYU9H7\n" \
	"+QIBAw==\n"                                                         \
	"-----END PUBLIC KEY-----\n"
#define ED25519_PEM                                                  \
	"-----BEGIN PUBLIC KEY-----\n"                                   \
	"MCowBQYDK2VwAyEAYaL/ofstnMgT8C4zwe97XcLPs1yQa9xOiv++L16iqYw=\n" \
	"-----END PUBLIC KEY-----\n"
#define EC_PEM                                                           \
	"-----BEGIN PUBLIC KEY-----\n"                                       \
	"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEg6jwCMMvZd5aBBFghKUCfU/ngZEg\n" \
	"hLCwVEP5DeA3OdcmnBnPqAz9xKG14IWGBRbPjh27c7LJdiCr9oFtBS0LTQ==\n"     \
	"-----END PUBLIC KEY-----\n"
#define N                                                                              \
	"qqg7c5iUOcuB6vBonN00myVq4uVGJ1voZFEprjAh1kx2GMPA1hCh5HZdlxXlRwOIEOwcT_4YSrYdHoZq" \
	"I_e2tCNXn_LwrK45ExnOEUFmDe27IOe_TB6RZFjp_kfE8Y8UNuONZKF37eK9H0Q3J3o9LCkrllqaPIR9" \
	"RQTZKHn3vXnJoNOKPyfaIy769NwRtWBE7-FLpOtG3LIezsUoiDuSPgGSnuI_r6yKnrzisXsG8FZbu-"   \
	"LGPV-uIQcC7qKkwuyaQB4WZbNR11V93A1JV01vdfqS3gNqXX338q36yQ7eHqm6tYwoi1WhbyLnjwp3n6" \
	"961fjHhoowsnKd0xatyl1pow"
#define N_1024                                                                 \
	"0VfCcnmDfvZeNsaSNedNrC9xV3A3dzl6UAeFrKbtaaMs7BX4M2Q-B_izByfceKReBcm2gOZ-" \
	"Ura0su0WEobzJQcP5YuTiyfy1W7ESPOSv7C-A4TXsv4_3as-"                         \
	"HPeEg_Nk7bkHTn5wuoPbRFG7ORJ3N8n1zhzsijwCM_lUMPJVkTs"
#define X "YaL_ofstnMgT8C4zwe97XcLPs1yQa9xOiv--L16iqYw"
#define SECRET "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"
#define RSA_JWK(more) "{\"kty\":\"RSA\",\"n\":\"" N "\",\"e\":\"AQAB\"" more "}"
#define OKP_JWK(more) "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\"" more "}"
#define OCT_JWK(more) "{\"kty\":\"oct\",\"k\":\"" SECRET "\"" more "}"
#define RSA_NUMBERS(n, e) "{\"kty\":\"RSA\",\"n\":\"" n "\",\"e\":\"" e "\"}"
#define OKP_POINT(x) "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" x "\"}"
#define JWKS(keys) "{\"keys\":[" keys "]}"
#define KID(kid) ",\"kid\":\"" kid "\""
#define KID_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PEM(label) "-----BEGIN " label "-----\nAAAA\n-----END " label "-----\n"

static PennyKeySet set;

static const char *
parse(const char *text)
{
	memset(&set, 0x5a, sizeof(set));
	return penny_key_parse(text, strlen(text), &set);
}

TEST(taken)
{
	static const struct
	{
		const char *text;
		int count;
		int skipped;
		PennyKeyAlgorithm first;
		const char *kid;
	} rows[] = {
		{RSA_PEM, 1, 0, PENNY_RS256, ""},
		{ED25519_PEM, 1, 0, PENNY_EDDSA, ""},
		{"\n# the old one\r\n" RSA_PEM "\n" ED25519_PEM, 2, 0, PENNY_RS256, ""},
		{JWKS(RSA_JWK("")), 1, 0, PENNY_RS256, ""},
		{" \n" JWKS(RSA_JWK(KID("a")) "," RSA_JWK(KID("b"))) "\n", 2, 0, PENNY_RS256, "a"},
		{JWKS(OKP_JWK(KID("e") ",\"alg\":\"EdDSA\"")), 1, 0, PENNY_EDDSA, "e"},
		{JWKS(OCT_JWK(KID(KID_64))), 1, 0, PENNY_HS256, KID_64},
		{JWKS(RSA_JWK(",\"key_ops\":[\"sign\",\"verify\"],\"use\":\"sig\",\"x5c\":[\"AA==\"]")), 1,
		 0, PENNY_RS256, ""},
		{"{\"issuer\":{\"keys\":1},\"keys\":[" RSA_JWK("") "]}", 1, 0, PENNY_RS256, ""},
		/* for something else */
		{JWKS("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}," OKP_JWK("")), 1, 1,
		 PENNY_EDDSA, ""},
		{JWKS(RSA_JWK(",\"alg\":\"RS512\"") "," OKP_JWK("")), 1, 1, PENNY_EDDSA, ""},
		{JWKS(RSA_JWK(",\"alg\":\"RSA-OAEP\"") "," OKP_JWK("")), 1, 1, PENNY_EDDSA, ""},
		{JWKS(RSA_JWK(",\"use\":\"enc\"") "," OKP_JWK("")), 1, 1, PENNY_EDDSA, ""},
		{JWKS(RSA_JWK(",\"key_ops\":[\"encrypt\"]") "," OKP_JWK("")), 1, 1, PENNY_EDDSA, ""},
		{JWKS(OCT_JWK(",\"alg\":\"HS512\"") "," OKP_JWK("")), 1, 1, PENNY_EDDSA, ""},
		{JWKS("{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" X "\"}," OKP_JWK("")), 1, 1,
		 PENNY_EDDSA, ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		const char *wrong = parse(rows[i].text);

		if (!CHECK_ROW(wrong == NULL, rows[i].text))
			continue;
		CHECK_ROW(set.count == rows[i].count && set.skipped == rows[i].skipped, rows[i].text);
		CHECK_ROW(set.key[0].algorithm == rows[i].first, rows[i].text);
		CHECK_ROW(strcmp(set.key[0].kid, rows[i].kid) == 0, rows[i].text);
	}
}

TEST(refused)
{
	static const char *const rows[] = {
		"",
		"\n\n# nothing\n",
		"key",
		"-----BEGIN PUBLIC KEY-----\n",
		"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
		"-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n",
		PEM("PUBLIC KEY"),
		PEM("RSA PUBLIC KEY"),
		PEM("PRIVATE KEY"),
		PEM("RSA PRIVATE KEY"),
		PEM("CERTIFICATE"),
		RSA_PEM "rubbish\n",
		RSA_PEM RSA_PEM,
		RSA_1024_PEM,
		RSA_EXPONENT_3_PEM,
		EC_PEM,
		"{}",
		"{",
		JWKS(""),
		RSA_JWK(""), /* a key is no set */
		"{\"keys\":" RSA_JWK("") "}",
		"{\"keys\":[" RSA_JWK("") "],\"keys\":[]}",
		"[" RSA_JWK("") "]",
		JWKS(RSA_JWK("")) "x",
		JWKS("\"" N "\""),
		JWKS("[" RSA_JWK("") "]"),
		JWKS("{\"n\":\"" N "\",\"e\":\"AQAB\"}"),
		JWKS("{\"kty\":1,\"n\":\"" N "\",\"e\":\"AQAB\"}"),
		JWKS(RSA_JWK(",\"kty\":\"oct\"")),
		JWKS(RSA_JWK(",\"\\u006bty\":\"oct\"")),
		JWKS(RSA_JWK(KID(""))),
		JWKS(RSA_JWK(",\"kid\":7")),
		JWKS(RSA_JWK(KID("0" KID_64))),
		JWKS(RSA_JWK(KID("a\\u0000b"))),
		JWKS(RSA_JWK(",\"alg\":[\"RS256\"]")),
		JWKS(RSA_JWK(KID("a")) "," RSA_JWK(KID("a"))),
		JWKS(RSA_JWK(KID("a")) "," OKP_JWK(KID("a"))),
		JWKS(RSA_JWK(KID("a")) "," RSA_JWK("")),
		JWKS(RSA_JWK(",\"d\":\"AQAB\"")),
		JWKS(OKP_JWK(",\"d\":\"AQAB\"")),
		JWKS(RSA_NUMBERS(N_1024, "AQAB")),
		JWKS(RSA_NUMBERS(N, "Aw")),
		JWKS(RSA_NUMBERS(N, "AQAA")),
		JWKS(RSA_NUMBERS(N "=", "AQAB")),
		JWKS(RSA_NUMBERS(N, "AAEAAQ")),
		JWKS("{\"kty\":\"RSA\",\"n\":\"" N "\"}"),
		JWKS(RSA_NUMBERS(N N N, "AQAB")),
		JWKS(OKP_POINT("AAAA")),
		JWKS(OKP_POINT(X "AA")),
		JWKS(OKP_POINT("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
		JWKS(OKP_POINT("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA")),
		JWKS(OKP_POINT("7P_______________________________________38")),
		JWKS("{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}"),
		JWKS("{\"kty\":\"oct\"}"),
		JWKS("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}"),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_ROW(parse(rows[i]) != NULL, rows[i]);
}

TEST(secret)
{
	static char text[PENNY_SECRET_MAX + 2];

	memset(text, 's', sizeof(text));
	CHECK(penny_key_parse_secret(text, PENNY_SECRET_MIN - 1, &set) != NULL);
	CHECK(penny_key_parse_secret(text, PENNY_SECRET_MIN, &set) == NULL && set.count == 1 &&
		  set.key[0].len == PENNY_SECRET_MIN && set.key[0].algorithm == PENNY_HS256);
	CHECK(penny_key_parse_secret(text, PENNY_SECRET_MAX + 1, &set) != NULL);
	text[PENNY_SECRET_MAX] = '\n';
	CHECK(penny_key_parse_secret(text, PENNY_SECRET_MAX + 1, &set) == NULL &&
		  set.key[0].len == PENNY_SECRET_MAX);
}

TEST(bounds)
{
	static char text[PENNY_KEY_FILE_MAX + 16];
	size_t len;

	memset(text, '\n', sizeof(text));
	memcpy(text, RSA_PEM, strlen(RSA_PEM));
	CHECK(penny_key_parse(text, PENNY_KEY_FILE_MAX, &set) == NULL);
	CHECK(penny_key_parse(text, PENNY_KEY_FILE_MAX + 1, &set) != NULL);
	len = (size_t) sprintf(text, "{\"keys\":[" OCT_JWK(KID("first")));
	for (int i = 1; i < PENNY_KEYS_MAX; i++)
		len += (size_t) sprintf(text + len, "," OCT_JWK(KID("%d")), i);
	memcpy(text + len, "]}", 2);
	CHECK(penny_key_parse(text, len + 2, &set) == NULL && set.count == PENNY_KEYS_MAX);
	len += (size_t) sprintf(text + len, "," OCT_JWK(KID("last")) "]}");
	CHECK(penny_key_parse(text, len, &set) != NULL);
}

/* A key has one form, whichever way it came. */
TEST(der)
{
	static uint8_t from_pem[PENNY_DER_MAX];
	PennyRsaNumbers rsa;
	uint8_t point[PENNY_ED25519_LEN];
	uint32_t len;

	CHECK(parse(RSA_PEM) == NULL);
	len = set.key[0].len;
	memcpy(from_pem, set.data + set.key[0].at, len);
	CHECK(penny_der_read_rsa(from_pem, len, &rsa) && rsa.n_len == 256 && rsa.e_len == 3);
	CHECK(parse(JWKS(RSA_JWK(""))) == NULL && set.key[0].len == len &&
		  memcmp(set.data + set.key[0].at, from_pem, len) == 0);
	for (uint32_t i = 0; i < len; i++)
		CHECK(!penny_der_read_rsa(from_pem, i, &rsa));
	for (uint32_t i = 0; i < 32; i++) /* the frame, up to the length of the modulus */
	{
		from_pem[i] ^= 0x01;
		CHECK(!penny_der_read_rsa(from_pem, len, &rsa));
		from_pem[i] ^= 0x01;
	}
	CHECK(penny_der_read_rsa(from_pem, len, &rsa));
	CHECK(parse(ED25519_PEM) == NULL && set.key[0].len == 44);
	CHECK(penny_der_read_ed25519(set.data, 44, point));
	CHECK(!penny_der_read_ed25519(set.data, 43, point));
}

TEST(algorithms)
{
	PennyKeyAlgorithm found;

	CHECK(penny_key_algorithm_find("RS256", &found) && found == PENNY_RS256);
	CHECK(penny_key_algorithm_find("EdDSA", &found) && found == PENNY_EDDSA);
	CHECK(penny_key_algorithm_find("HS256", &found) && found == PENNY_HS256);
	CHECK(!penny_key_algorithm_find("none", &found) && !penny_key_algorithm_find("", &found));
	CHECK(!penny_key_algorithm_find("rs256", &found) &&
		  !penny_key_algorithm_find("RS256 ", &found));
}

int
main(void)
{
	RUN(taken);
	RUN(refused);
	RUN(secret);
	RUN(bounds);
	RUN(der);
	RUN(algorithms);
	return unit_done();
}
