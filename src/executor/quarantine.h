/*-------------------------------------------------------------------------
 *
 * quarantine.h
 *		Requests and routes that crash the process that runs them.
 *
 * See quarantine.c for how they are known and what survives a crash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUARANTINE_H
#define PENNY_QUARANTINE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "plane/call.h"
#include "utils/uuid.h"

#define PENNY_QUARANTINE_ENTRIES 64
#define PENNY_QUARANTINE_ROUTE 120 /* bytes of "METHOD /pattern" */
#define PENNY_QUARANTINE_REQUEST_ID 80

typedef enum PennyQuarantineKind
{
	PENNY_QUARANTINE_FREE, /* the entry is not used */
	PENNY_QUARANTINE_REQUEST,
	PENNY_QUARANTINE_ROUTES
} PennyQuarantineKind;

/* A request or a route that was running when its process crashed. */
typedef struct PennyQuarantineEntry
{
	PennyQuarantineKind kind;
	bool refused;      /* no more of it is run */
	uint64 key;        /* hash of what was asked for */
	uint64 last;       /* ROUTES: the request that crashed it last */
	int crashes;       /* how often */
	int signal;        /* that ended the process last; 0: ended from outside */
	TimestampTz first; /* crash */
	TimestampTz latest;
	uint64 refusals; /* since the server started */
	char route[PENNY_QUARANTINE_ROUTE];
	char request_id[PENNY_QUARANTINE_REQUEST_ID]; /* of the latest crash */
} PennyQuarantineEntry;

/* From _PG_init. */
extern void penny_quarantine_init(void);
/* Take the mark of an executor, and the signals that end it; once in a process. */
extern void penny_quarantine_attach(int executor);

/*
 * Around each call.  begin: what is asked for, before anything of it is looked
 * at; route: the route is known, and the user whose data it will read (NULL:
 * nobody).  False: refused, do not run it.
 */
extern bool penny_quarantine_begin(const PennyRequest *request, const char *request_id);
extern bool penny_quarantine_route(PennyMethod method, const char *pattern, const pg_uuid_t *user);
/* The call has ended, and its process lives. */
extern void penny_quarantine_end(void);
/* The process ends in the middle of a call, as it should. */
extern void penny_quarantine_leave(void);

/* Copy the entries in use; returns how many. */
extern int penny_quarantine_list(PennyQuarantineEntry out[PENNY_QUARANTINE_ENTRIES]);
/* Forget one entry, or all with key 0; returns how many. */
extern int penny_quarantine_clear(uint64 key);

#endif /* PENNY_QUARANTINE_H */
