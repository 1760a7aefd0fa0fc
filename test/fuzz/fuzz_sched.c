/*-------------------------------------------------------------------------
 *
 * fuzz_sched.c
 *		The ready order of jobs: schedules chosen by the input, with the model of
 *		the unit tests.  The first byte says how many entries there are.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "../unit/sched_steps.h"

#define MOST_ENTRIES 200

static uint64_t
choose_input(Model *model, uint64_t below)
{
	FuzzInput input = {model->input, model->input_len};
	uint64_t number = below < 2 ? 0 : fuzz_number(&input, below > 256 ? 2 : 1) % below;

	model->input = input.data;
	model->input_len = input.size;
	return number;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static PennySched *s;
	static Model model;

	if (size == 0)
		return 0;
	if (s == NULL)
		s = aligned_alloc(64, penny_sched_size(MOST_ENTRIES));
	MUST(s != NULL);
	memset(&model, 0, sizeof(model));
	model.choose = choose_input;
	model.input = data + 1;
	model.input_len = size - 1;
	model_start(&model, s, 1 + data[0] % MOST_ENTRIES);
	model.compared = 8;
	while (model.wrong == NULL && model.input_len > 0)
		model_step(&model);
	compare_all(&model);
	if (model.wrong != NULL)
		fprintf(stderr, "%s\n", model.wrong);
	MUST(model.wrong == NULL);
	return 0;
}
