/*-------------------------------------------------------------------------
 *
 * fuzz_json.c
 *		The JSON scanner and its strings.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "edge/json_span.h"
#include "edge/utf8.h"

/* A string found: unescaped, it is UTF-8, and quoted again it is the same. */
static void
check_string(PennySpan raw)
{
	char *text = malloc(raw.len);
	size_t len, again_len, where;
	char *quoted;
	char *again;

	if (penny_json_string(raw, text, raw.len, &len))
	{
		MUST(len <= raw.len && penny_utf8_valid(text, len) && memchr(text, 0, len) == NULL);
		quoted = malloc(6 * len + 2);
		again_len = penny_json_quote((PennySpan){text, len}, quoted, 6 * len + 2);
		MUST(again_len <= 6 * len + 2);
		MUST(penny_json_valid((PennySpan){quoted, again_len}, &where) == NULL);
		again = malloc(len + 1);
		MUST(penny_json_string((PennySpan){quoted, again_len}, again, len, &again_len));
		MUST(again_len == len && memcmp(again, text, len) == 0);
		free(quoted);
		free(again);
	}
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PennyJsonMember wanted[3] = {{.name = "type"}, {.name = "a"}, {.name = "\xC3\xA4"}};
	char *copy = malloc(size > 0 ? size : 1);
	PennySpan text = {copy, size};
	const char *any, *object;
	size_t where;
	int64_t number;

	if (size > 0)
		memcpy(copy, data, size);
	any = penny_json_valid(text, &where);
	MUST(where <= size);
	object = penny_json_object(text, wanted, 3, &where);
	MUST(where <= size);
	MUST(any == NULL || object != NULL);
	MUST(any != NULL || penny_utf8_valid(copy, size));
	for (int i = 0; i < 3 && object == NULL; i++)
	{
		PennySpan raw = wanted[i].raw;

		if (wanted[i].kind == PENNY_JSON_ABSENT)
			continue;
		MUST(raw.len > 0 && raw.data >= copy && raw.data + raw.len <= copy + size);
		MUST(penny_json_valid(raw, &where) == NULL);
		if (wanted[i].kind == PENNY_JSON_STRING)
			check_string(raw);
		if (wanted[i].kind == PENNY_JSON_NUMBER)
			penny_json_integer(raw, &number);
		if (wanted[i].kind == PENNY_JSON_OBJECT)
		{
			PennyJsonMember inner[1] = {{.name = "type"}};

			penny_json_object(raw, inner, 1, &where);
		}
	}
	/* what was not scanned does no harm either */
	penny_json_string_is(text, "type");
	if (any == NULL)
		check_string(text);
	else
	{
		char out[16];
		size_t len;

		penny_json_string(text, out, sizeof(out), &len);
	}
	free(copy);
	return 0;
}
