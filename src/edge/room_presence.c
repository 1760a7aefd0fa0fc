/*-------------------------------------------------------------------------
 *
 * room_presence.c
 *		Presence: who is in a room, told to those who want to know.
 *
 *	{"type":"presence","room":R,"members":[{"user_id":U,"devices":N},…],"count":N}
 *		who is there; to who has just come in
 *	{"type":"presence","room":R,"joined":[{"user_id":U,"devices":N},…],
 *	 "left":[U,…],"count":N}
 *		who came, or is there with another number of devices; who is gone
 *
 * Who asks for presence is present: it sees and is seen.  A member that does
 * not ask costs nothing and shows up nowhere, which is right for programs that
 * watch many rooms.  A member counts from the answer that lets it in until it
 * is out for whatever reason, so who loses access is gone with it.
 *
 * Changes gather in the window: each user has the number of devices that is
 * told and the one that is true, and what differs at the end of the window
 * goes out as one frame, shared by all.  A user who leaves and comes back in
 * between was never away.  Coming goes out at once after a pause, leaving waits
 * for the window, since a page that is loaded again leaves first.  Lists show
 * what is told, and go out with a change, after it; so one list serves
 * everybody who came in the same window.  All numbers are absolute: frames may
 * be heard again or late behind a list, and the last word is right.
 *
 * A frame names at most PENNY_PRESENCE_USERS users; `count` counts all.
 *
 * Other edges state what they know (plane/presence.h).  A statement counts
 * until the next one, until it has not been repeated for FAR_LIFE, or until its
 * edge is another process.  Statements are repeated every `presence_renew` ms,
 * and when another edge asks, as one does that knows nothing yet.
 *
 * Presence frames are never the reason for telling that something was missed:
 * who may not have had one (listed is false) gets a list.
 *
 * Memory: a user is there because somebody is, at this edge or another; those
 * of others are bounded by FAR_USERS over all rooms, beyond which they are
 * counted and not named.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/json_span.h"
#include "edge/rooms_private.h"

#define FAR_LIFE 3       /* times presence_renew */
#define FAR_USERS 200000 /* entries for users who are only at other edges */
#define FIRST_SIZE 8     /* buckets */
#define USER_TEXT 72     /* bytes of {"user_id":"…","devices":N}, */
#define HEAD_TEXT (6 * PENNY_ROOM_NAME_MAX + 128)

typedef struct Present
{
	struct Present *next;    /* in its bucket */
	struct Present *changed; /* the next that may differ from what is told */
	bool is_changed;
	uint8_t user[16];
	uint32_t told;                   /* devices */
	uint32_t here;                   /* devices at this edge */
	uint32_t there[PENNY_MAX_EDGES]; /* at others */
} Present;

/* What another edge says. */
typedef struct Far
{
	uint64_t incarnation;
	uint64_t number;
	uint64_t heard; /* ms */
	uint32_t more;
} Far;

struct Presence
{
	PennyRoom *room;
	Presence *next; /* of all */
	Presence *prev;
	uint32_t counted; /* members */
	Present **bucket;
	size_t buckets;
	size_t users;   /* entries */
	uint32_t there; /* users present */
	uint32_t told;  /* `count` of the last frame */
	Present *changed;
	uint64_t window_end; /* ms; no frame goes out before */
	bool stale;          /* the other edges are to be told */
	bool ask;            /* ... and asked */
	PennyTimer timer;
	PennyTimer renew;
	Far far[PENNY_MAX_EDGES];
};

static void on_flush(PennyTimer *timer);
static void on_renew(PennyTimer *timer);

/* ---- users ----------------------------------------------------------------- */

static uint32_t
devices_of(const Present *present)
{
	uint32_t devices = present->here;

	for (int i = 0; i < PENNY_MAX_EDGES; i++)
		devices += present->there[i];
	return devices;
}

static size_t
bucket_of(const Presence *presence, const uint8_t user[16], size_t buckets)
{
	return penny_hash((const char *) user, 16, presence->room->rooms->config.seed) & (buckets - 1);
}

/* Double the table when it is full; without memory its chains get longer. */
static void
grow(Presence *presence)
{
	size_t size = presence->buckets * 2;
	Present **grown = presence->users < presence->buckets ? NULL : calloc(size, sizeof(*grown));

	if (grown == NULL)
		return;
	for (size_t i = 0; i < presence->buckets; i++)
	{
		for (Present *present = presence->bucket[i], *next; present != NULL; present = next)
		{
			Present **place = &grown[bucket_of(presence, present->user, size)];

			next = present->next;
			present->next = *place;
			*place = present;
		}
	}
	free(presence->bucket);
	presence->bucket = grown;
	presence->buckets = size;
}

/* A user's entry, made if need be; NULL without memory. */
static Present *
find_user(Presence *presence, const uint8_t user[16])
{
	Present *present = presence->bucket[bucket_of(presence, user, presence->buckets)];
	Present **place;

	while (present != NULL && memcmp(present->user, user, 16) != 0)
		present = present->next;
	if (present != NULL)
		return present;
	present = calloc(1, sizeof(*present));
	if (present == NULL)
		return NULL;
	grow(presence);
	memcpy(present->user, user, 16);
	place = &presence->bucket[bucket_of(presence, user, presence->buckets)];
	present->next = *place;
	*place = present;
	presence->users++;
	presence->room->rooms->counts.present++;
	return present;
}

static void
drop_user(Presence *presence, Present *present)
{
	Present **place = &presence->bucket[bucket_of(presence, present->user, presence->buckets)];

	while (*place != present)
		place = &(*place)->next;
	*place = present->next;
	presence->users--;
	presence->room->rooms->counts.present--;
	free(present);
}

/* A user's number of devices has changed from `before`. */
static void
note_change(Presence *presence, Present *present, uint32_t before)
{
	uint32_t now = devices_of(present);

	presence->there += (now > 0) - (before > 0);
	if (present->is_changed)
		return;
	present->is_changed = true;
	present->changed = presence->changed;
	presence->changed = present;
}

static uint32_t
count(const Presence *presence)
{
	uint32_t all = presence->there;

	for (int i = 0; i < PENNY_MAX_EDGES; i++)
		all += presence->far[i].more;
	return all;
}

/* ---- life --------------------------------------------------------------------- */

static Presence *
make_presence(PennyRooms *rooms, PennyRoom *room)
{
	Presence *presence = calloc(1, sizeof(*presence));

	if (presence == NULL)
		return NULL;
	presence->bucket = calloc(FIRST_SIZE, sizeof(*presence->bucket));
	if (presence->bucket == NULL)
	{
		free(presence);
		return NULL;
	}
	presence->buckets = FIRST_SIZE;
	presence->room = room;
	presence->ask = true;
	penny_timer_init(&presence->timer, on_flush);
	penny_timer_init(&presence->renew, on_renew);
	penny_wheel_set(&rooms->wheel, &presence->renew, rooms->now + rooms->config.presence_renew,
					rooms->now);
	presence->next = rooms->presences;
	if (presence->next != NULL)
		presence->next->prev = presence;
	rooms->presences = presence;
	room->presence = presence;
	return presence;
}

void
penny_presence_free(PennyRooms *rooms, PennyRoom *room)
{
	Presence *presence = room->presence;

	if (presence == NULL)
		return;
	room->presence = NULL;
	for (size_t i = 0; i < presence->buckets; i++)
	{
		while (presence->bucket[i] != NULL)
			drop_user(presence, presence->bucket[i]);
	}
	penny_wheel_stop(&rooms->wheel, &presence->timer);
	penny_wheel_stop(&rooms->wheel, &presence->renew);
	if (presence->prev != NULL)
		presence->prev->next = presence->next;
	else
		rooms->presences = presence->next;
	if (presence->next != NULL)
		presence->next->prev = presence->prev;
	free(presence->bucket);
	free(presence);
}

/* Something is to be told, not before the window ends, and not later than `at` unless it does. */
static void
flush_at(PennyRooms *rooms, Presence *presence, uint64_t at)
{
	if (at < presence->window_end)
		at = presence->window_end;
	if (at <= rooms->now)
		at = rooms->now + 1; /* in a turn of its own, not inside what happens now */
	if (!penny_timer_is_set(&presence->timer) || at < presence->timer.due)
		penny_wheel_set(&rooms->wheel, &presence->timer, at, rooms->now);
}

/* A member is in: count it, if it is to be and is not yet; false without memory. */
bool
penny_presence_enter(PennyRooms *rooms, PennyMember *member)
{
	PennyRoom *room = member->room;
	Presence *presence = room->presence;
	Present *present;
	uint32_t before;

	if (!member->presence || member->counted)
		return true;
	if (presence == NULL)
		presence = make_presence(rooms, room);
	if (presence == NULL)
		return false;
	present = find_user(presence, member->user);
	if (present == NULL)
	{
		if (presence->counted == 0)
			penny_presence_free(rooms, room);
		return false;
	}
	before = devices_of(present);
	present->here++;
	note_change(presence, present, before);
	member->counted = true;
	member->listed = false;
	presence->counted++;
	presence->stale = true;
	flush_at(rooms, presence, rooms->now);
	return true;
}

static bool announce(PennyRooms *rooms, Presence *presence);

/* A member goes. */
void
penny_presence_leave(PennyRooms *rooms, PennyMember *member)
{
	Presence *presence = member->room->presence;
	Present *present;
	uint32_t before;

	if (!member->counted)
		return;
	member->counted = false;
	present = find_user(presence, member->user); /* is there */
	before = devices_of(present);
	present->here--;
	note_change(presence, present, before);
	presence->counted--;
	presence->stale = true;
	if (presence->counted > 0)
	{
		flush_at(rooms, presence, rooms->now + rooms->config.presence_window);
		return;
	}
	/* Nobody here is to be told.  If the others cannot be, they forget in time. */
	presence->ask = false;
	announce(rooms, presence);
	penny_presence_free(rooms, member->room);
}

/* ---- frames -------------------------------------------------------------------- */

static char *
put_uuid(char *to, const uint8_t user[16])
{
	static const char digits[] = "0123456789abcdef";

	*to++ = '"';
	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = digits[user[i] >> 4];
		*to++ = digits[user[i] & 15];
	}
	*to++ = '"';
	return to;
}

static char *
put_user(char *to, const uint8_t user[16], uint32_t devices)
{
	to = stpcpy(to, "{\"user_id\":");
	to = put_uuid(to, user);
	return to + sprintf(to, ",\"devices\":%u}", devices);
}

static char *
put_head(char *to, const PennyRoom *room)
{
	to = stpcpy(to, "{\"type\":\"presence\",\"room\":");
	return to + penny_json_quote(room_name(room), to, 6 * PENNY_ROOM_NAME_MAX + 2);
}

/* End a frame that was built in memory of its own, which is given back. */
static PennyFrame *
finish(uint32_t present, char *text, char *end)
{
	PennyFrame *frame;

	end += sprintf(end, ",\"count\":%u}", present);
	frame = penny_frame_make((PennySpan){text, (size_t) (end - text)});
	free(text);
	return frame;
}

static char *
allocate(size_t users)
{
	if (users > PENNY_PRESENCE_USERS)
		users = PENNY_PRESENCE_USERS;
	return malloc(HEAD_TEXT + users * USER_TEXT);
}

/* Who is there, as told; NULL without memory. */
static PennyFrame *
make_list(const Presence *presence)
{
	char *text = allocate(presence->users);
	char *to = text;
	int users = 0;

	if (text == NULL)
		return NULL;
	to = stpcpy(put_head(to, presence->room), ",\"members\":[");
	for (size_t i = 0; i < presence->buckets; i++)
	{
		for (Present *one = presence->bucket[i]; one != NULL; one = one->next)
		{
			if (one->told == 0 || users == PENNY_PRESENCE_USERS)
				continue;
			if (users++ > 0)
				*to++ = ',';
			to = put_user(to, one->user, one->told);
		}
	}
	*to++ = ']';
	return finish(presence->told, text, to);
}

/* Put those who came or changed, or those who left, into a frame. */
static char *
put_changed(char *to, const Presence *presence, bool came, int *users)
{
	bool first = true;

	for (const Present *one = presence->changed; one != NULL; one = one->changed)
	{
		uint32_t devices = devices_of(one);

		if (devices == one->told || (devices > 0) != came || *users == PENNY_PRESENCE_USERS)
			continue;
		if (!first)
			*to++ = ',';
		first = false;
		(*users)++;
		to = came ? put_user(to, one->user, devices) : put_uuid(to, one->user);
	}
	return to;
}

static size_t
count_changed(const Presence *presence)
{
	size_t changed = 0;

	for (const Present *one = presence->changed; one != NULL; one = one->changed)
		changed += devices_of(one) != one->told;
	return changed;
}

/* What has changed since it was told; NULL without memory. */
static PennyFrame *
make_change(const Presence *presence, uint32_t now)
{
	char *text = allocate(count_changed(presence));
	int users = 0;
	char *to;

	if (text == NULL)
		return NULL;
	to = stpcpy(put_head(text, presence->room), ",\"joined\":[");
	to = stpcpy(put_changed(to, presence, true, &users), "],\"left\":[");
	to = put_changed(to, presence, false, &users);
	*to++ = ']';
	return finish(now, text, to);
}

/* Everything is told now. */
static void
settle(Presence *presence)
{
	while (presence->changed != NULL)
	{
		Present *present = presence->changed;

		presence->changed = present->changed;
		present->is_changed = false;
		present->told = devices_of(present);
		if (present->told == 0)
			drop_user(presence, present);
	}
}

/* ---- telling ---------------------------------------------------------------------- */

/* May it be told now what happens in the room? */
static bool
is_fit(const PennyMember *member)
{
	return member->state == MEMBER_LIVE || (member->state == MEMBER_READING && !member->doubted &&
											member->read_place != READ_WAITING);
}

/* Tell everybody; who cannot be told now gets a list later. */
static void
tell_change(PennyRooms *rooms, PennyRoom *room, PennyFrame *frame)
{
	for (PennyMember *member = room->waiting > 0 ? room->members : NULL; member != NULL;
		 member = member->next)
	{
		if (!member->counted || member->state == MEMBER_LIVE)
			continue;
		if (is_fit(member))
			rooms->call.deliver(rooms->arg, member->data, frame);
		else
			member->listed = false;
	}
	penny_room_tell_presence(rooms, room, frame);
}

/* Give a list to those who have none; false without memory. */
static bool
tell_list(PennyRooms *rooms, Presence *presence)
{
	PennyFrame *list = NULL;

	for (PennyMember *member = presence->room->members; member != NULL; member = member->next)
	{
		if (!member->counted || member->listed || !is_fit(member))
			continue;
		if (list == NULL)
			list = make_list(presence);
		if (list == NULL)
			return false;
		rooms->call.deliver(rooms->arg, member->data, list);
		member->listed = true;
	}
	penny_frame_unref(list);
	return true;
}

static void
on_flush(PennyTimer *timer)
{
	Presence *presence = penny_timer_owner(timer, Presence, timer);
	PennyRoom *room = presence->room;
	PennyRooms *rooms = room->rooms;
	bool whole = true;
	uint32_t now = count(presence);

	if (count_changed(presence) > 0 || now != presence->told)
	{
		PennyFrame *frame = make_change(presence, now);

		if (frame == NULL)
		{
			/* No list either: who has older changes before it would take them after it. */
			flush_at(rooms, presence, rooms->now + PENNY_ROOMS_RETRY);
			return;
		}
		if (presence->told > 0) /* else a list tells it to those who are here */
			tell_change(rooms, room, frame);
		presence->told = now;
		presence->window_end = rooms->now + rooms->config.presence_window;
		penny_frame_unref(frame);
	}
	settle(presence);
	whole = tell_list(rooms, presence);
	if (presence->stale)
		whole &= announce(rooms, presence);
	if (!whole)
		flush_at(rooms, presence, rooms->now + PENNY_ROOMS_RETRY);
}

/* A member went live, and may have no list. */
void
penny_presence_mind(PennyRooms *rooms, PennyMember *member)
{
	if (member->counted && !member->listed)
		flush_at(rooms, member->room->presence, rooms->now);
}

/* ---- other edges ------------------------------------------------------------------- */

/* State to the other edges what is known here; false: not now. */
static bool
announce(PennyRooms *rooms, Presence *presence)
{
	PennyPresenceHead head = {.number = rooms->last_statement + 1,
							  .flags = presence->ask ? PENNY_PRESENCE_ASK : 0};
	PennyPresenceUser user;
	bool whole;
	char *text;
	char *to;

	if (rooms->call.announce == NULL)
	{
		presence->stale = false;
		return true;
	}
	text = malloc(sizeof(head) + (presence->users < PENNY_PRESENCE_USERS ? presence->users
																		 : PENNY_PRESENCE_USERS) *
									 sizeof(user));
	if (text == NULL)
		return false;
	to = text + sizeof(head);
	for (size_t i = 0; i < presence->buckets; i++)
	{
		for (Present *one = presence->bucket[i]; one != NULL; one = one->next)
		{
			if (one->here == 0)
				continue;
			if (head.users == PENNY_PRESENCE_USERS)
			{
				head.more++;
				continue;
			}
			memcpy(user.user, one->user, 16);
			user.devices = one->here;
			to = mempcpy(to, &user, sizeof(user));
			head.users++;
		}
	}
	memcpy(text, &head, sizeof(head));
	whole = rooms->call.announce(rooms->arg, room_name(presence->room),
								 (PennySpan){text, (size_t) (to - text)});
	free(text);
	if (!whole)
		return false;
	rooms->last_statement++;
	presence->stale = presence->ask = false;
	return true;
}

/* Forget what an edge said. */
static void
forget_far(Presence *presence, int edge)
{
	for (size_t i = 0; i < presence->buckets; i++)
	{
		for (Present *one = presence->bucket[i]; one != NULL; one = one->next)
		{
			uint32_t before = devices_of(one);

			if (one->there[edge] == 0)
				continue;
			one->there[edge] = 0;
			note_change(presence, one, before);
		}
	}
	presence->far[edge].more = 0;
}

/* Take over what an edge says. */
static void
take_far(PennyRooms *rooms, Presence *presence, int edge, const PennyPresenceHead *head,
		 const char *users)
{
	Far *far = &presence->far[edge];

	forget_far(presence, edge);
	far->number = head->number;
	far->heard = rooms->now;
	far->more = head->more;
	for (uint32_t i = 0; i < head->users; i++)
	{
		PennyPresenceUser user;
		Present *present = NULL;
		uint32_t before;

		memcpy(&user, users + i * sizeof(user), sizeof(user));
		if (rooms->counts.present < FAR_USERS)
		{
			present = find_user(presence, user.user);
			if (present == NULL)
				presence->stale = presence->ask = true; /* no memory: hear it again */
		}
		if (present == NULL || user.devices == 0)
		{
			far->more += user.devices > 0;
			if (present != NULL && present->here == 0)
				note_change(presence, present, devices_of(present)); /* to be dropped */
			continue;
		}
		before = devices_of(present);
		present->there[edge] = user.devices;
		note_change(presence, present, before);
	}
}

void
penny_presence_event(PennyRooms *rooms, PennyRoom *room, const PennyEventIn *event)
{
	Presence *presence = room->presence;
	PennyEventSender sender;
	PennyPresenceHead head;
	Far *far;

	memcpy(&sender, event->user, sizeof(sender));
	if (presence == NULL || sender.edge == 0 || sender.edge > PENNY_MAX_EDGES ||
		sender.edge == rooms->config.edge ||
		!penny_presence_head((PennySpan){event->frame, event->frame_len}, &head))
		return;
	if (head.flags & PENNY_PRESENCE_ASK)
	{
		presence->stale = true; /* even when it was overtaken */
		flush_at(rooms, presence, rooms->now);
	}
	far = &presence->far[sender.edge - 1];
	if (sender.member < rooms->incarnation[sender.edge - 1] || sender.member < far->incarnation ||
		(sender.member == far->incarnation && head.number <= far->number))
		return; /* it was overtaken */
	far->incarnation = sender.member;
	take_far(rooms, presence, (int) sender.edge - 1, &head, event->frame + sizeof(head));
	flush_at(rooms, presence, rooms->now);
}

/* Events were lost: what others said may be among them. */
void
penny_presence_lost(PennyRooms *rooms)
{
	for (Presence *presence = rooms->presences; presence != NULL; presence = presence->next)
	{
		presence->stale = presence->ask = true;
		flush_at(rooms, presence, rooms->now);
	}
}

void
penny_rooms_edge_began(PennyRooms *rooms, uint64_t edge, uint64_t incarnation, uint64_t now_ms)
{
	rooms->now = now_ms;
	rooms->incarnation[edge - 1] = incarnation; /* the old one's last words may still come */
	for (Presence *presence = rooms->presences; presence != NULL; presence = presence->next)
	{
		Far *far = &presence->far[edge - 1];

		if (far->incarnation == 0 || far->incarnation >= incarnation)
			continue;
		forget_far(presence, (int) edge - 1);
		flush_at(rooms, presence, rooms->now);
	}
}

/* Repeat what is known, forget what is not repeated. */
static void
on_renew(PennyTimer *timer)
{
	Presence *presence = penny_timer_owner(timer, Presence, renew);
	PennyRooms *rooms = presence->room->rooms;
	uint64_t life = (uint64_t) FAR_LIFE * rooms->config.presence_renew;

	penny_wheel_set(&rooms->wheel, timer, rooms->now + rooms->config.presence_renew, rooms->now);
	for (int i = 0; i < PENNY_MAX_EDGES; i++)
	{
		if (presence->far[i].heard != 0 && presence->far[i].heard + life <= rooms->now)
		{
			forget_far(presence, i);
			presence->far[i].heard = 0;
		}
	}
	presence->stale = true;
	flush_at(rooms, presence, rooms->now);
}

void
penny_rooms_set_pace(PennyRooms *rooms, uint32_t window, uint32_t renew)
{
	rooms->config.presence_window = window;
	rooms->config.presence_renew = renew;
}
