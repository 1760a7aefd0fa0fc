/*-------------------------------------------------------------------------
 *
 * certificate.h
 *		Certificate and key of TLS, from the files that the settings name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_AUTH_CERTIFICATE_H
#define PENNY_AUTH_CERTIFICATE_H

#include "postgres.h"

#include <time.h>

#include "plane/certificate.h"

/* Do the settings ask for TLS? */
extern bool penny_certificate_wanted(void);

/*
 * Read both files and check that an edge can use what is in them; until = when
 * the certificate ends.  False: *why says what is wrong, *remedy what to do.
 */
extern bool penny_certificate_read(PennyCertificate *certificate, time_t *until, char *why,
								   size_t why_size, const char **remedy);
/* Overwrite key and all. */
extern void penny_certificate_forget(PennyCertificate *certificate);

#endif /* PENNY_AUTH_CERTIFICATE_H */
