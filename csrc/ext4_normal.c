#include "ext4_normal.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "ext4_dirent.h"
#include "ext4_quota.h"
#include "ext4_xattr.h"

enum {
	TAIL_BYTES = 12,
	TAIL_TYPE = 0xDE,
	DX_ROOT_LIMIT_AT = 32,
	DX_NODE_LIMIT_AT = 8,
	DX_ENTRY_BYTES = 8,
};

/* Replace the inode number at `place` by the new one; in the new filesystem check it. */
static int map_number(const struct br_normal *normal, uint8_t *place)
{
	ext2_filsys fs = normal->handle->fs;
	ext2_ino_t ino = br_load32(place);

	if (!ino)
		return 0;
	if (normal->map) {
		br_store32(place, br_inode_map_new(normal->map, ino));
		return 0;
	}
	if (ino <= fs->super->s_inodes_count && ext2fs_fast_test_inode_bitmap2(fs->inode_map, ino))
		return 0;
	return br_fail(normal->err, EUCLEAN, "inode %u is named but not in use", ino);
}

static int map_entries(const struct br_normal *normal, struct br_dir_part *part, uint8_t *bytes)
{
	struct br_dirent entry;

	for (;;) {
		int result = br_dirent_next(part, &entry, normal->err);
		if (result <= 0)
			return result;
		result = map_number(normal, bytes + entry.offset);
		if (result)
			return result;
	}
}

static int map_values(const struct br_normal *normal, struct br_xattrs list, uint8_t *bytes)
{
	struct br_xattr entry;

	while (br_xattr_next(&list, &entry)) {
		int result = map_number(normal, bytes + entry.offset + BR_XATTR_INUM_AT);
		if (result)
			return result;
	}
	return 0;
}

static int map_inline_directory(const struct br_normal *normal, const struct br_inode *inode,
                                uint8_t *copy)
{
	struct br_dir_part parts[2];
	int result = map_number(normal, copy + offsetof(struct ext2_inode_large, i_block));

	br_dir_inline_parts(inode, parts);
	for (int i = 0; i < 2 && !result; i++)
		result = map_entries(normal, &parts[i], copy + (parts[i].bytes - inode->raw));
	return result;
}

#define CLEAR(field)                                                                               \
	memset(copy + offsetof(struct ext2_inode_large, field), 0,                                 \
	       sizeof(((struct ext2_inode_large *)0)->field))

int br_normal_inode(const struct br_normal *normal, const struct br_inode *inode, uint8_t *copy)
{
	struct br_xattrs list = br_xattrs_in_inode(inode->raw, inode->size);
	int result = 0;

	memcpy(copy, inode->raw, inode->size);
	if (list.bytes)
		result = map_values(normal, list, copy + (list.bytes - inode->raw));
	if (!result && inode->kind == BR_KIND_DIRECTORY && !inode->mapped)
		result = map_inline_directory(normal, inode, copy);
	if (inode->mapped)
		CLEAR(i_block);
	CLEAR(i_blocks);
	CLEAR(i_file_acl);
	CLEAR(osd2.linux2.l_i_blocks_hi);
	CLEAR(osd2.linux2.l_i_file_acl_high);
	CLEAR(osd2.linux2.l_i_checksum_lo);
	if (inode->size > EXT2_GOOD_OLD_INODE_SIZE && inode->core.i_extra_isize >= 4)
		CLEAR(i_checksum_hi);
	return result;
}

/* Where the checksum of an index block is, or 0: in the root behind "." and "..", in other nodes
 * behind one empty entry that fills the block. */
static unsigned int index_checksum_at(const uint8_t *block, unsigned int size)
{
	unsigned int first = br_load16(block + 4);
	unsigned int at = 0;

	if (first == 12 && br_load16(block + 12 + 4) == (uint16_t)(size - 12) &&
	    br_load32(block + 24) == 0 && block[29] == 8)
		at = DX_ROOT_LIMIT_AT;
	else if (br_load32(block) == 0 && block[6] == 0 &&
	         (first == size || (size == 65536 && (first == 0 || first == 65535))))
		at = DX_NODE_LIMIT_AT;
	if (!at)
		return 0;
	unsigned int limit = br_load16(block + at);
	unsigned int tail = at + limit * DX_ENTRY_BYTES;
	return limit && tail + 8 <= size ? tail + 4 : 0;
}

int br_normal_dir_block(const struct br_normal *normal, ext2_ino_t dir, uint8_t *block)
{
	unsigned int size = normal->handle->fs->blocksize;
	struct br_dir_part part = {block, size, 0, dir};
	uint8_t *tail = block + size - TAIL_BYTES;
	unsigned int at;
	int result = map_entries(normal, &part, block);

	if (result || !ext2fs_has_feature_metadata_csum(normal->handle->fs->super))
		return result;
	if (br_load32(tail) == 0 && br_load16(tail + 4) == TAIL_BYTES && tail[6] == 0 &&
	    tail[7] == TAIL_TYPE)
		br_store32(tail + 8, 0);
	else if ((at = index_checksum_at(block, size)))
		br_store32(block + at, 0);
	return 0;
}

int br_normal_xattr_block(const struct br_normal *normal, uint8_t *block)
{
	struct br_xattrs list = br_xattrs_in_block(block, normal->handle->fs->blocksize);

	if (!list.bytes)
		return br_fail(normal->err, EUCLEAN, "an xattr block has a bad signature");
	br_store32(block + BR_XATTR_CHECKSUM_AT, 0);
	return map_values(normal, list, block + BR_XATTR_HEADER_BYTES);
}

void br_normal_orphan_block(const struct br_normal *normal, uint8_t *block)
{
	if (ext2fs_has_feature_metadata_csum(normal->handle->fs->super))
		br_store32(block + normal->handle->fs->blocksize - 4, 0);
}

void br_normal_quota_block(const struct br_normal *normal, uint64_t lblk, uint8_t *block)
{
	uint64_t size = normal->handle->fs->blocksize;

	for (uint64_t i = 0; i < size; i++)
		if (br_quota_is_usage(lblk * size + i))
			block[i] = 0;
}

static ext2_ino_t map_special(const struct br_normal *normal, ext2_ino_t ino)
{
	return normal->map ? br_inode_map_new(normal->map, ino) : ino;
}

/* What may differ between a filesystem and the same one in another size. */
void br_normal_super(const struct br_normal *normal, struct ext2_super_block *super)
{
	*super = *normal->handle->fs->super;
	super->s_inodes_count = super->s_free_inodes_count = 0;
	ext2fs_blocks_count_set(super, 0);
	ext2fs_r_blocks_count_set(super, 0);
	ext2fs_free_blocks_count_set(super, 0);
	super->s_blocks_count_hi = super->s_r_blocks_count_hi = super->s_free_blocks_hi = 0;
	super->s_wtime = 0;
	super->s_wtime_hi = 0;
	super->s_kbytes_written = 0;
	super->s_overhead_clusters = 0;
	super->s_reserved_gdt_blocks = 0;
	super->s_first_meta_bg = 0;
	ext2fs_clear_feature_meta_bg(super);
	memset(super->s_backup_bgs, 0, sizeof(super->s_backup_bgs));
	memset(super->s_jnl_blocks, 0, sizeof(super->s_jnl_blocks));
	super->s_checksum = 0;
	super->s_usr_quota_inum = map_special(normal, super->s_usr_quota_inum);
	super->s_grp_quota_inum = map_special(normal, super->s_grp_quota_inum);
	super->s_prj_quota_inum = map_special(normal, super->s_prj_quota_inum);
	super->s_orphan_file_inum = map_special(normal, super->s_orphan_file_inum);
	super->s_lpf_ino = map_special(normal, super->s_lpf_ino);
}
