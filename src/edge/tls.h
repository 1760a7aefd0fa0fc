/*-------------------------------------------------------------------------
 *
 * tls.h
 *		TLS of client connections.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_TLS_H
#define PENNY_EDGE_TLS_H

#include "edge/connection.h"

/* Make OpenSSL ready; before the sandbox.  NULL, or what failed. */
extern const char *penny_tls_init(void);
/* Take certificates that wait at the control socket; false: its other end is gone. */
extern bool penny_tls_receive(int fd);
/* Was the last certificate of no use? */
extern bool penny_tls_failed(void);
/* Do new connections speak TLS? */
extern bool penny_tls_wanted(void);
/* Say to a client that is refused before anything else that it is. */
extern const char *penny_tls_refusal(size_t *len);

/* A connection is to speak TLS; costs a few bytes until it says so itself. */
extern PennyTls *penny_tls_open(void);
extern void penny_tls_close(PennyTls *tls);
/* Bytes from the socket: what is in them goes to the protocol. */
extern void penny_tls_input(PennyConnection *connection, const char *bytes, size_t len);
/*
 * Encrypt at most PENNY_WRITE_MAX bytes, which must be sent before anything
 * else is; false: that is not possible (any more).
 */
extern bool penny_tls_encrypt(PennyTls *tls, const char **bytes, size_t *len);
/* The goodbye of TLS, once; false: there is none to be said. */
extern bool penny_tls_goodbye(PennyTls *tls, const char **bytes, size_t *len);

#endif /* PENNY_EDGE_TLS_H */
