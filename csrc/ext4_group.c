#include "ext4_group.h"

#include <errno.h>

#include "error.h"
#include "extent.h"

int br_group_has_block_bitmap(ext2_filsys fs, dgrp_t group)
{
	return !(ext2fs_has_group_desc_csum(fs) &&
	         ext2fs_bg_flags_test(fs, group, EXT2_BG_BLOCK_UNINIT));
}

int br_group_has_inode_bitmap(ext2_filsys fs, dgrp_t group)
{
	return !(ext2fs_has_group_desc_csum(fs) &&
	         ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT));
}

uint64_t br_group_used_table_blks(ext2_filsys fs, dgrp_t group)
{
	uint64_t inodes = fs->super->s_inodes_per_group;

	if (!br_group_has_inode_bitmap(fs, group))
		return 0;
	if (ext2fs_has_group_desc_csum(fs)) {
		uint64_t unused = ext2fs_bg_itable_unused(fs, group);
		inodes -= unused < inodes ? unused : inodes;
	}
	return (inodes * EXT2_INODE_SIZE(fs->super) + fs->blocksize - 1) / fs->blocksize;
}

static int add_descriptors(ext2_filsys fs, dgrp_t group, int reserved, struct br_extents *list)
{
	blk64_t super = 0, old_desc = 0, new_desc = 0;
	uint64_t count = ext2fs_has_feature_meta_bg(fs->super) ? fs->super->s_first_meta_bg
	                                                       : fs->desc_blocks;
	int result = 0;

	ext2fs_super_and_bgd_loc2(fs, group, &super, &old_desc, &new_desc, NULL);
	if (reserved && !ext2fs_has_feature_meta_bg(fs->super))
		count += fs->super->s_reserved_gdt_blocks;
	if (super || group == 0)
		result = br_extents_add(list, super, 1);
	/* With 1 KiB blocks the boot block is block 0 and the superblock is block 1; with larger
	 * ones both share block 0. */
	if (!result && old_desc)
		result = br_extents_add(list, old_desc, count);
	if (!result && new_desc)
		result = br_extents_add(list, new_desc, 1);
	return result;
}

static int add_tables(ext2_filsys fs, dgrp_t group, int reserved, struct br_extents *list)
{
	uint64_t table =
		reserved ? fs->inode_blocks_per_group : br_group_used_table_blks(fs, group);
	int result = br_extents_add(list, ext2fs_inode_table_loc(fs, group), table);

	if (!result && (reserved || br_group_has_block_bitmap(fs, group)))
		result = br_extents_add(list, ext2fs_block_bitmap_loc(fs, group), 1);
	if (!result && (reserved || br_group_has_inode_bitmap(fs, group)))
		result = br_extents_add(list, ext2fs_inode_bitmap_loc(fs, group), 1);
	return result;
}

int br_group_metadata(struct br_fs *handle, int reserved, struct br_extents *list,
                      struct br_err *err)
{
	ext2_filsys fs = handle->fs;
	int result = 0;

	for (dgrp_t group = 0; group < fs->group_desc_count && !result; group++) {
		result = add_descriptors(fs, group, reserved, list);
		if (!result)
			result = add_tables(fs, group, reserved, list);
	}
	if (result)
		return br_fail(err, -result, "out of memory for the map of the groups");
	br_extents_normalise(list);
	if (list->count) {
		const struct br_extent *last = &list->items[list->count - 1];
		if (last->start + last->length > ext2fs_blocks_count(fs->super))
			return br_fail(err, EUCLEAN,
			               "metadata of a group lies outside the filesystem");
	}
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
