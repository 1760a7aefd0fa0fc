/*-------------------------------------------------------------------------
 *
 * wire.h
 *		One connection that speaks the protocol of Redis (RESP2).  Plain C.
 *
 * Of hiredis only redisFormatCommandArgv() and the reader of replies are used:
 * socket, timeouts and waiting are ours, nothing here blocks, resolves names,
 * or ends the process.  Who waits is told by the results what for.
 *
 * Replies are trees of our own, bounded in bytes, elements and depth; a server
 * that goes beyond is broken and its connection is given up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WIRE_H
#define PENNY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef enum PennyReplyType
{
	PENNY_REPLY_NIL,
	PENNY_REPLY_STATUS,
	PENNY_REPLY_ERROR,
	PENNY_REPLY_INTEGER,
	PENNY_REPLY_STRING,
	PENNY_REPLY_ARRAY
} PennyReplyType;

typedef struct PennyReply
{
	PennyReplyType type;
	int64_t integer;
	size_t len; /* bytes of text, or elements */
	char *text; /* a NUL behind it */
	struct PennyReply **element;
} PennyReply;

typedef enum PennyWireResult
{
	PENNY_WIRE_DONE,  /* all was sent; a reply is there */
	PENNY_WIRE_AGAIN, /* wait for the socket */
	PENNY_WIRE_LOST   /* the connection is of no use: why says what happened */
} PennyWireResult;

#define PENNY_WIRE_ELEMENTS 16384 /* of one array */

typedef struct PennyWire
{
	int fd;           /* -1: none */
	size_t max_reply; /* bytes of what was received and is not taken yet */
	char *out;        /* what was not sent yet: out[sent .. len) */
	size_t out_sent;
	size_t out_len;
	size_t out_size;
	void *reader;
	size_t reply_bytes; /* of the reply that is being read */
	bool broken;
	char why[128];
} PennyWire;

extern void penny_wire_init(PennyWire *wire, size_t max_reply);
/* Close, forget what was queued and half received; it can be opened again. */
extern void penny_wire_close(PennyWire *wire);

/* Begin to connect: DONE, AGAIN (until writable, then penny_wire_connected()), LOST. */
extern PennyWireResult penny_wire_connect(PennyWire *wire, const struct sockaddr *address,
										  socklen_t len);
extern PennyWireResult penny_wire_connected(PennyWire *wire);

/* Queue a command; false when there is no memory (the wire is then broken). */
extern bool penny_wire_command(PennyWire *wire, int argc, const char *const *argv,
							   const size_t *len);
/* Bytes queued and not sent. */
extern size_t penny_wire_unsent(const PennyWire *wire);
extern PennyWireResult penny_wire_send(PennyWire *wire);

/* Take in what the socket has: DONE when something came, AGAIN, LOST. */
extern PennyWireResult penny_wire_receive(PennyWire *wire);
/* The same with bytes that are here already. */
extern PennyWireResult penny_wire_feed(PennyWire *wire, const char *bytes, size_t len);
/* The next whole reply, to be freed: DONE, AGAIN when there is none, LOST. */
extern PennyWireResult penny_wire_reply(PennyWire *wire, PennyReply **reply);
extern void penny_reply_free(PennyReply *reply);

#endif /* PENNY_WIRE_H */
