/*-------------------------------------------------------------------------
 *
 * certificate.h
 *		The certificate in force, and how an edge gets it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_GATEWAY_CERTIFICATE_H
#define PENNY_GATEWAY_CERTIFICATE_H

#include "postgres.h"

typedef enum PennyTls
{
	PENNY_TLS_OFF,    /* plain HTTP */
	PENNY_TLS_ON,     /* with the certificate in force */
	PENNY_TLS_MISSING /* wanted, and there is none: nothing may be served */
} PennyTls;

/*
 * Read settings and files again; true when the edge must be told.  What cannot
 * be used is logged once, and what was in force stays.
 */
extern bool penny_gateway_certificate_load(void);
extern PennyTls penny_gateway_tls(void);
/* Send what is in force over a control socket; false (errno): try later. */
extern bool penny_gateway_certificate_send(int fd);

#endif /* PENNY_GATEWAY_CERTIFICATE_H */
