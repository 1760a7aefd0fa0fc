/*-------------------------------------------------------------------------
 *
 * webhook_sign.c
 *		Signatures of webhooks, against the vector that the reference libraries
 *		of Standard Webhooks publish, and against OpenSSL.
 *
 * Links libpgcommon, where HMAC and base64 of PostgreSQL are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "queue/webhook_sign.h"

/* libc's: the test is a program, not a part of a server */
#undef printf
#undef snprintf
#undef fprintf
#undef sprintf
#include "unit.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

/* From the tests of the reference libraries. */
TEST(published)
{
	static const char body[] = "{\"test\": 2432232314}";
	char *signature = penny_webhook_sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body,
										 sizeof(body) - 1);

	CHECK(signature != NULL &&
		  strcmp(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=") == 0);
	free(signature);
}

/* The same by OpenSSL, for random keys and bodies. */
TEST(openssl)
{
	uint64_t state = 42;

	for (int i = 0; i < 200; i++)
	{
		unsigned char key[64];
		unsigned char text[4096];
		unsigned char digest[32];
		char encoded[128];
		char secret[200];
		char expected[200];
		int key_len = 24 + (int) (unit_random(&state) % 41);
		int len = (int) (unit_random(&state) % 3000);
		int head = snprintf((char *) text, sizeof(text), "job_%d_5.%d.", i, 1700000000 + i);
		char *signature;

		for (int b = 0; b < key_len; b++)
			key[b] = (unsigned char) unit_random(&state);
		for (int b = 0; b < len; b++)
			text[head + b] = (unsigned char) unit_random(&state);
		EVP_EncodeBlock((unsigned char *) encoded, key, key_len);
		snprintf(secret, sizeof(secret), "whsec_%s", encoded);
		HMAC(EVP_sha256(), key, key_len, text, (size_t) (head + len), digest, NULL);
		EVP_EncodeBlock((unsigned char *) encoded, digest, sizeof(digest));
		snprintf(expected, sizeof(expected), "v1,%s", encoded);
		{
			char id[32];

			snprintf(id, sizeof(id), "job_%d_5", i);
			signature =
				penny_webhook_sign(secret, id, 1700000000 + i, (char *) text + head, (size_t) len);
		}
		CHECK(signature != NULL && strcmp(signature, expected) == 0);
		free(signature);
	}
}

TEST(two_secrets)
{
	char *made = penny_webhook_secret_make();
	char *other = penny_webhook_secret_make();
	char both[256];
	char *first = penny_webhook_sign(SECRET, "a", 1, "x", 1);
	char *second;
	char *signature;
	char expected[256];

	CHECK(made != NULL && strlen(made) == 6 + 44 && penny_webhook_secret_wrong(made) == NULL);
	CHECK(strcmp(made, other) != 0);
	second = penny_webhook_sign(made, "a", 1, "x", 1);
	snprintf(both, sizeof(both), "%s %s", SECRET, made);
	snprintf(expected, sizeof(expected), "%s %s", first, second);
	signature = penny_webhook_sign(both, "a", 1, "x", 1);
	CHECK(signature != NULL && strcmp(signature, expected) == 0);
	free(made);
	free(other);
	free(first);
	free(second);
	free(signature);
}

TEST(wrong_secrets)
{
	static const char *const bad[] = {
		"",
		" ",
		"secret",
		"whsec_",
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", /* 23 bytes */
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa!!",
		"whsec_"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		SECRET " ",
		" " SECRET,
		SECRET "  " SECRET,
		SECRET " secret",
		SECRET " " SECRET " " SECRET,
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		CHECK_ROW(penny_webhook_secret_wrong(bad[i]) != NULL, bad[i]);
		CHECK_ROW(penny_webhook_sign(bad[i], "a", 1, "x", 1) == NULL, bad[i]);
	}
	CHECK(penny_webhook_secret_wrong(SECRET " " SECRET) == NULL);
}

int
main(void)
{
	RUN(published);
	RUN(openssl);
	RUN(two_secrets);
	RUN(wrong_secrets);
	return unit_done();
}
