/*-------------------------------------------------------------------------
 *
 * packed.c
 *		permessage-deflate: offers of clients, packing, unpacking with limits.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include <stdlib.h>
#include <zlib.h>

#include "edge/compress.h"
#include "edge/extension.h"
#include "edge/packed.h"

/* ---- offers ------------------------------------------------------------------ */

#define NO_TAKEOVER "server_no_context_takeover; client_no_context_takeover"

static const struct
{
	const char *value;
	PennyOffer offer;
	int bits;
	bool asked;
} offers[] = {
	{"permessage-deflate", PENNY_OFFER_DEFLATE, 15, false},
	{"Permessage-Deflate", PENNY_OFFER_DEFLATE, 15, false},
	{" \tpermessage-deflate\t ", PENNY_OFFER_DEFLATE, 15, false},
	{"permessage-deflate; client_max_window_bits", PENNY_OFFER_DEFLATE, 15, false},
	{"permessage-deflate; client_max_window_bits=9", PENNY_OFFER_DEFLATE, 15, false},
	{"permessage-deflate; server_max_window_bits=8", PENNY_OFFER_DEFLATE, 8, true},
	{"permessage-deflate;server_max_window_bits=\"15\"", PENNY_OFFER_DEFLATE, 15, true},
	{"permessage-deflate ; server_max_window_bits = 10", PENNY_OFFER_DEFLATE, 10, true},
	{"permessage-deflate; " NO_TAKEOVER, PENNY_OFFER_DEFLATE, 15, false},
	{"x-other; a=1; b, permessage-deflate", PENNY_OFFER_DEFLATE, 15, false},
	{"permessage-deflate; server_max_window_bits=7, permessage-deflate", PENNY_OFFER_DEFLATE, 15,
	 false},
	{"permessage-deflate; server_max_window_bits=12, permessage-deflate", PENNY_OFFER_DEFLATE, 12,
	 true},
	{"x-webkit-deflate-frame", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate-2", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate; unknown", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate; server_max_window_bits", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate; server_max_window_bits=16", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate; server_max_window_bits=08", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate; server_max_window_bits=100", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate; client_max_window_bits=x", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate; server_no_context_takeover=1", PENNY_OFFER_NONE, 15, false},
	{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", PENNY_OFFER_NONE,
	 15, false},
	{"", PENNY_OFFER_NONE, 15, false},
	{" , ,", PENNY_OFFER_NONE, 15, false},
	{",, permessage-deflate ,", PENNY_OFFER_DEFLATE, 15, false},
	{"permessage-deflate;", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage-deflate; a=", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage-deflate; a=\"b", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage-deflate; a=\"\"", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage-deflate; a=\"b c\"", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage-deflate; =1", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage-deflate, ;", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage-deflate x", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage(deflate)", PENNY_OFFER_MALFORMED, 15, false},
	{"permessage-deflate\x01", PENNY_OFFER_MALFORMED, 15, false},
};

TEST(extension)
{
	char answer[PENNY_EXTENSION_ANSWER];

	for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++)
	{
		PennySpan value = {offers[i].value, strlen(offers[i].value)};
		int bits;
		bool asked;
		PennyOffer offer = penny_extension_read(value, &bits, &asked);

		CHECK_ROW(offer == offers[i].offer, offers[i].value);
		if (offer == PENNY_OFFER_DEFLATE)
			CHECK_ROW(bits == offers[i].bits && asked == offers[i].asked, offers[i].value);
	}
	CHECK(penny_extension_answer(answer, 15, false) == strlen(answer));
	CHECK(strcmp(answer, "Sec-WebSocket-Extensions: permessage-deflate; " NO_TAKEOVER "\r\n") == 0);
	penny_extension_answer(answer, 10, true);
	CHECK(strcmp(answer, "Sec-WebSocket-Extensions: permessage-deflate; " NO_TAKEOVER
						 "; server_max_window_bits=10\r\n") == 0);
}

/* ---- packing ------------------------------------------------------------------- */

/* JSON as in frames, of about that size. */
static char *
make_text(size_t size)
{
	char *text = malloc(size + 64);
	size_t len = 0;

	for (int i = 0; len < size; i++)
		len += (size_t) sprintf(text + len, "{\"type\":\"message\",\"n\":%d},", i * 7919);
	text[size] = '\0';
	return text;
}

/* As a client with that window unpacks it. */
static bool
client_unpacks(PennyFrame *packed, int bits, const char *wanted)
{
	static const uint8_t flush[4] = {0, 0, 0xff, 0xff};
	PennySpan payload = penny_frame_text(packed);
	size_t size = strlen(wanted);
	char *out = malloc(size + 1);
	z_stream stream = {.next_in = (Bytef *) payload.data, .avail_in = (uInt) payload.len};
	bool good;

	inflateInit2(&stream, -bits);
	stream.next_out = (Bytef *) out;
	stream.avail_out = (uInt) size + 1;
	good = inflate(&stream, Z_SYNC_FLUSH) == Z_OK;
	stream.next_in = (Bytef *) flush;
	stream.avail_in = 4;
	inflate(&stream, Z_SYNC_FLUSH);
	good &= stream.total_out == size && memcmp(out, wanted, size) == 0;
	inflateEnd(&stream);
	free(out);
	return good;
}

TEST(packing)
{
	static const size_t sizes[] = {1, 191, 192, 256, 257, 1000, 1024, 1025, 40000, 262144, 262145};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		char *text = make_text(sizes[i]);
		PennyFrame *frame = penny_frame_make((PennySpan){text, sizes[i]});

		for (int bits = 8; bits <= 15; bits++)
		{
			PennyFrame *form = penny_packed(frame, bits);
			bool wanted = sizes[i] >= 192 && sizes[i] <= 262144 &&
						  (bits == 15 || sizes[i] <= (size_t) 1 << bits);

			CHECK_ROW((form != frame) == wanted, text);
			CHECK_ROW(form->len <= frame->len, text);
			CHECK_ROW(form == penny_packed(frame, bits), "packed once");
			if (form == frame)
				continue;
			CHECK((uint8_t) form->bytes[0] == 0xC1);
			CHECK(client_unpacks(form, bits, text));
		}
		penny_frame_unref(frame);
		free(text);
	}
	CHECK(penny_frames_alive() == 0);
}

/* What does not get smaller goes as it is. */
TEST(random_bytes)
{
	char bytes[1000];
	uint64_t random = 1;
	PennyFrame *frame;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char) (unit_random(&random) >> 32);
	frame = penny_frame_make((PennySpan){bytes, sizeof(bytes)});
	CHECK(penny_packed(frame, 15) == frame);
	penny_frame_unref(frame);
}

/* ---- unpacking ------------------------------------------------------------------- */

/* Pack as a client may: at this level, in pieces of a flush each. */
static size_t
client_packs(const char *text, size_t len, int level, size_t piece, uint8_t *out, size_t size)
{
	z_stream stream = {.next_in = (Bytef *) text};

	deflateInit2(&stream, level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
	stream.next_out = out;
	stream.avail_out = (uInt) size;
	for (size_t at = 0; at < len; at += piece)
	{
		stream.avail_in = (uInt) (len - at < piece ? len - at : piece);
		deflate(&stream, Z_SYNC_FLUSH);
	}
	size -= stream.avail_out;
	deflateEnd(&stream);
	return size - 4;
}

TEST(unpacking)
{
	static uint8_t packed[300000];
	static const size_t sizes[] = {1, 5, 100, 4095, 4096, 4097, 8192, 70000};
	PennySpan text;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		char *wanted = make_text(sizes[i]);

		for (int level = 0; level <= 9; level += 3)
		{
			size_t len = client_packs(wanted, sizes[i], level, level == 3 ? 50 : SIZE_MAX / 2,
									  packed, sizeof(packed));

			CHECK(penny_unpack((PennySpan){(char *) packed, len}, 100000, &text) == PENNY_UNPACKED);
			CHECK(text.len == sizes[i] && memcmp(text.data, wanted, text.len) == 0);
			CHECK(penny_unpack((PennySpan){(char *) packed, len}, sizes[i], &text) ==
				  PENNY_UNPACKED);
			CHECK(penny_unpack((PennySpan){(char *) packed, len}, sizes[i] - 1, &text) ==
				  PENNY_UNPACK_LARGE);
		}
		free(wanted);
	}
}

/* Examples of RFC 7692 7.2.3, and what is none. */
TEST(examples)
{
	static const struct
	{
		const char *bytes;
		size_t len;
		PennyUnpack result;
		const char *text;
	} rows[] = {
		{"\xf2\x48\xcd\xc9\xc9\x07\x00", 7, PENNY_UNPACKED, "Hello"},
		{"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, PENNY_UNPACKED, "Hello"},
		{"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, PENNY_UNPACKED, "Hello"},
		{"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, PENNY_UNPACKED, "Hello"},
		{"\x02\x00", 2, PENNY_UNPACKED, ""},
		{"\x00", 1, PENNY_UNPACKED, ""},
		{"", 0, PENNY_UNPACK_BAD, ""},                 /* an empty one has a block, too */
		{"\xf2\x48\xcd\xc9", 4, PENNY_UNPACK_BAD, ""}, /* cut off */
		{"\x07", 1, PENNY_UNPACK_BAD, ""},             /* no such block */
		{"\x00\x05\x00\xfb\xff\x48\x65", 7, PENNY_UNPACK_BAD, ""}, /* lengths that differ */
		{"\x62\x04\x82\x00", 4, PENNY_UNPACK_BAD, ""}, /* refers to what was never there */
	};
	PennySpan text;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		PennyUnpack result = penny_unpack((PennySpan){rows[i].bytes, rows[i].len}, 1000, &text);

		CHECK_ROW(result == rows[i].result, rows[i].text);
		if (result == PENNY_UNPACKED)
			CHECK_ROW(text.len == strlen(rows[i].text) &&
						  memcmp(text.data, rows[i].text, text.len) == 0,
					  rows[i].text);
	}
}

/* Zeroes: what comes out is bounded by the limit, and by what came. */
TEST(bombs)
{
	size_t size = 64 << 20;
	char *zeroes = calloc(1, size);
	static uint8_t packed[100000];
	size_t len = client_packs(zeroes, size, 9, SIZE_MAX / 2, packed, sizeof(packed));
	PennySpan text;

	CHECK(len < sizeof(packed));
	CHECK(penny_unpack((PennySpan){(char *) packed, len}, 1 << 20, &text) == PENNY_UNPACK_LARGE);
	CHECK(penny_unpack((PennySpan){(char *) packed, len}, SIZE_MAX / 2, &text) ==
		  PENNY_UNPACK_LARGE);
	len = client_packs(zeroes, 16384, 9, SIZE_MAX / 2, packed, sizeof(packed));
	CHECK(len < 100);
	CHECK(penny_unpack((PennySpan){(char *) packed, len}, 1 << 20, &text) == PENNY_UNPACKED);
	len = client_packs(zeroes, 16385, 9, SIZE_MAX / 2, packed, sizeof(packed));
	CHECK(penny_unpack((PennySpan){(char *) packed, len}, 1 << 20, &text) == PENNY_UNPACK_LARGE);
	free(zeroes);
}

int
main(void)
{
	RUN(extension);
	RUN(packing);
	RUN(random_bytes);
	RUN(unpacking);
	RUN(examples);
	RUN(bombs);
	return unit_done();
}
