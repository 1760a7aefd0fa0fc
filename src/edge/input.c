/*-------------------------------------------------------------------------
 *
 * input.c
 *		Bytes of clients that wait until more of them have come, or until their
 *		turn has come.
 *
 * Everybody may have a buffer of FREE_INPUT bytes; what larger ones take of all
 * connections together is bounded by INPUT_TOTAL.  Who needs more than is left
 * is cut.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/input.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_INPUT 1024        /* bytes of a first buffer for kept input */
#define STEP_INPUT 4096         /* by which a small one grows */
#define FREE_INPUT 32768        /* bytes of such a buffer that everybody may have */
#define INPUT_TOTAL (512 << 20) /* bytes of larger ones, of all connections */
#define TELL_AGAIN 60000        /* ms between lines of the log about that */

static int64_t input_total; /* bytes of input buffers */

bool
penny_connection_budget(int64_t bytes)
{
	static uint64_t told; /* when, 0 = never */

	if (bytes > 0 && input_total + bytes > INPUT_TOTAL)
	{
		/* Anybody can bring it here as often as they like. */
		if (told == 0 || penny_edge.now - told >= TELL_AGAIN)
		{
			penny_log(PENNY_LOG_WARNING, "clients have sent too much that is not complete");
			told = penny_edge.now;
		}
		return false;
	}
	input_total += bytes;
	return true;
}

/* What of a buffer of that size counts for the total? */
static int64_t
counted(size_t size)
{
	return size > FREE_INPUT ? (int64_t) size : 0;
}

void
penny_input_release(PennyConnection *connection)
{
	penny_connection_budget(-counted(connection->in_size));
	free(connection->in);
	connection->in = NULL;
	connection->in_size = 0;
}

/* Size of a buffer for that much: near it while it is small, since those are many. */
static size_t
size_for(size_t needed)
{
	size_t size = FREE_INPUT;

	if (needed <= FIRST_INPUT)
		return FIRST_INPUT;
	if (needed <= FREE_INPUT)
		return (needed + STEP_INPUT - 1) / STEP_INPUT * STEP_INPUT;
	while (size < needed)
		size *= 2;
	return size;
}

void
penny_connection_keep(PennyConnection *connection, const char *bytes, size_t len)
{
	size_t needed = connection->in_len + len;

	if (needed > connection->in_size)
	{
		size_t size = size_for(needed);

		if (!penny_connection_budget(counted(size) - counted(connection->in_size)))
		{
			penny_connection_cut(connection);
			return;
		}
		connection->in = penny_realloc(connection->in, size);
		connection->in_size = (uint32_t) size;
	}
	memcpy(connection->in + connection->in_len, bytes, len);
	connection->in_len += (uint32_t) len;
}

void
penny_connection_consume(PennyConnection *connection, size_t len)
{
	connection->in_len -= (uint32_t) len;
	if (connection->in_len > 0)
	{
		memmove(connection->in, connection->in + len, connection->in_len);
		return;
	}
	penny_input_release(connection);
}
