/*-------------------------------------------------------------------------
 *
 * plane.h
 *		A process's view of the plane: make it, attach to it, settings, wakes,
 *		counters.
 *
 * The postmaster calls penny_plane_create(); its children inherit the view by
 * fork.  An edge is started with the descriptors and calls
 * penny_plane_attach().  See layout.h for who writes what.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_H
#define PENNY_PLANE_H

#include "plane/layout.h"

/*
 * Descriptors at which a started edge finds its things.  Wakes of the
 * sleepers (executors, then supervisor) follow from PENNY_FD_SLEEPER on.
 */
#define PENNY_FD_P 3       /* region P, read-only */
#define PENNY_FD_E 4       /* its region E */
#define PENNY_FD_WAKE 5    /* its eventfd, to be woken by */
#define PENNY_FD_CONTROL 6 /* socket with certificates (certificate.h); may be missing */
#define PENNY_FD_S 7       /* region S */
#define PENNY_FD_LISTEN 8  /* first of the listening sockets */
#define PENNY_MAX_LISTEN 8 /* listening sockets: PENNY_FD_LISTEN .. +7 */
#define PENNY_FD_SLEEPER (PENNY_FD_LISTEN + PENNY_MAX_LISTEN)

typedef struct PennyPlane
{
	PennyPlaneConfig config;             /* own copy, checked */
	PennyPlaneSizes sizes;               /* computed from it */
	PennyPlaneHeader *p;                 /* region P */
	PennyEdgeHeader *e[PENNY_MAX_EDGES]; /* regions E; an edge has only its own */
	PennySharedHeader *s;                /* region S */
	int p_fd;                            /* -1 once closed */
	int s_fd;
	int e_fd[PENNY_MAX_EDGES];
	int edge_wake[PENNY_MAX_EDGES];               /* eventfds of the edges */
	int sleeper_wake[PENNY_MAX_EXECUTORS + 1];    /* of executors and supervisor */
	int self;                                     /* edge: its number; else -1 */
	uint64_t last_woken[PENNY_MAX_EXECUTORS + 1]; /* edge: words it last woke */
	unsigned next_edge; /* PostgreSQL: edge to look at first, for fairness */
} PennyPlane;

/* Check a configuration and compute offsets; false when it is out of range. */
extern bool penny_plane_sizes(const PennyPlaneConfig *config, PennyPlaneSizes *sizes);

/*
 * Make the plane: returns NULL, or the name of the step that failed (errno); what
 * was made until then is released.
 */
extern const char *penny_plane_create(PennyPlane *plane, const PennyPlaneConfig *config);
/* Unmap and close everything; a plane of zeroes with fds -1 is allowed. */
extern void penny_plane_destroy(PennyPlane *plane);
/* A read-only descriptor of region P for an edge, close-on-exec; -1 and errno. */
extern int penny_plane_readonly_fd(const PennyPlane *plane);
/* In a started edge: map what lies at PENNY_FD_*; NULL or what failed. */
extern const char *penny_plane_attach(PennyPlane *plane, int self);

/* Gateway: publish settings.  Edge: copy them out; false if they are in flux. */
extern void penny_plane_set_settings(PennyPlane *plane, const PennyEdgeSettings *settings);
extern bool penny_plane_settings(const PennyPlane *plane, PennyEdgeSettings *settings);

/*
 * Gateway, while no edge runs on region E[edge]: discard what was submitted
 * and not claimed, forget the clients it counted, take its sleep word to a
 * defined even value, raise the incarnation.  Must run before every start of an edge.
 */
extern void penny_plane_sweep(PennyPlane *plane, int edge);

/*
 * Sleeping.  A sleeper calls prepare, looks for work once more, sleeps on its
 * eventfd, and calls awake afterwards (also when it found work instead).
 * awake reads the eventfd empty.
 */
extern void penny_sleeper_prepare(PennyPlane *plane, int sleeper);
extern void penny_sleeper_awake(PennyPlane *plane, int sleeper);
extern void penny_sleeper_set_present(PennyPlane *plane, int sleeper, bool present);
extern void penny_edge_prepare_sleep(PennyPlane *plane);
extern void penny_edge_awake(PennyPlane *plane);

/* PostgreSQL: wake an edge, or all, after publishing something for it. */
extern void penny_wake_edge(PennyPlane *plane, int edge);
extern void penny_wake_edges(PennyPlane *plane);
/* Edge: wake one sleeping executor, or the supervisor when none sleeps. */
extern void penny_wake_executor(PennyPlane *plane);
/*
 * PostgreSQL: an executor that took a call wakes one more, when calls are
 * left: two edges that wake at the same moment may have woken the same one.
 */
extern void penny_wake_next(PennyPlane *plane);
/* Edge: wake all sleeping executors, for what only one of them waits for. */
extern void penny_wake_executors(PennyPlane *plane);
/* PostgreSQL: make a sleeper look again, whatever its word says. */
extern void penny_wake_sleeper(PennyPlane *plane, int sleeper);

/* Edge: counters.  PostgreSQL reads them as hints. */
extern void penny_count(PennyPlane *plane, PennyCounter counter, int64_t delta);
extern uint64_t penny_counter(const PennyPlane *plane, int edge, PennyCounter counter);

/* Hash of bytes, 64 bits: multiply and fold, eight bytes a step; not for secrets. */
extern uint64_t penny_hash(const void *bytes, size_t len, uint64_t seed);

#endif /* PENNY_PLANE_H */
