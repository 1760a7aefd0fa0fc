/*-------------------------------------------------------------------------
 *
 * fuzz_jwt.c
 *		libFuzzer target: the strict reader of tokens.
 *
 * The first byte chooses: a whole token, or a payload that a good signature
 * has already vouched for.  Beside memory errors it looks for contradictions:
 * what was read must be bounded, terminated, and the same when read again.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/json_strict.h"
#include "auth/jwt_parse.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(int condition)
{
	if (!condition)
		abort();
}

/* Values that the walk tells must lie in bounds and be unescaped UTF-8. */
static bool
visit(void *arg, const PennyJsonValue *value)
{
	(void) arg;
	check(value->depth == 1 || value->depth == 2);
	check(value->name_len <= PENNY_JSON_BYTES && value->len <= PENNY_JSON_BYTES);
	if (value->type == PENNY_JSON_STRING)
		check(memchr(value->text, '\0', value->len) == NULL);
	return true;
}

static void
fuzz_token(const char *token, size_t len)
{
	static PennyJwt jwt;

	memset(&jwt, 0x5a, sizeof(jwt));
	if (penny_jwt_split(token, len, &jwt) != PENNY_JWT_OK)
		return;
	check(len <= PENNY_JWT_MAX && jwt.signed_len < len && token[jwt.signed_len] == '.');
	check(jwt.payload_len < sizeof(jwt.payload) && jwt.payload[jwt.payload_len] == '\0');
	check(jwt.signature_len <= sizeof(jwt.signature));
	check(memchr(jwt.alg, '\0', sizeof(jwt.alg)) != NULL && jwt.alg[0] != '\0');
}

static void
fuzz_payload(const char *payload, size_t len)
{
	static PennyJwt jwt;
	PennyJwtExpect expect = {1000, 30, "penny", "issuer"};
	PennyJwtError error;

	if (len >= sizeof(jwt.payload))
		return;
	memset(&jwt, 0x5a, sizeof(jwt));
	memcpy(jwt.payload, payload, len);
	jwt.payload[len] = '\0';
	jwt.payload_len = len;
	error = penny_jwt_claims(&jwt, &expect);
	check(penny_jwt_error_text(error) != NULL);
	check(penny_jwt_claims(&jwt, &expect) == error);
	if (error == PENNY_JWT_OK)
	{
		check(jwt.exp > expect.now - expect.leeway);
		check(memchr(jwt.role, '\0', sizeof(jwt.role)) != NULL);
		check(penny_json_walk(payload, len, visit, NULL));
	}
	(void) penny_json_walk(payload, len, visit, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy;

	if (size == 0)
		return 0;
	/* of its exact size, so that a byte too many is seen */
	copy = malloc(size > 1 ? size - 1 : 1);
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		fuzz_payload(copy, size - 1);
	else
		fuzz_token(copy, size - 1);
	free(copy);
	return 0;
}
