/*-------------------------------------------------------------------------
 *
 * sched_simulation.c
 *		Random schedules of the ready order of jobs, with the model of
 *		sched_model.h.
 *
 * Usage: sched_simulation [steps [first seed]].  A failing seed is printed with
 * its step and can be run alone.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"
#include "sched_steps.h"

static uint64_t steps = 100000;
static uint64_t first_seed = 1;

static uint64_t
choose_random(Model *model, uint64_t below)
{
	return below < 2 ? 0 : (unit_random(&model->random) >> 16) % below;
}

/* The steps, over schedules of 2,500 with a seed each. */
static void
simulate(uint32_t entries, uint64_t total)
{
	static Model model;
	PennySched *s = aligned_alloc(64, penny_sched_size(entries));
	uint64_t taken = 0;

	for (uint64_t seed = first_seed; total > 0 && s != NULL; seed++)
	{
		uint64_t step = 0;

		memset(&model, 0, sizeof(model));
		model.random = seed * UINT64_C(0x9E3779B97F4A7C15);
		model.choose = choose_random;
		model_start(&model, s, entries);
		for (; step < 2500 && total > 0 && model.wrong == NULL; step++, total--)
			model_step(&model);
		if (model.wrong != NULL)
			printf("# %u entries, seed %" PRIu64 ", step %" PRIu64 ": %s\n", entries, seed, step,
				   model.wrong);
		if (!CHECK_ROW(model.wrong == NULL, "schedule"))
			break;
		taken += model.taken;
	}
	printf("# %" PRIu64 " jobs taken\n", taken);
	CHECK(taken > 0);
	free(s);
}

TEST(few_entries)
{
	simulate(24, steps / 4);
}

TEST(some_entries)
{
	simulate(120, steps / 2);
}

TEST(many_entries)
{
	simulate(400, steps / 4);
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		steps = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	printf("# first seed %" PRIu64 "\n", first_seed);
	RUN(few_entries);
	RUN(some_entries);
	RUN(many_entries);
	return unit_done();
}
