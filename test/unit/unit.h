/*-------------------------------------------------------------------------
 *
 * unit.h
 *		A test program in plain C that prints TAP, so that prove can run it.
 *
 *	TEST(name) { ... CHECK(condition); ... }
 *	int main(void) { RUN(name); ... return unit_done(); }
 *
 * A test that saw a CHECK fail is "not ok"; it goes on after it, so that all
 * rows of a table are reported.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_UNIT_H
#define PENNY_UNIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unit_tests;
static int unit_failed_tests;
static int unit_failures; /* of the running test */

#define CHECK(condition) unit_check((condition), #condition, __FILE__, __LINE__)
#define CHECK_ROW(condition, row) unit_check((condition), (row), __FILE__, __LINE__)
#define TEST(name) static void test_##name(void)
#define RUN(name) unit_run(#name, test_##name)

static inline bool
unit_check(bool good, const char *what, const char *file, int line)
{
	if (!good && unit_failures++ < 20)
		printf("# %s:%d: failed: %s\n", file, line, what);
	return good;
}

static inline void
unit_run(const char *name, void (*test)(void))
{
	unit_failures = 0;
	test();
	unit_tests++;
	unit_failed_tests += unit_failures > 0;
	printf("%sok %d - %s\n", unit_failures > 0 ? "not " : "", unit_tests, name);
	fflush(stdout);
}

static inline int
unit_done(void)
{
	printf("1..%d\n", unit_tests);
	return unit_failed_tests > 0;
}

/* A small random generator (xorshift64*), so that a seed is a test. */
static inline uint64_t
unit_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

#endif /* PENNY_UNIT_H */
