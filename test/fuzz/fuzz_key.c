/*-------------------------------------------------------------------------
 *
 * fuzz_key.c
 *		libFuzzer target: the strict reader of files with keys.
 *
 * The first byte chooses between a file of keys and one of a secret.  Beside
 * memory errors it looks for contradictions: keys in bounds, told apart, of a
 * sane size, and public ones that read back as what they are.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "auth/key_der.h"
#include "auth/key_parse.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(int condition)
{
	if (!condition)
		abort();
}

static void
check_key(const PennyKeySet *set, const PennyJwtKey *key)
{
	const uint8_t *data = set->data + key->at;
	PennyRsaNumbers rsa;
	uint8_t point[PENNY_ED25519_LEN];

	check(key->at + key->len <= set->used && set->used <= PENNY_KEY_BYTES);
	check(memchr(key->kid, '\0', sizeof(key->kid)) != NULL);
	switch (key->algorithm)
	{
		case PENNY_HS256:
			check(key->len >= PENNY_SECRET_MIN && key->len <= PENNY_SECRET_MAX);
			break;
		case PENNY_RS256:
			check(penny_der_read_rsa(data, key->len, &rsa));
			check(rsa.n_len * 8 >= PENNY_RSA_MIN_BITS && rsa.n_len * 8 <= PENNY_RSA_MAX_BITS);
			break;
		case PENNY_EDDSA:
			check(penny_der_read_ed25519(data, key->len, point));
			break;
		case PENNY_KEY_ALGORITHMS:
			check(0);
	}
}

/* No token can fit two keys without saying which. */
static void
check_told_apart(const PennyJwtKey *one, const PennyJwtKey *other)
{
	if (one->kid[0] != '\0' && other->kid[0] != '\0')
		check(strcmp(one->kid, other->kid) != 0);
	else
		check(one->algorithm != other->algorithm);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static PennyKeySet set;
	const char *wrong;
	char *copy;

	if (size == 0)
		return 0;
	/* of its exact size, so that a byte too many is seen */
	copy = malloc(size > 1 ? size - 1 : 1);
	memcpy(copy, data + 1, size - 1);
	memset(&set, 0x5a, sizeof(set));
	if (data[0] & 1)
		wrong = penny_key_parse_secret(copy, size - 1, &set);
	else
		wrong = penny_key_parse(copy, size - 1, &set);
	free(copy);
	if (wrong != NULL)
		return 0;
	check(set.count > 0 && set.count <= PENNY_KEYS_MAX);
	for (int i = 0; i < set.count; i++)
	{
		check_key(&set, &set.key[i]);
		for (int other = 0; other < i; other++)
			check_told_apart(&set.key[i], &set.key[other]);
	}
	return 0;
}
