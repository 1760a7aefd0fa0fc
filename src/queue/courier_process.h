/*-------------------------------------------------------------------------
 *
 * courier_process.h
 *		The processes of penny-courier: who runs, who follows.  Private to
 *		courier_link.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_COURIER_PROCESS_H
#define PENNY_COURIER_PROCESS_H

#include "postgres.h"

#include "base/child.h"
#include "plane/courier_stream.h"
#include "plane/webhook_url.h"

#define PENNY_COURIER_NAME "penny-courier"
#define PENNY_COURIER_FILES 4

typedef enum PennyCourierState
{
	PENNY_LINK_NONE,
	PENNY_LINK_STARTING,
	PENNY_LINK_READY,
	PENNY_LINK_DRAINING,
	PENNY_LINK_ENDED /* what it said is still to be taken */
} PennyCourierState;

/* What a courier knows; another one is started when that is not what holds now. */
typedef struct PennyCourierKnowledge
{
	int requests;
	int log_level;
	char allow[PENNY_WEBHOOK_LIST_MAX + 1];
	char ca_file[PENNY_COURIER_PATH_MAX];
	char resolver[PENNY_COURIER_PATH_MAX];
	struct
	{
		ino_t inode;
		off_t size;
		int64 changed; /* ns */
	} file[PENNY_COURIER_FILES];
} PennyCourierKnowledge;

typedef struct PennyCourierProcess
{
	PennyCourierState state;
	PennyChild child;
	PennyCourierStream stream;
	PennyCourierKnowledge knows;
	int open;       /* requests that it has */
	bool ready;     /* it has said so */
	bool answered;  /* it was of use */
	int64 deadline; /* STARTING: ready; DRAINING, or socket closed: ended; else PENNY_NEVER */
	bool closed;    /* its end of the socket is, so it is about to end */
	bool killed;    /* by us */
	bool writing;   /* its socket is watched for room */
} PennyCourierProcess;

#define PENNY_COURIERS 2

typedef struct PennyCouriers
{
	PennyCourierProcess courier[PENNY_COURIERS];
	int current;    /* gets the requests */
	uint64 version; /* raised when other descriptors are to be watched */
	bool look;      /* compare what the current one knows with what holds */
	bool held;      /* the list is another, and there cannot be a successor yet */
	int64 start_at; /* no start before */
	int failures;   /* couriers in a row that answered nothing */
} PennyCouriers;

extern PennyCouriers penny_couriers;

/* Does it run? */
static inline bool
penny_courier_runs(const PennyCourierProcess *courier)
{
	return courier->state != PENNY_LINK_NONE && courier->state != PENNY_LINK_ENDED;
}

/* Start the courier that there should be, or a successor. */
extern void penny_courier_consider(int64 now);
/* Read what it says, notice its end.  `overdue`: a request has been with it for too long. */
extern void penny_courier_attend(PennyCourierProcess *courier, bool overdue, int64 now);
/* Send what goes. */
extern void penny_courier_flush(PennyCourierProcess *courier);
/* Let it finish what it has. */
extern void penny_courier_drain(PennyCourierProcess *courier, int64 deadline);
/* By force. */
extern void penny_courier_end(PennyCourierProcess *courier);

#endif /* PENNY_COURIER_PROCESS_H */
