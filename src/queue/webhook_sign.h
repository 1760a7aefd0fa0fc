/*-------------------------------------------------------------------------
 *
 * webhook_sign.h
 *		Signatures of webhooks, as Standard Webhooks wants them, so that the
 *		libraries of that standard verify them.
 *
 * The header webhook-signature is "v1,<base64>" of HMAC-SHA256 over
 * "<id>.<timestamp>.<body>".  A secret is "whsec_" and base64 of 24 to 64
 * bytes.  A handler may have two with a space between, while receivers are
 * told of a new one: then there are two signatures, and either will do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WEBHOOK_SIGN_H
#define PENNY_WEBHOOK_SIGN_H

#include "postgres.h"

#define PENNY_WEBHOOK_SECRETS 2

/* What is wrong with the secrets, as a sentence, or NULL. */
extern const char *penny_webhook_secret_wrong(const char *secrets);
/* A new secret, palloc'd; NULL: the system has no random bytes. */
extern char *penny_webhook_secret_make(void);
/*
 * The value of webhook-signature, palloc'd; NULL when the secrets are wrong or
 * there is no HMAC to be had.  `timestamp` is seconds since 1970.  In a process
 * without a transaction there must be a resource owner.
 */
extern char *penny_webhook_sign(const char *secrets, const char *id, int64 timestamp,
								const char *body, size_t len);

#endif /* PENNY_WEBHOOK_SIGN_H */
