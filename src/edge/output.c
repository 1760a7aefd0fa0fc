/*-------------------------------------------------------------------------
 *
 * output.c
 *		Output of connections: direct writes, queues of shared frames, one
 *		write for many frames, backpressure.
 *
 * A direct write (an HTTP answer) goes at once in one piece.  Frames for one
 * connection are queued by reference and sent at the end of the turn; frames
 * that many share are pulled from the protocol then, or when the socket takes
 * more, and are queued nowhere.  What one connection has to send is gathered
 * and goes in one write, which is what makes fan-out cheap.
 *
 * libwebsockets keeps the unsent rest of one write and then calls back until it
 * is gone; so at most PENNY_WRITE_MAX bytes of a connection lie there, the rest
 * is in the queue, where frames are shared.  A large frame goes in pieces, and
 * what is left of it waits there, shared too.  TLS comes last: the queue holds
 * what is to be said, and it is encrypted when it is its turn.
 *
 * A client that does not read: pieces of an HTTP answer wait up to QUEUE_BURST,
 * then no more are taken (answer.c), and nothing more is parsed.  An answer of
 * the cache comes whole: when all queues would have more than QUEUE_TOTAL with
 * it, those who have been blocked for the longest are cut for it.  A WebSocket
 * that has been blocked for QUEUE_GRACE may have QUEUE_MAX bytes queued, a
 * faster one QUEUE_BURST (a join can bring a long history at once), and the
 * blocked ones together QUEUE_TOTAL; beyond that it is cut.  Nothing is skipped.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/output.h"

#include <stdlib.h>
#include <string.h>

#include <libwebsockets.h>

#include "edge/tls.h"

#define QUEUE_MAX (256 * 1024) /* bytes of frames that may wait for a slow client */
#define QUEUE_GRACE 1000       /* ms blocked that make a client slow */
#define QUEUE_BURST (8 << 20)  /* bytes that may wait for one that is not */
#define QUEUE_TOTAL (512 << 20)
#define FIRST_QUEUE 4 /* entries of a queue to begin with */
/*
 * Bytes of frames that are pulled, or large, in one write: what a socket does
 * not take of a write has to be copied, and with many slow ones that counts.
 */
#define PULL_MAX (32 * 1024)

static PennyConnection *dirty_list; /* has something to send */
static char gather[PENNY_WRITE_MAX];
static size_t queued_total; /* bytes in all queues */

static void flush(PennyConnection *connection);
static void flush_queue(PennyConnection *connection);
static bool send_bytes(PennyConnection *connection, const char *bytes, size_t len);

static void
make_dirty(PennyConnection *connection)
{
	if (connection->dirty)
		return;
	connection->dirty = true;
	connection->next_dirty = dirty_list;
	dirty_list = connection;
}

static void
release_output(PennyOutput *output)
{
	if (output->frame != NULL)
		penny_frame_unref(output->frame);
	else
		free((char *) output->bytes);
}

static void
push(PennyConnection *connection, PennyOutput output)
{
	if (connection->queue_len == connection->queue_size)
	{
		uint32_t size = connection->queue_size > 0 ? connection->queue_size * 2 : FIRST_QUEUE;
		PennyOutput *queue = penny_alloc(size * sizeof(PennyOutput));

		for (uint32_t i = 0; i < connection->queue_len; i++)
			queue[i] =
				connection->queue[(connection->queue_head + i) & (connection->queue_size - 1)];
		free(connection->queue);
		connection->queue = queue;
		connection->queue_size = size;
		connection->queue_head = 0;
	}
	connection
		->queue[(connection->queue_head + connection->queue_len) & (connection->queue_size - 1)] =
		output;
	connection->queue_len++;
	if (output.pulled)
		return;
	connection->queued += output.len;
	queued_total += output.len;
}

static PennyOutput *
first(PennyConnection *connection)
{
	return &connection->queue[connection->queue_head];
}

/* That many bytes of the first are no longer in the queue. */
static void
advance(PennyConnection *connection, uint32_t len)
{
	PennyOutput *output = first(connection);

	output->bytes += len;
	output->len -= len;
	if (output->pulled)
		return;
	connection->queued -= len;
	queued_total -= len;
}

static void
pop(PennyConnection *connection)
{
	if (!first(connection)->pulled)
	{
		connection->queued -= first(connection)->len;
		queued_total -= first(connection)->len;
	}
	release_output(first(connection));
	connection->queue_head = (connection->queue_head + 1) & (connection->queue_size - 1);
	connection->queue_len--;
	if (connection->queue_len == 0)
	{
		free(connection->queue);
		connection->queue = NULL;
		connection->queue_size = 0;
		connection->queue_head = 0;
	}
}

static void
push_copy(PennyConnection *connection, const char *bytes, size_t len)
{
	char *copy = penny_alloc(len);

	memcpy(copy, bytes, len);
	push(connection, (PennyOutput){.bytes = copy, .len = (uint32_t) len});
}

/* Is there nothing that the kernel has not taken? */
bool
penny_connection_is_drained(const PennyConnection *connection)
{
	return connection->queue_len == 0 && !connection->blocked;
}

static void
empty_queue(PennyConnection *connection)
{
	while (connection->queue_len > 0)
		pop(connection);
}

/* Make room in the queues for that much, at the cost of the slowest. */
static void
make_room(size_t len)
{
	while (queued_total + len > QUEUE_TOTAL)
	{
		PennyConnection *slowest = penny_connections_slowest();

		if (slowest == NULL)
			return;
		penny_log(PENNY_LOG_DEBUG, "too much waits for slow clients, %s is cut, %u bytes",
				  slowest->peer, slowest->queued);
		penny_connection_cut(slowest);
		empty_queue(slowest);
	}
}

/* Send at once, or copy what does not go. */
void
penny_connection_write(PennyConnection *connection, const char *bytes, size_t len)
{
	if (connection->state == PENNY_CUT || connection->state == PENNY_LINGERING || len == 0)
		return;
	while (len > 0 && penny_connection_is_drained(connection))
	{
		size_t now = len < PENNY_WRITE_MAX ? len : PENNY_WRITE_MAX;

		if (!send_bytes(connection, bytes, now))
			return;
		bytes += now;
		len -= now;
	}
	if (len > 0)
		make_room(len);
	while (len > 0 && connection->state != PENNY_CUT)
	{
		size_t now = len < PENNY_WRITE_MAX ? len : PENNY_WRITE_MAX;

		push_copy(connection, bytes, now);
		bytes += now;
		len -= now;
	}
}

bool
penny_connection_takes(const PennyConnection *connection, size_t len)
{
	return penny_connection_is_drained(connection) ||
		   (connection->queued + len <= QUEUE_BURST && queued_total + len <= QUEUE_TOTAL);
}

/* May that many bytes more wait for this client? */
static bool
queue_takes(const PennyConnection *connection, size_t len)
{
	size_t queued = connection->queued + len;

	if (connection->queued == 0)
		return true;
	if (queued > QUEUE_BURST || (connection->blocked && queued_total + len > QUEUE_TOTAL))
		return false;
	if (queued <= QUEUE_MAX)
		return true;
	return !connection->blocked || penny_edge.now - connection->blocked_since < QUEUE_GRACE;
}

/* Queue a shared frame for the end of the turn. */
void
penny_connection_queue(PennyConnection *connection, PennyFrame *frame)
{
	PennySpan wire = penny_frame_wire(frame);

	if (connection->state != PENNY_OPEN)
		return;
	if (!queue_takes(connection, wire.len))
	{
		penny_log(PENNY_LOG_DEBUG, "client %s is too slow, %u bytes wait", connection->peer,
				  connection->queued);
		penny_connection_cut(connection);
		return;
	}
	push(connection, (PennyOutput){.bytes = wire.data,
								   .len = (uint32_t) wire.len,
								   .frame = penny_frame_ref(frame)});
	if (!connection->blocked)
		make_dirty(connection);
}

/* Send one write, encrypted if need be; false when the connection was cut. */
static bool
send_bytes(PennyConnection *connection, const char *bytes, size_t len)
{
	if (connection->tls == NULL)
		return penny_output_send(connection, bytes, len);
	if (!penny_tls_encrypt(connection->tls, &bytes, &len))
	{
		penny_connection_cut(connection);
		return false;
	}
	return penny_output_send(connection, bytes, len);
}

bool
penny_output_send(PennyConnection *connection, const char *bytes, size_t len)
{
	if (lws_write(connection->wsi, (unsigned char *) bytes, len, LWS_WRITE_RAW) < (int) len)
	{
		penny_connection_cut(connection);
		return false;
	}
	if (lws_partial_buffered(connection->wsi))
	{
		if (!connection->blocked)
			connection->blocked_since = penny_edge.now;
		connection->blocked = true;
		connection->acknowledged = penny_connection_acknowledged(connection);
		connection->write_deadline = penny_edge.now + penny_edge.settings.write_timeout;
		penny_connection_set_timer(connection);
		penny_connection_set_reading(connection);
	}
	return connection->state != PENNY_CUT;
}

void
penny_connection_has_frames(PennyConnection *connection)
{
	connection->pulls = true;
	if (connection->state == PENNY_OPEN && !connection->blocked)
		make_dirty(connection);
}

/*
 * Send a large frame that was pulled, whose reference is taken over: it stays
 * first in the queue until all its pieces have gone.
 */
static void
send_large(PennyConnection *connection, PennyFrame *frame)
{
	push(connection,
		 (PennyOutput){.bytes = frame->bytes, .len = frame->len, .frame = frame, .pulled = true});
	flush_queue(connection);
	penny_count(&penny_edge.plane, PENNY_COUNT_FRAMES_OUT, 1);
}

/* Send one write of what the protocol has; false when that was all. */
static bool
send_pulled(PennyConnection *connection)
{
	PennyFrame *frame = connection->protocol->pull(connection, SIZE_MAX);
	PennyFrame *next = NULL;
	size_t len;
	int n = 1;

	if (frame == NULL)
		return false;
	if (frame->len > PULL_MAX)
	{
		send_large(connection, frame);
		return true;
	}
	len = frame->len;
	if (len < PULL_MAX)
		next = connection->protocol->pull(connection, PULL_MAX - len);
	if (next == NULL)
		send_bytes(connection, frame->bytes, len);
	else
	{
		memcpy(gather, frame->bytes, len);
		while (next != NULL)
		{
			memcpy(gather + len, next->bytes, next->len);
			len += next->len;
			n++;
			penny_frame_unref(next);
			next = len < PULL_MAX ? connection->protocol->pull(connection, PULL_MAX - len) : NULL;
		}
		send_bytes(connection, gather, len);
	}
	penny_frame_unref(frame);
	penny_count(&penny_edge.plane, PENNY_COUNT_FRAMES_OUT, n);
	return true;
}

/* Send what the protocol has until the socket takes no more. */
static void
flush_pulled(PennyConnection *connection)
{
	while (connection->pulls && !connection->blocked && connection->state == PENNY_OPEN)
		connection->pulls = send_pulled(connection);
}

/* Send the queue until it is empty or the socket takes no more. */
static void
flush_queue(PennyConnection *connection)
{
	while (connection->queue_len > 0 && !connection->blocked)
	{
		PennyOutput *output = first(connection);
		size_t most;
		size_t len = 0;

		if (output->frame != NULL && output->len > PULL_MAX)
		{
			const char *piece = output->bytes;

			advance(connection, PULL_MAX);
			if (!send_bytes(connection, piece, PULL_MAX))
				return;
			continue;
		}
		if (connection->queue_len == 1 || output->len > PENNY_WRITE_MAX / 2)
		{
			if (!send_bytes(connection, output->bytes, output->len))
				return;
			pop(connection);
			continue;
		}
		most = output->frame != NULL ? PULL_MAX : PENNY_WRITE_MAX;
		while (connection->queue_len > 0 && first(connection)->len <= most - len)
		{
			output = first(connection);
			memcpy(gather + len, output->bytes, output->len);
			len += output->len;
			pop(connection);
		}
		if (!send_bytes(connection, gather, len))
			return;
	}
}

/* The queue first: what is in it came before, or does not belong to a room. */
static void
flush(PennyConnection *connection)
{
	flush_queue(connection);
	if (connection->queue_len == 0)
		flush_pulled(connection);
}

/* Send what was queued in this turn. */
void
penny_connections_flush(void)
{
	while (dirty_list != NULL)
	{
		PennyConnection *connection = dirty_list;

		dirty_list = connection->next_dirty;
		connection->dirty = false;
		if (connection->state == PENNY_CUT || connection->state == PENNY_LINGERING)
			continue;
		flush(connection);
		if (connection->state == PENNY_FLUSHING && penny_connection_is_drained(connection))
			penny_connection_start_linger(connection);
	}
}

/* The socket takes more, and libwebsockets has nothing left of the last write. */
void
penny_connection_writable(PennyConnection *connection)
{
	if (connection->state == PENNY_CUT || connection->state == PENNY_LINGERING ||
		lws_partial_buffered(connection->wsi))
		return;
	connection->blocked = false;
	flush(connection);
	if (connection->blocked || connection->state == PENNY_CUT)
		return;
	connection->write_deadline = 0;
	penny_connection_set_timer(connection);
	penny_connection_set_reading(connection);
	if (connection->state == PENNY_FLUSHING)
		penny_connection_start_linger(connection);
	else if (connection->state == PENNY_OPEN)
		connection->protocol->drained(connection);
}

void
penny_output_release(PennyConnection *connection)
{
	empty_queue(connection);
	if (connection->dirty)
	{
		for (PennyConnection **link = &dirty_list; *link != NULL; link = &(*link)->next_dirty)
		{
			if (*link == connection)
			{
				*link = connection->next_dirty;
				break;
			}
		}
	}
}
