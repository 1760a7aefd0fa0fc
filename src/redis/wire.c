/*-------------------------------------------------------------------------
 *
 * wire.c
 *		One connection that speaks the protocol of Redis.  See wire.h.
 *
 * hiredis 0.14.1 allocates by malloc() and reports every failure of it, so a
 * wire must be closed by whoever opened it, also when an error of PostgreSQL
 * passes by.  Its reader waits for a whole bulk before it makes anything of it
 * and has no limit; what it holds is bounded here, before more is fed.
 *
 *-------------------------------------------------------------------------
 */
#include "redis/wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#define RECEIVE_SIZE 65536
#define FIRST_OUT 4096

static void *create_string(const redisReadTask *task, char *text, size_t len);
static void *create_array(const redisReadTask *task, int elements);
static void *create_integer(const redisReadTask *task, long long value);
static void *create_nil(const redisReadTask *task);
static void free_object(void *reply);

static redisReplyObjectFunctions functions = {
	.createString = create_string,
	.createArray = create_array,
	.createInteger = create_integer,
	.createNil = create_nil,
	.freeObject = free_object,
};

void
penny_wire_init(PennyWire *wire, size_t max_reply)
{
	memset(wire, 0, sizeof(*wire));
	wire->fd = -1;
	wire->max_reply = max_reply;
}

void
penny_wire_close(PennyWire *wire)
{
	if (wire->fd >= 0)
		close(wire->fd);
	wire->fd = -1;
	if (wire->reader != NULL)
		redisReaderFree(wire->reader);
	wire->reader = NULL;
	free(wire->out);
	wire->out = NULL;
	wire->out_sent = wire->out_len = wire->out_size = 0;
	wire->reply_bytes = 0;
	wire->broken = false;
}

/* Say why, and that it is over. */
static PennyWireResult __attribute__((format(printf, 2, 3)))
lost(PennyWire *wire, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(wire->why, sizeof(wire->why), format, args);
	va_end(args);
	wire->broken = true;
	return PENNY_WIRE_LOST;
}

/* ---- connecting ----------------------------------------------------------- */

PennyWireResult
penny_wire_connect(PennyWire *wire, const struct sockaddr *address, socklen_t len)
{
	int on = 1;

	penny_wire_close(wire);
	wire->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (wire->fd < 0)
		return lost(wire, "could not make a socket: %s", strerror(errno));
	if (address->sa_family != AF_UNIX)
		(void) setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(wire->fd, address, len) == 0)
		return PENNY_WIRE_DONE;
	if (errno == EINPROGRESS || errno == EINTR)
		return PENNY_WIRE_AGAIN;
	/* EAGAIN of a Unix socket: its backlog is full, and nothing tells when it is not */
	return lost(wire, "could not connect: %s", strerror(errno));
}

PennyWireResult
penny_wire_connected(PennyWire *wire)
{
	int error = 0;
	socklen_t len = sizeof(error);
	struct sockaddr_storage peer;
	socklen_t peer_len = sizeof(peer);

	if (getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error != 0)
		return lost(wire, "could not connect: %s", strerror(error));
	if (getpeername(wire->fd, (struct sockaddr *) &peer, &peer_len) != 0)
	{
		if (errno == ENOTCONN)
			return PENNY_WIRE_AGAIN;
		return lost(wire, "could not connect: %s", strerror(errno));
	}
	return PENNY_WIRE_DONE;
}

/* ---- sending -------------------------------------------------------------- */

bool
penny_wire_command(PennyWire *wire, int argc, const char *const *argv, const size_t *len)
{
	char *command = NULL;
	int bytes = redisFormatCommandArgv(&command, argc, (const char **) argv, len);

	if (bytes < 0)
	{
		(void) lost(wire, "out of memory");
		return false;
	}
	if (wire->out_sent > 0)
	{
		memmove(wire->out, wire->out + wire->out_sent, wire->out_len - wire->out_sent);
		wire->out_len -= wire->out_sent;
		wire->out_sent = 0;
	}
	if (wire->out_len + (size_t) bytes > wire->out_size)
	{
		size_t size = wire->out_size > 0 ? wire->out_size : FIRST_OUT;
		char *larger;

		while (size < wire->out_len + (size_t) bytes)
			size *= 2;
		larger = realloc(wire->out, size);
		if (larger == NULL)
		{
			free(command);
			(void) lost(wire, "out of memory");
			return false;
		}
		wire->out = larger;
		wire->out_size = size;
	}
	memcpy(wire->out + wire->out_len, command, (size_t) bytes);
	wire->out_len += (size_t) bytes;
	free(command);
	return true;
}

size_t
penny_wire_unsent(const PennyWire *wire)
{
	return wire->out_len - wire->out_sent;
}

PennyWireResult
penny_wire_send(PennyWire *wire)
{
	if (wire->broken)
		return PENNY_WIRE_LOST;
	while (wire->out_sent < wire->out_len)
	{
		ssize_t n = send(wire->fd, wire->out + wire->out_sent, wire->out_len - wire->out_sent,
						 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0)
			wire->out_sent += (size_t) n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return PENNY_WIRE_AGAIN;
		else if (errno != EINTR)
			return lost(wire, "could not send: %s", strerror(errno));
	}
	return PENNY_WIRE_DONE;
}

/* ---- receiving ------------------------------------------------------------ */

PennyWireResult
penny_wire_receive(PennyWire *wire)
{
	char bytes[RECEIVE_SIZE];
	ssize_t n;

	if (wire->broken)
		return PENNY_WIRE_LOST;
	do
		n = recv(wire->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return penny_wire_feed(wire, bytes, (size_t) n);
	if (n == 0)
		return lost(wire, "the server closed the connection");
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return PENNY_WIRE_AGAIN;
	return lost(wire, "could not receive: %s", strerror(errno));
}

PennyWireResult
penny_wire_feed(PennyWire *wire, const char *bytes, size_t len)
{
	redisReader *reader = wire->reader;

	if (wire->broken)
		return PENNY_WIRE_LOST;
	if (reader == NULL)
	{
		reader = wire->reader = redisReaderCreateWithFunctions(&functions);
		if (reader == NULL)
			return lost(wire, "out of memory");
		redisReaderSetPrivdata(reader, wire);
	}
	if (reader->len - reader->pos + len > wire->max_reply)
		return lost(wire, "a reply is larger than %zu bytes", wire->max_reply);
	if (redisReaderFeed(reader, bytes, len) != REDIS_OK)
		return lost(wire, "%s", reader->errstr);
	return PENNY_WIRE_DONE;
}

PennyWireResult
penny_wire_reply(PennyWire *wire, PennyReply **reply)
{
	void *found = NULL;
	redisReader *reader = wire->reader;

	*reply = NULL;
	if (wire->broken)
		return PENNY_WIRE_LOST;
	if (reader == NULL)
		return PENNY_WIRE_AGAIN;
	if (redisReaderGetReply(reader, &found) != REDIS_OK)
		return lost(wire, "a reply is not of the protocol: %.80s", reader->errstr);
	if (found == NULL)
		return PENNY_WIRE_AGAIN;
	wire->reply_bytes = 0;
	*reply = found;
	return PENNY_WIRE_DONE;
}

/* ---- replies as the reader makes them -------------------------------------- */

/* A reply of `extra` bytes, hung into its array; NULL ends the reader with an error. */
static PennyReply *
create(const redisReadTask *task, PennyReplyType type, size_t extra)
{
	PennyWire *wire = task->privdata;
	PennyReply *reply;

	wire->reply_bytes += sizeof(PennyReply) + extra;
	if (wire->reply_bytes > 2 * wire->max_reply + PENNY_WIRE_ELEMENTS * sizeof(PennyReply))
		return NULL;
	reply = calloc(1, sizeof(PennyReply) + extra);
	if (reply == NULL)
		return NULL;
	reply->type = type;
	if (task->parent != NULL)
		((PennyReply *) task->parent->obj)->element[task->idx] = reply;
	return reply;
}

static void *
create_string(const redisReadTask *task, char *text, size_t len)
{
	PennyReplyType type = task->type == REDIS_REPLY_ERROR    ? PENNY_REPLY_ERROR
						  : task->type == REDIS_REPLY_STATUS ? PENNY_REPLY_STATUS
															 : PENNY_REPLY_STRING;
	PennyReply *reply = create(task, type, len + 1);

	if (reply == NULL)
		return NULL;
	reply->text = (char *) (reply + 1);
	reply->len = len;
	memcpy(reply->text, text, len);
	return reply;
}

static void *
create_array(const redisReadTask *task, int elements)
{
	PennyReply *reply;

	if (elements < 0 || elements > PENNY_WIRE_ELEMENTS)
		return NULL;
	reply = create(task, PENNY_REPLY_ARRAY, (size_t) elements * sizeof(PennyReply *));
	if (reply == NULL)
		return NULL;
	reply->element = (PennyReply **) (reply + 1);
	reply->len = (size_t) elements;
	return reply;
}

static void *
create_integer(const redisReadTask *task, long long value)
{
	PennyReply *reply = create(task, PENNY_REPLY_INTEGER, 0);

	if (reply != NULL)
		reply->integer = value;
	return reply;
}

static void *
create_nil(const redisReadTask *task)
{
	return create(task, PENNY_REPLY_NIL, 0);
}

/* The reader drops what it has made when the rest is wrong: elements may be missing. */
static void
free_object(void *reply)
{
	penny_reply_free(reply);
}

void
penny_reply_free(PennyReply *reply)
{
	if (reply == NULL)
		return;
	if (reply->type == PENNY_REPLY_ARRAY)
		for (size_t i = 0; i < reply->len; i++)
			penny_reply_free(reply->element[i]);
	free(reply);
}
