/*-------------------------------------------------------------------------
 *
 * compress.c
 *		zlib and brotli, in one go, for bodies of bounded size.
 *
 * The edge is one thread: while it compresses, nobody else is served.  So the
 * level depends on the size, such that one body of ordinary JSON takes about
 * three milliseconds at the most, and bodies beyond PENNY_EFFORT_*'s maximum
 * are not compressed.  Measured with conversations (ms, and per cent of the
 * size that is left; zlib 1.2.13, brotli 1.0.9):
 *
 *	size	 gzip 6		gzip 3		gzip 1		br 5		br 3		br 1
 *	10 kB	 0.08 20%	0.05 22%	0.05 24%	0.09 19%	0.05 21%	0.03 24%
 *	64 kB	 0.9  15%	0.3  18%	0.2  20%	1.5  15%	0.4  17%	0.1  19%
 *	256 kB	 3.7  10%	1.5  13%	1.4  14%	3.0   9%	1.3  11%	0.7  12%
 *	1 MB	10.7   9%	4.2  12%	3.6  13%	9.2   8%	3.9  10%	1.7  11%
 *
 * What is hard to compress takes longer: 1 MB of base64 27 ms with gzip 1, 256 kB
 * of hexadecimal digits 22 ms with br 5.  Whoever may choose what is in a body
 * can have that done again and again, by answers that are not kept or by more of
 * them than the budget of variants holds.  So at most half of the time that
 * passes is spent here, but for a BURST; when it is used up, answers go out as
 * they are.
 *
 * What is kept is compressed once for many, so it gets the better level as long
 * as that is quick; beyond brotli 5 and gzip 6 size falls by a hundredth or two
 * for half the time more.  An answer that goes out once gets a level that costs
 * less than the executor's work for it.
 *
 * zlib's states are made once and kept (256 kB each).  Brotli's memory is
 * asked for and given back by each call; when there is none, the answer goes
 * out as it is.  "deflate" is the zlib format, as RFC 9110 8.4.1.2 says.
 *
 * Messages of WebSockets are raw deflate data without the four bytes that every
 * flush ends with (RFC 7692 7.2).  Each is by itself: the state is reset before
 * it.  Unpacking stops at the limit, before anything beyond it is written.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/compress.h"

#include <stdlib.h>

#include <string.h>

#include <brotli/encode.h>
#include <zlib.h>

#define WINDOW_GZIP (15 + 16) /* zlib: largest window, gzip's frame */
#define WINDOW_ZLIB 15
#define WINDOW_RAW -15 /* raw deflate data */
#define MEMORY_LEVEL 8
#define FIRST_BUFFER 4096 /* bytes that are unpacked into to begin with */

#define COST 2       /* time that must pass for each that is spent */
#define BURST 200000 /* us of such time that may be spent in advance */

typedef struct Level
{
	size_t up_to; /* bytes of a body */
	int gzip;
	int br;
} Level;

/* In the order of sizes; the last ends what is compressed. */
static const Level once[] = {{64 << 10, 3, 3}, {256 << 10, 1, 1}};
static const Level kept[] = {{128 << 10, 6, 5}, {256 << 10, 5, 5}, {1 << 20, 1, 2}};

#define LEVELS(table) ((int) (sizeof(table) / sizeof((table)[0])))

size_t
penny_compress_max(PennyEffort effort)
{
	return effort == PENNY_EFFORT_ONCE ? once[LEVELS(once) - 1].up_to
									   : kept[LEVELS(kept) - 1].up_to;
}

/* The level for a body of that size, NULL = none. */
static const Level *
level_for(PennyEffort effort, size_t size)
{
	const Level *level = effort == PENNY_EFFORT_ONCE ? once : kept;
	int levels = effort == PENNY_EFFORT_ONCE ? LEVELS(once) : LEVELS(kept);

	for (int i = 0; i < levels; i++)
	{
		if (size <= level[i].up_to)
			return &level[i];
	}
	return NULL;
}

static size_t
compress_zlib(PennyCoding coding, int level, PennySpan body, char *out, size_t size)
{
	static z_stream streams[PENNY_CODINGS];
	z_stream *stream = &streams[coding];

	if (stream->state == NULL)
	{
		if (deflateInit2(stream, level, Z_DEFLATED,
						 coding == PENNY_GZIP ? WINDOW_GZIP : WINDOW_ZLIB, MEMORY_LEVEL,
						 Z_DEFAULT_STRATEGY) != Z_OK)
		{
			stream->state = NULL;
			return 0;
		}
	}
	else if (deflateReset(stream) != Z_OK)
		return 0;
	stream->next_in = (Bytef *) body.data;
	stream->avail_in = 0;
	stream->next_out = (Bytef *) out;
	stream->avail_out = (uInt) size;
	if (deflateParams(stream, level, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	stream->avail_in = (uInt) body.len;
	return deflate(stream, Z_FINISH) == Z_STREAM_END ? size - stream->avail_out : 0;
}

static size_t
compress_br(int level, PennySpan body, char *out, size_t size)
{
	int window = BROTLI_MIN_WINDOW_BITS;
	size_t len = size;

	/* A window no larger than the body: memory is for what is there. */
	while (window < BROTLI_DEFAULT_WINDOW && ((size_t) 1 << window) < body.len)
		window++;
	if (!BrotliEncoderCompress(level, window, BROTLI_MODE_TEXT, body.len,
							   (const uint8_t *) body.data, &len, (uint8_t *) out))
		return 0;
	return len;
}

size_t
penny_compress(PennyCoding coding, PennyEffort effort, PennySpan body, char *out, size_t size)
{
	const Level *level = level_for(effort, body.len);

	if (level == NULL || body.len == 0)
		return 0;
	switch (coding)
	{
		case PENNY_BR:
			return compress_br(level->br, body, out, size);
		case PENNY_GZIP:
		case PENNY_DEFLATE:
			return compress_zlib(coding, level->gzip, body, out, size);
		case PENNY_IDENTITY:
		case PENNY_CODINGS:
			break;
	}
	return 0;
}

static uint64_t paid_at; /* us: when what was spent has passed COST times */

bool
penny_compress_may(uint64_t now)
{
	return paid_at <= now + BURST;
}

void
penny_compress_took(uint64_t from, uint64_t to)
{
	if (paid_at < from)
		paid_at = from;
	paid_at += COST * (to - from);
}

/* ---- messages --------------------------------------------------------------- */

size_t
penny_deflate(PennySpan text, char *out, size_t size)
{
	static z_stream stream;
	const Level *level = level_for(PENNY_EFFORT_ONCE, text.len);
	size_t len;

	if (level == NULL)
		return 0;
	if (stream.state == NULL)
	{
		if (deflateInit2(&stream, level->gzip, Z_DEFLATED, WINDOW_RAW, MEMORY_LEVEL,
						 Z_DEFAULT_STRATEGY) != Z_OK)
		{
			stream.state = NULL;
			return 0;
		}
	}
	else if (deflateReset(&stream) != Z_OK)
		return 0;
	stream.avail_in = 0;
	stream.next_in = (Bytef *) text.data;
	stream.next_out = (Bytef *) out;
	stream.avail_out = (uInt) size;
	if (deflateParams(&stream, level->gzip, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	stream.avail_in = (uInt) text.len;
	if (deflate(&stream, Z_SYNC_FLUSH) != Z_OK || stream.avail_in > 0 || stream.avail_out == 0)
		return 0; /* with no byte left, the flush may not be complete */
	len = size - stream.avail_out;
	return len > 4 ? len - 4 : 0;
}

/* Give the buffer twice its size, at most one byte more than may come; false without memory. */
static bool
grow_buffer(z_stream *stream, size_t most, char **buffer, size_t *size)
{
	size_t used = (size_t) ((char *) stream->next_out - *buffer);
	size_t wanted = *size == 0 ? FIRST_BUFFER : *size * 2;
	char *grown;

	if (*size == 0)
		used = 0;
	if (wanted > most + 1)
		wanted = most + 1;
	grown = realloc(*buffer, wanted);
	if (grown == NULL)
		return false;
	*buffer = grown;
	*size = wanted;
	stream->next_out = (Bytef *) grown + used;
	stream->avail_out = (uInt) (wanted - used);
	return true;
}

/* Unpack what is there of the input. */
static PennyInflate
inflate_piece(z_stream *stream, PennySpan piece, size_t most, char **buffer, size_t *size,
			  bool *ended)
{
	stream->next_in = (Bytef *) piece.data;
	stream->avail_in = (uInt) piece.len;
	for (;;)
	{
		int result;

		if (stream->avail_out == 0)
		{
			if (*size > most)
				return PENNY_INFLATE_LARGE;
			if (!grow_buffer(stream, most, buffer, size))
				return PENNY_INFLATE_BAD;
		}
		result = inflate(stream, Z_SYNC_FLUSH);
		if (result == Z_STREAM_END)
		{
			/* a last block; something may follow, if only what ends a message */
			*ended = true;
			if (stream->avail_in == 0)
				return PENNY_INFLATED;
			if (inflateReset(stream) != Z_OK)
				return PENNY_INFLATE_BAD;
		}
		else if (result != Z_OK && result != Z_BUF_ERROR)
			return PENNY_INFLATE_BAD;
		else if (stream->avail_out > 0)
			return PENNY_INFLATED; /* all input is used */
	}
}

PennyInflate
penny_inflate(PennySpan payload, size_t most, char **buffer, size_t *size, size_t *len)
{
	static const char flush[4] = {0, 0, (char) 0xff, (char) 0xff};
	static z_stream stream;
	PennyInflate result;
	bool ended = false;

	if (stream.state == NULL)
	{
		if (inflateInit2(&stream, WINDOW_RAW) != Z_OK)
		{
			stream.state = NULL;
			return PENNY_INFLATE_BAD;
		}
	}
	else if (inflateReset(&stream) != Z_OK)
		return PENNY_INFLATE_BAD;
	stream.next_out = (Bytef *) *buffer;
	stream.avail_out = (uInt) (*size > most + 1 ? most + 1 : *size);
	result = inflate_piece(&stream, payload, most, buffer, size, &ended);
	if (result == PENNY_INFLATED)
		result = inflate_piece(&stream, (PennySpan){flush, 4}, most, buffer, size, &ended);
	if (result != PENNY_INFLATED)
		return result;
	/* The flush ends a block: where that is not so, the data are cut off. */
	if (!ended && !(stream.data_type & 128))
		return PENNY_INFLATE_BAD;
	*len = (size_t) ((char *) stream.next_out - *buffer);
	return *len > most ? PENNY_INFLATE_LARGE : PENNY_INFLATED;
}
