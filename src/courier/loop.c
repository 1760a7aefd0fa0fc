/*-------------------------------------------------------------------------
 *
 * loop.c
 *		The turn of penny-courier: wait for the worker's frames, the sockets of
 *		libcurl and c-ares, and the clock; do what is due; answer.
 *
 * A socket that was closed in the same turn may still be told to its party,
 * which does not know it then.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "courier/courier.h"
#include "courier/names.h"

#define EVENTS 64

PennyCourier penny_courier;

static int epoll = -1;

static void
take_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	penny_courier.now = (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

const char *
penny_courier_loop_create(void)
{
	take_clock();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		return "make its loop";
	penny_courier_watch(PENNY_PARTY_WORKER, penny_courier.worker.fd, true, false);
	return NULL;
}

void
penny_courier_watch(PennyCourierParty party, int fd, bool read, bool write)
{
	struct epoll_event event = {
		.events = (read ? EPOLLIN : 0) | (write ? EPOLLOUT : 0),
		.data.u64 = (uint64_t) party << 32 | (uint32_t) fd,
	};

	if (!read && !write)
		(void) epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) != 0 && errno == ENOENT &&
			 epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		penny_log(PENNY_LOG_WARNING, "could not watch a socket: %s", strerror(errno));
}

/* What the worker says.  False: it is no worker of ours. */
static bool
take_frames(void)
{
	PennyCourierStream *worker = &penny_courier.worker;
	PennyCourierFrame frame;

	penny_courier_stream_fill(worker);
	while (penny_courier_stream_next(worker, &frame))
	{
		switch (frame.kind)
		{
			case PENNY_COURIER_REQUEST:
				penny_transfer_begin(frame.ticket, frame.payload, frame.len);
				break;
			case PENNY_COURIER_CANCEL:
				penny_transfer_cancel(frame.ticket);
				break;
			case PENNY_COURIER_DRAIN:
				penny_courier.draining = true;
				break;
			default:
				return false;
		}
	}
	return !worker->broken;
}

/* ms until something is due; -1: nothing is. */
static int
timeout(void)
{
	uint64_t due = penny_transfers_due();
	uint64_t names = penny_names_due();

	if (names < due)
		due = names;
	if (due == UINT64_MAX)
		return -1;
	if (due <= penny_courier.now)
		return 0;
	return due - penny_courier.now < 60000 ? (int) (due - penny_courier.now) : 60000;
}

static bool
dispatch(const struct epoll_event *event)
{
	int fd = (int) (uint32_t) event->data.u64;
	bool read = (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
	bool write = (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;

	switch ((PennyCourierParty) (event->data.u64 >> 32))
	{
		case PENNY_PARTY_WORKER:
			return !read || take_frames();
		case PENNY_PARTY_TRANSFERS:
			penny_transfers_ready(fd, read, write);
			break;
		case PENNY_PARTY_NAMES:
			penny_names_ready(fd, read, write);
			break;
	}
	return true;
}

/* Send what there is, and be told when more goes. */
static void
flush(void)
{
	static bool watched = false;
	bool waiting;

	penny_courier_stream_flush(&penny_courier.worker);
	waiting = penny_courier_stream_waiting(&penny_courier.worker) > 0;
	if (waiting != watched)
		penny_courier_watch(PENNY_PARTY_WORKER, penny_courier.worker.fd, true, waiting);
	watched = waiting;
}

int
penny_courier_loop_run(void)
{
	struct epoll_event event[EVENTS];

	for (;;)
	{
		int n = epoll_wait(epoll, event, EVENTS, timeout());

		if (n < 0 && errno != EINTR)
			return 1;
		take_clock();
		for (int i = 0; i < n; i++)
		{
			if (!dispatch(&event[i]))
			{
				penny_log(PENNY_LOG_WARNING, "courier was sent what is no request, and ends");
				return 1;
			}
		}
		penny_names_turn();
		penny_transfers_turn();
		flush();
		if (penny_courier.worker.ended)
			return 0;
		if (penny_courier.draining && penny_transfers_running() == 0 &&
			penny_courier_stream_waiting(&penny_courier.worker) == 0)
			return 0;
	}
}
