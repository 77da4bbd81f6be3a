/* The moves of one inode: made for the clusters that it gets, and applied to its runs. */
#ifndef BR_EXT4_MOVES_H
#define BR_EXT4_MOVES_H

#include "ext4_relocate.h"

/* Where the clusters of one file come from: one run, or run after run. */
struct br_source {
	uint64_t at;
	uint64_t left;
	uint64_t wanted; /* beyond `left` */
};

enum br_part { BR_PART_MUST, BR_PART_ALL, BR_PART_REST, BR_PART_NONE };

/* Make the file's moves: `part` of it goes to what `source` gives, the rest stays. */
int br_moves_record(struct br_plan *plan, struct br_file *file, enum br_part part,
                    uint32_t kept_pieces, struct br_source source);

/* What the runs of the inode become under its moves. -ENOMEM, -EUCLEAN where a run has no move. */
int br_moves_apply(const struct br_plan *plan, const struct br_file *file,
                   const struct br_run_list *old, struct br_run_list *out, struct br_err *err);

#endif
