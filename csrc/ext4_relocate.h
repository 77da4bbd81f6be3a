/* The plan of a consolidation: which blocks of which inode go where. Positions are clusters. */
#ifndef BR_EXT4_RELOCATE_H
#define BR_EXT4_RELOCATE_H

#include <stdbool.h>

#include "ext4.h"
#include "ext4_view.h"
#include "free_runs.h"

/* A physical run of an inode, wholly to be evacuated or wholly allowed to stay. */
struct br_piece {
	uint64_t start;
	uint32_t length;
	bool joined; /* goes on where the piece before ends */
	bool must;
};

struct br_move {
	uint64_t from;
	uint64_t to; /* equal to `from` for what stays */
	uint32_t length;
	bool joined; /* goes on where the move before ends, at the new places */
};

/* An inode that has to move, or may be joined. Slices are indices into the plan's arrays. */
struct br_file {
	uint64_t clusters;
	uint64_t must_clusters;
	size_t first_piece;
	size_t first_move;
	size_t first_node;
	uint32_t ino;
	uint32_t rank; /* in directory order */
	uint32_t piece_count;
	uint32_t move_count; /* 0: not in the plan */
	uint32_t extents;    /* before */
	uint32_t runs;       /* before */
	uint32_t new_runs;   /* after, once planned */
	uint32_t old_nodes;
	uint32_t must_nodes;
	uint32_t new_nodes; /* taken from the free space for it */
	bool block_mapped;
	bool regular;
	bool joinable;
	bool immovable;
	bool chosen; /* may move more than it must, to become one run */
};

/* An extended attribute block that is evacuated, once for each inode that names it. */
struct br_attribute_move {
	uint64_t from_blk;
	uint64_t to_blk;
	uint32_t ino;
};

struct br_plan {
	ext2_filsys fs;
	unsigned cluster_bits;
	uint64_t end; /* clusters */
	struct br_extents forbidden;
	struct br_extents free_at_start;
	struct br_free_runs space;
	struct br_view view;
	struct br_run_list tree_blocks; /* of the inode that the view looks at */
	ext2fs_inode_bitmap directories;
	struct br_file *files; /* by inode number */
	size_t file_count, file_capacity;
	struct br_piece *pieces;
	size_t piece_count, piece_capacity;
	struct br_move *moves;
	size_t move_count, move_capacity;
	uint64_t *nodes; /* blocks */
	size_t node_count, node_capacity;
	struct br_attribute_move *attributes; /* by from_blk */
	size_t attribute_count, attribute_capacity;
	uint64_t must_total;  /* data clusters that have to move */
	uint64_t must_single; /* tree nodes and attribute blocks that have to move */
	uint64_t spare;       /* clusters that joining may use */
	bool at_any_cost;     /* joining is limited by nothing else */
	uint64_t untouched_fragmented;
	struct br_consolidate_stats *stats;
};

/* Fill in the plan without changing the filesystem. -ENOSPC when it does not fit. */
int br_plan_build(struct br_plan *plan, const struct br_consolidate_request *request,
                  struct br_err *err);
void br_plan_free(struct br_plan *plan);

/* Whether a block may not stay where it is. */
bool br_plan_must_leave(const struct br_plan *plan, uint64_t blk);

/* Read an inode of the plan: its runs into the view, its tree into tree_blocks. */
int br_plan_look_at(struct br_plan *plan, ext2_ino_t ino, struct br_inode *inode,
                    struct br_err *err);

/* The rank of each file of the plan in a walk of the directory tree. */
int br_plan_rank_files(struct br_plan *plan, struct br_err *err);

#endif
