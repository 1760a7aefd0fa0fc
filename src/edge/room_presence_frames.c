/*-------------------------------------------------------------------------
 *
 * room_presence_frames.c
 *		What presence tells: lists and changes, as room_presence.c describes them.
 *
 * A frame names at most PENNY_PRESENCE_USERS users; `count` counts all.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/json_span.h"
#include "edge/room_presence_private.h"

#define USER_TEXT 72 /* bytes of {"user_id":"…","devices":N}, */
#define HEAD_TEXT (6 * PENNY_ROOM_NAME_MAX + 128)

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
PennyFrame *
penny_presence_list(const Presence *presence)
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

size_t
penny_presence_changed(const Presence *presence)
{
	size_t changed = 0;

	for (const Present *one = presence->changed; one != NULL; one = one->changed)
		changed += devices_of(one) != one->told;
	return changed;
}

/* What has changed since it was told; NULL without memory. */
PennyFrame *
penny_presence_change(const Presence *presence, uint32_t now)
{
	char *text = allocate(penny_presence_changed(presence));
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
