/*-------------------------------------------------------------------------
 *
 * waiting.c
 *		Calls whose answer is "nothing yet".  See waiting.h; who looks when an
 *		event comes is decided in waiters.c, copies are in kept.c.
 *
 * Life of a waiting: asked (the caller's first call is under way), then rests
 * and looks by turns, until an answer is passed on or the time is over.
 *
 * The room is known from the answer; then that answer may be older than the
 * room's bit, and the waiting looks once more before it rests for long.  For
 * a job and for a queue the path tells the room beforehand, so the bit is set
 * before the first call, and that second look is saved.
 *
 * A look is not counted as a request of its user (PENNY_REQUEST_AGAIN): the
 * client has made one.  It is a call like any other: the token is verified
 * again, and a refusal is the answer.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/waiting.h"

#include <stdlib.h>
#include <string.h>

#include "edge/encoding.h"
#include "edge/events.h"
#include "edge/http_target.h"
#include "edge/kept.h"

#define WAITING_MAX 4096 /* for the edge */
#define USER_MAX 512     /* for a user */
#define LOOKS 8          /* calls under way that an event caused */
#define LONGEST 60000    /* ms */
#define USER_BUCKETS 1024

/* How many of a user wait. */
typedef struct User
{
	struct User *next;
	uint64_t key;
	uint32_t waiting;
} User;

struct PennyWaiting
{
	PennyWaiter waiter; /* first: it is found by it */
	const PennyWaitingCallbacks *call;
	void *owner;
	PennyTimer timer;
	PennyKept kept;
	uint64_t until;    /* ms at which its time is over */
	uint64_t question; /* of waiters.h */
	uint64_t user;     /* 0: as the answer says */
	User *place;       /* NULL: it has not begun to wait */
	size_t wait_len;
	char wait[PENNY_KEPT_WAIT_MAX]; /* as written */
};

static PennyWaiters *waiters;
static User *users[USER_BUCKETS];
static uint32_t waiting_now;
static uint64_t seed;

static void on_time(PennyTimer *timer);
static bool look(void *arg, PennyWaiter *waiter);

static void
listen_to(void *arg, uint64_t room, bool on)
{
	(void) arg;
	penny_events_listen(room, on);
}

void
penny_waiting_init(void)
{
	static const PennyWaitersCallbacks callbacks = {.listen = listen_to, .look = look};

	penny_random(&seed, sizeof(seed));
	waiters = penny_waiters_create(&callbacks, NULL, LOOKS);
	if (waiters == NULL)
	{
		penny_log(PENNY_LOG_WARNING, "out of memory, edge ends");
		exit(1);
	}
}

/* ---- what is asked ---------------------------------------------------------- */

/* "30" or "2.5", up to three digits behind the point. */
bool
penny_waiting_seconds(PennySpan text, uint32_t *ms)
{
	uint32_t unit = 1000;
	bool point = false;

	*ms = 0;
	if (text.len == 0 || text.len > PENNY_KEPT_WAIT_MAX || text.data[0] == '.' ||
		text.data[text.len - 1] == '.')
		return false;
	for (size_t i = 0; i < text.len; i++)
	{
		char c = text.data[i];

		if (c == '.' && !point)
			point = true;
		else if (c < '0' || c > '9' || (point && unit == 1) || *ms > LONGEST)
			return false;
		else if (point)
			*ms += (uint32_t) (c - '0') * (unit /= 10);
		else
			*ms = *ms * 10 + (uint32_t) (c - '0') * 1000;
	}
	return *ms > 0 && *ms <= LONGEST;
}

/* Does text begin with this?  It is taken off then. */
static bool
takes(PennySpan *text, const char *begin)
{
	size_t len = strlen(begin);

	if (text->len < len || memcmp(text->data, begin, len) != 0)
		return false;
	text->data += len;
	text->len -= len;
	return true;
}

/* The room that the answer will name, if the path tells; false: it does not. */
static bool
guess_room(const PennyCallOut *out, PennySpan path, char room[PENNY_ROOM_NAME_MAX], size_t *len)
{
	static const char claim[] = "/claim";
	size_t claim_len = sizeof(claim) - 1;
	size_t kind;

	if (out->method == PENNY_GET && takes(&path, "/api/v1/jobs/"))
	{
		memcpy(room, "job:", 4);
		kind = 4;
	}
	else if (out->method == PENNY_POST && takes(&path, "/api/v1/queues/") && path.len > claim_len &&
			 memcmp(path.data + path.len - claim_len, claim, claim_len) == 0)
	{
		memcpy(room, "queue:", 6);
		kind = 6;
		path.len -= claim_len;
	}
	else
		return false;
	if (memchr(path.data, '/', path.len) != NULL ||
		!penny_http_decode(path, room + kind, PENNY_ROOM_NAME_MAX - kind, len) || *len == 0)
		return false;
	*len += kind;
	return true;
}

/* What is asked, and as whom. */
static uint64_t
question_of(const PennyCallOut *out)
{
	const PennySpan *target = &out->field[PENNY_FIELD_TARGET];
	const PennySpan *token = &out->field[PENNY_FIELD_TOKEN];
	uint64_t hash = penny_hash(target->data, target->len, seed + out->method);

	return penny_hash(token->data, token->len, hash + out->flags);
}

PennyWaiting *
penny_waiting_open(const PennyWaitingCallbacks *callbacks, void *owner, const PennyCallOut *out,
				   uint64_t user)
{
	PennySpan path = out->field[PENNY_FIELD_TARGET];
	const char *mark = memchr(path.data, '?', path.len);
	char room[PENNY_ROOM_NAME_MAX];
	char wait[PENNY_KEPT_WAIT_MAX];
	PennyWaiting *waiting;
	PennySpan query;
	uint32_t ms;
	size_t len;

	if (mark == NULL || penny_edge.draining)
		return NULL;
	query = (PennySpan){mark + 1, (size_t) (path.data + path.len - mark) - 1};
	path.len = (size_t) (mark - path.data);
	if (!penny_http_query_value(query, "wait", wait, sizeof(wait), &len) ||
		!penny_waiting_seconds((PennySpan){wait, len}, &ms))
		return NULL;
	waiting = penny_alloc(sizeof(*waiting));
	memset(waiting, 0, sizeof(*waiting));
	waiting->call = callbacks;
	waiting->owner = owner;
	waiting->until = penny_edge.now + ms;
	waiting->user = user;
	waiting->wait_len = len;
	memcpy(waiting->wait, wait, len);
	waiting->question = question_of(out);
	penny_timer_init(&waiting->timer, on_time);
	if (guess_room(out, path, room, &len))
		(void) penny_waiter_enter(waiters, &waiting->waiter, penny_hash(room, len, 0),
								  waiting->question);
	return waiting;
}

/* ---- places ------------------------------------------------------------------- */

static User **
find_user(uint64_t key)
{
	User **user = &users[key % USER_BUCKETS];

	while (*user != NULL && (*user)->key != key)
		user = &(*user)->next;
	return user;
}

/* Take a place of the user's; false: there is none. */
static bool
take_place(PennyWaiting *waiting, const PennyAnswer *answer)
{
	uint64_t key = waiting->user;
	User **user;

	if (waiting->place != NULL)
		return true;
	if (key == 0)
		key = answer->viewer.known == 1 ? answer->viewer.id_hash
										: penny_hash(answer->token.data, answer->token.len, seed);
	user = find_user(key);
	if (waiting_now >= WAITING_MAX || (*user != NULL && (*user)->waiting >= USER_MAX))
		return false;
	if (*user == NULL)
	{
		*user = penny_alloc(sizeof(**user));
		**user = (User){.key = key};
	}
	(*user)->waiting++;
	waiting->place = *user;
	waiting_now++;
	penny_count(&penny_edge.plane, PENNY_COUNT_HELD, 1);
	return true;
}

static void
leave_place(PennyWaiting *waiting)
{
	User *user = waiting->place;

	if (user == NULL)
		return;
	waiting->place = NULL;
	waiting_now--;
	penny_count(&penny_edge.plane, PENNY_COUNT_HELD, -1);
	if (--user->waiting == 0)
	{
		*find_user(user->key) = user->next;
		free(user);
	}
}

/* ---- its life -------------------------------------------------------------------- */

/* It waits for nothing any more. */
static void
end(PennyWaiting *waiting, bool found)
{
	penny_timer_stop(&waiting->timer);
	penny_waiter_leaves(waiters, &waiting->waiter, found);
	leave_place(waiting);
}

void
penny_waiting_close(PennyWaiting *waiting)
{
	if (waiting == NULL)
		return;
	end(waiting, false);
	penny_kept_release(&waiting->kept);
	free(waiting);
}

void
penny_waiting_asks(PennyWaiting *waiting)
{
	penny_waiter_asks(&waiting->waiter);
}

/* Keep the answer, and the call the first time; false when that cannot be. */
static bool
keep(PennyWaiting *waiting, const PennyPending *call, const PennyAnswer *answer, PennySpan room)
{
	PennySpan lines = answer->head;
	PennySpan wait = {waiting->wait, waiting->wait_len};
	PennySpan path = {NULL, 0};

	if (waiting->kept.call_bytes == NULL)
		penny_lines_next(&lines, "penny-wait-path", &path);
	if (!take_place(waiting, answer) || !penny_kept_call(&waiting->kept, call, path, wait) ||
		!penny_kept_answer(&waiting->kept, answer))
		return false;
	if (path.len > 0)
		waiting->question = question_of(&waiting->kept.out);
	return penny_waiter_enter(waiters, &waiting->waiter, penny_hash(room.data, room.len, 0),
							  waiting->question);
}

bool
penny_waiting_keep(PennyWaiting *waiting, const PennyPending *call, const PennyAnswer *answer)
{
	PennySpan lines = answer->head;
	PennySpan room;

	if (answer->kind != PENNY_ANSWER || penny_edge.draining || penny_edge.now >= waiting->until ||
		!penny_lines_next(&lines, "penny-wait", &room) || room.len == 0 ||
		room.len > PENNY_ROOM_NAME_MAX || !keep(waiting, call, answer, room))
	{
		end(waiting, answer->kind == PENNY_ANSWER && answer->status < 400);
		return false;
	}
	penny_waiter_rests(waiters, &waiting->waiter);
	penny_timer_set(&waiting->timer, waiting->until);
	return true;
}

bool
penny_waiting_rests(const PennyWaiting *waiting)
{
	return waiting != NULL && waiting->waiter.idle;
}

void
penny_waiting_give(PennyWaiting *waiting)
{
	end(waiting, false);
	waiting->call->give(waiting->owner, &waiting->kept.answer);
}

/* When a call is under way, its answer will be the last. */
static void
on_time(PennyTimer *timer)
{
	PennyWaiting *waiting = penny_timer_owner(timer, PennyWaiting, timer);

	if (waiting->waiter.idle)
		penny_waiting_give(waiting);
}

/* ---- looking ----------------------------------------------------------------------- */

static bool
look(void *arg, PennyWaiter *waiter)
{
	PennyWaiting *waiting = (PennyWaiting *) waiter;
	PennyCallOut out = waiting->kept.out;

	(void) arg;
	out.flags |= PENNY_REQUEST_AGAIN;
	return waiting->call->ask(waiting->owner, &out);
}

bool
penny_waiting_wanted(uint64_t room_hash)
{
	return penny_waiters_wanted(waiters, room_hash);
}

void
penny_waiting_event(uint64_t room_hash)
{
	penny_waiters_event(waiters, room_hash);
}

void
penny_waiting_lost(void)
{
	penny_waiters_lost(waiters);
}

void
penny_waiting_turn(void)
{
	penny_waiters_turn(waiters);
}
