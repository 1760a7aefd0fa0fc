/*-------------------------------------------------------------------------
 *
 * replay.c
 *		A main for fuzz targets without libFuzzer: the corpus, and variations of
 *		it from a fixed seed, as a unit test.
 *
 * The program replay_<name> reads test/fuzz/corpus/<name>.  Variations cut,
 * repeat, flip and mix bytes of one or two inputs; it is no search, but it
 * runs everywhere, and the seed makes it repeatable.
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUTS 512
#define LARGEST 65536
#define VARIATIONS 20000 /* of all inputs together */

typedef struct Input
{
	uint8_t *bytes;
	size_t len;
} Input;

static Input inputs[INPUTS];
static int count;
static uint64_t state = UINT64_C(88172645463325252);

static uint64_t
below(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return n == 0 ? 0 : state % n;
}

static void
read_input(const char *path)
{
	FILE *file = fopen(path, "rb");
	Input *input = &inputs[count];

	if (file == NULL || count == INPUTS)
	{
		perror(path);
		exit(1);
	}
	input->bytes = malloc(LARGEST);
	input->len = fread(input->bytes, 1, LARGEST, file);
	fclose(file);
	count++;
}

static void
read_corpus(const char *name)
{
	char path[512];
	DIR *dir;
	struct dirent *entry;

	snprintf(path, sizeof(path), "test/fuzz/corpus/%s", name);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "test/fuzz/corpus/%s/%s", name, entry->d_name);
		read_input(path);
	}
	if (dir != NULL)
		closedir(dir);
}

/* Change `len` bytes in place; returns how many there are then. */
static size_t
vary(uint8_t *bytes, size_t len)
{
	const Input *other = &inputs[below((uint64_t) count)];
	size_t at = below(len + 1);
	size_t n = below(32);

	switch (below(5))
	{
		case 0: /* flip */
			if (at < len)
				bytes[at] ^= (uint8_t) (1 << below(8));
			return len;
		case 1: /* another byte */
			if (at < len)
				bytes[at] = (uint8_t) below(256);
			return len;
		case 2: /* cut */
			n = n < len - at ? n : len - at;
			memmove(bytes + at, bytes + at + n, len - at - n);
			return len - n;
		case 3: /* repeat */
			n = n < at ? n : at;
			if (len + n > LARGEST)
				return len;
			memmove(bytes + at + n, bytes + at, len - at);
			memmove(bytes + at, bytes + at - n, n);
			return len + n;
		default: /* go on as another does */
			n = below(other->len + 1);
			if (at + other->len - n > LARGEST)
				return len;
			memcpy(bytes + at, other->bytes + n, other->len - n);
			return at + other->len - n;
	}
}

/* Run one input, in memory of its size. */
static void
run(const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len > 0 ? len : 1);

	memcpy(exact, bytes, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

int
main(int argc, char **argv)
{
	static uint8_t bytes[LARGEST];
	const char *name = strstr(argv[0], "replay_");

	if (argc > 1)
	{
		for (int i = 1; i < argc; i++)
			read_input(argv[i]);
	}
	else if (name != NULL)
		read_corpus(name + 7);
	if (count == 0)
	{
		printf("1..1\nnot ok 1 - a corpus is there\n");
		return 1;
	}
	for (int i = 0; i < count; i++)
		run(inputs[i].bytes, inputs[i].len);
	printf("ok 1 - %d inputs of the corpus\n", count);
	for (int i = 0; i < VARIATIONS && argc == 1; i++)
	{
		const Input *seed = &inputs[i % count];
		size_t len = seed->len;

		memcpy(bytes, seed->bytes, len);
		for (uint64_t n = 1 + below(4); n > 0; n--)
			len = vary(bytes, len);
		run(bytes, len);
	}
	printf("ok 2 - %d variations\n1..2\n", VARIATIONS);
	return 0;
}
