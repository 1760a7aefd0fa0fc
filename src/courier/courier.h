/*-------------------------------------------------------------------------
 *
 * courier.h
 *		What every part of penny-courier shares.
 *
 * penny-courier makes the HTTP requests of webhooks, for one worker of
 * PostgreSQL that says what is to be sent and is told what came of it
 * (plane/courier.h).  It is one thread and one loop, in a sandbox that lets it
 * make connections and nothing else.  What it holds can be lost at any moment:
 * the worker then knows which requests nobody can tell the outcome of.
 *
 * The parts:
 *
 *	loop		the turn: frames of the worker, sockets, deadlines
 *	transfer	one request, from its frame to its answer
 *	request		what libcurl is told, and what it says
 *	names		names to addresses: c-ares, a small memory, /etc/hosts
 *	trust		which certificates are good
 *	sandbox		what it gives up
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_COURIER_H
#define PENNY_COURIER_H

#include <stdbool.h>
#include <stdint.h>

#include "plane/courier_stream.h"
#include "plane/webhook_url.h"
#include "program/log.h"

/* Requests and responses in memory, all together. */
#define PENNY_COURIER_MEMORY (2 * (uint64_t) PENNY_COURIER_BYTES_OPEN)

typedef struct PennyCourier
{
	PennyCourierStream worker;
	PennyWebhookRules rules;
	uint32_t requests_max;
	uint64_t now;    /* CLOCK_MONOTONIC ms, taken once a turn */
	uint64_t memory; /* bytes of requests and responses */
	bool draining;   /* nothing new is taken */
} PennyCourier;

extern PennyCourier penny_courier;

/* ---- loop ------------------------------------------------------------------ */

/* Who is told that a socket is ready. */
typedef enum PennyCourierParty
{
	PENNY_PARTY_WORKER,
	PENNY_PARTY_TRANSFERS, /* libcurl */
	PENNY_PARTY_NAMES      /* c-ares */
} PennyCourierParty;

extern const char *penny_courier_loop_create(void);
/* Watch a socket, or no more when it is for neither. */
extern void penny_courier_watch(PennyCourierParty party, int fd, bool read, bool write);
/* Serve until the worker is gone or everything is done; an exit code. */
extern int penny_courier_loop_run(void);

/* ---- transfers --------------------------------------------------------------- */

extern const char *penny_transfers_init(void);
extern void penny_transfer_begin(uint64_t ticket, const char *payload, size_t len);
extern void penny_transfer_cancel(uint64_t ticket);
/* A socket of libcurl's is ready. */
extern void penny_transfers_ready(int fd, bool read, bool write);
/* What is due by the clock, and what has ended. */
extern void penny_transfers_turn(void);
/* ms of the clock at which there is something to do; UINT64_MAX: nothing. */
extern uint64_t penny_transfers_due(void);
extern uint32_t penny_transfers_running(void);

/* ---- trust ------------------------------------------------------------------- */

struct ssl_ctx_st;

/* Read the certificates; an empty file name: the system's. */
extern void penny_trust_load(const char *file);
/* Let a connection trust them; false: there are none. */
extern bool penny_trust_use(struct ssl_ctx_st *context);

/* ---- sandbox ------------------------------------------------------------------ */

extern void penny_courier_limits(uint32_t requests);
/* NULL, or the step that failed (errno). */
extern const char *penny_courier_enter(void);
/* penny-courier --sandbox-test: TAP; exit code. */
extern int penny_courier_sandbox_test(void);

#endif /* PENNY_COURIER_H */
