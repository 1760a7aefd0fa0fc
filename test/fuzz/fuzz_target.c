/*-------------------------------------------------------------------------
 *
 * fuzz_target.c
 *		Request targets: what is accepted has one reading.  Splitting, checking
 *		and decoding never leave the text; what decodes holds no NUL and no dot
 *		segment; escaping it again gives the same.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "edge/http_target.h"

/* A path that was accepted, decoded. */
static void
check_path(PennySpan path)
{
	char *out = malloc(path.len);
	char *again = malloc(3 * path.len + 1);
	char *back = malloc(path.len);
	size_t len, again_len = 0, back_len;

	MUST(penny_http_decode(path, out, path.len, &len) && len <= path.len && len > 0);
	MUST(memchr(out, '\0', len) == NULL && out[0] == '/');
	for (size_t at = 0; at < len;)
	{
		const char *slash = memchr(out + at, '/', len - at);
		size_t end = slash != NULL ? (size_t) (slash - out) : len;

		/* an escaped slash is one here, so only plain paths can be judged */
		if (memchr(path.data, '%', path.len) == NULL)
			MUST(!(end - at == 1 && out[at] == '.') &&
				 !(end - at == 2 && memcmp(out + at, "..", 2) == 0));
		at = end + 1;
	}
	for (size_t i = 0; i < len; i++)
		again_len += (size_t) sprintf(again + again_len, "%%%02x", (unsigned char) out[i]);
	MUST(penny_http_decode((PennySpan){again, again_len}, back, len, &back_len));
	MUST(back_len == len && memcmp(back, out, len) == 0);
	MUST(len == 0 || !penny_http_decode((PennySpan){again, again_len}, back, len - 1, &back_len));
	free(out);
	free(again);
	free(back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size > 0 ? size : 1);
	PennySpan target = {text, size};
	PennySpan authority, path, query;
	char value[32];
	size_t len;

	if (size > 0)
		memcpy(text, data, size);
	penny_http_target_split(&target, &authority);
	MUST(target.data >= text && target.data + target.len <= text + size);
	MUST(authority.len == 0 ||
		 (authority.data > text && authority.data + authority.len <= text + size));
	MUST(authority.len > 0 || target.len == size);
	if (penny_http_target_check(target, &path, &query) == NULL)
	{
		MUST(path.data == target.data && path.len + query.len <= target.len);
		check_path(path);
		for (size_t i = 0; i < target.len; i++)
			MUST(target.data[i] > 0x20 && target.data[i] < 0x7F && target.data[i] != '#');
		if (penny_http_query_value(query, "access_token", value, sizeof(value), &len))
			MUST(len <= sizeof(value) && memchr(value, '\0', len) == NULL);
	}
	/* text that was not checked must do no harm either */
	penny_http_query_value((PennySpan){text, size}, "a", value, sizeof(value), &len);
	penny_http_decode((PennySpan){text, size}, value, sizeof(value), &len);
	free(text);
	return 0;
}
