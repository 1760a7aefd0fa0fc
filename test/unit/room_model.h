/*-------------------------------------------------------------------------
 *
 * room_model.h
 *		A small world around the rooms, for the simulation and for the fuzzer:
 *		tables, commits, a ring that reorders and loses, executors that are
 *		late or fail, clients that come and go, with sockets that take what
 *		they like when they like.
 *
 * Every choice is made by model->choose(), by a random generator or by a
 * fuzzer's input, so a schedule can be repeated.  The checker looks at every
 * callback (order, duplicates, frames to nobody) and, when everything has come
 * to rest, at what each member ought to know by then.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_ROOM_MODEL_H
#define PENNY_ROOM_MODEL_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/json_span.h"
#include "edge/rooms.h"
#include "plane/presence.h"

#define ROOMS 3
#define FREE_ROOM 2 /* without versions */
#define ROWS 128    /* rows of a conversation */
#define USERS 3
#define CLIENTS 8 /* memberships over a schedule */
#define EVENTS 256
#define READS 256

typedef struct Model Model;

typedef struct ModelRoom
{
	uint64_t version;
	uint64_t row[ROWS]; /* version of each row's latest state */
	bool access[USERS];
	bool gone;
	int epoch;
	uint64_t published;         /* broadcasts read from the ring */
	uint64_t pieces;            /* of its stream, committed */
	uint64_t revoked_at[USERS]; /* version at which the edge learned it */
	uint32_t far[USERS];        /* devices at another edge, ... */
	uint32_t stated[USERS];     /* ... and here, as that one was told */
} ModelRoom;

typedef struct ModelClient
{
	Model *model;
	PennyMember *member; /* NULL: not there */
	int room;
	int user;
	bool asked;
	bool in;
	bool missed;
	int epoch;
	uint64_t base; /* what it knew before it came in */
	uint64_t last; /* greatest version seen */
	uint64_t row[ROWS];
	uint64_t published; /* last broadcast seen */
	uint64_t joined_at; /* broadcasts before it came in */
	uint64_t broadcasts;
	uint64_t own;    /* of them, sent by itself */
	uint64_t pieces; /* of the stream */

	bool presence;
	bool listed;
	uint32_t present[USERS]; /* devices, as it was told */
	uint64_t count;

	int filter; /* of model_filter[] */
	bool conflate;
	bool open;            /* its socket takes more */
	bool ready;           /* was told that there is something to take */
	uint64_t ready_at;    /* when */
	uint64_t stuck_since; /* it has not taken anything since */
} ModelClient;

typedef struct ModelEvent
{
	PennyEventKind kind;
	int room;
	int user;
	uint64_t version;
	uint64_t number; /* of a broadcast */
	int row;
	bool frame;
	uint64_t incarnation; /* of PRESENCE, from the other edge */
	bool ask;             /* it wants to know who is here */
	uint32_t devices[USERS];
} ModelEvent;

typedef enum ModelReadState
{
	READ_ASKED,
	READ_RAN,
	READ_OVER
} ModelReadState;

typedef struct ModelRead
{
	ModelReadState state;
	uint64_t number;
	ModelClient *client;
	int room;
	int user;
	uint64_t since;
	bool has_since;
	int since_epoch;
	uint32_t status;
	size_t len;
	char head[256];
	char body[ROWS * 96 + 96];
} ModelRead;

struct Model
{
	uint64_t (*choose)(Model *model, uint64_t below);
	uint64_t random;      /* state of the generator */
	const uint8_t *input; /* or what is left of a fuzzer's input */
	size_t input_len;

	/* what may happen in this schedule */
	bool lossy; /* lost events, events without a frame, failing reads */
	bool endings;
	bool restores;
	bool starved; /* memory fails */
	bool append;  /* every commit makes a row: each version must be seen */
	bool windows; /* clients have frames gather */
	bool lazy;    /* sockets do not take what there is */
	bool pages;   /* answers are short */

	PennyRooms *rooms;
	uint64_t now;
	ModelRoom room[ROOMS];
	ModelClient client[CLIENTS];
	ModelEvent event[EVENTS];
	int committed; /* events [published, committed) may be pushed in any order */
	int published;
	int window;           /* how far a push may be reordered */
	uint64_t statements;  /* of the other edge */
	uint64_t incarnation; /* of it */
	uint64_t last_stated; /* number of the last from here */
	uint64_t stirred;     /* when something was told last */
	ModelRead read[READS];
	int reads;
	uint64_t broadcasts;
	PennyRoomsConfig config;
	const char *wrong; /* what the checker found, NULL = nothing */
	char detail[160];
};

static inline void
model_wrong(Model *model, const char *what)
{
	if (model->wrong == NULL)
		model->wrong = what;
}

static inline const char *
model_room_name(int room)
{
	static const char *const name[ROOMS] = {"conversation:a", "conversation:b", "free:something"};

	return name[room];
}

/* What clients may want: everything, rows of even number, those and what has no version. */
static const PennySpan model_filter[] = {{NULL, 0}, {"x", 2}, {"p\0s\0x", 6}};

static inline bool
model_wants(const ModelClient *client, char type)
{
	PennySpan filter = model_filter[client->filter];

	return filter.len == 0 || memchr(filter.data, type, filter.len) != NULL;
}

/* ---- callbacks ------------------------------------------------------- */

static bool
model_read(void *arg, uint64_t number, void *data, PennySpan room, PennySpan since)
{
	Model *model = arg;
	ModelClient *client = data;
	ModelRead *read;
	const char *version;

	if (room.len != 14 || memcmp(room.data, model_room_name(client->room), 14) != 0)
		model_wrong(model, "read of the wrong room");
	if (!client->asked)
		model_wrong(model, "read for a member that is not there");
	if (model->reads == READS || (model->lossy && model->choose(model, 10) == 0))
		return false;
	read = &model->read[model->reads++];
	read->state = READ_ASKED;
	read->number = number;
	read->client = client;
	read->room = client->room;
	read->user = client->user;
	read->has_since = since.len > 0;
	if (read->has_since)
	{
		char text[256];

		snprintf(text, sizeof(text), "%.*s", (int) since.len, since.data);
		version = strstr(text, "\"version\":");
		read->since = version != NULL ? strtoull(version + 10, NULL, 10) : 0;
		version = strstr(text, "\"epoch\":\"e");
		read->since_epoch = version != NULL ? atoi(version + 10) : -1;
	}
	return true;
}

static void
model_forget(void *arg, uint64_t number)
{
	Model *model = arg;

	for (int i = 0; i < model->reads; i++)
	{
		if (model->read[i].number == number)
		{
			if (model->read[i].state == READ_OVER)
				model_wrong(model, "forgot a read that was answered");
			model->read[i].state = READ_OVER;
			return;
		}
	}
	model_wrong(model, "forgot a read that was never asked");
}

static void
model_joined(void *arg, void *data, PennySpan room, const PennyJoined *how)
{
	Model *model = arg;
	ModelClient *client = data;

	(void) room;
	if (!client->asked || client->in)
		model_wrong(model, "joined twice, or without asking");
	client->in = true;
	client->joined_at = model->room[client->room].published;
	client->published = client->joined_at;
	client->epoch = model->room[client->room].epoch;
	if (!how->recovered)
	{
		/* it has to fetch: it then knows everything up to the position */
		const char *version = strstr(how->position.data, "\"version\":");

		client->base = strtoull(version + 10, NULL, 10);
	}
	client->last = client->base;
}

/* A row, or what has no version, told. */
static void
model_hear_one(Model *model, ModelClient *client, const char *text)
{
	int room, row;
	uint64_t number;

	if (sscanf(text, "p %d %" SCNu64, &room, &number) == 2)
	{
		if (room != client->room || !model_wants(client, 'p'))
			model_wrong(model, "broadcast of another room, or not wanted");
		if (number <= client->published)
			model_wrong(model, "broadcast out of order");
		client->published = number;
		client->broadcasts++;
		return;
	}
	if (sscanf(text, "t %d %" SCNu64, &room, &number) == 2)
	{
		if (room != client->room || !model_wants(client, 's'))
			model_wrong(model, "stream of another room, or not wanted");
		if (number > client->pieces)
			client->pieces = number;
		return;
	}
	if (sscanf(text, "s %d %" SCNu64, &room, &number) == 2)
	{
		if (room != client->room || !model_wants(client, 's'))
			model_wrong(model, "stream of another room, or not wanted");
		if (number > client->pieces + 1)
			model_wrong(model, "hole in a stream");
		if (number > client->pieces)
			client->pieces = number;
		return;
	}
	if (sscanf(text, "v %d %d %" SCNu64, &room, &row, &number) != 3)
	{
		model_wrong(model, "unknown frame");
		return;
	}
	if (room != client->room || !model_wants(client, row % 2 == 0 ? 'x' : 'y'))
		model_wrong(model, "frame of another room, or not wanted");
	if (number <= client->last && room != FREE_ROOM)
	{
		snprintf(model->detail, sizeof(model->detail), "%" PRIu64 " after %" PRIu64, number,
				 client->last);
		model_wrong(model, "version not above the last");
	}
	if (number > model->room[room].revoked_at[client->user] &&
		client->epoch == model->room[room].epoch)
		model_wrong(model, "frame after access was taken");
	client->last = number;
	if (row >= 0 && row < ROWS)
		client->row[row] = number;
}

/* The position is told by itself. */
static void
model_hear_position(Model *model, ModelClient *client, const char *text)
{
	const char *version = strstr(text, "\"version\":");
	uint64_t number = version != NULL ? strtoull(version + 10, NULL, 10) : client->last;

	if (number < client->last)
		model_wrong(model, "position goes back");
	client->last = number;
}

/* Take devices of users off a list of objects or of ids, which ends with ']'. */
static const char *
model_hear_users(Model *model, ModelClient *client, const char *at, bool there)
{
	for (; *at != ']' && *at != '\0'; at++)
	{
		int user = at[0] == '"' && at[1] == '0' && at[2] >= '1' && at[2] <= '9' ? at[2] - '1' : -1;
		const char *devices = at;

		if (user < 0)
			continue;
		if (user >= USERS)
			model_wrong(model, "nobody is present");
		if (there)
			devices = strstr(at, "\"devices\":") + 10;
		client->present[user] = there ? (uint32_t) strtoul(devices, NULL, 10) : 0;
		if (there && client->present[user] == 0)
			model_wrong(model, "present with no device");
		at = there ? devices : at + 37;
	}
	return at;
}

/* A presence frame. */
static void
model_hear_presence(Model *model, ModelClient *client, const char *text)
{
	const char *members = strstr(text, "\"members\":[");
	const char *joined = strstr(text, "\"joined\":[");
	const char *left = strstr(text, "\"left\":[");
	const char *end = strstr(text, "\"count\":");

	if (!client->presence || end == NULL)
		model_wrong(model, "presence for who does not want it");
	if (members != NULL && members < end)
	{
		memset(client->present, 0, sizeof(client->present));
		model_hear_users(model, client, members + 11, true);
		client->listed = true;
	}
	else if (joined != NULL && left != NULL)
	{
		model_hear_users(model, client, joined + 10, true);
		model_hear_users(model, client, left + 8, false);
	}
	else
		model_wrong(model, "unknown frame");
	client->count = end != NULL ? strtoull(end + 8, NULL, 10) : 0;
}

/* A frame has come. */
static void
model_hear(Model *model, ModelClient *client, PennyFrame *frame)
{
	PennySpan text = penny_frame_text(frame);
	char *copy = strndup(text.data, text.len);
	bool batch = strncmp(copy, "{\"type\":\"batch\"", 15) == 0;
	int n = 0;

	model->stirred = model->now;
	if (!client->in)
		model_wrong(model, "frame before joined, or after left");
	if (strstr(copy, "\"missed\"") != NULL)
		client->missed = true;
	else if (strstr(copy, "\"position\"") != NULL)
		model_hear_position(model, client, copy);
	else if (strstr(copy, "\"conflated\"") != NULL)
	{
		if (!client->conflate)
			model_wrong(model, "conflated who does not want it");
	}
	else
	{
		for (const char *at = strstr(copy, "\"f\":\""); at != NULL; at = strstr(at + 5, "\"f\":\""))
		{
			model_hear_one(model, client, at + 5);
			n++;
		}
		for (const char *at = strstr(copy, "\"presence\""); at != NULL;
			 at = strstr(at + 5, "\"presence\""))
		{
			model_hear_presence(model, client, at);
			n++;
		}
		if (n != 1 && !(batch && n > 1))
			model_wrong(model, "unknown frame");
		if (batch && penny_json_valid(text, &(size_t){0}) != NULL)
			model_wrong(model, "a batch that is no JSON");
		if (batch)
		{
			*strstr(copy, "\"messages\"") = '\0';
			model_hear_position(model, client, copy);
		}
	}
	free(copy);
}

static void
model_deliver(void *arg, void *data, PennyFrame *frame)
{
	model_hear(arg, data, frame);
}

static void
model_ready(void *arg, void *data)
{
	Model *model = arg;
	ModelClient *client = data;

	client->ready = true;
	client->ready_at = client->stuck_since = model->now;
}

static bool
model_takes(void *arg, void *data)
{
	(void) arg;
	return ((ModelClient *) data)->open;
}

/* Its socket takes so many frames. */
static void
model_take(Model *model, ModelClient *client, uint64_t n)
{
	PennyFrame *frame;

	while (client->member != NULL && n-- > 0)
	{
		frame = penny_rooms_take(client->member, SIZE_MAX);
		if (frame == NULL)
			break;
		client->stuck_since = model->now;
		model_hear(model, client, frame);
		penny_frame_unref(frame);
	}
	if (client->member == NULL || !penny_rooms_has_more(client->member))
		client->ready = false;
}

/* May it be put out for being slow? */
static bool
model_is_slow(const Model *model, const ModelClient *client)
{
	return client->ready && !client->conflate &&
		   (model->config.kept_bytes < 1000 ||
			model->now - client->ready_at >= model->config.behind_grace);
}

static void
model_left(void *arg, void *data, PennySpan room, PennyLeaving why, bool joined, uint32_t status,
		   PennySpan problem)
{
	Model *model = arg;
	ModelClient *client = data;

	(void) room;
	(void) status;
	(void) problem;
	if (!client->asked || client->in != joined)
		model_wrong(model, "left without being there");
	if (why == PENNY_LEAVING_RESET && !model->restores)
		model_wrong(model, "reset without a reason");
	if (why == PENNY_LEAVING_GONE && !model->room[client->room].gone)
		model_wrong(model, "ended without a reason");
	if (why == PENNY_LEAVING_SLOW && !model_is_slow(model, client))
		model_wrong(model, "put out as slow, and was not");
	client->member = NULL;
	client->asked = client->in = client->ready = false;
}

/* ---- what can happen -------------------------------------------------- */

/* The row that a commit changes. */
static int
model_row(Model *model, int room)
{
	if (model->append)
		return (int) (model->room[room].version % ROWS);
	return (int) model->choose(model, 6);
}

static void
model_commit(Model *model, PennyEventKind kind, int room, int user, int row)
{
	ModelEvent *event;

	if (model->committed == EVENTS || model->room[room].gone)
		return;
	event = &model->event[model->committed++];
	event->kind = kind;
	event->room = room;
	event->user = user;
	event->row = row;
	event->version = 0;
	event->frame = kind != PENNY_EVENT_LEFT && (!model->lossy || model->choose(model, 10) != 0);
	if (kind == PENNY_EVENT_STREAM)
		event->number = ++model->room[room].pieces;
	if (kind == PENNY_EVENT_GONE)
		model->room[room].gone = true;
	if (kind == PENNY_EVENT_PUBLISH || kind == PENNY_EVENT_STREAM)
		event->frame = true;
	if (kind == PENNY_EVENT_PUBLISH || kind == PENNY_EVENT_STREAM || kind == PENNY_EVENT_RECHECK ||
		room == FREE_ROOM)
		return;
	event->version = ++model->room[room].version;
	if (row >= 0)
		model->room[room].row[row] = event->version;
}

/* The other edge states who is in a room there. */
static void
model_state(Model *model, int room, bool ask)
{
	ModelEvent *event;

	if (model->committed == EVENTS)
		return;
	event = &model->event[model->committed++];
	*event = (ModelEvent){.kind = PENNY_EVENT_PRESENCE,
						  .room = room,
						  .number = ++model->statements,
						  .incarnation = model->incarnation,
						  .ask = ask};
	memcpy(event->devices, model->room[room].far, sizeof(event->devices));
}

/* Somebody comes or goes at the other edge, or it begins anew. */
static void
model_far(Model *model, int room)
{
	model->room[room].far[model->choose(model, USERS)] = (uint32_t) model->choose(model, 3);
	if (model->choose(model, 8) == 0)
	{
		model->incarnation++;
		model->statements = 0;
		for (int i = 0; i < ROOMS; i++)
		{
			memset(model->room[i].far, 0, sizeof(model->room[i].far));
			memset(model->room[i].stated, 0, sizeof(model->room[i].stated));
			model_state(model, i, true);
		}
		penny_rooms_edge_began(model->rooms, 2, model->incarnation, model->now);
	}
	else
	{
		bool ask = model->choose(model, 3) == 0;

		if (ask) /* it has forgotten */
			memset(model->room[room].stated, 0, sizeof(model->room[room].stated));
		model_state(model, room, ask);
	}
}

/* What this edge states. */
static bool
model_announce(void *arg, PennySpan room, PennySpan statement)
{
	Model *model = arg;
	PennyPresenceHead head;
	PennyPresenceUser user;
	int n = 0;

	while (n < ROOMS && memcmp(room.data, model_room_name(n), 14) != 0)
		n++;
	if (n == ROOMS || !penny_presence_head(statement, &head) || head.number <= model->last_stated)
	{
		model_wrong(model, "malformed statement");
		return true;
	}
	if (model->lossy && model->choose(model, 4) == 0)
		return false;
	model->stirred = model->now;
	model->last_stated = head.number;
	memset(model->room[n].stated, 0, sizeof(model->room[n].stated));
	for (uint32_t i = 0; i < head.users; i++)
	{
		memcpy(&user, statement.data + sizeof(head) + i * sizeof(user), sizeof(user));
		if (user.user[0] == 0 || user.user[0] > USERS)
			model_wrong(model, "malformed statement");
		else
			model->room[n].stated[user.user[0] - 1] = user.devices;
	}
	if (head.flags & PENNY_PRESENCE_ASK)
		model_state(model, n, false);
	return true;
}

/* Reads of one user are the same. */
static bool
model_same(void *arg, void *member, void *other)
{
	(void) arg;
	return ((ModelClient *) member)->user == ((ModelClient *) other)->user;
}

/* Feed a statement of the other edge. */
static void
model_feed_statement(Model *model, const ModelEvent *from)
{
	PennyPresenceHead head = {.number = from->number, .flags = from->ask ? PENNY_PRESENCE_ASK : 0};
	PennyEventSender sender = {.edge = 2, .member = from->incarnation};
	char frame[256];
	char *end = frame + sizeof(head);
	PennyEventIn event = {.kind = PENNY_EVENT_PRESENCE,
						  .room = model_room_name(from->room),
						  .room_len = 14,
						  .room_hash = penny_hash(model_room_name(from->room), 14, 0),
						  .frame = frame};

	for (int i = 0; i < USERS; i++)
	{
		PennyPresenceUser user = {.devices = from->devices[i]};

		if (user.devices == 0)
			continue;
		memset(user.user, i + 1, sizeof(user.user));
		end = (char *) mempcpy(end, &user, sizeof(user));
		head.users++;
	}
	memcpy(frame, &head, sizeof(head));
	memcpy(event.user, &sender, sizeof(sender));
	event.frame_len = (uint32_t) (end - frame);
	penny_rooms_event(model->rooms, &event, model->now);
}

/* Feed one event to the rooms, as the ring would. */
static void
model_feed(Model *model, const ModelEvent *from)
{
	PennyEventIn event;
	char frame[96];
	uint64_t hash = penny_hash(model_room_name(from->room), 14, 0);
	uint64_t number = 0;

	if (from->kind == PENNY_EVENT_PRESENCE)
	{
		model_feed_statement(model, from);
		return;
	}
	/* numbered as read: pushes of different backends have no other order */
	if (from->kind == PENNY_EVENT_PUBLISH)
		number = ++model->room[from->room].published;
	if (from->kind == PENNY_EVENT_LEFT || from->kind == PENNY_EVENT_RECHECK)
	{
		ModelRoom *room = &model->room[from->room];

		if (!room->access[from->user] && room->revoked_at[from->user] == UINT64_MAX)
			room->revoked_at[from->user] = room->version;
	}
	if (from->kind != PENNY_EVENT_RESYNC && !penny_rooms_wanted(model->rooms, hash))
		return;
	memset(&event, 0, sizeof(event));
	event.kind = from->kind;
	event.version = from->version;
	event.room_hash = hash;
	event.room = model_room_name(from->room);
	event.room_len = 14;
	if (from->kind == PENNY_EVENT_PUBLISH)
		snprintf(frame, sizeof(frame), "{\"type\":\"p\",\"f\":\"p %d %" PRIu64 "\"}", from->room,
				 number);
	else if (from->kind == PENNY_EVENT_STREAM)
		snprintf(frame, sizeof(frame), "{\"type\":\"s\",\"f\":\"s %d %" PRIu64 "\"}", from->room,
				 from->number);
	else
		snprintf(frame, sizeof(frame), "{\"type\":\"%c\",\"f\":\"v %d %d %" PRIu64 "\"}",
				 from->row % 2 == 0 ? 'x' : 'y', from->room, from->row, from->version);
	event.frame = frame;
	event.frame_len = from->frame ? (uint32_t) strlen(frame) : 0;
	memset(event.user, from->user + 1, sizeof(event.user));
	penny_rooms_event(model->rooms, &event, model->now);
}

/* Read the next event of the ring: one of the window is the next. */
static void
model_push(Model *model)
{
	int left = model->committed - model->published;
	int pick;
	ModelEvent event;

	if (left == 0)
		return;
	pick = (int) model->choose(model, (uint64_t) (left < model->window ? left : model->window));
	/* pieces of one stream are of one backend, which pushes them in order */
	for (int i = 0; i < pick; i++)
	{
		const ModelEvent *earlier = &model->event[model->published + i];

		if (earlier->kind == PENNY_EVENT_STREAM &&
			model->event[model->published + pick].kind == PENNY_EVENT_STREAM &&
			earlier->room == model->event[model->published + pick].room)
			pick = i;
	}
	event = model->event[model->published + pick];
	memmove(&model->event[model->published + 1], &model->event[model->published],
			(size_t) pick * sizeof(event));
	model->published++;
	model_feed(model, &event);
}

/* Some events are lost. */
static void
model_lose(Model *model)
{
	int left = model->committed - model->published;

	for (int n = (int) model->choose(model, (uint64_t) left + 1); n > 0; n--)
	{
		ModelEvent *event = &model->event[model->published++];

		if (event->kind == PENNY_EVENT_PUBLISH)
			model->room[event->room].published++;
	}
	penny_rooms_lost(model->rooms, model->now);
}

/* An executor runs a read: its snapshot is now. */
static void
model_run(Model *model, ModelRead *read)
{
	ModelRoom *room = &model->room[read->room];
	uint64_t from = 0;
	bool recovered = read->has_since && read->since_epoch == room->epoch;
	uint64_t most = model->pages ? 1 + model->choose(model, 4) : UINT64_MAX;
	uint64_t reach = room->version;

	read->state = READ_RAN;
	read->status = 200;
	read->len = 0;
	if (room->gone)
		read->status = 404;
	else if (!room->access[read->user])
		read->status = 403;
	else if (model->lossy && model->choose(model, 8) == 0)
		read->status = 503;
	from = read->since;
	while (recovered)
	{
		int next = -1;

		for (int row = 0; row < ROWS; row++)
		{
			if (room->row[row] > from && (next < 0 || room->row[row] < room->row[next]))
				next = row;
		}
		if (next < 0 || most-- == 0)
		{
			if (next >= 0)
				reach = from;
			break;
		}
		from = room->row[next];
		read->len +=
			(size_t) snprintf(read->body + read->len, sizeof(read->body) - read->len,
							  "%" PRIu64 " {\"type\":\"%c\",\"f\":\"v %d %d %" PRIu64 "\"}\n", from,
							  next % 2 == 0 ? 'x' : 'y', read->room, next, from);
	}
	if (reach == room->version)
		read->len += (size_t) snprintf(read->body + read->len, sizeof(read->body) - read->len,
									   "0 {\"type\":\"s\",\"f\":\"t %d %" PRIu64 "\"}\n",
									   read->room, room->pieces);
	snprintf(read->head, sizeof(read->head),
			 "{\"position\":{\"epoch\":\"e%d\",\"version\":%" PRIu64
			 "},\"recovered\":%s,\"more\":%s,\"user_id\":\"%02x%02x%02x%02x-%02x%02x-%02x%02x-"
			 "%02x%02x-%02x%02x%02x%02x%02x%02x\"}",
			 room->epoch, reach, recovered ? "true" : "false",
			 reach < room->version ? "true" : "false", read->user + 1, read->user + 1,
			 read->user + 1, read->user + 1, read->user + 1, read->user + 1, read->user + 1,
			 read->user + 1, read->user + 1, read->user + 1, read->user + 1, read->user + 1,
			 read->user + 1, read->user + 1, read->user + 1, read->user + 1);
}

/* Its answer arrives. */
static void
model_answer(Model *model, ModelRead *read)
{
	read->state = READ_OVER;
	penny_rooms_answer(model->rooms, read->number, read->status,
					   (PennySpan){read->head, strlen(read->head)},
					   (PennySpan){read->body, read->len}, model->now);
}

/* A client comes, knowing some version or nothing. */
static void
model_join(Model *model)
{
	ModelClient *client = &model->client[model->choose(model, CLIENTS)];
	static const uint32_t windows[] = {0, 5, 20};
	PennyJoin join = {.window = 0};
	ModelRoom *room;
	char since[80] = "";

	if (client->asked)
		return;
	memset(client, 0, sizeof(*client));
	client->model = model;
	client->room = (int) model->choose(model, ROOMS);
	client->user = (int) model->choose(model, USERS);
	room = &model->room[client->room];
	if (model->choose(model, 2) == 0)
	{
		client->base = model->choose(model, room->version + 1);
		snprintf(since, sizeof(since), "{\"epoch\":\"e%d\",\"version\":%" PRIu64 "}", room->epoch,
				 client->base);
	}
	client->asked = true;
	client->open = true;
	client->filter = (int) model->choose(model, 4) % 3;
	client->conflate = model->choose(model, 2) == 0;
	client->presence = model->choose(model, 2) == 0;
	join.room = (PennySpan){model_room_name(client->room), 14};
	join.since = (PennySpan){since, strlen(since)};
	join.filter = model_filter[client->filter];
	join.window = model->windows ? windows[model->choose(model, 3)] : 0;
	join.conflate = client->conflate;
	join.presence = client->presence;
	client->member = penny_rooms_join(model->rooms, &join, client, model->now);
	if (client->member == NULL)
		client->asked = false;
}

static void
model_leave(Model *model, ModelClient *client)
{
	if (client->member == NULL)
		return;
	penny_rooms_leave(model->rooms, client->member);
	client->member = NULL;
	client->asked = client->in = client->ready = false;
}

/* Its socket takes no more, or takes more again. */
static void
model_turn_socket(Model *model, ModelClient *client)
{
	if (client->member == NULL)
		return;
	client->open = !client->open;
	if (client->open)
		penny_rooms_drained(model->rooms, client->member, model->now);
}

/* A client sends a signal to the others. */
static void
model_signal(Model *model, ModelClient *client)
{
	char frame[96];

	if (client->member == NULL)
		return;
	snprintf(frame, sizeof(frame), "{\"type\":\"p\",\"f\":\"p %d %" PRIu64 "\"}", client->room,
			 model->room[client->room].published + 1);
	if (client->in)
	{
		/* counted before: it is heard at once */
		model->room[client->room].published++;
		client->own++;
		if (!penny_rooms_signal(model->rooms, client->member, (PennySpan){frame, strlen(frame)},
								model->now))
		{
			model->room[client->room].published--;
			client->own--;
		}
	}
}

/* Another window. */
static void
model_set_window(Model *model, ModelClient *client)
{
	if (client->member != NULL && model->windows)
		penny_rooms_set_window(model->rooms, client->member,
							   (uint32_t) model->choose(model, 3) * 10, model->now);
}

/* A user loses or gets access. */
static void
model_access(Model *model)
{
	int room = (int) model->choose(model, ROOMS);
	int user = (int) model->choose(model, USERS);

	if (model->room[room].gone || model->committed == EVENTS)
		return;
	model->room[room].access[user] = !model->room[room].access[user];
	model->room[room].revoked_at[user] = UINT64_MAX;
	if (model->choose(model, 3) == 0 || (room == FREE_ROOM && model->room[room].access[user]))
		model_commit(model, PENNY_EVENT_RECHECK, room, user, -1);
	else
		model_commit(model, model->room[room].access[user] ? PENNY_EVENT_CHANGE : PENNY_EVENT_LEFT,
					 room, user, model_row(model, room));
}

/* The tables are restored to an earlier state. */
static void
model_restore(Model *model)
{
	ModelEvent resync = {.kind = PENNY_EVENT_RESYNC};
	ModelRoom *room = &model->room[0];

	room->epoch++;
	room->version = model->choose(model, room->version + 1);
	for (int row = 0; row < ROWS; row++)
	{
		if (room->row[row] > room->version)
			room->row[row] = 0;
	}
	/* a restored server has a new plane: nothing of the old is read any more */
	model->published = model->committed;
	model_feed(model, &resync);
}

/* A random read in this state. */
static ModelRead *
model_pick_read(Model *model, ModelReadState state)
{
	int start = model->reads > 0 ? (int) model->choose(model, (uint64_t) model->reads) : 0;

	for (int i = 0; i < model->reads; i++)
	{
		ModelRead *read = &model->read[(start + i) % model->reads];

		if (read->state == state)
			return read;
	}
	return NULL;
}

/* What must be true after a tick, when what it told could be taken. */
static void
model_check_bounds(Model *model)
{
	uint64_t kept = UINT64_MAX;

	/* the first tick may tell a position */
	for (int tick = 0; tick < 2 && kept > model->config.kept_bytes; tick++)
	{
		penny_rooms_tick(model->rooms, ++model->now);
		kept = penny_rooms_counts(model->rooms).kept_bytes;
	}
	if (!model->windows && kept > model->config.kept_bytes)
		model_wrong(model, "more is kept than may be");
	for (int i = 0; i < CLIENTS; i++)
	{
		ModelClient *client = &model->client[i];

		if (client->member != NULL && penny_rooms_has_more(client->member) &&
			model->now > client->stuck_since + model->config.behind_time)
			model_wrong(model, "a member that is too slow was not put out");
		if (client->member != NULL && !client->ready && penny_rooms_has_more(client->member))
			model_wrong(model, "not told that there is something to take");
	}
}

static void
model_step(Model *model)
{
	uint64_t what = model->choose(model, 82);
	int room = (int) model->choose(model, ROOMS);
	ModelClient *client = &model->client[model->choose(model, CLIENTS)];
	ModelRead *read;

	model->now += model->choose(model, 6);
	if (!model->lazy)
	{
		for (int i = 0; i < CLIENTS; i++)
			model_take(model, &model->client[i], UINT64_MAX);
	}
	if (what < 18 && room != FREE_ROOM)
		model_commit(model, PENNY_EVENT_CHANGE, room, 0, model_row(model, room));
	else if (what < 34)
		model_push(model);
	else if (what < 40 && (read = model_pick_read(model, READ_ASKED)) != NULL)
		model_run(model, read);
	else if (what < 46 && (read = model_pick_read(model, READ_RAN)) != NULL)
		model_answer(model, read);
	else if (what < 52)
		model_join(model);
	else if (what < 54)
		model_leave(model, client);
	else if (what < 57)
		model_commit(model, PENNY_EVENT_PUBLISH, room, 0, -1);
	else if (what < 59)
		model_access(model);
	else if (what < 60 && model->lossy)
		model_lose(model);
	else if (what == 60 && model->endings)
		model_commit(model, PENNY_EVENT_GONE, room, 0, -1);
	else if (what == 61 && model->restores)
		model_restore(model);
	else if (what >= 62 && what < 68 && client->open)
		model_take(model, client, 1 + model->choose(model, 3));
	else if (what >= 68 && what < 71 && model->lazy)
		model_turn_socket(model, client);
	else if (what >= 71 && what < 74)
		model_commit(model, PENNY_EVENT_STREAM, room, 0, -1);
	else if (what == 74)
		model_signal(model, client);
	else if (what == 75)
		model_set_window(model, client);
	else if (what >= 80)
		model_far(model, room);
	else
	{
		penny_rooms_tick(model->rooms, model->now);
		model_check_bounds(model);
	}
}

/* Let everything come to rest: nothing fails, nobody comes. */
static void
model_rest(Model *model)
{
	model->lossy = false;
	model->starved = false;
	while (model->published < model->committed)
		model_push(model);
	model->stirred = model->now;
	for (int round = 0; round < 2000; round++)
	{
		uint64_t next;
		bool answered = false;
		ModelRead *read;

		for (int i = 0; i < CLIENTS; i++)
		{
			if (!model->client[i].open)
				model_turn_socket(model, &model->client[i]);
			model_take(model, &model->client[i], UINT64_MAX);
		}
		next = penny_rooms_tick(model->rooms, model->now);
		for (int i = 0; i < CLIENTS; i++)
			model_take(model, &model->client[i], UINT64_MAX);
		for (int i = 0; i < model->reads; i++)
		{
			read = &model->read[i];
			if (read->state == READ_ASKED)
				model_run(model, read);
			if (read->state == READ_RAN)
			{
				model_answer(model, read);
				answered = true;
			}
		}
		if (!answered && penny_rooms_counts(model->rooms).reads == 0 &&
			model->published == model->committed &&
			(next == UINT64_MAX ||
			 (penny_rooms_counts(model->rooms).present > 0 && model->now > model->stirred + 1000)))
			return;
		/* statements that were asked for */
		while (model->published < model->committed)
			model_push(model);
		/* what is over need not be looked at again */
		while (model->reads > 0 && model->read[model->reads - 1].state == READ_OVER)
			model->reads--;
		model->now += 5;
		if (answered)
			model->stirred = model->now;
		if (!answered && next != UINT64_MAX && next > model->now)
			model->now = next;
	}
	model_wrong(model, "does not come to rest");
}

/* Who a member must know to be there. */
static void
model_check_presence(Model *model, ModelClient *client)
{
	ModelRoom *room = &model->room[client->room];
	uint64_t count = 0;

	if (!client->listed)
		model_wrong(model, "no list of who is there");
	for (int user = 0; user < USERS; user++)
	{
		uint32_t here = 0;

		for (int i = 0; i < CLIENTS; i++)
			here += model->client[i].in && model->client[i].presence &&
					model->client[i].room == client->room && model->client[i].user == user;
		count += here + room->far[user] > 0;
		if (client->present[user] != here + room->far[user])
			model_wrong(model, "not told who is there");
		if (room->stated[user] != here)
			model_wrong(model, "the other edge was not told who is there");
	}
	if (client->count != count)
		model_wrong(model, "wrong count of who is there");
}

/* What must be true of a member when everything is at rest. */
static void
model_check_client(Model *model, ModelClient *client)
{
	ModelRoom *room = &model->room[client->room];

	if (!client->asked)
		return;
	if (room->gone)
		model_wrong(model, "member of a room that is gone");
	else if (!room->access[client->user])
		model_wrong(model, "member without access");
	else if (!client->in)
		model_wrong(model, "member still waits");
	else if (client->epoch != room->epoch)
		model_wrong(model, "member of another epoch");
	if (client->filter != 0 && client->in && client->last != room->version)
		model_wrong(model, "member does not know how far it has come");
	if (client->presence && client->in)
		model_check_presence(model, client);
	if (model_wants(client, 's') && client->pieces != room->pieces)
		model_wrong(model, "member misses a piece of a stream");
	for (int row = 0; row < ROWS; row++)
	{
		if (room->row[row] > client->base && client->row[row] != room->row[row] &&
			model_wants(client, row % 2 == 0 ? 'x' : 'y'))
		{
			snprintf(model->detail, sizeof(model->detail),
					 "client %d row %d: has %" PRIu64 ", is %" PRIu64 ", base %" PRIu64,
					 (int) (client - model->client), row, client->row[row], room->row[row],
					 client->base);
			model_wrong(model, "member misses a version");
		}
	}
	if (client->broadcasts + client->own != room->published - client->joined_at &&
		!client->missed && model_wants(client, 'p'))
		model_wrong(model, "member misses a broadcast and was not told");
}

/* Run one whole schedule; NULL, or what the checker found. */
static const char *
model_run_schedule(Model *model, int steps)
{
	static const PennyRoomsCallbacks callbacks = {model_read,    model_forget,   model_joined,
												  model_deliver, model_ready,    model_takes,
												  model_left,    model_announce, model_same};
	PennyRoomsCounts counts;

	model->config = (PennyRoomsConfig){.seed = 1,
									   .kept_bytes = 1 << 20,
									   .reads = 2,
									   .behind_bytes = 400,
									   .behind_grace = 15,
									   .behind_time = 50,
									   .behind_most = 1 << 20,
									   .position_interval = 30,
									   .presence_window = 10,
									   .presence_renew = 100000};
	if (model->choose(model, 4) == 0)
		model->config.kept_bytes = 400; /* logs and holds hardly fit */
	model->incarnation = 1;
	model->window = 1 + (int) model->choose(model, 4);
	model->windows = model->choose(model, 2) == 0;
	model->lazy = model->choose(model, 2) == 0;
	model->pages = model->choose(model, 3) == 0;
	for (int room = 0; room < ROOMS; room++)
	{
		for (int user = 0; user < USERS; user++)
		{
			model->room[room].access[user] = true;
			model->room[room].revoked_at[user] = UINT64_MAX;
		}
	}
	model->rooms = penny_rooms_create(&model->config, &callbacks, model);
	if (model->rooms == NULL)
		return NULL;
	for (int step = 0; step < steps && model->wrong == NULL; step++)
		model_step(model);
	model_rest(model);
	for (int i = 0; i < CLIENTS; i++)
		model_check_client(model, &model->client[i]);
	for (int i = 0; i < CLIENTS; i++)
		model_leave(model, &model->client[i]);
	counts = penny_rooms_counts(model->rooms);
	if (counts.rooms != 0 || counts.members != 0 || counts.audiences != 0 || counts.reads != 0 ||
		counts.kept_bytes != 0 || counts.present != 0)
		model_wrong(model, "something is left behind");
	if (penny_frames_alive() != 0)
		model_wrong(model, "frames are left behind");
	penny_rooms_destroy(model->rooms);
	return model->wrong;
}

#endif /* PENNY_ROOM_MODEL_H */
