/*-------------------------------------------------------------------------
 *
 * handshake.h
 *		The answer to a WebSocket key (RFC 6455 4.2.2).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_HANDSHAKE_H
#define PENNY_EDGE_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#define PENNY_WEBSOCKET_ACCEPT_LEN 28

/* Is this base64 of 16 bytes, in canonical form? */
extern bool penny_handshake_key_valid(const char *key, size_t len);
/* Sec-WebSocket-Accept for a valid key of 24 bytes, with a NUL. */
extern void penny_handshake_accept(const char *key, char out[PENNY_WEBSOCKET_ACCEPT_LEN + 1]);

#endif /* PENNY_EDGE_HANDSHAKE_H */
