/*-------------------------------------------------------------------------
 *
 * floor.c
 *		The least that an HTTP answer can cost: the base of the edge's figure.
 *
 *	floor -p port -b bytes
 *
 * Reads a request up to the empty line, without looking at it, and sends a
 * fixed answer: one recv() and one send() a request, one epoll.  What it takes
 * is the kernel's price of a keep-alive answer of that size on this machine at
 * this moment.  Runs until it is told to end.
 *
 *-------------------------------------------------------------------------
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

static int
listen_on(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	address.sin_port = htons((uint16_t) port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(fd, 128) != 0)
		fail("could not listen on port %d", port);
	return fd;
}

/* Accept one connection. */
static void
take(int epoll, int listener)
{
	struct epoll_event event = {.events = EPOLLIN};
	int one = 1;
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	event.data.fd = fd;
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int
main(int argc, char **argv)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct epoll_event events[64];
	char request[65536];
	char *answer;
	int port = 0;
	int bytes = 0;
	int epoll = epoll_create1(0);
	int listener;
	int len;
	int c;

	while ((c = getopt(argc, argv, "p:b:")) != -1)
	{
		if (c == 'p')
			port = (int) strtol(optarg, NULL, 10);
		else if (c == 'b')
			bytes = (int) strtol(optarg, NULL, 10);
		else
			return 2;
	}
	answer = malloc((size_t) bytes + 256);
	if (answer == NULL)
		fail("out of memory");
	len = sprintf(answer,
				  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
				  bytes);
	memset(answer + len, 'x', (size_t) bytes);
	listener = listen_on(port);
	event.data.fd = listener;
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	for (;;)
	{
		int n = epoll_wait(epoll, events, 64, -1);
		int i;

		for (i = 0; i < n; i++)
		{
			int fd = events[i].data.fd;
			ssize_t got;

			if (fd == listener)
			{
				take(epoll, listener);
				continue;
			}
			got = recv(fd, request, sizeof(request), 0);
			if (got <= 0 || (got >= 4 && memcmp(request + got - 4, "\r\n\r\n", 4) == 0 &&
							 !send_all(fd, answer, (size_t) (len + bytes))))
				close(fd);
		}
	}
}
