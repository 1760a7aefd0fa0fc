/*-------------------------------------------------------------------------
 *
 * hostile.h
 *		What an attack sends; made in hostile_script.c, sent by hostile.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_HOSTILE_H
#define BENCH_HOSTILE_H

#include <stddef.h>
#include <stdint.h>

#define SCRIPT_MAX 32768

/* The script that was made last, and what good requests are made of. */
typedef struct Script
{
	char bytes[SCRIPT_MAX];
	size_t len;
	const char *token;
	const char *target;
} Script;

extern Script script;

extern void script_seed(uint64_t seed);

/* Append to the script, which is empty before. */
extern void make_http(void);
extern void make_h2c(void);
extern void make_websocket(void);
extern void make_deflate(void);
extern void make_request(void);
extern void make_pipeline(void);
extern void make_random(void);
extern void make_half(void);
extern void make_body(void);

#endif /* BENCH_HOSTILE_H */
