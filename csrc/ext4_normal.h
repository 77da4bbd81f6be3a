/* Metadata in a form in which both filesystems must agree byte by byte: the numbers of inodes are
 * those of the new one, what depends on the place is zero. */
#ifndef BR_EXT4_NORMAL_H
#define BR_EXT4_NORMAL_H

#include "ext4_match.h"

/* How to read one side. `map` is NULL for the new filesystem, whose numbers are checked instead:
 * -EUCLEAN where one is not in use. */
struct br_normal {
	struct br_fs *handle;
	const struct br_inode_map *map;
	struct br_err *err;
};

/* Each changes a copy in place. */
int br_normal_inode(const struct br_normal *normal, const struct br_inode *inode, uint8_t *copy);
int br_normal_dir_block(const struct br_normal *normal, ext2_ino_t dir, uint8_t *block);
int br_normal_xattr_block(const struct br_normal *normal, uint8_t *block);
void br_normal_orphan_block(const struct br_normal *normal, uint8_t *block);
void br_normal_quota_block(const struct br_normal *normal, uint64_t lblk, uint8_t *block);
void br_normal_super(const struct br_normal *normal, struct ext2_super_block *super);

#endif
