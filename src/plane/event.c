/*-------------------------------------------------------------------------
 *
 * event.c
 *		The event ring.  See event.h for what can go wrong and how it shows.
 *
 * Descriptors and bytes are two rings with a position each that only grows.
 * A descriptor carries checksums of itself and of its bytes: a writer that was
 * stopped while the ring lapped it may scribble over its successor, and that
 * must read as a loss and not as an event.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/event.h"

#include <string.h>

#define MAX_FRAME (64 * 1024)

static void publish_one(PennyPlane *plane, const PennyEventOut *event, uint64_t number,
						uint64_t data, uint64_t now_ns);
static PennyEventResult unpublished(PennyEventCursor *cursor, uint64_t seq, uint64_t tail,
									uint64_t now_ns);
static PennyEventResult lost(PennyEventCursor *cursor, uint64_t next);
static bool copy_bytes(const PennyPlane *plane, const PennyEventSlot *slot, char *buffer);

static inline PennyEventSlot *
event_slot(const PennyPlane *plane, uint64_t number)
{
	return (PennyEventSlot *) ((char *) plane->p + plane->sizes.events) +
		   (number & (plane->config.events - 1));
}

static inline char *
event_bytes(const PennyPlane *plane)
{
	return (char *) plane->p + plane->sizes.event_bytes;
}

static inline size_t
padded(size_t len)
{
	return (len + 7) & ~(size_t) 7;
}

static inline uint32_t
head_checksum(const PennyEventSlot *slot, uint64_t number)
{
	const char *from = (const char *) &slot->room_hash;

	return (uint32_t) penny_hash(from, (size_t) ((const char *) &slot->head_checksum - from),
								 number);
}

/* A sixteenth of the ring, so that one event never takes it over. */
uint32_t
penny_event_max_frame(const PennyPlane *plane)
{
	uint32_t share = plane->config.event_bytes / 16;

	return share < MAX_FRAME ? share : MAX_FRAME;
}

/* ---- writing --------------------------------------------------------------- */

void
penny_event_publish(PennyPlane *plane, const PennyEventOut *event, int n, uint64_t now_ns)
{
	uint32_t max_frame = penny_event_max_frame(plane);
	uint64_t number = atomic_fetch_add(&plane->p->ev_tail, (uint64_t) n);

	for (int i = 0; i < n; i++)
	{
		PennyEventOut one = event[i];
		uint64_t data;

		if (one.frame_len > max_frame)
			one.frame_len = 0;
		data = atomic_fetch_add(&plane->p->ev_data, padded(one.room_len + one.frame_len));
		publish_one(plane, &one, number + (uint64_t) i, data, now_ns);
	}
}

/* Copy into the byte ring; returns the checksum of what was copied. */
static uint32_t
put_bytes(PennyPlane *plane, uint64_t data, const char *bytes, uint32_t len, uint64_t seed)
{
	uint32_t size = plane->config.event_bytes;
	uint32_t at = (uint32_t) (data & (size - 1));
	uint32_t first = len < size - at ? len : size - at;

	if (len > 0)
	{
		memcpy(event_bytes(plane) + at, bytes, first);
		memcpy(event_bytes(plane), bytes + first, len - first);
	}
	return (uint32_t) penny_hash(bytes, len, seed);
}

static void
publish_one(PennyPlane *plane, const PennyEventOut *event, uint64_t number, uint64_t data,
			uint64_t now_ns)
{
	PennyEventSlot *slot = event_slot(plane, number);
	uint32_t sum;

	atomic_store_explicit(&slot->seq, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	slot->room_hash = penny_hash(event->room, event->room_len, 0);
	slot->version = event->version;
	slot->committed = now_ns;
	slot->data = data;
	slot->kind = event->kind;
	slot->room_len = event->room_len;
	slot->frame_len = event->frame_len;
	memcpy(slot->user, event->user, sizeof(slot->user));
	sum = put_bytes(plane, data, event->room, event->room_len, number);
	slot->data_checksum =
		put_bytes(plane, data + event->room_len, event->frame, event->frame_len, sum);
	slot->head_checksum = head_checksum(slot, number);
	atomic_store_explicit(&slot->seq, number + 1, memory_order_release);
}

/* ---- reading --------------------------------------------------------------- */

void
penny_event_start(const PennyPlane *plane, PennyEventCursor *cursor)
{
	cursor->next = atomic_load_explicit(&plane->p->ev_tail, memory_order_acquire);
	cursor->stalled_at = 0;
	cursor->stalled_since = 0;
}

PennyEventResult
penny_event_read(const PennyPlane *plane, PennyEventCursor *cursor, uint64_t now_ns,
				 bool (*wanted)(void *arg, uint64_t room_hash), void *arg, char *buffer,
				 PennyEventIn *event)
{
	for (;;)
	{
		uint64_t tail = atomic_load_explicit(&plane->p->ev_tail, memory_order_acquire);
		uint64_t number = cursor->next;
		PennyEventSlot *shared = event_slot(plane, number);
		PennyEventSlot slot;
		uint64_t seq;

		if (number == tail)
			return PENNY_EVENTS_NONE;
		if (tail - number > plane->config.events)
			return lost(cursor, tail);
		seq = atomic_load_explicit(&shared->seq, memory_order_acquire);
		if (seq != number + 1)
			return unpublished(cursor, seq, tail, now_ns);

		memcpy(&slot.room_hash, &shared->room_hash,
			   sizeof(slot) - offsetof(PennyEventSlot, room_hash));
		if (slot.head_checksum != head_checksum(&slot, number) ||
			slot.room_len > PENNY_ROOM_NAME_MAX || slot.kind >= PENNY_EVENT_KINDS ||
			slot.frame_len > penny_event_max_frame(plane))
			return lost(cursor, number + 1);

		cursor->next = number + 1;
		cursor->stalled_since = 0;
		if (!penny_event_is_roomless((PennyEventKind) slot.kind) && wanted != NULL &&
			!wanted(arg, slot.room_hash))
			continue;
		if (!copy_bytes(plane, &slot, buffer) ||
			slot.data_checksum !=
				(uint32_t) penny_hash(buffer + slot.room_len, slot.frame_len,
									  (uint32_t) penny_hash(buffer, slot.room_len, number)))
			return lost(cursor, number + 1);

		event->kind = (PennyEventKind) slot.kind;
		event->version = slot.version;
		event->room_hash = slot.room_hash;
		event->committed = slot.committed;
		event->room_len = slot.room_len;
		event->frame_len = slot.frame_len;
		memcpy(event->user, slot.user, sizeof(event->user));
		event->room = buffer;
		event->frame = buffer + slot.room_len;
		return PENNY_EVENTS_ONE;
	}
}

/* The next event is reserved; its writer has not published it, or never will. */
static PennyEventResult
unpublished(PennyEventCursor *cursor, uint64_t seq, uint64_t tail, uint64_t now_ns)
{
	if (seq > cursor->next + 1)
		return lost(cursor, tail); /* lapped while looking */
	if (cursor->stalled_since == 0 || cursor->stalled_at != cursor->next)
	{
		cursor->stalled_at = cursor->next;
		cursor->stalled_since = now_ns != 0 ? now_ns : 1;
		return PENNY_EVENTS_STALL;
	}
	if (now_ns - cursor->stalled_since > (uint64_t) PENNY_EVENT_PATIENCE * 1000000)
		return lost(cursor, cursor->next + 1);
	return PENNY_EVENTS_STALL;
}

static PennyEventResult
lost(PennyEventCursor *cursor, uint64_t next)
{
	cursor->next = next;
	cursor->stalled_since = 0;
	return PENNY_EVENTS_LOST;
}

/* Copy room and frame out of the byte ring; false when it was overrun. */
static bool
copy_bytes(const PennyPlane *plane, const PennyEventSlot *slot, char *buffer)
{
	uint32_t size = plane->config.event_bytes;
	uint32_t len = slot->room_len + slot->frame_len;
	uint32_t at = (uint32_t) (slot->data & (size - 1));
	uint32_t first = len < size - at ? len : size - at;

	memcpy(buffer, event_bytes(plane) + at, first);
	memcpy(buffer + first, event_bytes(plane), len - first);
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&plane->p->ev_data, memory_order_relaxed) - slot->data <= size;
}
