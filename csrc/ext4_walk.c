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

void br_fs_geometry(struct br_fs *handle, struct br_geometry *out)
{
	ext2_filsys fs = handle->fs;

	*out = (struct br_geometry){
		.blocks = ext2fs_blocks_count(fs->super),
		.block_bytes = fs->blocksize,
		.cluster_blocks = (uint32_t)EXT2FS_CLUSTER_RATIO(fs),
		.first_data_blk = fs->super->s_first_data_block,
		.blocks_per_group = fs->super->s_blocks_per_group,
		.inodes_per_group = fs->super->s_inodes_per_group,
		.inodes = fs->super->s_inodes_count,
		.groups = fs->group_desc_count,
	};
}

int br_fs_group(struct br_fs *handle, uint32_t group, struct br_group *out, struct br_err *err)
{
	ext2_filsys fs = handle->fs;

	if (group >= fs->group_desc_count)
		return br_fail(err, EINVAL, "there is no group %u", group);
	*out = (struct br_group){
		.block_bitmap_blk = ext2fs_block_bitmap_loc(fs, group),
		.inode_bitmap_blk = ext2fs_inode_bitmap_loc(fs, group),
		.table_blk = ext2fs_inode_table_loc(fs, group),
		.table_blocks = fs->inode_blocks_per_group,
		.used_table_blocks = (uint32_t)br_group_used_table_blks(fs, group),
		.block_bitmap_used = (uint32_t)br_group_has_block_bitmap(fs, group),
		.inode_bitmap_used = (uint32_t)br_group_has_inode_bitmap(fs, group),
	};
	return 0;
}
