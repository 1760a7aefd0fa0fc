/*-------------------------------------------------------------------------
 *
 * courier_stream.c
 *		Frames over a socket that does not block.  See courier_stream.h.
 *
 * Buffers grow by doubling, and are given back when they are empty and large.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/courier_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE (64 * 1024) /* read at a time; buffers that are larger are given back */
#define PIECES 16         /* of one call */

static bool make_room(char **buffer, size_t *start, size_t *end, size_t *size, size_t wanted);
static bool kind_known(uint32_t kind);

void
penny_courier_stream_init(PennyCourierStream *stream, int fd)
{
	memset(stream, 0, sizeof(*stream));
	stream->fd = fd;
}

void
penny_courier_stream_close(PennyCourierStream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	free(stream->in);
	free(stream->out);
	penny_courier_stream_init(stream, -1);
}

/* Room for `wanted` bytes behind what is there. */
static bool
make_room(char **buffer, size_t *start, size_t *end, size_t *size, size_t wanted)
{
	size_t len = *end - *start;
	size_t larger = *size > 0 ? *size : PIECE;
	char *memory;

	if (*size - *end >= wanted)
		return true;
	if (*start > 0)
	{
		if (len > 0)
			memmove(*buffer, *buffer + *start, len);
		*start = 0;
		*end = len;
	}
	while (larger - len < wanted)
		larger *= 2;
	if (larger == *size)
		return true;
	memory = realloc(*buffer, larger);
	if (memory == NULL)
		return false;
	*buffer = memory;
	*size = larger;
	return true;
}

/* Nothing is in it: a large one goes back. */
static void
empty(char **buffer, size_t *start, size_t *end, size_t *size)
{
	*start = *end = 0;
	if (*size > PIECE)
	{
		free(*buffer);
		*buffer = NULL;
		*size = 0;
	}
}

void
penny_courier_stream_fill(PennyCourierStream *stream)
{
	for (int i = 0; i < PIECES && !stream->ended && !stream->broken; i++)
	{
		ssize_t got;

		if (!make_room(&stream->in, &stream->in_start, &stream->in_end, &stream->in_size, PIECE))
		{
			stream->broken = true;
			return;
		}
		/* Not into all the room: what has to fit is one frame and what came with it. */
		got = recv(stream->fd, stream->in + stream->in_end, PIECE, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (got <= 0)
		{
			stream->ended = true;
			return;
		}
		stream->in_end += (size_t) got;
		if (got < PIECE)
			return;
		/* Enough for whoever takes the frames. */
		if (stream->in_end - stream->in_start >
			sizeof(PennyCourierHeader) + PENNY_COURIER_PAYLOAD_MAX)
			return;
	}
}

static bool
kind_known(uint32_t kind)
{
	return (kind >= PENNY_COURIER_SETTINGS && kind <= PENNY_COURIER_DRAIN) ||
		   kind == PENNY_COURIER_READY || kind == PENNY_COURIER_ANSWER;
}

bool
penny_courier_stream_next(PennyCourierStream *stream, PennyCourierFrame *frame)
{
	size_t len = stream->in_end - stream->in_start;
	PennyCourierHeader header;

	if (len == 0)
		empty(&stream->in, &stream->in_start, &stream->in_end, &stream->in_size);
	if (stream->broken || len < sizeof(header))
		return false;
	memcpy(&header, stream->in + stream->in_start, sizeof(header));
	if (header.len > PENNY_COURIER_PAYLOAD_MAX || !kind_known(header.kind))
	{
		stream->broken = true;
		return false;
	}
	if (len - sizeof(header) < header.len)
		return false;
	frame->kind = (PennyCourierKind) header.kind;
	frame->ticket = header.ticket;
	frame->payload = stream->in + stream->in_start + sizeof(header);
	frame->len = header.len;
	stream->in_start += sizeof(header) + header.len;
	return true;
}

char *
penny_courier_stream_push(PennyCourierStream *stream, PennyCourierKind kind, uint64_t ticket,
						  size_t len)
{
	PennyCourierHeader header = {.len = (uint32_t) len, .kind = kind, .ticket = ticket};
	char *at;

	if (len > PENNY_COURIER_PAYLOAD_MAX ||
		!make_room(&stream->out, &stream->out_start, &stream->out_end, &stream->out_size,
				   sizeof(header) + len))
		return NULL;
	at = stream->out + stream->out_end;
	memcpy(at, &header, sizeof(header));
	stream->out_end += sizeof(header) + len;
	return at + sizeof(header);
}

void
penny_courier_stream_flush(PennyCourierStream *stream)
{
	while (stream->out_start < stream->out_end && !stream->ended)
	{
		ssize_t sent = send(stream->fd, stream->out + stream->out_start,
							stream->out_end - stream->out_start, MSG_NOSIGNAL);

		if (sent >= 0)
			stream->out_start += (size_t) sent;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		else if (errno != EINTR)
			stream->ended = true;
	}
	if (stream->out_start == stream->out_end)
		empty(&stream->out, &stream->out_start, &stream->out_end, &stream->out_size);
}

size_t
penny_courier_stream_waiting(const PennyCourierStream *stream)
{
	return stream->out_end - stream->out_start;
}
