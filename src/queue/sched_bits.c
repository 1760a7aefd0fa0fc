/*-------------------------------------------------------------------------
 *
 * sched_bits.c
 *		The two bits of each row: seen and done.
 *
 * The bits of PENNY_SEGMENTS segments lie in as many places, each of which says
 * whose bits it has.  What holds for the id of a segment that is not open:
 *
 *	below one that is open, or one that its place has had since	seen and done
 *	otherwise (above, or none is open)							neither
 *
 * The first because segments are emptied in order and only when all their rows
 * are accounted for: a row that is still read from one must not be run again.
 * The second is not offered either, but noted as missed.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#include <string.h>

static inline const PennySegment *
place_of(const PennySched *s, int64_t segment)
{
	return &s->segments[segment & (PENNY_SEGMENTS - 1)];
}

/* The word of an id's bit. */
static inline uint64_t *
word_of(const PennySched *s, int64_t id, int which)
{
	uint32_t bit = (uint32_t) id & ((1u << PENNY_SEGMENT_BITS) - 1);

	return penny_segment_bits(s, penny_segment_of(id), which) + bit / 64;
}

static inline uint64_t
bit_of(int64_t id)
{
	return UINT64_C(1) << (id & 63);
}

bool
penny_sched_is_open(const PennySched *s, int64_t segment)
{
	return segment >= 0 && place_of(s, segment)->number == segment;
}

/* Of a segment that is not open: was it, or one after it? */
static bool
is_past(const PennySched *s, int64_t segment)
{
	return segment < place_of(s, segment)->number || segment < s->lowest || segment < 0;
}

static bool
look(const PennySched *s, int64_t id, int which)
{
	int64_t segment = penny_segment_of(id);

	if (id <= 0 || !penny_sched_is_open(s, segment))
		return id <= 0 || is_past(s, segment);
	return (*word_of(s, id, which) & bit_of(id)) != 0;
}

bool
penny_sched_seen(const PennySched *s, int64_t id)
{
	return look(s, id, 0);
}

bool
penny_sched_done(const PennySched *s, int64_t id)
{
	return look(s, id, 1);
}

static bool
set_bit(PennySched *s, int64_t id, int which)
{
	PennySegment *segment = &s->segments[penny_segment_of(id) & (PENNY_SEGMENTS - 1)];
	uint64_t *word;

	if (id <= 0 || !penny_sched_is_open(s, penny_segment_of(id)))
		return false;
	word = word_of(s, id, which);
	if ((*word & bit_of(id)) != 0)
		return false;
	*word |= bit_of(id);
	if (which == 0)
		segment->seen++;
	else
		segment->done++;
	return true;
}

bool
penny_sched_set_seen(PennySched *s, int64_t id)
{
	if (!set_bit(s, id, 0))
		return false;
	s->segments[penny_segment_of(id) & (PENNY_SEGMENTS - 1)].live++;
	return true;
}

void
penny_sched_mark_done(PennySched *s, int64_t id)
{
	set_bit(s, id, 0);
	set_bit(s, id, 1);
}

void
penny_sched_leave_segment(PennySched *s, PennyJob *job)
{
	if (!job->in_segment)
		return;
	job->in_segment = 0;
	set_bit(s, job->id, 1);
	s->segments[penny_segment_of(job->id) & (PENNY_SEGMENTS - 1)].live--;
}

void
penny_sched_segment_counts(const PennySched *s, int64_t segment, uint32_t *seen, uint32_t *done)
{
	bool open = penny_sched_is_open(s, segment);

	*seen = open ? place_of(s, segment)->seen : 0;
	*done = open ? place_of(s, segment)->done : 0;
}

bool
penny_sched_open_segment(PennySched *s, int64_t segment)
{
	PennySegment *place = &s->segments[segment & (PENNY_SEGMENTS - 1)];

	if (place->number == segment)
		return true;
	if (segment < 0 || segment < place->number || place->live > 0)
		return false;
	memset(penny_segment_bits(s, segment, 0), 0, 2 * PENNY_SCHED_SEGMENT_WORDS * sizeof(uint64_t));
	*place = (PennySegment){.number = segment};
	s->lowest = segment;
	for (int i = 0; i < PENNY_SEGMENTS; i++)
		if (s->segments[i].number >= 0 && s->segments[i].number < s->lowest)
			s->lowest = s->segments[i].number;
	return true;
}
