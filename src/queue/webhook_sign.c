/*-------------------------------------------------------------------------
 *
 * webhook_sign.c
 *		Signatures of webhooks.  See webhook_sign.h.
 *
 * No ereport and nothing of a server but palloc, HMAC and base64, which
 * libpgcommon has too: the unit test links that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "common/hmac.h"
#include "common/sha2.h"

#include "queue/webhook_sign.h"

#define PREFIX "whsec_"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define LEAST 24 /* bytes of a secret */
#define MOST 64
#define NEW 32 /* of one that is made here */
#define ENCODED (4 * ((MOST + 2) / 3))
#define SIGNATURE 64 /* bytes of "v1,", base64 of 32 bytes, and its end */

static const char *next_secret(const char **secrets, uint8 secret[MOST], int *len);
static bool sign_one(const uint8 *secret, int secret_len, const char *head, const char *body,
					 size_t len, char signature[SIGNATURE]);

/*
 * The next secret, decoded; *secrets goes behind it.  NULL, or what is wrong as
 * a sentence.
 */
static const char *
next_secret(const char **secrets, uint8 secret[MOST], int *len)
{
	size_t text_len = strcspn(*secrets, " ");
	const char *text = *secrets + PREFIX_LEN;
	char decoded[ENCODED];

	if (strncmp(*secrets, PREFIX, PREFIX_LEN) != 0)
		return "A secret begins with whsec_.";
	text_len -= PREFIX_LEN;
	*secrets = text + text_len;
	if (text_len > ENCODED)
		return "A secret has at most 64 bytes.";
	*len = pg_b64_decode(text, (int) text_len, decoded, sizeof(decoded));
	if (*len < 0)
		return "After whsec_ there must be base64.";
	if (*len < LEAST || *len > MOST)
		return "A secret has 24 to 64 bytes, in base64.";
	memcpy(secret, decoded, (size_t) *len);
	explicit_bzero(decoded, sizeof(decoded));
	return NULL;
}

const char *
penny_webhook_secret_wrong(const char *secrets)
{
	uint8 secret[MOST];
	int len;

	for (int i = 0; i < PENNY_WEBHOOK_SECRETS; i++)
	{
		const char *wrong = next_secret(&secrets, secret, &len);

		explicit_bzero(secret, sizeof(secret));
		if (wrong != NULL || *secrets == '\0')
			return wrong;
		secrets++;
	}
	return "There may be two secrets, with one space between.";
}

char *
penny_webhook_secret_make(void)
{
	uint8 secret[NEW];
	char *text = palloc(PREFIX_LEN + ENCODED + 1);
	int len;

	if (!pg_strong_random(secret, sizeof(secret)))
		return NULL;
	memcpy(text, PREFIX, PREFIX_LEN);
	len = pg_b64_encode((const char *) secret, NEW, text + PREFIX_LEN, ENCODED);
	explicit_bzero(secret, sizeof(secret));
	if (len < 0)
		return NULL;
	text[PREFIX_LEN + len] = '\0';
	return text;
}

/* One signature; false: no HMAC to be had. */
static bool
sign_one(const uint8 *secret, int secret_len, const char *head, const char *body, size_t len,
		 char signature[SIGNATURE])
{
	pg_hmac_ctx *hmac = pg_hmac_create(PG_SHA256);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	int encoded;

	if (hmac == NULL)
		return false;
	if (pg_hmac_init(hmac, secret, (size_t) secret_len) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) head, strlen(head)) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) body, len) < 0 ||
		pg_hmac_final(hmac, digest, sizeof(digest)) < 0)
	{
		pg_hmac_free(hmac);
		return false;
	}
	pg_hmac_free(hmac);
	memcpy(signature, "v1,", 3);
	encoded = pg_b64_encode((const char *) digest, sizeof(digest), signature + 3, SIGNATURE - 4);
	if (encoded < 0)
		return false;
	signature[3 + encoded] = '\0';
	return true;
}

char *
penny_webhook_sign(const char *secrets, const char *id, int64 timestamp, const char *body,
				   size_t len)
{
	char *head = psprintf("%s." INT64_FORMAT ".", id, timestamp);
	char *signatures = palloc0(PENNY_WEBHOOK_SECRETS * SIGNATURE);
	uint8 secret[MOST];
	int secret_len;
	bool good = penny_webhook_secret_wrong(secrets) == NULL;

	for (int i = 0; good; i++)
	{
		size_t at = strlen(signatures);

		if (i > 0)
			signatures[at++] = ' ';
		good = next_secret(&secrets, secret, &secret_len) == NULL &&
			   sign_one(secret, secret_len, head, body, len, signatures + at);
		explicit_bzero(secret, sizeof(secret));
		if (*secrets == '\0')
			break;
		secrets++;
	}
	pfree(head);
	if (good)
		return signatures;
	pfree(signatures);
	return NULL;
}
