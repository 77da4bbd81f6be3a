/* The allocator against a model that looks at every run. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "free_runs.h"

#define MOST_RUNS 40

struct model {
	struct br_extent runs[MOST_RUNS];
	size_t count;
};

static struct model random_model(uint64_t *state)
{
	struct model model = {.count = random_u64(state) % (MOST_RUNS + 1)};
	uint64_t at = random_u64(state) % 10;

	for (size_t i = 0; i < model.count; i++) {
		uint64_t length = 1 + random_u64(state) % (random_u64(state) % 8 ? 9 : 200);
		model.runs[i] = (struct br_extent){at, length};
		at += length + 1 + random_u64(state) % 20;
	}
	return model;
}

static size_t model_find(const struct model *model, size_t from, uint64_t length)
{
	for (size_t i = from; i < model->count; i++) {
		if (model->runs[i].length >= length)
			return i;
	}
	return BR_NO_RUN;
}

static size_t model_longest(const struct model *model)
{
	size_t best = BR_NO_RUN;

	for (size_t i = 0; i < model->count; i++) {
		if (model->runs[i].length &&
		    (best == BR_NO_RUN || model->runs[i].length > model->runs[best].length))
			best = i;
	}
	return best;
}

static size_t model_starting_at(const struct model *model, uint64_t start)
{
	for (size_t i = 0; i < model->count; i++) {
		if (model->runs[i].start == start && model->runs[i].length)
			return i;
	}
	return BR_NO_RUN;
}

static void model_take(struct model *model, size_t index, uint64_t length)
{
	model->runs[index].start += length;
	model->runs[index].length -= length;
}

static void check_single(struct br_free_runs *space, struct model *model,
                         const struct model *initial)
{
	uint64_t start = 0;
	int result = br_free_runs_take_single(space, &start);
	size_t best = BR_NO_RUN;

	for (size_t i = 0; i < model->count; i++) {
		if (model->runs[i].length &&
		    (best == BR_NO_RUN || initial->runs[i].length < initial->runs[best].length))
			best = i;
	}
	CHECK(result == (best == BR_NO_RUN ? -ENOSPC : 0));
	if (best == BR_NO_RUN)
		return;
	CHECK(start == model->runs[best].start);
	model_take(model, best, 1);
}

static void check_same(const struct br_free_runs *space, const struct model *model)
{
	uint64_t total = 0;

	for (size_t i = 0; i < model->count; i++) {
		CHECK(space->runs[i].start == model->runs[i].start);
		CHECK(space->runs[i].length == model->runs[i].length);
		total += model->runs[i].length;
	}
	CHECK(space->total == total);
	CHECK(br_free_runs_longest(space) == model_longest(model));
}

static void one_step(struct br_free_runs *space, struct model *model, const struct model *initial,
                     uint64_t *state)
{
	size_t from = random_u64(state) % (model->count + 2);
	uint64_t length = 1 + random_u64(state) % (random_u64(state) % 4 ? 10 : 220);
	uint64_t start = random_u64(state) % 400;
	size_t run = br_free_runs_find(space, from, length);

	CHECK(run == model_find(model, from, length));
	CHECK(br_free_runs_starting_at(space, start) == model_starting_at(model, start));
	if (random_u64(state) % 3 == 0) {
		check_single(space, model, initial);
	} else if (run != BR_NO_RUN) {
		CHECK(br_free_runs_take(space, run, length) == model->runs[run].start);
		model_take(model, run, length);
	}
	check_same(space, model);
}

static void one_space(uint64_t *state)
{
	const struct model initial = random_model(state);
	struct br_free_runs space;

	CHECK(br_free_runs_init(&space, initial.runs, initial.count) == 0);
	for (int pass = 0; pass < 2; pass++) {
		struct model model = initial;
		check_same(&space, &model);
		for (int i = 0; i < 60; i++)
			one_step(&space, &model, &initial, state);
		br_free_runs_reset(&space, initial.runs);
	}
	br_free_runs_free(&space);
}

int main(void)
{
	uint64_t state = random_seed(1);
	uint64_t rounds = random_rounds(3000);

	for (uint64_t round = 0; round < rounds; round++)
		one_space(&state);
	return 0;
}
