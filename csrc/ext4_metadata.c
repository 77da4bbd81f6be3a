/* Every block whose content a shadow of the filesystem must hold. */
#include <errno.h>

#include "error.h"
#include "ext4_group.h"
#include "ext4_view.h"
#include "extent.h"

struct gather {
	struct br_extents *list;
	struct br_err *err;
	enum br_kind kind;
};

static int gather_run(void *context, const struct br_run *run)
{
	struct gather *gather = context;
	uint64_t metadata = br_kind_metadata_blks(gather->kind);
	uint64_t length = run->length;

	if (!run->node) {
		if (run->lblk >= metadata)
			return 0;
		if (length > metadata - run->lblk)
			length = metadata - run->lblk;
	}
	int result = br_extents_add(gather->list, run->pblk, length);
	return result ? br_fail(gather->err, -result, "out of memory for the metadata map") : 0;
}

static int gather_inode(struct br_tree *tree, const struct br_inode *inode, struct gather *gather)
{
	uint64_t acl = br_inode_acl_blk(tree->handle, inode);
	int result = 0;

	gather->kind = inode->kind;
	if (acl) {
		result = br_check_blk(tree->handle, acl, inode->ino, gather->err);
		if (!result && br_extents_add(gather->list, acl, 1))
			result = br_fail(gather->err, ENOMEM, "out of memory for the metadata map");
	}
	return result ? result : br_tree_walk(tree, inode, gather_run, gather, gather->err);
}

static int gather_all(struct br_fs *handle, struct gather *gather)
{
	struct br_view view;
	struct br_inode inode = {0};
	int result = br_view_open(&view, handle, gather->err);

	while (!result) {
		result = br_inode_next(&view.inodes, &inode, gather->err);
		if (result <= 0)
			break;
		result = gather_inode(&view.tree, &inode, gather);
	}
	br_view_close(&view);
	return result;
}

int br_fs_metadata(struct br_fs *handle, struct br_extents *out, struct br_err *err)
{
	struct br_extents list = {0};
	struct gather gather = {.list = &list, .err = err};
	uint64_t mmp = handle->fs->super->s_mmp_block;
	int result = br_group_metadata(handle, 0, &list, err);

	if (!result && ext2fs_has_feature_mmp(handle->fs->super) && mmp)
		result = br_extents_add(&list, mmp, 1);
	if (!result)
		result = gather_all(handle, &gather);
	if (result) {
		br_extents_free(&list);
		return result;
	}
	br_extents_normalise(&list);
	*out = list;
	return 0;
}
