/*-------------------------------------------------------------------------
 *
 * fuzz_encoding.c
 *		Accept-Encoding and If-None-Match, whatever they hold: no byte outside is
 *		read, a coding that was not offered is never chosen, a tag matches only
 *		where it stands in the list.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "edge/encoding.h"

static void
try_accept(FuzzInput *input)
{
	uint8_t offered[PENNY_CODINGS] = {0};
	PennyAccept accept;
	PennyCoding chosen;
	bool found;
	int n = 0;

	for (int coding = PENNY_IDENTITY + 1; coding < PENNY_CODINGS; coding++)
	{
		if (fuzz_byte(input) & 1)
			offered[n++] = (uint8_t) coding;
	}
	penny_accept_init(&accept);
	for (int i = 0; i < 2; i++)
	{
		size_t len;
		char *text = fuzz_bytes(input, 200, &len);

		if (i == 0)
			penny_accept_take(&accept, (PennySpan){text, len});
		else
			penny_accept_take_lines(&accept, (PennySpan){text, len});
		free(text);
	}
	chosen = penny_accept_choose(&accept, offered);
	found = chosen == PENNY_IDENTITY;
	for (int i = 0; i < n; i++)
		found |= offered[i] == chosen;
	MUST(found);
	MUST(!accept.malformed || chosen == PENNY_IDENTITY);
	if (chosen != PENNY_IDENTITY)
		MUST(accept.quality[chosen] == PENNY_QUALITY_UNSAID ? accept.any > 0
															: accept.quality[chosen] > 0);
}

static void
try_tags(FuzzInput *input)
{
	size_t etag_len, value_len;
	char *etag = fuzz_bytes(input, 40, &etag_len);
	char *value = fuzz_bytes(input, 300, &value_len);
	PennySpan tag = {etag, etag_len};
	PennySpan match;

	if (penny_etag_matches((PennySpan){value, value_len}, tag, &match))
	{
		MUST(etag_len >= 2 && etag[etag_len - 1] == '"');
		if (match.len == 0)
			MUST(value_len == 1 && value[0] == '*');
		else
			MUST(match.data >= value && match.data + match.len <= value + value_len);
	}
	else
		MUST(match.len == 0 || match.data != NULL);
	for (int coding = PENNY_IDENTITY; coding < PENNY_CODINGS; coding++)
	{
		char *out = malloc(etag_len + PENNY_ETAG_SUFFIX_MAX);
		size_t len = penny_etag_variant(tag, (PennyCoding) coding, out);
		PennySpan again;

		MUST(len <= etag_len + PENNY_ETAG_SUFFIX_MAX);
		/* a variant's tag is one that the client may send back */
		if (penny_etag_matches(tag, tag, &again))
			MUST(penny_etag_matches((PennySpan){out, len}, tag, &again));
		free(out);
	}
	free(etag);
	free(value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzInput input = {data, size};

	if (fuzz_byte(&input) & 1)
		try_accept(&input);
	else
		try_tags(&input);
	return 0;
}
