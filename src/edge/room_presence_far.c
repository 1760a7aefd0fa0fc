/*-------------------------------------------------------------------------
 *
 * room_presence_far.c
 *		Presence at other edges: what is stated to them, and what they state
 *		(plane/presence.h).
 *
 * A statement counts until the next one, until it has not been repeated for
 * FAR_LIFE, or until its edge is another process.  Statements are repeated every
 * `presence_renew` ms, and when another edge asks, as one does that knows
 * nothing yet.  Users who are only elsewhere are named up to FAR_USERS over all
 * rooms, and beyond that counted.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "edge/room_presence_private.h"

#define FAR_LIFE 3       /* times presence_renew */
#define FAR_USERS 200000 /* entries for users who are only at other edges */

/* State to the other edges what is known here; false: not now. */
bool
penny_presence_state(PennyRooms *rooms, Presence *presence)
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
			penny_presence_note(presence, one, before);
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
			present = penny_presence_find(presence, user.user);
			if (present == NULL)
				presence->stale = presence->ask = true; /* no memory: hear it again */
		}
		if (present == NULL || user.devices == 0)
		{
			far->more += user.devices > 0;
			if (present != NULL && present->here == 0)
				penny_presence_note(presence, present, devices_of(present)); /* to be dropped */
			continue;
		}
		before = devices_of(present);
		present->there[edge] = user.devices;
		penny_presence_note(presence, present, before);
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
		penny_presence_flush_at(rooms, presence, rooms->now);
	}
	far = &presence->far[sender.edge - 1];
	if (sender.member < rooms->incarnation[sender.edge - 1] || sender.member < far->incarnation ||
		(sender.member == far->incarnation && head.number <= far->number))
		return; /* it was overtaken */
	far->incarnation = sender.member;
	take_far(rooms, presence, (int) sender.edge - 1, &head, event->frame + sizeof(head));
	penny_presence_flush_at(rooms, presence, rooms->now);
}

/* Events were lost: what others said may be among them. */
void
penny_presence_lost(PennyRooms *rooms)
{
	for (Presence *presence = rooms->presences; presence != NULL; presence = presence->next)
	{
		presence->stale = presence->ask = true;
		penny_presence_flush_at(rooms, presence, rooms->now);
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
		penny_presence_flush_at(rooms, presence, rooms->now);
	}
}

/* Repeat what is known, forget what is not repeated. */
void
penny_presence_renew(PennyTimer *timer)
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
	penny_presence_flush_at(rooms, presence, rooms->now);
}

void
penny_rooms_set_pace(PennyRooms *rooms, uint32_t window, uint32_t renew)
{
	rooms->config.presence_window = window;
	rooms->config.presence_renew = renew;
}
