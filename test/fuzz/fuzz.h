/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *		What the fuzz targets share: an input taken bit by bit, checks that
 *		abort.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_FUZZ_H
#define PENNY_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                               \
	do                                                                                \
	{                                                                                 \
		if (!(condition))                                                             \
		{                                                                             \
			fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                  \
		}                                                                             \
	} while (0)

/* What is left of an input; zeroes follow its end. */
typedef struct FuzzInput
{
	const uint8_t *data;
	size_t size;
} FuzzInput;

static inline uint8_t
fuzz_byte(FuzzInput *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

static inline uint64_t
fuzz_number(FuzzInput *input, int bytes)
{
	uint64_t number = 0;

	while (bytes-- > 0)
		number = number << 8 | fuzz_byte(input);
	return number;
}

/* The next bytes, at most max, in memory of exactly that size; free it. */
static inline char *
fuzz_bytes(FuzzInput *input, size_t max, size_t *len)
{
	size_t want = max == 0 ? 0 : fuzz_number(input, 2) % (max + 1);
	char *copy;

	*len = want < input->size ? want : input->size;
	copy = malloc(*len > 0 ? *len : 1);
	if (*len > 0)
		memcpy(copy, input->data, *len);
	input->data += *len;
	input->size -= *len;
	return copy;
}

#endif /* PENNY_FUZZ_H */
