/* Free space as a static array of runs that are only ever taken from their front.
 *
 * Nothing is given back, so the array never changes its order, and a segment tree over the
 * remaining lengths answers "the first run of at least n at or after index i" in O(log runs). Units
 * are the caller's (clusters).
 */
#ifndef BR_FREE_RUNS_H
#define BR_FREE_RUNS_H

#include "core_api.h"

#define BR_NO_RUN SIZE_MAX

struct br_free_runs {
	struct br_extent *runs; /* what is left of each run, sorted by start */
	uint64_t *tree;         /* largest length below each node; leaves from `leaves` on */
	size_t *by_length;      /* indices, shortest run first, for single units */
	size_t count;
	size_t leaves;
	size_t next_short; /* runs before this one in by_length are used up */
	uint64_t total;
};

/* `runs` has to be normal (sorted, not empty, not touching); it is copied. -ENOMEM. */
int br_free_runs_init(struct br_free_runs *space, const struct br_extent *runs, size_t count);
/* Back to the runs that init saw, without allocating; `runs` and count as then. */
void br_free_runs_reset(struct br_free_runs *space, const struct br_extent *runs);
void br_free_runs_free(struct br_free_runs *space);

/* The first run at or after index `from` with at least `length` left, or BR_NO_RUN. */
size_t br_free_runs_find(const struct br_free_runs *space, size_t from, uint64_t length);
/* The longest run, or BR_NO_RUN when nothing is left. */
size_t br_free_runs_longest(const struct br_free_runs *space);
/* The run whose front is exactly `start`, or BR_NO_RUN. */
size_t br_free_runs_starting_at(const struct br_free_runs *space, uint64_t start);
/* Take `length` from the front of a run that has as much; returns where it starts. */
uint64_t br_free_runs_take(struct br_free_runs *space, size_t index, uint64_t length);
/* Take one unit from the shortest run there was at the beginning. -ENOSPC. */
int br_free_runs_take_single(struct br_free_runs *space, uint64_t *start);

#endif
