/*-------------------------------------------------------------------------
 *
 * client.h
 *		What the load clients share: clock, histogram, sockets, WebSocket.
 *
 * Plain C without libraries.  The clients are single-threaded; a failure that
 * is not part of the measurement ends the program with a message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Durations in ns, in buckets that are 1/32 of their value wide: a percentile
 * read from it is off by 3 per cent at most.
 */
#define HISTOGRAM_SUB 32
#define HISTOGRAM_BUCKETS (60 * HISTOGRAM_SUB)

typedef struct Histogram
{
	uint64_t count;
	uint64_t max;
	uint64_t bucket[HISTOGRAM_BUCKETS];
} Histogram;

/* One received WebSocket message; data is inside the socket's buffer. */
typedef struct Message
{
	int opcode;
	char *data; /* terminated by a NUL that is not part of it */
	size_t len;
} Message;

typedef struct WebSocket
{
	int fd;       /* -1: closed */
	char *buf;    /* bytes received */
	size_t have;  /* of them valid */
	size_t taken; /* of them consumed by the last message */
	size_t size;
} WebSocket;

extern uint64_t now_ns(void);
extern uint64_t cpu_ns(void); /* user + system time of this process */
extern void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
extern void end_on_term(void); /* from here on SIGTERM makes ended() true */
extern bool ended(void);
extern void raise_descriptors(void);      /* as many sockets as the system allows */
extern char *read_file(const char *path); /* without trailing blanks */
extern char **read_lines(const char *path, int *count);

extern void histogram_add(Histogram *histogram, uint64_t ns);
extern double histogram_us(const Histogram *histogram, double quantile);

extern int tcp_socket(int source, bool nonblocking);
extern bool tcp_connect_socket(int fd, int port);
extern int tcp_connect(int port, int source, bool nonblocking); /* -1: refused */
extern bool send_all(int fd, const char *data, size_t len);

extern bool websocket_open(WebSocket *ws, int port, int source, const char *token);
extern bool websocket_upgrade(WebSocket *ws, int port, const char *token);
extern bool websocket_send(WebSocket *ws, const char *text);
extern bool websocket_read(WebSocket *ws); /* one recv(); false: the peer is gone */
extern bool websocket_next(WebSocket *ws, Message *message);
extern bool websocket_wait(WebSocket *ws, Message *message, int timeout_ms);
extern void websocket_close(WebSocket *ws);

#endif /* BENCH_CLIENT_H */
