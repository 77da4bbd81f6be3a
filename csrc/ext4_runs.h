/* Lists of runs: what an inode maps, as a sequence of blocks that are consecutive in the file and
 * on the disk. */
#ifndef BR_EXT4_RUNS_H
#define BR_EXT4_RUNS_H

#include "core_api.h"

struct br_run {
	uint64_t lblk;
	uint64_t pblk;
	uint64_t length;
	uint64_t after_blk; /* where the run before it ended, behind the indirect blocks that lie
	                     * there; 0 for the first */
	int node;           /* a block of the mapping itself; lblk means nothing then */
	int unwritten;
};

struct br_run_list {
	struct br_run *items;
	size_t count;
	size_t capacity;
};

void br_run_list_free(struct br_run_list *list);

/* Append a run as it is. -ENOMEM. */
int br_run_list_add(struct br_run_list *list, const struct br_run *run);

/* Append a run, joined to the last one where it goes on with it, and split so that no item becomes
 * longer than one extent can be. -ENOMEM. */
int br_run_list_join(struct br_run_list *list, struct br_run run);

/* Whether it lies where the run before it ended. */
int br_run_goes_on(const struct br_run *run);

/* Two lists in step. */
struct br_run_pair {
	const struct br_run_list *before;
	const struct br_run_list *after;
	size_t before_index, after_index;
	uint64_t before_done, after_done;
};

/* A stretch that is one run in both. */
struct br_stretch {
	uint64_t lblk;
	uint64_t before_blk;
	uint64_t after_blk;
	uint64_t length;
	int unwritten;
};

/* 1, 0 at the end of both, -EUCLEAN where holes or unwritten marks differ. */
int br_run_pair_next(struct br_run_pair *pair, struct br_stretch *out);

#endif
