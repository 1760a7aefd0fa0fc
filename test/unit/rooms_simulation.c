/*-------------------------------------------------------------------------
 *
 * rooms_simulation.c
 *		Random schedules of the rooms, with the checker of room_model.h.
 *
 * Usage: rooms_simulation [schedules [first seed]].  A failing seed is printed
 * and can be run alone.  malloc and calloc are wrapped: in starved schedules
 * they fail now and then.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"
#include "room_model.h"

extern void *__real_malloc(size_t size);
extern void *__real_calloc(size_t n, size_t size);
extern void *__wrap_malloc(size_t size);
extern void *__wrap_calloc(size_t n, size_t size);

static Model *starving;
static uint64_t allocations; /* asked for in this schedule */
static uint64_t fail_at;     /* the one that fails, from 1 on; 0 = by chance */
static uint64_t schedules = 100000;
static uint64_t first_seed = 1;

static bool
fails(void)
{
	if (starving == NULL || !starving->starved)
		return false;
	allocations++;
	return fail_at != 0 ? allocations == fail_at : starving->choose(starving, 20) == 0;
}

void *
__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

static uint64_t
choose_random(Model *model, uint64_t below)
{
	return below < 2 ? 0 : (unit_random(&model->random) >> 16) % below;
}

/* Run the schedules of one kind. */
static void
simulate(uint64_t n, bool append, bool lossy, bool endings, bool restores, bool starved)
{
	static Model model;

	for (uint64_t i = 0; i < n; i++)
	{
		uint64_t seed = first_seed + i;
		const char *wrong;

		memset(&model, 0, offsetof(Model, read));
		model.reads = 0;
		model.broadcasts = 0;
		model.wrong = NULL;
		model.detail[0] = '\0';
		model.random = seed * UINT64_C(0x9E3779B97F4A7C15);
		model.choose = choose_random;
		model.append = append;
		model.lossy = lossy;
		model.endings = endings;
		model.restores = restores;
		model.starved = starved;
		starving = &model;
		wrong = model_run_schedule(&model, 20 + (int) (seed % 100));
		starving = NULL;
		if (wrong != NULL)
			printf("# seed %" PRIu64 ": %s %s\n", seed, wrong, model.detail);
		if (!CHECK_ROW(wrong == NULL, "schedule"))
			return;
	}
}

TEST(orderly)
{
	simulate(schedules / 5, false, false, false, false, false);
}

/* Every version is a row of its own, so each must be seen exactly once. */
TEST(append_only)
{
	simulate(schedules / 5, true, true, false, false, false);
}

TEST(lossy)
{
	simulate(schedules / 5, false, true, false, false, false);
}

TEST(endings)
{
	simulate(schedules / 10, false, true, true, false, false);
}

TEST(restores)
{
	simulate(schedules / 10, false, true, false, true, false);
}

TEST(starved)
{
	simulate(schedules / 5, false, true, true, true, true);
}

/* Each allocation of a schedule fails once, alone. */
TEST(every_allocation)
{
	uint64_t failed = 0;

	for (uint64_t seed = 0; seed < 10 && unit_failures == 0; seed++)
	{
		first_seed += seed;
		for (fail_at = 1;; fail_at++)
		{
			allocations = 0;
			simulate(1, false, true, true, true, true);
			if (allocations < fail_at)
				break;
			failed++;
		}
		first_seed -= seed;
	}
	fail_at = 0;
	printf("# %" PRIu64 " allocations\n", failed);
	CHECK(failed > 100);
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		schedules = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	RUN(orderly);
	RUN(append_only);
	RUN(lossy);
	RUN(endings);
	RUN(restores);
	RUN(starved);
	RUN(every_allocation);
	return unit_done();
}
