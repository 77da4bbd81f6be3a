/* An open filesystem with the working memory that it takes to read it. */
#ifndef BR_EXT4_VIEW_H
#define BR_EXT4_VIEW_H

#include "ext4_tree.h"

struct br_view {
	struct br_fs *handle;
	struct br_inode_reader inodes;
	struct br_tree tree;
	struct br_run_list runs; /* of the inode that is looked at */
	uint8_t *block;          /* one block */
};

/* To be closed even on failure. */
int br_view_open(struct br_view *view, struct br_fs *handle, struct br_err *err);
void br_view_close(struct br_view *view);

/* Fill view->runs with the data runs of an inode. */
int br_view_runs(struct br_view *view, const struct br_inode *inode, struct br_err *err);
/* Fill view->block. */
int br_view_block(struct br_view *view, uint64_t blk, struct br_err *err);

#endif
