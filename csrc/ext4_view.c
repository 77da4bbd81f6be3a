#include "ext4_view.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"

int br_view_open(struct br_view *view, struct br_fs *handle, struct br_err *err)
{
	*view = (struct br_view){.handle = handle};
	view->block = malloc(handle->fs->blocksize);
	if (!view->block)
		return br_fail(err, ENOMEM, "out of memory");
	int result = br_inode_reader_open(&view->inodes, handle, err);
	return result ? result : br_tree_open(&view->tree, handle, err);
}

void br_view_close(struct br_view *view)
{
	br_run_list_free(&view->runs);
	br_tree_close(&view->tree);
	br_inode_reader_close(&view->inodes);
	free(view->block);
	*view = (struct br_view){0};
}

int br_view_runs(struct br_view *view, const struct br_inode *inode, struct br_err *err)
{
	return br_tree_collect(&view->tree, inode, &view->runs, NULL, err);
}

int br_view_block(struct br_view *view, uint64_t blk, struct br_err *err)
{
	return br_read_blk(view->handle, blk, view->block, err);
}
