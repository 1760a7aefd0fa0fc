/*-------------------------------------------------------------------------
 *
 * websocket.h
 *		WebSocket on one connection: upgrade, messages, control frames, close.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_WEBSOCKET_H
#define PENNY_EDGE_WEBSOCKET_H

#include "edge/http.h"
#include "edge/session.h"
#include "edge/websocket_frame.h"

#define PENNY_SIGN_IN_MAX (16 * 1024) /* bytes of a message of somebody unknown */

typedef struct PennyWebsocket
{
	PennyConnection *connection;
	PennySession *session;
	PennyWebsocketParser parser;
	char *message; /* pieces of a message so far */
	size_t message_len;
	size_t message_size;
	int window_bits;     /* of what it unpacks, 0: nothing compressed is sent */
	PennyBucket bucket;  /* messages a second */
	uint64_t ping_at;    /* ms of the next ping, 0 = none */
	uint64_t session_at; /* deadline of the session, 0 = none */
	bool pinged;         /* a ping is not answered yet */
} PennyWebsocket;

/* Answer an upgrade request: 101 and another protocol, or an error. */
extern void penny_websocket_upgrade(PennyHttp *http, char *bytes);
extern const PennyTransport penny_websocket_transport;
/* What a connection does that has become one. */
extern const PennyProtocol penny_websocket_protocol;

/* Queue a frame that others may get, too. */
extern void penny_websocket_queue(PennyWebsocket *websocket, PennyFrame *frame);
/* Send a text message. */
extern void penny_websocket_send(PennyWebsocket *websocket, PennySpan text);
/* Leave all rooms, say goodbye with a code and a reason, then close; not from inside rooms.c. */
extern void penny_websocket_goodbye(PennyWebsocket *websocket, uint16_t code, const char *reason);
/* Goodbye with {"retry_after_ms"}, spread so that not all come back at once. */
extern void penny_websocket_come_back(PennyWebsocket *websocket, uint16_t code);
/* Likewise for one that does not read what waits for it. */
extern void penny_websocket_too_slow(PennyWebsocket *websocket);
/* ms after which a client may come back, so that not all do at once. */
extern uint32_t penny_come_back_after(void);
/* Take messages of at most that many bytes, and never more than is set. */
extern void penny_websocket_limit(PennyWebsocket *websocket, uint32_t limit);
/* Deadline of the session, 0 = none. */
extern void penny_websocket_deadline(PennyWebsocket *websocket, uint64_t at);
/* The session takes messages again: go on with what was kept. */
extern void penny_websocket_go_on(PennyWebsocket *websocket);

#endif /* PENNY_EDGE_WEBSOCKET_H */
