#define _GNU_SOURCE /* qsort_r */
#include "free_runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t longer(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static int compare_length(const void *a, const void *b, void *runs)
{
	const struct br_extent *x = &((const struct br_extent *)runs)[*(const size_t *)a];
	const struct br_extent *y = &((const struct br_extent *)runs)[*(const size_t *)b];

	if (x->length != y->length)
		return (x->length > y->length) - (x->length < y->length);
	return (x->start > y->start) - (x->start < y->start);
}

int br_free_runs_init(struct br_free_runs *space, const struct br_extent *runs, size_t count)
{
	size_t leaves = 1;

	while (leaves < count)
		leaves *= 2;
	*space = (struct br_free_runs){.count = count, .leaves = leaves};
	space->runs = calloc(count + 1, sizeof(*space->runs));
	space->by_length = calloc(count + 1, sizeof(*space->by_length));
	space->tree = calloc(leaves, 2 * sizeof(*space->tree));
	if (!space->runs || !space->by_length || !space->tree) {
		br_free_runs_free(space);
		return -ENOMEM;
	}
	br_free_runs_reset(space, runs);
	for (size_t i = 0; i < count; i++)
		space->by_length[i] = i;
	qsort_r(space->by_length, count, sizeof(*space->by_length), compare_length, space->runs);
	return 0;
}

void br_free_runs_reset(struct br_free_runs *space, const struct br_extent *runs)
{
	space->total = 0;
	space->next_short = 0;
	for (size_t i = 0; i < space->count; i++) {
		space->runs[i] = runs[i];
		space->tree[space->leaves + i] = runs[i].length;
		space->total += runs[i].length;
	}
	for (size_t i = space->leaves - 1; i > 0; i--)
		space->tree[i] = longer(space->tree[2 * i], space->tree[2 * i + 1]);
}

void br_free_runs_free(struct br_free_runs *space)
{
	free(space->runs);
	free(space->by_length);
	free(space->tree);
	*space = (struct br_free_runs){0};
}

/* The leftmost leaf below `node` of at least `length`; there is one. */
static size_t descend(const struct br_free_runs *space, size_t node, uint64_t length)
{
	while (node < space->leaves) {
		node *= 2;
		if (space->tree[node] < length)
			node++;
	}
	return node - space->leaves;
}

size_t br_free_runs_find(const struct br_free_runs *space, size_t from, uint64_t length)
{
	if (from >= space->count)
		return BR_NO_RUN;
	size_t node = space->leaves + from;

	if (space->tree[node] >= length)
		return from;
	/* Climb until something to the right is long enough, then go down to its leftmost leaf. */
	for (; node > 1; node /= 2) {
		if (node % 2 == 0 && space->tree[node + 1] >= length)
			return descend(space, node + 1, length);
	}
	return BR_NO_RUN;
}

size_t br_free_runs_longest(const struct br_free_runs *space)
{
	uint64_t length = space->tree[1];

	return length ? descend(space, 1, length) : BR_NO_RUN;
}

size_t br_free_runs_starting_at(const struct br_free_runs *space, uint64_t start)
{
	size_t low = 0, high = space->count;

	/* A used-up run's start is its end, which may touch nothing else: runs never touch. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (space->runs[middle].start < start)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == space->count || space->runs[low].start != start || !space->runs[low].length)
		return BR_NO_RUN;
	return low;
}

uint64_t br_free_runs_take(struct br_free_runs *space, size_t index, uint64_t length)
{
	uint64_t start = space->runs[index].start;
	size_t node = space->leaves + index;

	space->runs[index].start += length;
	space->runs[index].length -= length;
	space->total -= length;
	space->tree[node] = space->runs[index].length;
	for (node /= 2; node > 0; node /= 2)
		space->tree[node] = longer(space->tree[2 * node], space->tree[2 * node + 1]);
	return start;
}

int br_free_runs_take_single(struct br_free_runs *space, uint64_t *start)
{
	while (space->next_short < space->count) {
		size_t index = space->by_length[space->next_short];
		if (space->runs[index].length) {
			*start = br_free_runs_take(space, index, 1);
			return 0;
		}
		space->next_short++;
	}
	return -ENOSPC;
}
