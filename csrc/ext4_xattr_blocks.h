/* Xattr blocks as they were: resize2fs changes them when an inline directory gets new numbers. */
#ifndef BR_EXT4_XATTR_BLOCKS_H
#define BR_EXT4_XATTR_BLOCKS_H

#include "ext4_match.h"

/* An inode and its xattr block before and after. */
struct br_xattr_owner {
	uint64_t before_blk;
	uint64_t after_blk;
	ext2_ino_t ino; /* the new number */
};

/* Gathered inode by inode, then put right all together, as inodes share these blocks. */
struct br_xattr_owners {
	struct br_xattr_owner *items;
	size_t count;
	size_t capacity;
};

/* -ENOMEM, -EUCLEAN for a block that is none of the filesystem. */
int br_xattr_owners_note(struct br_xattr_owners *list, struct br_fs *before,
                         const struct br_inode *old, struct br_fs *after,
                         const struct br_inode *new, struct br_err *err);
/* Each block holds what it held, with the new numbers, and those who shared one share one. */
int br_xattr_owners_restore(struct br_xattr_owners *list, struct br_fs *before, struct br_fs *after,
                            const struct br_inode_map *map, struct br_err *err);
void br_xattr_owners_free(struct br_xattr_owners *list);

#endif
