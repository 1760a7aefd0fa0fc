/*-------------------------------------------------------------------------
 *
 * connection.h
 *		One client socket: bytes in, bytes out, closing.
 *
 * A connection has a protocol (HTTP first, WebSocket after an upgrade) that is
 * called with what happened.  Rules:
 *
 *	- Output never blocks.  What the socket does not take is queued; while a
 *	  queue is there the socket is not read, and a client that takes nothing
 *	  for write_timeout is cut.
 *	- Nothing is freed inside a callback: closing marks the connection, and the
 *	  loop frees it at the end of the turn.  So a protocol may close at any
 *	  point and need not look whether its connection is still there.
 *	- One timer.  Its deadline belongs to the protocol; the write stall has
 *	  another, and the earlier one counts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_CONNECTION_H
#define PENNY_EDGE_CONNECTION_H

#include "edge/frame.h"
#include "edge/limits.h"
#include "edge/timer.h"

typedef struct PennyConnection PennyConnection;
typedef struct PennyTls PennyTls;
struct lws;

typedef struct PennyProtocol
{
	/* Bytes came; all are taken.  They may be changed in place. */
	void (*input)(PennyConnection *connection, char *bytes, size_t len);
	/*
	 * The socket takes more, and the queue is empty: the next frame, as a
	 * reference, if it has at most that many bytes.  NULL: there is none, or a
	 * larger one.  A protocol may have none of this.
	 */
	PennyFrame *(*pull)(PennyConnection *connection, size_t most);
	/* Everything queued is with the kernel. */
	void (*drained)(PennyConnection *connection);
	/* The protocol's deadline passed. */
	void (*expired)(PennyConnection *connection);
	/* The connection ends: release everything keyed by it. */
	void (*closed)(PennyConnection *connection);
	/* The edge is to stop: finish soon.  Called again when it is closing: now. */
	void (*drain)(PennyConnection *connection);
	/* Nothing can be served for a while; NULL = does not matter. */
	void (*interrupt)(PennyConnection *connection);
} PennyProtocol;

typedef enum PennyConnectionState
{
	PENNY_OPEN,
	PENNY_FLUSHING,  /* closes when the queue is empty */
	PENNY_LINGERING, /* said goodbye; reads and drops what still comes */
	PENNY_CUT        /* to be freed at the end of the turn */
} PennyConnectionState;

/* Something to send: a shared frame, or bytes of its own. */
typedef struct PennyOutput
{
	const char *bytes;
	uint32_t len;
	bool pulled;       /* was pulled, and goes in pieces: counts as being sent, not as queued */
	PennyFrame *frame; /* NULL: bytes were allocated for this */
} PennyOutput;

struct PennyConnection
{
	struct lws *wsi;
	PennyTls *tls; /* NULL: the wire is plain */
	const PennyProtocol *protocol;
	void *session; /* the protocol's own */
	PennyAddress *address;
	PennyConnection *next; /* all connections */
	PennyConnection *prev;
	PennyConnection *next_dirty; /* has queued output */
	PennyConnection *next_cut;   /* is to be freed */
	PennyTimer timer;
	uint64_t deadline;       /* of the protocol; 0 = none */
	uint64_t write_deadline; /* of the output; 0 = none */
	uint64_t look_at;        /* when paused: next look for its end; 0 = none */
	uint64_t acknowledged;   /* bytes that the peer had acknowledged then */
	uint64_t blocked_since;  /* ms, while blocked */
	PennyOutput *queue;      /* ring of queue_size entries */
	uint32_t queue_size;
	uint32_t queue_head;
	uint32_t queue_len;
	uint32_t queued; /* bytes */
	uint32_t in_len; /* bytes kept for later */
	uint32_t in_size;
	char *in;
	uint8_t state;
	bool blocked; /* the socket takes no more now */
	bool paused;  /* not reading, as the protocol wishes */
	bool reading; /* what the loop was told */
	bool dirty;   /* on the list of those to flush */
	bool pulls;   /* the protocol may have frames to pull */
	bool doomed;  /* on the list of those to free */
	bool loopback;
	char peer[PENNY_PEER_TEXT];
};

/* Take over an accepted socket; false when that failed (it is closed then). */
extern bool penny_connection_adopt(int fd, PennyAddress *address, const char *peer, bool loopback);
extern uint32_t penny_connections(void);

/* Send bytes now if possible; what does not go is copied. */
extern void penny_connection_write(PennyConnection *connection, const char *bytes, size_t len);
/* Queue a frame; it goes at the end of the turn, together with others. */
extern void penny_connection_queue(PennyConnection *connection, PennyFrame *frame);
/* The protocol has frames to pull: they go at the end of the turn, or when the socket takes them. */
extern void penny_connection_has_frames(PennyConnection *connection);
/*
 * Keep at most that many bytes in the kernel that it has not sent.  Else it
 * takes megabytes for a client that does not read, unseen by us and, with many
 * of them, at the cost of all other sockets of the machine.
 */
extern void penny_connection_limit_unsent(PennyConnection *connection, int bytes);
/*
 * The connection ends when the client has acknowledged nothing of what was
 * sent for so long (ms).
 */
extern void penny_connection_limit_silence(PennyConnection *connection, uint32_t ms);
/* Has all output gone to the kernel? */
extern bool penny_connection_is_drained(const PennyConnection *connection);
/* May that many bytes more of an answer wait for this client? */
extern bool penny_connection_takes(const PennyConnection *connection, size_t len);

/*
 * Input kept by all connections together is bounded: take that many bytes of
 * it, or give them back (negative).  False: there is no more.
 */
extern bool penny_connection_budget(int64_t bytes);
/*
 * Keep input for later; what was kept is at in, in_len.  Cuts the connection
 * when too much is kept by all together.
 */
extern void penny_connection_keep(PennyConnection *connection, const char *bytes, size_t len);
/* Drop that many kept bytes from the front; gives memory back when empty. */
extern void penny_connection_consume(PennyConnection *connection, size_t len);
/* Stop or resume reading. */
extern void penny_connection_pause(PennyConnection *connection, bool pause);

/* Set the protocol's deadline (ms); 0 = none. */
extern void penny_connection_deadline(PennyConnection *connection, uint64_t deadline);
/* Send what is queued, then close. */
extern void penny_connection_close(PennyConnection *connection);
/* Likewise, but not later than that (ms). */
extern void penny_connection_close_by(PennyConnection *connection, uint64_t deadline);
/* Close without sending anything more. */
extern void penny_connection_cut(PennyConnection *connection);
/* Tell every connection that the edge is to stop. */
extern void penny_connections_drain(void);
/* Tell every connection that nothing can be served for a while. */
extern void penny_connections_interrupt(void);

/* Loop: send what was queued in this turn; free what is to be freed. */
extern void penny_connections_flush(void);
extern void penny_connections_reap(void);

/* Called by the libwebsockets callback in loop.c. */
extern void penny_connection_readable(PennyConnection *connection, char *bytes, size_t len);
extern void penny_connection_writable(PennyConnection *connection);
extern void penny_connection_gone(PennyConnection *connection);

#endif /* PENNY_EDGE_CONNECTION_H */
