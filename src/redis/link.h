/*-------------------------------------------------------------------------
 *
 * link.h
 *		A connection of the relay, which it opens again whenever it is lost;
 *		inside redis only.
 *
 *	DOWN -> CONNECTING -> GREETING -> UP,	any -> DOWN when it fails
 *
 * Greeting: sign in, choose the database, and what the link begins with.  An
 * error in it, or no answer in time, is a failure like others.  A link that is
 * silent is asked by PING and given up after SILENCE.  Between attempts there
 * are pauses, doubled up to half a second, with jitter.  What happened is told
 * to the log when it changes, not at each attempt.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_LINK_H
#define PENNY_LINK_H

#include "postgres.h"

#include "redis/shared.h"
#include "redis/wire.h"

typedef enum PennyLinkState
{
	PENNY_LINK_DOWN,
	PENNY_LINK_CONNECTING,
	PENNY_LINK_GREETING,
	PENNY_LINK_UP
} PennyLinkState;

typedef struct PennyLink PennyLink;

struct PennyLink
{
	const char *name;               /* what it carries, for the log */
	bool (*greet)(PennyLink *link); /* queue the last command of the greeting */
	void (*up)(PennyLink *link);
	void (*reply)(PennyLink *link, const PennyReply *reply);
	void (*down)(PennyLink *link);
	void (*ping)(PennyLink *link);

	PennyWire wire;
	PennyLinkState state;
	uint32 opened; /* raised with each new socket */
	int greetings; /* replies that the greeting still has to get */
	int attempts;  /* that failed in a row */
	int64 retry_at;
	int64 deadline; /* of CONNECTING and GREETING */
	int64 heard_at;
	int64 pinged_at;
	bool told_up;
	int64 told_at;
	char told[160]; /* why it is down, as in the log */
};

/* Where links go; see address.c. */
typedef struct PennyAddresses
{
	int n;
	int current;
	struct sockaddr_storage address[8];
	socklen_t len[8];
} PennyAddresses;

/* Look a server up; NULL, or why not.  May take a few seconds for a name. */
extern const char *penny_address_find(const PennyRedisUrl *url, PennyAddresses *addresses);

extern void penny_link_init(PennyLink *link);
/* What is due by the clock. */
extern void penny_link_step(PennyLink *link, const PennyAddresses *addresses,
							const PennyRedisTarget *sign_in);
/* Its socket is ready, or was after its step. */
extern void penny_link_ready(PennyLink *link, const PennyRedisTarget *sign_in);
/* Send what is queued. */
extern void penny_link_send(PennyLink *link);
/* WL_SOCKET_* to wait for; 0: it has no socket.  When to step again at the latest. */
extern int penny_link_events(const PennyLink *link);
extern int64 penny_link_due(const PennyLink *link);
extern bool penny_link_command(PennyLink *link, int argc, const char *const *argv,
							   const size_t *len);
/* The same for texts. */
extern bool penny_link_texts(PennyLink *link, int argc, const char *const *argv);
extern void penny_link_lose(PennyLink *link, const char *format, ...) pg_attribute_printf(2, 3);

#endif /* PENNY_LINK_H */
