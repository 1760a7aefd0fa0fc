/*-------------------------------------------------------------------------
 *
 * courier_link.c
 *		The worker's side of penny-courier.  See courier_link.h; the processes are
 *		those of courier_process.c.
 *
 * The courier is not trusted, for it reads what strangers send: an answer to a
 * request that it does not have, or what is no frame, ends it.  One that does
 * not answer in the time of a request and GRACE is killed.  What a courier said
 * before its end is taken first; then nobody knows what became of the rest of
 * its requests.
 *
 * On the wire a ticket is the number of a slot and a count, so that an answer
 * finds its slot and a late one finds nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/ipc.h"

#include "base/clock.h"
#include "config/config.h"
#include "queue/courier_link.h"
#include "queue/courier_process.h"

#define GRACE 5000 /* ms behind the end of a request */
#define SLOTS PENNY_COURIER_REQUESTS_MAX
#define SLOT_BITS 10
#define UNSENT_MAX (16 * 1024 * 1024) /* bytes that wait for a courier to read them */

StaticAssertDecl(SLOTS <= (1 << SLOT_BITS), "a slot's number must fit into a ticket");

typedef struct Slot
{
	uint64 ticket; /* 0: free */
	uint64 cookie;
	int courier;
	int64 deadline;
	size_t len; /* bytes that the courier keeps of it */
	bool lost;  /* to be told so */
} Slot;

static Slot slots[SLOTS];
static int open_slots = 0;
static int lost_slots = 0;
static size_t open_bytes = 0; /* of requests sent and not answered */
static uint64 tickets = 0;
static bool stopping = false;

static bool overdue(int courier, int64 now);
static bool take(int number, uint64 *cookie, PennyCourierAnswer *answer);
static bool take_answer(int number, const PennyCourierFrame *frame, uint64 *cookie,
						PennyCourierAnswer *answer);
static void lose(int number);
static bool tell_lost(uint64 *cookie, PennyCourierAnswer *answer);
static void release(Slot *slot);
static void link_exit(int code, Datum arg);

/* ---- life ------------------------------------------------------------------ */

void
penny_courier_link_begin(void)
{
	before_shmem_exit(link_exit, (Datum) 0);
}

static void
link_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	for (int i = 0; i < PENNY_COURIERS; i++)
		penny_child_kill(&penny_couriers.courier[i].child);
}

void
penny_courier_link_settings(void)
{
	penny_couriers.look = true;
}

void
penny_courier_link_stop(int64 deadline)
{
	stopping = true;
	for (int i = 0; i < PENNY_COURIERS; i++)
		penny_courier_drain(&penny_couriers.courier[i], deadline);
}

void
penny_courier_link_turn(int64 now)
{
	for (int i = 0; i < PENNY_COURIERS; i++)
		penny_courier_attend(&penny_couriers.courier[i], overdue(i, now), now);
	if (!stopping)
		penny_courier_consider(now);
	penny_courier_link_flush();
}

void
penny_courier_link_flush(void)
{
	for (int i = 0; i < PENNY_COURIERS; i++)
		penny_courier_flush(&penny_couriers.courier[i]);
}

/* Has a request been with it for too long? */
static bool
overdue(int courier, int64 now)
{
	for (int i = 0; i < SLOTS && penny_couriers.courier[courier].open > 0; i++)
	{
		if (slots[i].ticket != 0 && !slots[i].lost && slots[i].courier == courier &&
			now >= slots[i].deadline)
			return true;
	}
	return false;
}

/* ---- requests ---------------------------------------------------------------- */

int
penny_courier_link_room(void)
{
	const PennyCourierProcess *courier = &penny_couriers.courier[penny_couriers.current];

	if (courier->state != PENNY_LINK_READY || courier->stream.ended || stopping ||
		penny_couriers.held || open_bytes >= PENNY_COURIER_BYTES_OPEN ||
		penny_courier_stream_waiting(&courier->stream) > UNSENT_MAX)
		return 0;
	return courier->knows.requests - open_slots;
}

bool
penny_courier_link_send(uint64 cookie, const PennyCourierRequest *request)
{
	static int next = 0;
	PennyCourierProcess *courier = &penny_couriers.courier[penny_couriers.current];
	char *payload;
	size_t len = penny_courier_request_size(request);
	Slot *slot;
	uint64 ticket;

	if (penny_courier_link_room() <= 0)
		return false;
	while (slots[next].ticket != 0)
		next = (next + 1) % SLOTS;
	slot = &slots[next];
	ticket = ++tickets << SLOT_BITS | (uint64) next;
	payload = penny_courier_stream_push(&courier->stream, PENNY_COURIER_REQUEST, ticket, len);
	if (payload == NULL)
		return false;
	penny_courier_request_write(request, payload);
	*slot = (Slot){.ticket = ticket,
				   .cookie = cookie,
				   .courier = penny_couriers.current,
				   .deadline = penny_clock_ms() + request->timeout + GRACE,
				   .len = len};
	courier->open++;
	open_slots++;
	open_bytes += len;
	return true;
}

void
penny_courier_link_cancel(uint64 cookie)
{
	for (int i = 0; i < SLOTS; i++)
	{
		PennyCourierProcess *courier = &penny_couriers.courier[slots[i].courier];

		if (slots[i].ticket == 0 || slots[i].cookie != cookie || slots[i].lost)
			continue;
		if (courier->state == PENNY_LINK_READY || courier->state == PENNY_LINK_DRAINING)
			(void) penny_courier_stream_push(&courier->stream, PENNY_COURIER_CANCEL,
											 slots[i].ticket, 0);
	}
}

int
penny_courier_link_open(void)
{
	return open_slots;
}

int
penny_courier_link_pid(void)
{
	const PennyCourierProcess *courier = &penny_couriers.courier[penny_couriers.current];

	return courier->state == PENNY_LINK_READY ? (int) courier->child.pid : 0;
}

int
penny_courier_link_failures(void)
{
	return penny_couriers.courier[penny_couriers.current].answered ? 0 : penny_couriers.failures;
}

/* ---- answers ------------------------------------------------------------------- */

bool
penny_courier_link_answer(uint64 *cookie, PennyCourierAnswer *answer)
{
	for (int i = 0; i < PENNY_COURIERS; i++)
	{
		if (penny_couriers.courier[i].state != PENNY_LINK_NONE && take(i, cookie, answer))
			return true;
	}
	return lost_slots > 0 && tell_lost(cookie, answer);
}

/* The next answer of one courier. */
static bool
take(int number, uint64 *cookie, PennyCourierAnswer *answer)
{
	PennyCourierProcess *courier = &penny_couriers.courier[number];
	PennyCourierStream *stream = &courier->stream;
	PennyCourierFrame frame;
	size_t rest;

	for (;;)
	{
		while (penny_courier_stream_next(stream, &frame))
		{
			if (frame.kind == PENNY_COURIER_READY && frame.len == 0 && !courier->ready)
			{
				courier->ready = true;
				if (courier->state != PENNY_LINK_STARTING)
					continue;
				courier->state = PENNY_LINK_READY;
				courier->deadline = PENNY_NEVER;
			}
			else if (take_answer(number, &frame, cookie, answer))
				return true;
			else
				stream->broken = true;
		}
		if (courier->state != PENNY_LINK_ENDED || stream->ended || stream->broken)
			break;
		/* nothing more comes, even if somebody else still has its end of the socket */
		rest = stream->in_end - stream->in_start;
		penny_courier_stream_fill(stream);
		if (stream->in_end - stream->in_start == rest)
			break;
	}
	if (courier->state == PENNY_LINK_ENDED)
		lose(number);
	else if (stream->broken && !courier->killed)
	{
		ereport(LOG, (errcode(ERRCODE_PROTOCOL_VIOLATION),
					  errmsg("%s (PID %d) says what it must not, and is killed", PENNY_COURIER_NAME,
							 (int) courier->child.pid)));
		penny_courier_end(courier);
	}
	return false;
}

/* Is it the answer to a request that this courier has? */
static bool
take_answer(int number, const PennyCourierFrame *frame, uint64 *cookie, PennyCourierAnswer *answer)
{
	uint64 place = frame->ticket & ((1 << SLOT_BITS) - 1);
	Slot *slot = place < SLOTS ? &slots[place] : NULL;

	if (frame->kind != PENNY_COURIER_ANSWER || slot == NULL || frame->ticket == 0 ||
		slot->ticket != frame->ticket || slot->courier != number || slot->lost ||
		!penny_courier_answer_read(frame->payload, frame->len, answer))
		return false;
	*cookie = slot->cookie;
	penny_couriers.courier[number].open--;
	penny_couriers.courier[number].answered = true;
	release(slot);
	return true;
}

/* It is gone: nobody will say what became of the rest. */
static void
lose(int number)
{
	PennyCourierProcess *courier = &penny_couriers.courier[number];

	for (int i = 0; i < SLOTS && courier->open > 0; i++)
	{
		if (slots[i].ticket == 0 || slots[i].courier != number || slots[i].lost)
			continue;
		slots[i].lost = true;
		lost_slots++;
		courier->open--;
	}
	penny_courier_stream_close(&courier->stream);
	courier->state = PENNY_LINK_NONE;
}

static bool
tell_lost(uint64 *cookie, PennyCourierAnswer *answer)
{
	static const char why[] = "penny-courier ended while the request was on its way";

	for (int i = 0; i < SLOTS; i++)
	{
		if (!slots[i].lost)
			continue;
		memset(answer, 0, sizeof(*answer));
		answer->outcome = PENNY_COURIER_LOST;
		answer->error = (PennyCourierText){why, sizeof(why) - 1};
		*cookie = slots[i].cookie;
		lost_slots--;
		release(&slots[i]);
		return true;
	}
	return false;
}

static void
release(Slot *slot)
{
	open_bytes -= slot->len;
	memset(slot, 0, sizeof(*slot));
	open_slots--;
}

/* ---- waiting --------------------------------------------------------------------- */

void
penny_courier_link_watch(WaitEventSet *set)
{
	for (int i = 0; i < PENNY_COURIERS; i++)
	{
		PennyCourierProcess *courier = &penny_couriers.courier[i];

		if (!penny_courier_runs(courier))
			continue;
		AddWaitEventToSet(set, WL_SOCKET_READABLE, courier->child.pidfd, NULL, NULL);
		if (courier->child.log_fd >= 0)
			AddWaitEventToSet(set, WL_SOCKET_READABLE, courier->child.log_fd, NULL, NULL);
		if (!courier->stream.ended)
			AddWaitEventToSet(set,
							  WL_SOCKET_READABLE | (courier->writing ? WL_SOCKET_WRITEABLE : 0),
							  courier->stream.fd, NULL, NULL);
	}
}

uint64
penny_courier_link_version(void)
{
	return penny_couriers.version;
}

int64
penny_courier_link_due(void)
{
	int64 due = PENNY_NEVER;

	for (int i = 0; i < PENNY_COURIERS; i++)
	{
		if (penny_couriers.courier[i].state == PENNY_LINK_ENDED)
			return 0;
		if (penny_couriers.courier[i].state != PENNY_LINK_NONE && !penny_couriers.courier[i].killed)
			due = Min(due, penny_couriers.courier[i].deadline);
	}
	/* the next one, or a successor */
	if ((penny_couriers.courier[penny_couriers.current].state == PENNY_LINK_NONE ||
		 (penny_couriers.look &&
		  penny_couriers.courier[1 - penny_couriers.current].state == PENNY_LINK_NONE)) &&
		!stopping && penny_webhook_allow[0] != '\0')
		due = Min(due, penny_couriers.start_at);
	for (int i = 0; i < SLOTS && open_slots > lost_slots; i++)
	{
		if (slots[i].ticket != 0 && !penny_couriers.courier[slots[i].courier].killed)
			due = Min(due, slots[i].deadline);
	}
	return lost_slots > 0 ? 0 : due;
}
