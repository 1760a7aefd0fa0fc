/*-------------------------------------------------------------------------
 *
 * sandbox.h
 *		What every program of penny's own gives up before it reads the first
 *		byte of a stranger.  Each adds what it alone needs (edge/sandbox.c,
 *		courier/sandbox.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PROGRAM_SANDBOX_H
#define PENNY_PROGRAM_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The run time of AddressSanitizer needs calls and an address space of its own. */
#ifdef __SANITIZE_ADDRESS__
#define PENNY_SANITIZED 1
#else
#define PENNY_SANITIZED 0
#endif

/*
 * First half, before anything is opened for good: resource limits, death with
 * the parent, no dumps, and what libraries would otherwise read from files
 * later.  `wanted` descriptors are asked for beside `spare` ones; returns how
 * many of them the limit allows, at least one.
 */
extern uint32_t penny_sandbox_limit(uint32_t wanted, uint32_t spare, uint64_t address_space);

/* System calls by number. */
typedef struct PennyCalls
{
	const int *call;
	size_t n;
} PennyCalls;

#define PENNY_CALLS(array) ((PennyCalls){(array), sizeof(array) / sizeof((array)[0])})

/*
 * Second half: the filter, with what the program may do beyond the common
 * list, what ends it beyond the common list, and rules about arguments, which
 * `more` adds to the filter (a scmp_filter_ctx; not 0: failed).  NULL, or the
 * step that failed (errno).
 */
extern const char *penny_sandbox_load(PennyCalls allowed, PennyCalls fatal,
									  int (*more)(void *filter));

#endif /* PENNY_PROGRAM_SANDBOX_H */
