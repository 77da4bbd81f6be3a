/* The mapping of an inode, walked with a bounded stack: extent trees and indirect blocks alike.
 *
 * A damaged tree ends in -EUCLEAN; it cannot make the walk loop, recurse or run long, because
 * levels only go down and the blocks met are counted against the size of the filesystem.
 */
#ifndef BR_EXT4_TREE_H
#define BR_EXT4_TREE_H

#include "ext4_inode.h"
#include "ext4_runs.h"

enum { BR_TREE_LEVELS = 6 };

typedef int (*br_run_fn)(void *context, const struct br_run *run);

struct br_tree {
	struct br_fs *handle;
	uint8_t *buffers;
	uint64_t budget; /* blocks that may still be met before the filesystem must be damaged */
};

int br_tree_open(struct br_tree *tree, struct br_fs *handle, struct br_err *err);
void br_tree_close(struct br_tree *tree);
/* Begin another pass over inodes that may have been met before. */
void br_tree_reset(struct br_tree *tree);

/* Call fn for every run and every tree block of a mapped inode, in logical order, a node before
 * what is below it. What fn returns other than 0 ends the walk and is returned. */
int br_tree_walk(struct br_tree *tree, const struct br_inode *inode, br_run_fn fn, void *context,
                 struct br_err *err);

/* The data runs of one inode as its tree has them, and the blocks of the tree (`nodes` may be
 * NULL). Replaces what the lists held. -ENOMEM, -EUCLEAN. */
int br_tree_collect(struct br_tree *tree, const struct br_inode *inode, struct br_run_list *runs,
                    struct br_run_list *nodes, struct br_err *err);

#endif
