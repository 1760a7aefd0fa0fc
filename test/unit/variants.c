/*-------------------------------------------------------------------------
 *
 * variants.c
 *		Compressing, and compressed bodies within their budget.
 *
 *-------------------------------------------------------------------------
 */
#include <brotli/decode.h>
#include <zlib.h>

#include "unit.h"

#include "edge/compress.h"
#include "edge/variants.h"

static PennyCacheKey
key(uint64_t number)
{
	return (PennyCacheKey){{number * UINT64_C(0x9e3779b97f4a7c15), number}};
}

static PennySpan
span(const char *text)
{
	return (PennySpan){text, strlen(text)};
}

/* Text with some order in it. */
static char *
text_of(size_t len)
{
	char *text = malloc(len);
	uint64_t state = len + 1;

	for (size_t i = 0; i < len; i++)
		text[i] = "etaoin shrdlu{}\":,0123456789"[unit_random(&state) % 28 * (i % 3 != 0)];
	return text;
}

static bool
expands(PennyCoding coding, const char *in, size_t len, PennySpan body)
{
	char *out = malloc(body.len + 1);
	size_t out_len = body.len + 1;
	bool same;

	if (coding == PENNY_BR)
		same = BrotliDecoderDecompress(len, (const uint8_t *) in, &out_len, (uint8_t *) out) ==
			   BROTLI_DECODER_RESULT_SUCCESS;
	else
	{
		z_stream stream = {.next_in = (Bytef *) in, .avail_in = (uInt) len};

		inflateInit2(&stream, coding == PENNY_GZIP ? 31 : 15);
		stream.next_out = (Bytef *) out;
		stream.avail_out = (uInt) out_len;
		same = inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_in == 0;
		out_len = stream.total_out;
		inflateEnd(&stream);
	}
	same = same && out_len == body.len && memcmp(out, body.data, body.len) == 0;
	free(out);
	return same;
}

TEST(compressing)
{
	static const size_t sizes[] = {1, 100, 1024, 9000, 65536, 65537, 262144, 262145, 1048576};

	for (int coding = PENNY_BR; coding < PENNY_CODINGS; coding++)
	{
		for (int effort = PENNY_EFFORT_ONCE; effort <= PENNY_EFFORT_KEPT; effort++)
		{
			for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			{
				size_t size = sizes[i];
				char *text = text_of(size);
				char *out = malloc(size);
				PennySpan body = {text, size};
				size_t len = penny_compress(coding, effort, body, out, size);

				if (size > penny_compress_max(effort))
					CHECK(len == 0);
				else if (size >= 1024)
					CHECK(len > 0 && len < size && expands(coding, out, len, body));
				else
					CHECK(len <= size);
				free(text);
				free(out);
			}
		}
	}
}

TEST(what_does_not_shrink)
{
	char noise[4096];
	char out[4096];
	uint64_t state = 7;

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char) unit_random(&state);
	for (int coding = PENNY_BR; coding < PENNY_CODINGS; coding++)
		CHECK(penny_compress(coding, PENNY_EFFORT_KEPT, (PennySpan){noise, sizeof(noise)}, out,
							 sizeof(noise) - 1) == 0);
	CHECK(penny_compress(PENNY_IDENTITY, PENNY_EFFORT_KEPT, span("aaaaaaaaaaaaaa"), out, 4096) ==
		  0);
}

TEST(time_for_compressing)
{
	uint64_t now = 1000000;
	uint64_t spent = 0;

	/* half of ten seconds, and what may be spent in advance */
	while (now < 11000000)
	{
		if (penny_compress_may(now))
		{
			penny_compress_took(now, now + 3000);
			spent += 3000;
			now += 3000;
		}
		else
			now += 1000;
	}
	CHECK(spent >= 5000000 && spent <= 5300000);
	/* time that passed unused is not saved */
	now += 100000000;
	for (spent = 0; penny_compress_may(now); spent += 3000)
		penny_compress_took(now, now + 3000);
	CHECK(spent <= 110000);
}

TEST(keeping)
{
	PennyCacheKey a = key(1);
	PennyCacheKey b = key(2);
	const PennyVariant *variant;

	penny_edge.settings.codings[0] = PENNY_GZIP;
	penny_edge.settings.compression_cache_size = 64;
	penny_variant_keep(&a, PENNY_GZIP, span("h: 1\n"), span("small"));
	penny_variant_keep(&b, PENNY_GZIP, span(""), span(""));
	variant = penny_variant_find(&a, PENNY_GZIP);
	CHECK(variant != NULL && penny_variant_head(variant).len == 5 &&
		  memcmp(penny_variant_body(variant).data, "small", 5) == 0);
	CHECK(penny_variant_find(&a, PENNY_BR) == NULL);
	variant = penny_variant_find(&b, PENNY_GZIP);
	CHECK(variant != NULL && penny_variant_body(variant).len == 0);
	penny_edge.settings.compression_cache_size = 0;
	penny_variants_trim();
	CHECK(penny_variants_count() == 0 && penny_variants_bytes() == 0);
	penny_variant_keep(&a, PENNY_GZIP, span("h: 1\n"), span("small"));
	CHECK(penny_variants_count() == 0);
}

TEST(budget)
{
	char *body = text_of(1000);
	PennyCacheKey hot = key(1000000);

	penny_edge.settings.compression_cache_size = 64;
	penny_variant_keep(&hot, PENNY_BR, span(""), (PennySpan){body, 1000});
	for (uint64_t i = 0; i < 10000; i++)
	{
		PennyCacheKey k = key(i);

		/* one that is used outlives a scan */
		CHECK(penny_variant_find(&hot, PENNY_BR) != NULL);
		penny_variant_keep(&k, PENNY_BR, span("x"), (PennySpan){body, 500 + i % 500});
		CHECK(penny_variants_bytes() <= 64 * 1024);
		if (i % 64 == 0)
			CHECK(penny_variant_find(&k, PENNY_BR) != NULL);
	}
	CHECK(penny_variants_count() > 40);
	/* one that would take most of it is not kept */
	{
		char *large = text_of(40000);
		PennyCacheKey k = key(77777);

		penny_variant_keep(&k, PENNY_BR, span(""), (PennySpan){large, 40000});
		CHECK(penny_variant_find(&k, PENNY_BR) == NULL);
		free(large);
	}
	penny_edge.settings.compression_cache_size = 0;
	penny_variants_trim();
	CHECK(penny_variants_count() == 0 && penny_variants_bytes() == 0);
	free(body);
}

int
main(void)
{
	RUN(compressing);
	RUN(what_does_not_shrink);
	RUN(time_for_compressing);
	RUN(keeping);
	RUN(budget);
	return unit_done();
}
