/* What resize2fs leaves wrong on a filesystem, put right from the original. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "ext4_journal.h"
#include "ext4_match.h"
#include "ext4_quota.h"
#include "ext4_space.h"
#include "ext4_view.h"
#include "ext4_xattr_blocks.h"

struct restore {
	struct br_fs *before;
	struct br_fs *after;
	const struct br_inode_map *map;
	struct br_inode_reader old_reader;
	struct br_inode_reader new_reader;
	struct br_quota_changes quota;
	struct br_xattr_owners xattrs;
	uint8_t *wanted; /* one raw inode */
	struct br_err *err;
};

#define KEEP(field)                                                                                \
	memcpy(wanted + offsetof(struct ext2_inode_large, field),                                  \
	       after + offsetof(struct ext2_inode_large, field),                                   \
	       sizeof(((struct ext2_inode_large *)0)->field))

/* Everything of `before` but where things lie, and the xattrs, which may name renumbered inodes. */
static void build_inode(uint8_t *wanted, const struct br_inode *before, const uint8_t *after)
{
	size_t extra = EXT2_GOOD_OLD_INODE_SIZE;

	memcpy(wanted, before->raw, before->size);
	KEEP(i_block);
	KEEP(i_blocks);
	KEEP(i_file_acl);
	KEEP(osd2.linux2.l_i_blocks_hi);
	KEEP(osd2.linux2.l_i_file_acl_high);
	KEEP(osd2.linux2.l_i_checksum_lo);
	if (before->size <= EXT2_GOOD_OLD_INODE_SIZE)
		return;
	extra += before->core.i_extra_isize;
	if (extra >= offsetof(struct ext2_inode_large, i_checksum_hi) + 2)
		KEEP(i_checksum_hi);
	if (extra < before->size)
		memcpy(wanted + extra, after + extra, before->size - extra);
}

static int restore_inode(struct restore *restore, const struct br_inode *old)
{
	struct br_inode new;
	ext2_ino_t ino = br_inode_map_new(restore->map, old->ino);

	if (old->kind == BR_KIND_RESIZE) /* made anew for the new size */
		return 0;
	int result = br_inode_read(&restore->new_reader, ino, &new, restore->err);
	if (result)
		return result;
	if (old->size != new.size)
		return br_fail(restore->err, EUCLEAN, "the inode size changed");
	int64_t sectors = (int64_t)(br_inode_sectors(restore->after, &new) -
	                            br_inode_sectors(restore->before, old));
	if (sectors && br_quota_note(&restore->quota, restore->before, old, sectors * 512))
		return br_fail(restore->err, ENOMEM, "out of memory for quota");
	result = br_xattr_owners_note(&restore->xattrs, restore->before, old, restore->after, &new,
	                              restore->err);
	if (result)
		return result;
	build_inode(restore->wanted, old, new.raw);
	if (!memcmp(restore->wanted, new.raw, new.size))
		return 0;
	errcode_t code = ext2fs_write_inode_full(restore->after->fs, ino,
	                                         (struct ext2_inode *)(void *)restore->wanted,
	                                         (int)new.size);
	return code ? br_fail_ext2(restore->err, code, "cannot write inode %u", ino) : 0;
}

static int restore_inodes(struct restore *restore)
{
	struct br_inode old = {0};
	int result = br_inode_reader_open(&restore->old_reader, restore->before, restore->err);

	if (!result)
		result = br_inode_reader_open(&restore->new_reader, restore->after, restore->err);
	restore->wanted = malloc(EXT2_INODE_SIZE(restore->before->fs->super));
	if (!result && !restore->wanted)
		result = br_fail(restore->err, ENOMEM, "out of memory");
	while (!result) {
		result = br_inode_next(&restore->old_reader, &old, restore->err);
		if (result <= 0)
			break;
		result = restore_inode(restore, &old);
	}
	free(restore->wanted);
	br_inode_reader_close(&restore->new_reader);
	br_inode_reader_close(&restore->old_reader);
	return result;
}

static void restore_super(struct restore *restore)
{
	const struct ext2_super_block *old = restore->before->fs->super;
	struct ext2_super_block *new = restore->after->fs->super;
	const struct br_inode_map *map = restore->map;

	new->s_usr_quota_inum = br_inode_map_new(map, old->s_usr_quota_inum);
	new->s_grp_quota_inum = br_inode_map_new(map, old->s_grp_quota_inum);
	new->s_prj_quota_inum = br_inode_map_new(map, old->s_prj_quota_inum);
	new->s_orphan_file_inum = br_inode_map_new(map, old->s_orphan_file_inum);
	new->s_lpf_ino = br_inode_map_new(map, old->s_lpf_ino);
	new->s_raid_stride = old->s_raid_stride;
	/* Checking the shadow is no check of the disk. */
	new->s_lastcheck = old->s_lastcheck;
	new->s_lastcheck_hi = old->s_lastcheck_hi;
	new->s_mnt_count = old->s_mnt_count;
	ext2fs_mark_super_dirty(restore->after->fs);
}

static int seal_orphan_block(struct br_view *view, const struct br_inode *inode, uint64_t blk,
                             struct br_err *err)
{
	ext2_filsys fs = view->handle->fs;
	char *block = (char *)view->block;
	int result = br_view_block(view, blk, err);

	if (result)
		return result;
	struct ext4_orphan_block_tail *tail = ext2fs_orphan_block_tail(fs, block);
	uint32_t sum = ext2fs_do_orphan_file_block_csum(fs, inode->ino, inode->core.i_generation,
	                                                blk, block);
	if (tail->ob_checksum == sum)
		return 0;
	tail->ob_checksum = sum;
	errcode_t code = io_channel_write_blk64(fs->io, blk, 1, block);
	return code ? br_fail_ext2(err, code, "cannot write the orphan file") : 0;
}

static int seal_orphan_file(struct br_view *view, struct br_err *err)
{
	struct br_inode inode;
	ext2_ino_t ino = view->handle->fs->super->s_orphan_file_inum;
	int result = br_inode_read(&view->inodes, ino, &inode, err);

	if (!result)
		result = br_view_runs(view, &inode, err);
	for (size_t i = 0; i < view->runs.count && !result; i++) {
		const struct br_run *run = &view->runs.items[i];
		for (uint64_t blk = 0; blk < run->length && !result; blk++)
			result = seal_orphan_block(view, &inode, run->pblk + blk, err);
	}
	return result;
}

/* The checksums of the orphan file's blocks cover its number and where they lie. */
static int restore_orphan_file(struct restore *restore)
{
	struct br_fs *handle = restore->after;
	struct ext2_super_block *super = handle->fs->super;
	struct br_view view;

	if (!ext2fs_has_feature_orphan_file(super) || !ext2fs_has_feature_metadata_csum(super))
		return 0;
	int result = br_view_open(&view, handle, restore->err);
	if (!result)
		result = seal_orphan_file(&view, restore->err);
	br_view_close(&view);
	return result;
}

static int count_free(ext2_filsys fs, uint64_t start, uint64_t end, uint64_t *out,
                      struct br_err *err)
{
	uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(fs);

	*out = 0;
	for (;;) {
		struct br_extent run;
		int result = br_space_next(fs, 0, start, end, &run, err);
		if (result || !run.length)
			return result;
		*out += (run.length + ratio - 1) / ratio;
		start = run.start + run.length;
	}
}

/* Free clusters of every group and in all; resize2fs miscounts them with bigalloc. */
static int restore_counts(struct restore *restore)
{
	ext2_filsys fs = restore->after->fs;
	uint64_t sum = 0;

	for (dgrp_t group = 0; group < fs->group_desc_count; group++) {
		uint64_t start = ext2fs_group_first_block2(fs, group);
		uint64_t end = ext2fs_group_last_block2(fs, group) + 1;
		uint64_t free_clusters;
		int result = count_free(fs, start, end, &free_clusters, restore->err);
		if (result)
			return result;
		sum += free_clusters;
		if (ext2fs_bg_free_blocks_count(fs, group) == free_clusters)
			continue;
		ext2fs_bg_free_blocks_count_set(fs, group, (uint32_t)free_clusters);
		ext2fs_group_desc_csum_set(fs, group);
	}
	ext2fs_free_blocks_count_set(fs->super, sum * (uint64_t)EXT2FS_CLUSTER_RATIO(fs));
	ext2fs_mark_super_dirty(fs);
	return 0;
}

int br_restore(struct br_fs *before, struct br_fs *after, const struct br_inode_map *map,
               struct br_err *err)
{
	struct restore restore = {.before = before, .after = after, .map = map, .err = err};

	/* First the superblock: it says which inodes are special. */
	restore_super(&restore);
	int result = restore_inodes(&restore);
	if (!result)
		result = br_xattr_owners_restore(&restore.xattrs, before, after, map, err);
	if (!result)
		result = br_quota_apply(&restore.quota, after, err);
	if (!result)
		result = br_journal_back_up(after, err);
	if (!result)
		result = restore_orphan_file(&restore);
	if (!result)
		result = restore_counts(&restore);
	br_xattr_owners_free(&restore.xattrs);
	br_quota_free(&restore.quota);
	return result;
}
