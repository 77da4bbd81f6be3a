/* How small a filesystem can become, and which sizes resize2fs makes. */
#include <errno.h>

#include "error.h"
#include "ext4_group.h"
#include "extent.h"

/* resize2fs drops a last group that would have fewer blocks than its own metadata and this. */
enum { LAST_GROUP_SPARE = 50 };

/* What resize2fs lays down for a filesystem of `groups` groups. */
struct layout {
	uint64_t groups;
	uint64_t descriptor_blks; /* in a group that has a backup */
};

static struct layout layout_of(ext2_filsys fs, uint64_t groups)
{
	struct ext2_super_block *super = fs->super;
	uint64_t per_blk = (uint64_t)EXT2_DESC_PER_BLOCK(super);
	uint64_t wanted = (groups + per_blk - 1) / per_blk;
	uint64_t reserved = super->s_reserved_gdt_blocks;

	if (ext2fs_has_feature_meta_bg(super)) {
		if (wanted > super->s_first_meta_bg)
			wanted = super->s_first_meta_bg;
		return (struct layout){groups, wanted};
	}
	if (ext2fs_has_feature_resize_inode(super)) {
		uint64_t total = reserved + fs->desc_blocks;
		reserved = total > wanted ? total - wanted : 0;
		if (reserved > fs->blocksize / 4)
			reserved = fs->blocksize / 4;
	}
	return (struct layout){groups, wanted + reserved};
}

static int has_backup(ext2_filsys fs, const struct layout *layout, uint64_t group)
{
	if (ext2fs_has_feature_sparse_super2(fs->super) && group && group == layout->groups - 1)
		return fs->super->s_backup_bgs[group == 1 ? 0 : 1] != 0;
	return ext2fs_bg_has_super(fs, (dgrp_t)group);
}

static uint64_t group_overhead(ext2_filsys fs, const struct layout *layout, uint64_t group)
{
	uint64_t per_blk = (uint64_t)EXT2_DESC_PER_BLOCK(fs->super);
	uint64_t count = 2 + fs->inode_blocks_per_group;
	int backup = has_backup(fs, layout, group);

	if (backup)
		count += 1;
	if (!ext2fs_has_feature_meta_bg(fs->super) || group / per_blk < fs->super->s_first_meta_bg)
		return count + (backup ? layout->descriptor_blks : 0);
	uint64_t place = group % per_blk;
	return count + (place == 0 || place == 1 || place == per_blk - 1);
}

static uint64_t last_group_least(ext2_filsys fs, uint64_t groups)
{
	/* As resize2fs reckons it: with the old number of reserved descriptor blocks. */
	uint64_t per_blk = (uint64_t)EXT2_DESC_PER_BLOCK(fs->super);
	struct layout layout = {groups, 0};
	uint64_t least = 2 + fs->inode_blocks_per_group;
	int backup = ext2fs_bg_has_super(fs, (dgrp_t)(groups - 1));

	if (ext2fs_has_feature_sparse_super2(fs->super))
		backup = fs->super->s_backup_bgs[layout.groups == 2 ? 0 : 1] != 0;
	if (backup)
		least += 1 + (groups + per_blk - 1) / per_blk + fs->super->s_reserved_gdt_blocks;
	return groups > 1 ? least + LAST_GROUP_SPARE : least;
}

int br_fs_effective_size(struct br_fs *handle, uint64_t blocks, uint64_t *out, struct br_err *err)
{
	ext2_filsys fs = handle->fs;
	uint64_t first = fs->super->s_first_data_block;
	uint64_t per_group = fs->super->s_blocks_per_group;
	uint64_t size = blocks - blocks % (uint64_t)EXT2FS_CLUSTER_RATIO(fs);

	while (size > first) {
		uint64_t groups = (size - first + per_group - 1) / per_group;
		uint64_t rest = (size - first) % per_group;
		if (groups > UINT32_MAX / fs->super->s_inodes_per_group) {
			size = first + (groups - 1) * per_group;
			continue;
		}
		if (!rest || rest >= last_group_least(fs, groups)) {
			*out = size;
			return 0;
		}
		if (groups == 1)
			break;
		size -= rest;
	}
	return br_fail(err, ENOSPC, "%llu blocks are too few for one block group",
	               (unsigned long long)blocks);
}

static uint64_t overhead_of(ext2_filsys fs, uint64_t groups)
{
	struct layout layout = layout_of(fs, groups);
	uint64_t sum = 0;

	for (uint64_t group = 0; group < groups; group++)
		sum += group_overhead(fs, &layout, group);
	return sum;
}

static uint64_t count_used(const struct br_extents *list)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < list->count; i++)
		sum += list->items[i].length;
	return sum;
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

/* Blocks of clusters in use by anything but the groups' own metadata. */
static int count_movable(struct br_fs *handle, uint64_t *out, struct br_err *err)
{
	struct br_extents used = {0}, fixed = {0};
	uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(handle->fs);
	int result = br_fs_used_extents(handle, &used, err);

	if (!result)
		result = br_group_metadata(handle, 1, &fixed, err);
	if (!result) {
		/* Whole clusters: what shares one with metadata cannot be anything else. */
		for (size_t i = 0; i < fixed.count; i++) {
			struct br_extent *item = &fixed.items[i];
			uint64_t end = round_up(item->start + item->length, ratio);
			item->start -= item->start % ratio;
			item->length = end - item->start;
		}
		br_extents_normalise(&fixed);
		uint64_t all = count_used(&used), own = count_used(&fixed);
		*out = all > own ? all - own : 0;
	}
	br_extents_free(&fixed);
	br_extents_free(&used);
	return result;
}

static int groups_suffice(ext2_filsys fs, uint64_t groups, uint64_t movable)
{
	uint64_t inodes = groups * fs->super->s_inodes_per_group;
	uint64_t used = fs->super->s_inodes_count - fs->super->s_free_inodes_count;

	return inodes >= used &&
	       groups * fs->super->s_blocks_per_group >= overhead_of(fs, groups) + movable;
}

int br_fs_minimum_blocks(struct br_fs *handle, uint64_t *out, struct br_err *err)
{
	ext2_filsys fs = handle->fs;
	uint64_t first = fs->super->s_first_data_block;
	uint64_t per_group = fs->super->s_blocks_per_group;
	uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(fs);
	uint64_t low = 1, high = fs->group_desc_count;
	uint64_t movable;
	int result = count_movable(handle, &movable, err);

	if (result)
		return result;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (groups_suffice(fs, middle, movable))
			high = middle;
		else
			low = middle + 1;
	}
	uint64_t size = round_up(first + overhead_of(fs, low) + movable, ratio);
	uint64_t least = first + (low - 1) * per_group + last_group_least(fs, low);
	if (least > first + low * per_group)
		least = first + low * per_group;
	if (size < round_up(least, ratio))
		size = round_up(least, ratio);
	uint64_t whole = ext2fs_blocks_count(fs->super);
	*out = size < whole ? size : whole;
	return 0;
}
