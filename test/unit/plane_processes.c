/*-------------------------------------------------------------------------
 *
 * plane_processes.c
 *		The plane between real processes: an edge that attaches, executors that
 *		sleep and wake, backends that publish, and deaths in between.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "plane/cache.h"
#include "plane/call.h"
#include "plane/event.h"

#define CALLS 4000
#define BUSY 16 /* slots used at once */
#define WRITERS 3
#define EVENTS 20000 /* of each writer */

static PennyPlaneConfig config = {.edges = 1,
								  .executors = 2,
								  .slots = 32,
								  .request_size = 4096,
								  .response_size = 1024,
								  .events = 1024,
								  .event_bytes = 65536,
								  .cache_stamps = 64,
								  .cache_entries = 64,
								  .cache_chunks = 64,
								  .cache_max_object = 4096};

static PennyPlane plane;
static volatile sig_atomic_t stopping;

static void
stop_process(int signo)
{
	(void) signo;
	stopping = 1;
}

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

static void
start(void)
{
	const char *failed = penny_plane_create(&plane, &config);

	if (failed != NULL)
	{
		printf("Bail out! %s\n", failed);
		exit(1);
	}
}

/* Sleep on an eventfd; two seconds without a wake are a lost one. */
static bool
sleep_on(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int ready;

	do
		ready = poll(&poll_fd, 1, 2000);
	while (ready < 0 && errno == EINTR && !stopping);
	return ready != 0;
}

/* ---- executors -------------------------------------------------------- */

/* Answer with the request's body three times over, perhaps in pieces. */
static void
serve(const PennyCall *call, int self)
{
	char buffer[4096];
	char body[3 * 4096];
	PennyRequest request;
	PennySpan what;
	uint32_t offset = 0;

	if (!penny_call_request(&plane, call, buffer, &request))
		_exit(10);
	what = request.field[PENNY_FIELD_BODY];
	for (int i = 0; i < 3; i++)
		memcpy(body + (size_t) i * what.len, what.data, what.len);
	for (;;)
	{
		offset += penny_call_write(&plane, call, 200, (PennySpan){"h", 1},
								   (PennySpan){body, 3 * what.len}, NULL, offset, false);
		if (offset == 3 * what.len + 1)
			return;
		while (!penny_call_part_taken(&plane, call) && !penny_call_cancelled(&plane, call))
		{
			penny_sleeper_prepare(&plane, self);
			if (!penny_call_part_taken(&plane, call) && !penny_call_cancelled(&plane, call) &&
				!sleep_on(plane.sleeper_wake[self]))
				_exit(11);
			penny_sleeper_awake(&plane, self);
		}
		if (penny_call_cancelled(&plane, call))
		{
			penny_call_write(&plane, call, 200, (PennySpan){"h", 1},
							 (PennySpan){body, 3 * what.len}, NULL, offset, true);
			return;
		}
	}
}

static pid_t
start_executor(int self)
{
	pid_t pid = fork();
	PennyCall call;

	if (pid != 0)
		return pid;
	signal(SIGTERM, stop_process);
	penny_sleeper_set_present(&plane, self, true);
	while (!stopping)
	{
		if (penny_call_claim(&plane, &call))
		{
			serve(&call, self);
			continue;
		}
		penny_sleeper_prepare(&plane, self);
		if (penny_call_backlog(&plane) == 0 && !stopping)
		{
			struct pollfd poll_fd = {.fd = plane.sleeper_wake[self], .events = POLLIN};

			poll(&poll_fd, 1, -1);
		}
		penny_sleeper_awake(&plane, self);
	}
	_exit(0);
}

/* ---- the edge --------------------------------------------------------- */

/* Move what an edge is given to where it expects it, then attach. */
static void
become_edge(PennyPlane *edge)
{
	int from[4 + PENNY_MAX_EXECUTORS + 1];
	int to[4 + PENNY_MAX_EXECUTORS + 1];
	int n = 0;
	const char *failed;

	from[n] = penny_plane_readonly_fd(&plane), to[n++] = PENNY_FD_P;
	from[n] = plane.e_fd[0], to[n++] = PENNY_FD_E;
	from[n] = plane.edge_wake[0], to[n++] = PENNY_FD_WAKE;
	from[n] = plane.s_fd, to[n++] = PENNY_FD_S;
	for (uint32_t i = 0; i <= config.executors; i++)
		from[n] = plane.sleeper_wake[i], to[n++] = PENNY_FD_SLEEPER + (int) i;
	for (int i = 0; i < n; i++)
		from[i] = fcntl(from[i], F_DUPFD, 200);
	for (int i = 0; i < n; i++)
		dup2(from[i], to[i]);
	munmap(plane.p, plane.sizes.p_size);
	munmap(plane.e[0], plane.sizes.e_size);
	failed = penny_plane_attach(edge, 0);
	if (failed != NULL)
	{
		printf("# attach: %s\n", failed);
		_exit(20);
	}
	penny_edge_init_slots(edge);
}

/* What a slot of the edge is doing. */
typedef struct Flight
{
	bool used;
	size_t len;
	size_t got;
	char body[4096];
	char answer[3 * 4096 + 1];
} Flight;

static void
launch(PennyPlane *edge, Flight *flight, int slot, uint64_t *random)
{
	PennySpan field[PENNY_FIELDS] = {{NULL, 0}};

	flight->used = true;
	flight->got = 0;
	flight->len =
		unit_random(random) % 8 == 0 ? unit_random(random) % 3000 : unit_random(random) % 200;
	for (size_t i = 0; i < flight->len; i++)
		flight->body[i] = (char) unit_random(random);
	field[PENNY_FIELD_BODY] = (PennySpan){flight->body, flight->len};
	penny_edge_submit(edge, slot, PENNY_OP_HTTP, PENNY_GET, 0, field);
	penny_wake_executor(edge);
}

/* Take what is there for a slot; true when the call is over. */
static bool
land(PennyPlane *edge, Flight *flight, int slot)
{
	PennySlotState state = penny_edge_slot_state(edge, slot);
	PennyResponseHead head;
	const char *bytes;

	if (state != PENNY_SLOT_PART && state != PENNY_SLOT_DONE)
		return false;
	if (!penny_edge_take(edge, slot, &head, &bytes) || head.status != 200 ||
		head.total_len != 3 * flight->len + 1 || flight->got + head.piece_len > head.total_len)
		_exit(21);
	memcpy(flight->answer + flight->got, bytes, head.piece_len);
	flight->got += head.piece_len;
	if (state == PENNY_SLOT_PART)
	{
		penny_edge_ack(edge, slot);
		return false;
	}
	if (flight->got != 3 * flight->len + 1 || flight->answer[0] != 'h')
		_exit(22);
	for (int i = 0; i < 3; i++)
	{
		if (memcmp(flight->answer + 1 + (size_t) i * flight->len, flight->body, flight->len) != 0)
			_exit(23);
	}
	penny_edge_free(edge, slot);
	flight->used = false;
	return true;
}

/* Any of the flights to look at? */
static bool
anything(PennyPlane *edge, const Flight *flight)
{
	for (int slot = 0; slot < BUSY; slot++)
	{
		PennySlotState state = penny_edge_slot_state(edge, slot);

		if (flight[slot].used && (state == PENNY_SLOT_PART || state == PENNY_SLOT_DONE))
			return true;
	}
	return false;
}

/* Make calls until enough are over, or for ever. */
static void
run_edge(int calls, uint64_t seed)
{
	static Flight flight[BUSY];
	PennyPlane edge;
	uint64_t count;
	int started = 0;
	int over = 0;

	become_edge(&edge);
	while (calls < 0 || over < calls)
	{
		for (int slot = 0; slot < BUSY; slot++)
		{
			if (flight[slot].used)
				over += land(&edge, &flight[slot], slot);
			if (!flight[slot].used && (calls < 0 || started < calls) &&
				penny_edge_slot_state(&edge, slot) == PENNY_SLOT_FREE)
			{
				launch(&edge, &flight[slot], slot, &seed);
				started++;
			}
		}
		penny_edge_prepare_sleep(&edge);
		if ((calls < 0 || over < calls) && !anything(&edge, flight) && !sleep_on(edge.edge_wake[0]))
			_exit(24);
		penny_edge_awake(&edge);
		while (read(edge.edge_wake[0], &count, sizeof(count)) > 0)
			;
	}
	_exit(0);
}

static pid_t
start_edge(int calls, uint64_t seed)
{
	pid_t pid;

	fflush(stdout);
	penny_plane_sweep(&plane, 0);
	pid = fork();
	if (pid == 0)
		run_edge(calls, seed);
	return pid;
}

static int
wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
	if (status != 0 && status != 1000 + SIGKILL)
		printf("# process ended with %d\n", status);
	return status;
}

static void
stop_executors(pid_t executor[2])
{
	for (int i = 0; i < 2; i++)
	{
		kill(executor[i], SIGTERM);
		penny_wake_sleeper(&plane, i);
		CHECK(wait_for(executor[i]) == 0);
	}
}

/* ---- tests ------------------------------------------------------------ */

TEST(calls)
{
	pid_t executor[2];

	start();
	for (int i = 0; i < 2; i++)
		executor[i] = start_executor(i);
	CHECK(wait_for(start_edge(CALLS, 1)) == 0);
	stop_executors(executor);
	penny_plane_destroy(&plane);
}

/* Edges die at any moment, under load; the last finds everything in order. */
TEST(deaths)
{
	pid_t executor[2];

	start();
	for (int i = 0; i < 2; i++)
		executor[i] = start_executor(i);
	for (int death = 0; death < 20; death++)
	{
		pid_t edge = start_edge(-1, (uint64_t) death + 1);
		uint64_t claimed = atomic_load(&plane.p->edge[0].sub_head);

		/* it has had some calls claimed, then it is killed */
		while (atomic_load(&plane.p->edge[0].sub_head) < claimed + 20)
		{
			struct timespec pause = {0, 200000};

			nanosleep(&pause, NULL);
			if (waitpid(edge, NULL, WNOHANG) == edge)
			{
				CHECK_ROW(false, "edge ended by itself");
				goto done;
			}
		}
		kill(edge, SIGKILL);
		CHECK(wait_for(edge) == 1000 + SIGKILL);
	}
	CHECK(wait_for(start_edge(CALLS / 4, 99)) == 0);
done:
	stop_executors(executor);
	penny_plane_destroy(&plane);
}

/*
 * Many backends publish; one reads.  Everything comes in order; what a small
 * ring cannot hold is told as lost.
 */
static void
check_events(bool small)
{
	pid_t writer[WRITERS];
	PennyEventCursor cursor;
	uint64_t last[WRITERS] = {0};
	char buffer[PENNY_ROOM_NAME_MAX + 8192];
	uint64_t seen = 0, lost = 0;
	int running = WRITERS;
	PennyEventOut after = {.kind = PENNY_EVENT_PUBLISH, .room = "z", .room_len = 1};
	PennyEventIn in;
	PennyEventResult result;

	config.events = small ? 256 : 65536;
	config.event_bytes = small ? 8192 : 8 << 20;
	start();
	penny_event_start(&plane, &cursor);
	for (int w = 0; w < WRITERS; w++)
	{
		fflush(stdout);
		writer[w] = fork();
		if (writer[w] != 0)
			continue;
		for (uint64_t i = 1; i <= EVENTS; i++)
		{
			char frame[64];
			PennyEventOut event = {.kind = PENNY_EVENT_CHANGE, .version = i, .frame = frame};
			char room = (char) ('a' + w);

			memset(frame, (int) (i + (uint64_t) w), sizeof(frame));
			event.room = &room;
			event.room_len = 1;
			event.frame_len = (uint32_t) (i % sizeof(frame));
			penny_event_publish(&plane, &event, 1, now_ns());
		}
		_exit(0);
	}
	while (running > 0 || cursor.next != atomic_load(&plane.p->ev_tail))
	{
		int w;

		result = penny_event_read(&plane, &cursor, now_ns(), NULL, NULL, buffer, &in);
		lost += result == PENNY_EVENTS_LOST;
		while (running > 0 && waitpid(writer[running - 1], NULL, WNOHANG) > 0)
			running--;
		if (result != PENNY_EVENTS_ONE)
			continue;
		w = in.room[0] - 'a';
		seen++;
		if (w < 0 || w >= WRITERS || in.version <= last[w] || in.version > EVENTS ||
			(lost == 0 && in.version != last[w] + 1) || in.frame_len != in.version % 64)
		{
			CHECK_ROW(false, "event out of order");
			break;
		}
		last[w] = in.version;
		for (uint32_t i = 0; i < in.frame_len; i++)
			CHECK((uint8_t) in.frame[i] == (uint8_t) (in.version + (uint64_t) w));
	}
	printf("# %llu events seen, lost %llu times\n", (unsigned long long) seen,
		   (unsigned long long) lost);
	CHECK(small || (lost == 0 && seen == WRITERS * EVENTS));
	penny_event_publish(&plane, &after, 1, 1);
	result = penny_event_read(&plane, &cursor, now_ns(), NULL, NULL, buffer, &in);
	CHECK(result == PENNY_EVENTS_ONE && in.kind == PENNY_EVENT_PUBLISH && in.room[0] == 'z');
	penny_plane_destroy(&plane);
}

TEST(events)
{
	check_events(false);
}

TEST(events_overrun)
{
	check_events(true);
}

/* What an attached edge reads in the cache, and says of it in its own region. */
TEST(cache)
{
	PennySpan part = {"key", 3};
	PennyCachePut put = {.body = {"value", 5}, .expires = 100};
	PennyCacheHit hit;
	_Atomic uint64_t *hints;
	pid_t pid;

	start();
	penny_plane_sweep(&plane, 0);
	penny_cache_key(&plane, &part, 1, &put.key);
	CHECK(penny_cache_put(&plane, &put) == PENNY_CACHE_KEPT);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		PennyPlane edge;
		PennyCacheKey key;
		char copy[5];

		become_edge(&edge);
		penny_cache_key(&edge, &part, 1, &key);
		if (penny_cache_find(&edge, &key, 1, &hit) != PENNY_CACHE_HIT || hit.body_len != 5 ||
			!penny_cache_copy(&edge, &hit, copy) || memcmp(copy, "value", 5) != 0 ||
			!penny_cache_holds(&edge, &hit))
			_exit(40);
		for (int i = 0; i < 10; i++)
			penny_cache_hint(&edge, &hit);
		_exit(0);
	}
	CHECK(wait_for(pid) == 0);
	CHECK(penny_cache_find(&plane, &put.key, 1, &hit) == PENNY_CACHE_HIT);
	hints = (_Atomic uint64_t *) ((char *) plane.e[0] + plane.sizes.hints);
	CHECK((hints[hit.body - 1] & 3) == 3);
	penny_plane_destroy(&plane);
}

/* What an attached edge may not do. */
TEST(read_only)
{
	pid_t pid;

	start();
	penny_plane_sweep(&plane, 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
	{
		PennyPlane edge;

		become_edge(&edge);
		signal(SIGSEGV, SIG_DFL);
		if (mprotect(edge.p, 4096, PROT_READ | PROT_WRITE) == 0)
			_exit(30);
		if (fcntl(PENNY_FD_P, F_GETFD) >= 0 || fcntl(PENNY_FD_E, F_GETFD) >= 0)
			_exit(31);
		penny_count(&edge, PENNY_COUNT_REQUESTS, 5);
		_exit(0);
	}
	CHECK(wait_for(pid) == 0);
	CHECK(penny_counter(&plane, 0, PENNY_COUNT_REQUESTS) == 5);
	penny_plane_destroy(&plane);
}

int
main(void)
{
	RUN(calls);
	RUN(deaths);
	RUN(events);
	RUN(events_overrun);
	RUN(cache);
	RUN(read_only);
	return unit_done();
}
