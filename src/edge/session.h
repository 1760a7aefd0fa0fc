/*-------------------------------------------------------------------------
 *
 * session.h
 *		Who a client is, what it has joined, and what its messages mean.
 *
 * A client speaks by a WebSocket (websocket.c), or listens to an event stream
 * (sse_session.c).  Sessions and rooms know no difference: what differs is behind
 * PennyTransport.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_SESSION_H
#define PENNY_EDGE_SESSION_H

#include "edge/calls.h"
#include "edge/json_span.h"
#include "edge/rooms.h"
#include "edge/connection.h"

#define PENNY_REF_MAX 128    /* bytes of a client's "ref", as written */
#define PENNY_USER_ID_MAX 64 /* bytes of a user's id */
#define PENNY_WINDOW_MAX 500 /* ms in which frames may gather */
#define PENNY_WINDOW_DEFAULT UINT32_MAX

typedef struct PennySession PennySession;
typedef struct PennySessionRoom PennySessionRoom;
typedef struct PennySessionJob PennySessionJob;

/* How a session speaks with its client. */
typedef struct PennyTransport
{
	/* Say a frame that was made for it. */
	void (*say)(PennySession *session, PennySpan text);
	/* Pass on a frame that others share. */
	void (*deliver)(PennySession *session, PennyFrame *frame);
	/* The end; why is said as the close code of a WebSocket, and in words. */
	void (*goodbye)(PennySession *session, uint16_t code, const char *reason);
	/* The end for now: the client is told when to come back. */
	void (*come_back)(PennySession *session, uint16_t code);
	/* The end for now of one that does not read what waits for it. */
	void (*too_slow)(PennySession *session);
	/* Call penny_session_expired() then (ms); 0 = never. */
	void (*deadline)(PennySession *session, uint64_t at);
	/* It is known who the client is. */
	void (*signed_in)(PennySession *session);
	/* An executor says that the token is not valid; probing: that there must be one. */
	void (*refused)(PennySession *session, const PennyAnswer *answer);
	/* The session takes messages again. */
	void (*go_on)(PennySession *session);

	/* These may be NULL, and the session says it by frames alone. */

	/* It is in a room; false: that need not be said. */
	bool (*joined)(PennySession *session, const PennyJoined *how);
	/* It was not let into a room; problem is a problem document, or empty. */
	void (*barred)(PennySession *session, uint32_t status, PennySpan problem);
	/* It is out of a room, which was said. */
	void (*left)(PennySession *session);
} PennyTransport;

/* A room that a session has joined, or asked to join. */
struct PennySessionRoom
{
	PennySession *session;
	PennyConnection *connection; /* the session's */
	PennySessionRoom *next;
	PennySessionRoom *prev;
	PennySessionRoom *next_ready; /* has frames to take */
	PennyMember *member;
	bool ready;       /* in the session's list of those */
	uint64_t hash;    /* of the room's name */
	uint32_t ref_len; /* of the join, until it is answered */
	char ref[];
};

struct PennySession
{
	const PennyTransport *transport;
	void *client; /* the transport's own */
	PennyConnection *connection;
	const char *request_id;  /* that its calls are made under; NULL: none */
	PennyPending *call;      /* auth or message: further messages wait */
	char *token;             /* of the user who is signed in */
	char *offered;           /* token that is being verified */
	int64_t expires;         /* Unix time (s) at which the token ends, 0 = never */
	uint64_t keys;           /* stamp of the keys when `token` was sent to be verified */
	uint64_t offered_keys;   /* likewise for `offered` */
	uint64_t offered_doubts; /* ends of sessions known when `offered` was sent */
	PennyPending *recheck;   /* the token is verified again */
	PennySession *next;      /* of all sessions */
	PennySession *prev;
	PennySessionRoom *rooms;
	PennySessionRoom *ready; /* in turn */
	PennySessionRoom **ready_end;
	PennySessionJob *jobs; /* calls about jobs */
	uint32_t job_count;
	uint32_t room_count;
	uint32_t window;  /* ms in which frames gather; PENNY_WINDOW_DEFAULT: as is set */
	uint32_t ref_len; /* of the call */
	bool local;       /* the client is on this machine */
	bool doubted;     /* its session token may have ended */
	bool probing;     /* the call asks whether no token is needed here */
	char ref[PENNY_REF_MAX];
	char user_id[PENNY_USER_ID_MAX + 1]; /* empty: nobody is signed in */
};

/* ---- session.c: life, and what messages mean ------------------------------- */

/*
 * Open one of a client of this transport.  local: the client is on this
 * machine, and may need no token.
 */
extern PennySession *penny_session_open(const PennyTransport *transport, void *client,
										PennyConnection *connection, bool local);
/* Release everything keyed by the session. */
extern void penny_session_close(PennySession *session);
/* A text message; valid UTF-8. */
extern void penny_session_message(PennySession *session, PennySpan text);
/* Does it wait for a call, so that further messages must wait? */
extern bool penny_session_busy(const PennySession *session);
/* Is any call of it under way, so that its client waits for an answer? */
extern bool penny_session_awaits(const PennySession *session);
/* Its deadline passed. */
extern void penny_session_expired(PennySession *session);

/* ---- session_auth.c: signing in ------------------------------------------------ */

/* Verify a token; an empty one asks whether none is needed. */
extern void penny_session_verify(PennySession *session, PennySpan token);
extern void penny_session_auth_deadline(PennySession *session);
/* Loop: verify tokens again when the keys have changed. */
extern void penny_sessions_turn(void);
/* Session tokens of a user (zeroes: of everybody) may have ended. */
extern void penny_sessions_doubt(const uint8_t user[16]);
/* A session came, or goes. */
extern void penny_session_list(PennySession *session);
extern void penny_session_unlist(PennySession *session);

/* ---- session_rooms.c: joining, and what rooms bring ----------------------------- */

/* wanted: all but its window, which is the session's. */
extern void penny_session_join(PennySession *session, PennySpan ref, PennyJoin *wanted);
/* Frames gather for so long, in all its rooms. */
extern void penny_session_set_window(PennySession *session, uint32_t window);
/* The next frame of its rooms, see PennyProtocol; and its socket has taken everything. */
extern PennyFrame *penny_session_pull(PennySession *session, size_t most);
extern void penny_session_drained(PennySession *session);
extern void penny_session_leave(PennySession *session, PennySpan ref, PennySpan room);
extern void penny_session_signal(PennySession *session, PennySpan ref, PennySpan room,
								 PennySpan event);
extern void penny_session_leave_all(PennySession *session);
/* Callbacks of rooms.h; member is a PennySessionRoom. */
extern void penny_session_joined(void *arg, void *member, PennySpan room, const PennyJoined *how);
extern void penny_session_deliver(void *arg, void *member, PennyFrame *frame);
extern void penny_session_ready(void *arg, void *member);
extern bool penny_session_takes(void *arg, void *member);
extern void penny_session_left(void *arg, void *member, PennySpan room, PennyLeaving why,
							   bool joined, uint32_t status, PennySpan problem);

/* ---- session_jobs.c: workers ------------------------------------------------------ */

/* A message of one of its types: claim, complete, fail, extend, release. */
extern void penny_session_take_jobs(PennySession *session, PennySpan type, PennySpan ref,
									PennySpan text);
/* The edge is to stop: claims that wait are answered. */
extern void penny_session_drain_jobs(PennySession *session);
/* The client goes: nothing is answered any more, and no jobs are left with it. */
extern void penny_session_end_jobs(PennySession *session);

/* ---- session_frames.c: frames to the client -------------------------------------- */

/* Begin {"type":"<type>"[,"ref":ref], add members, send. */
extern void penny_say_begin(const char *type, PennySpan ref);
extern void penny_say_raw(const char *name, PennySpan json);
extern void penny_say_text(const char *name, PennySpan text);
/* Members of a JSON object as they are, or none. */
extern void penny_say_members(PennySpan members);
extern PennySpan penny_say_end(void);
extern void penny_say_send(PennySession *session);
/* {"type":"error"} made here; code PY<status>. */
extern void penny_say_error(PennySession *session, PennySpan ref, uint32_t status,
							const char *detail);
/* {"type":"error"} from a problem document of an executor; room may be empty. */
extern void penny_say_problem(PennySession *session, PennySpan ref, PennySpan room, uint32_t status,
							  PennySpan problem);

#endif /* PENNY_EDGE_SESSION_H */
