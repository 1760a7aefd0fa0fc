/*-------------------------------------------------------------------------
 *
 * edge.c
 *		The shared state of penny-edge and its small helpers: clock, random
 *		bytes, memory.
 *
 * Out of memory: the address space is limited, every queue and buffer has its
 * own limit, and the process may die at any moment without harm to the
 * database.  So an allocation that fails ends it; the gateway starts another.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/edge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

PennyEdge penny_edge;

void
penny_edge_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	penny_edge.now = (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
	penny_edge.wall = (uint64_t) time(NULL);
}

void
penny_random(void *bytes, size_t len)
{
	char *next = bytes;

	while (len > 0)
	{
		ssize_t got = getrandom(next, len, 0);

		if (got < 0)
		{
			if (errno == EINTR)
				continue;
			penny_log(PENNY_LOG_WARNING, "could not get random bytes: %s", strerror(errno));
			_exit(1);
		}
		next += got;
		len -= got;
	}
}

void *
penny_alloc(size_t size)
{
	return penny_realloc(NULL, size);
}

void *
penny_realloc(void *old, size_t size)
{
	void *memory = realloc(old, size);

	if (memory == NULL)
	{
		penny_log(PENNY_LOG_WARNING, "out of memory, edge ends");
		_exit(1);
	}
	return memory;
}
