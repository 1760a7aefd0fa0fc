/*-------------------------------------------------------------------------
 *
 * client.c
 *		What the load clients share: clock, histogram, sockets, WebSocket.
 *
 * The WebSocket part is a client for a server on the same machine that is
 * known to speak the protocol: it does not check the handshake's hash, reads
 * unfragmented frames, and answers pings.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define OP_TEXT 1
#define OP_CLOSE 8
#define OP_PING 9
#define OP_PONG 10

static volatile sig_atomic_t told_to_end;

static uint64_t
clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

uint64_t
now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t
cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void
fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void
on_term(int signal_number)
{
	(void) signal_number;
	told_to_end = 1;
}

void
end_on_term(void)
{
	signal(SIGTERM, on_term);
}

bool
ended(void)
{
	return told_to_end;
}

void
raise_descriptors(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Read a whole file into a string. */
char *
read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t len = 0;

	if (file == NULL)
		fail("could not open \"%s\": %s", path, strerror(errno));
	if (getdelim(&text, &len, '\0', file) < 0)
		fail("could not read \"%s\"", path);
	fclose(file);
	len = strlen(text);
	while (len > 0 && isspace((unsigned char) text[len - 1]))
		text[--len] = '\0';
	return text;
}

/* Read a file's lines. */
char **
read_lines(const char *path, int *count)
{
	char *text = read_file(path);
	char **lines = NULL;
	char *line;
	int n = 0;

	for (line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
	{
		lines = realloc(lines, (size_t) (n + 1) * sizeof(char *));
		if (lines == NULL)
			fail("out of memory");
		lines[n++] = line;
	}
	*count = n;
	return lines;
}

/* Which bucket a duration falls into. */
static int
histogram_bucket(uint64_t ns)
{
	int shift = 0;

	while ((ns >> shift) >= 2 * HISTOGRAM_SUB)
		shift++;
	return shift * HISTOGRAM_SUB + (int) (ns >> shift);
}

void
histogram_add(Histogram *histogram, uint64_t ns)
{
	histogram->count++;
	histogram->bucket[histogram_bucket(ns)]++;
	if (ns > histogram->max)
		histogram->max = ns;
}

/* The quantile in µs: the middle of the bucket that holds it. */
double
histogram_us(const Histogram *histogram, double quantile)
{
	uint64_t rank = (uint64_t) (quantile * (double) histogram->count);
	uint64_t seen = 0;
	int i;

	if (quantile >= 1.0)
		return (double) histogram->max / 1e3;
	for (i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		seen += histogram->bucket[i];
		if (seen > rank)
		{
			int shift = i < 2 * HISTOGRAM_SUB ? 0 : i / HISTOGRAM_SUB - 1;
			uint64_t low = (uint64_t) (i - shift * HISTOGRAM_SUB) << shift;

			return ((double) low + (double) (1 << shift) / 2) / 1e3;
		}
	}
	return 0;
}

/* A socket of 127.0.0.0 + source where that is not 0: many sources have many ports. */
int
tcp_socket(int source, bool nonblocking)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
	int one = 1;

	if (fd < 0)
		fail("could not make a socket: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (source > 0)
	{
		/* the kernel picks the port when it knows the other end, so that ports are not used up */
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		address.sin_addr.s_addr = htonl((INADDR_LOOPBACK & 0xff000000) + (uint32_t) source);
		if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0)
			fail("could not bind a socket: %s", strerror(errno));
	}
	return fd;
}

/*
 * Connect a socket to a port of this machine.  A non-blocking one may still be
 * connecting on return: it becomes writable when it is through.
 */
bool
tcp_connect_socket(int fd, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};

	address.sin_port = htons((uint16_t) port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0 || errno == EINPROGRESS;
}

int
tcp_connect(int port, int source, bool nonblocking)
{
	int fd = tcp_socket(source, nonblocking);

	if (tcp_connect_socket(fd, port))
		return fd;
	close(fd);
	return -1;
}

/* Send all bytes; false: the peer is gone, or does not read. */
bool
send_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		data += sent;
		len -= (size_t) sent;
	}
	return true;
}

/* Connect and ask for the upgrade. */
bool
websocket_open(WebSocket *ws, int port, int source, const char *token)
{
	int fd = tcp_connect(port, source, false);

	memset(ws, 0, sizeof(*ws));
	ws->fd = fd;
	return fd >= 0 && websocket_upgrade(ws, port, token);
}

/*
 * Ask for the upgrade on a socket that is connected and wait for the end of
 * the answer's headers.  False: the server refused, or is gone.
 */
bool
websocket_upgrade(WebSocket *ws, int port, const char *token)
{
	static const char form[] = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
							   "Connection: Upgrade\r\nUpgrade: websocket\r\n"
							   "Sec-WebSocket-Version: 13\r\n"
							   "Sec-WebSocket-Key: cGVubnkgYmVuY2htYXJrIQ==\r\n"
							   "Sec-WebSocket-Protocol: penny.v1\r\n"
							   "Authorization: Bearer %s\r\n\r\n";
	char request[8192];
	char *end;

	snprintf(request, sizeof(request), form, port, token);
	if (!send_all(ws->fd, request, strlen(request)))
	{
		websocket_close(ws);
		return false;
	}
	do
	{
		if (!websocket_read(ws))
			return false;
		end = memmem(ws->buf, ws->have, "\r\n\r\n", 4);
	} while (end == NULL);
	if (ws->have < 12 || memcmp(ws->buf, "HTTP/1.1 101", 12) != 0)
	{
		websocket_close(ws);
		return false;
	}
	ws->taken = (size_t) (end + 4 - ws->buf);
	return true;
}

/* Send one frame, masked as the protocol wants it from a client. */
static bool
websocket_send_frame(WebSocket *ws, int opcode, const char *data, size_t len)
{
	static const unsigned char mask[4] = {0x70, 0x65, 0x6e, 0x79};
	char *frame = malloc(len + 14);
	size_t n = 2;
	size_t i;
	bool ok;

	if (frame == NULL)
		fail("out of memory");
	frame[0] = (char) (0x80 | opcode);
	if (len < 126)
		frame[1] = (char) (0x80 | len);
	else if (len < 65536)
	{
		frame[1] = (char) (0x80 | 126);
		frame[n++] = (char) (len >> 8);
		frame[n++] = (char) len;
	}
	else
		fail("message too long for this client");
	memcpy(frame + n, mask, 4);
	n += 4;
	for (i = 0; i < len; i++)
		frame[n + i] = (char) (data[i] ^ mask[i % 4]);
	ok = ws->fd >= 0 && send_all(ws->fd, frame, n + len);
	free(frame);
	return ok;
}

bool
websocket_send(WebSocket *ws, const char *text)
{
	return websocket_send_frame(ws, OP_TEXT, text, strlen(text));
}

/* Receive what is there (or wait for it on a blocking socket). */
bool
websocket_read(WebSocket *ws)
{
	ssize_t got;

	if (ws->taken > 0)
	{
		ws->have -= ws->taken;
		memmove(ws->buf, ws->buf + ws->taken, ws->have);
		ws->taken = 0;
	}
	if (ws->size - ws->have < 65536)
	{
		ws->size = ws->size * 2 + 131072;
		ws->buf = realloc(ws->buf, ws->size);
		if (ws->buf == NULL)
			fail("out of memory");
	}
	do
		got = recv(ws->fd, ws->buf + ws->have, ws->size - ws->have - 1, 0);
	while (got < 0 && errno == EINTR);
	if (got > 0)
	{
		ws->have += (size_t) got;
		ws->buf[ws->have] = '\0';
		return true;
	}
	websocket_close(ws);
	return false;
}

/*
 * Take the next whole message out of the buffer, answering pings on the way.
 * The byte behind it belongs to the next frame, so the terminator is written
 * over the message's own header by moving the payload down one byte.
 */
bool
websocket_next(WebSocket *ws, Message *message)
{
	for (;;)
	{
		unsigned char *at = (unsigned char *) ws->buf + ws->taken;
		size_t have = ws->have - ws->taken;
		size_t head = 2;
		size_t len;

		if (have < 2)
			return false;
		len = at[1] & 0x7f;
		if (len == 126)
			head = 4;
		else if (len == 127)
			head = 10;
		if (have < head)
			return false;
		if (len == 126)
			len = (size_t) at[2] << 8 | at[3];
		else if (len == 127)
			len = (size_t) at[6] << 24 | (size_t) at[7] << 16 | (size_t) at[8] << 8 | at[9];
		if (have < head + len)
			return false;
		message->opcode = at[0] & 0x0f;
		message->len = len;
		message->data = memmove(at + head - 1, at + head, len);
		message->data[len] = '\0';
		ws->taken += head + len;
		if (message->opcode == OP_PING)
			websocket_send_frame(ws, OP_PONG, message->data, len);
		else
			return true;
	}
}

/* Wait for a message; false: none in time, or the connection ended. */
bool
websocket_wait(WebSocket *ws, Message *message, int timeout_ms)
{
	while (ws->fd >= 0)
	{
		struct pollfd fd = {.fd = ws->fd, .events = POLLIN};

		if (websocket_next(ws, message))
			return message->opcode != OP_CLOSE;
		if (poll(&fd, 1, timeout_ms) <= 0 || !websocket_read(ws))
			return false;
	}
	return false;
}

void
websocket_close(WebSocket *ws)
{
	if (ws->fd >= 0)
		close(ws->fd);
	free(ws->buf);
	memset(ws, 0, sizeof(*ws));
	ws->fd = -1;
}
