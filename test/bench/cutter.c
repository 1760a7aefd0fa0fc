/*-------------------------------------------------------------------------
 *
 * cutter.c
 *		A network that can be cut: passes bytes between two ports.
 *
 *	cutter -p port -f file
 *
 * Whoever connects to the port is passed on to the port of this machine that
 * the file names at that moment.  On SIGUSR1 every second connection is reset
 * at both ends, and the others fall silent: they stay open, and nothing passes
 * any more in either direction until an end gives up.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

#define MAX_PAIRS 1024

typedef struct Pair
{
	int fd[2]; /* -1: no connection */
	bool silent;
} Pair;

static Pair pairs[MAX_PAIRS];
static int npairs;
static volatile sig_atomic_t cut_now;

static void
on_cut(int signal_number)
{
	(void) signal_number;
	cut_now = 1;
}

static void
end(Pair *pair, bool reset)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	int side;

	for (side = 0; side < 2; side++)
	{
		if (reset)
			setsockopt(pair->fd[side], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(pair->fd[side]);
		pair->fd[side] = -1;
	}
}

static void
cut(void)
{
	int i;
	int n = 0;

	for (i = 0; i < npairs; i++)
	{
		if (pairs[i].fd[0] < 0 || pairs[i].silent)
			continue;
		if (n++ % 2 == 0)
			end(&pairs[i], true);
		else
			pairs[i].silent = true;
	}
}

static void
take_one(int listener, const char *file)
{
	int fd = accept(listener, NULL, NULL);
	char *port;
	int i = 0;

	if (fd < 0)
		return;
	while (i < npairs && pairs[i].fd[0] >= 0)
		i++;
	if (i == MAX_PAIRS)
	{
		close(fd);
		return;
	}
	port = read_file(file);
	pairs[i] = (Pair){.fd = {fd, tcp_connect((int) strtol(port, NULL, 10), 0, false)}};
	free(port);
	if (pairs[i].fd[1] < 0)
	{
		close(fd);
		pairs[i].fd[0] = -1;
	}
	if (i == npairs)
		npairs++;
}

/* Pass on what came from one side; the ends read, so a send is waited for. */
static void
pass(Pair *pair, int side)
{
	char bytes[65536];
	ssize_t got = recv(pair->fd[side], bytes, sizeof(bytes), 0);

	if (got <= 0 || (!pair->silent && !send_all(pair->fd[1 - side], bytes, (size_t) got)))
		end(pair, false);
}

int
main(int argc, char **argv)
{
	static struct pollfd fds[2 * MAX_PAIRS + 1];
	struct sockaddr_in address = {.sin_family = AF_INET};
	const char *file = NULL;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;
	int i;
	int c;

	while ((c = getopt(argc, argv, "p:f:")) != -1)
	{
		if (c == 'p')
			address.sin_port = htons((uint16_t) strtol(optarg, NULL, 10));
		else if (c == 'f')
			file = optarg;
	}
	if (file == NULL || address.sin_port == 0)
		fail("usage: cutter -p port -f file");
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, 512) != 0)
		fail("could not listen: %s", strerror(errno));
	signal(SIGUSR1, on_cut);
	signal(SIGPIPE, SIG_IGN);
	printf("ready\n");
	fflush(stdout);
	for (;;)
	{
		if (cut_now)
		{
			cut_now = 0;
			cut();
		}
		fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
		for (i = 0; i < 2 * npairs; i++)
			fds[i + 1] = (struct pollfd){.fd = pairs[i / 2].fd[i % 2], .events = POLLIN};
		if (poll(fds, 2 * (nfds_t) npairs + 1, 100) <= 0)
			continue;
		for (i = 0; i < 2 * npairs; i++)
			if (fds[i + 1].revents != 0 && pairs[i / 2].fd[i % 2] == fds[i + 1].fd)
				pass(&pairs[i / 2], i % 2);
		if (fds[0].revents != 0)
			take_one(listener, file);
	}
}
