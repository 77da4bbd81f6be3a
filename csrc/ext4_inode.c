#include "ext4_inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

enum { READER_BYTES = 65536 };

int br_inode_reader_open(struct br_inode_reader *reader, struct br_fs *handle, struct br_err *err)
{
	uint64_t capacity = READER_BYTES / handle->fs->blocksize;

	*reader = (struct br_inode_reader){.handle = handle, .capacity = capacity};
	reader->buffer = malloc(READER_BYTES);
	return reader->buffer ? 0 : br_fail(err, ENOMEM, "out of memory");
}

void br_inode_reader_close(struct br_inode_reader *reader)
{
	free(reader->buffer);
	*reader = (struct br_inode_reader){0};
}

int br_check_blk(struct br_fs *handle, uint64_t blk, ext2_ino_t ino, struct br_err *err)
{
	if (blk >= handle->fs->super->s_first_data_block &&
	    blk < ext2fs_blocks_count(handle->fs->super))
		return 0;
	return br_fail(err, EUCLEAN,
	               "inode %u names block %llu, which the filesystem does not have", ino,
	               (unsigned long long)blk);
}

int br_read_blk(struct br_fs *handle, uint64_t blk, uint8_t *buffer, struct br_err *err)
{
	errcode_t code = io_channel_read_blk64(handle->fs->io, blk, 1, buffer);

	return code ? br_fail_ext2(err, code, "cannot read block %llu", (unsigned long long)blk)
	            : 0;
}

uint64_t br_inode_size(const struct br_inode *inode)
{
	return inode->core.i_size | (uint64_t)inode->core.i_size_high << 32;
}

uint64_t br_inode_acl_blk(struct br_fs *handle, const struct br_inode *inode)
{
	uint64_t blk = inode->core.i_file_acl;

	if (ext2fs_has_feature_64bit(handle->fs->super))
		blk |= (uint64_t)inode->core.osd2.linux2.l_i_file_acl_high << 32;
	return blk;
}

uint64_t br_inode_sectors(struct br_fs *handle, const struct br_inode *inode)
{
	uint64_t count = inode->core.i_blocks;

	if (ext2fs_has_feature_huge_file(handle->fs->super)) {
		count |= (uint64_t)inode->core.osd2.linux2.l_i_blocks_hi << 32;
		if (inode->core.i_flags & EXT4_HUGE_FILE_FL)
			count *= handle->fs->blocksize / 512;
	}
	return count;
}

static int is_quota(struct ext2_super_block *super, ext2_ino_t ino)
{
	if (!ext2fs_has_feature_quota(super))
		return 0;
	return ino == super->s_usr_quota_inum || ino == super->s_grp_quota_inum ||
	       (ext2fs_has_feature_project(super) && ino == super->s_prj_quota_inum);
}

static enum br_kind kind_of(struct ext2_super_block *super, ext2_ino_t ino,
                            const struct ext2_inode_large *core)
{
	if (ino == EXT2_BAD_INO)
		return BR_KIND_BAD_BLOCKS;
	if (ino == EXT2_RESIZE_INO && ext2fs_has_feature_resize_inode(super))
		return BR_KIND_RESIZE;
	if (ino == super->s_journal_inum && ext2fs_has_feature_journal(super))
		return BR_KIND_JOURNAL;
	if (ino == super->s_orphan_file_inum && ext2fs_has_feature_orphan_file(super))
		return BR_KIND_ORPHAN;
	if (is_quota(super, ino))
		return BR_KIND_QUOTA;
	if (LINUX_S_ISDIR(core->i_mode))
		return BR_KIND_DIRECTORY;
	if (LINUX_S_ISLNK(core->i_mode))
		return BR_KIND_SYMLINK;
	if (!LINUX_S_ISREG(core->i_mode) && core->i_mode)
		return BR_KIND_SPECIAL;
	return core->i_flags & EXT4_EA_INODE_FL ? BR_KIND_EA : BR_KIND_FILE;
}

uint64_t br_kind_metadata_blks(enum br_kind kind)
{
	switch (kind) {
	case BR_KIND_DIRECTORY:
	case BR_KIND_SYMLINK:
	case BR_KIND_QUOTA:
	case BR_KIND_ORPHAN:
		return UINT64_MAX;
	case BR_KIND_JOURNAL:
		return 1; /* its superblock; the rest is dead once it is replayed */
	default:
		return 0;
	}
}

static int is_mapped(ext2_filsys fs, enum br_kind kind, struct ext2_inode_large *core)
{
	if (core->i_flags & EXT4_INLINE_DATA_FL)
		return 0;
	if (kind == BR_KIND_SYMLINK)
		return ext2fs_inode_has_valid_blocks2(fs, EXT2_INODE(core));
	return kind != BR_KIND_SPECIAL;
}

int br_inode_in_use(struct br_fs *handle, const struct br_inode *inode)
{
	const struct ext2_super_block *super = handle->fs->super;

	if (inode->core.i_links_count || inode->kind == BR_KIND_RESIZE)
		return 1;
	if (inode->kind == BR_KIND_JOURNAL || inode->kind == BR_KIND_QUOTA ||
	    inode->kind == BR_KIND_ORPHAN)
		return 1;
	return inode->ino < EXT2_FIRST_INO(super) && inode->core.i_blocks;
}

/* Put the table block of inode number `index` of `group` into the buffer. */
static int load(struct br_inode_reader *reader, dgrp_t group, uint64_t table_blk,
                struct br_err *err)
{
	ext2_filsys fs = reader->handle->fs;
	uint64_t table = ext2fs_inode_table_loc(fs, group);
	uint64_t blk = table + table_blk;
	uint64_t left = fs->inode_blocks_per_group - table_blk;

	if (blk >= reader->first_blk && blk - reader->first_blk < reader->blocks)
		return 0;
	/* Ahead only where the reading goes on in order. */
	uint64_t most = blk == reader->first_blk + reader->blocks ? reader->capacity : 1;
	if (left > most)
		left = most;
	if (table < fs->super->s_first_data_block || blk + left > ext2fs_blocks_count(fs->super))
		return br_fail(err, EUCLEAN,
		               "the inode table of group %u lies outside the filesystem", group);
	reader->blocks = 0;
	errcode_t code = io_channel_read_blk64(fs->io, blk, (int)left, reader->buffer);
	if (code)
		return br_fail_ext2(err, code, "cannot read the inode table of group %u", group);
	reader->first_blk = blk;
	reader->blocks = left;
	return 0;
}

int br_inode_read(struct br_inode_reader *reader, ext2_ino_t ino, struct br_inode *out,
                  struct br_err *err)
{
	ext2_filsys fs = reader->handle->fs;
	unsigned int size = EXT2_INODE_SIZE(fs->super);

	if (ino == 0 || ino > fs->super->s_inodes_count)
		return br_fail(err, EUCLEAN, "there is no inode %u", ino);
	dgrp_t group = (ino - 1) / fs->super->s_inodes_per_group;
	uint64_t at = (uint64_t)((ino - 1) % fs->super->s_inodes_per_group) * size;
	int result = load(reader, group, at / fs->blocksize, err);
	if (result)
		return result;
	uint64_t blk = ext2fs_inode_table_loc(fs, group) + at / fs->blocksize;
	out->raw = reader->buffer + (blk - reader->first_blk) * fs->blocksize + at % fs->blocksize;
	out->ino = ino;
	out->size = size;
	memset(&out->core, 0, sizeof(out->core));
	memcpy(&out->core, out->raw, size < sizeof(out->core) ? size : sizeof(out->core));
	out->kind = kind_of(fs->super, ino, &out->core);
	out->mapped = is_mapped(fs, out->kind, &out->core);
	return 0;
}

int br_inode_next(struct br_inode_reader *reader, struct br_inode *out, struct br_err *err)
{
	ext2_filsys fs = reader->handle->fs;
	ext2_ino_t last = fs->super->s_inodes_count;
	ext2_ino_t ino = out->ino;

	while (ino < last) {
		errcode_t code =
			ext2fs_find_first_set_inode_bitmap2(fs->inode_map, ino + 1, last, &ino);
		if (code == ENOENT)
			return 0;
		if (code)
			return br_fail_ext2(err, code, "cannot search the inode bitmap");
		int result = br_inode_read(reader, ino, out, err);
		if (result)
			return result;
		if (br_inode_in_use(reader->handle, out))
			return 1;
	}
	return 0;
}
