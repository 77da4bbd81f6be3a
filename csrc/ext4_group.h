/* Where each block group keeps its own metadata. */
#ifndef BR_EXT4_GROUP_H
#define BR_EXT4_GROUP_H

#include "ext4.h"

int br_group_has_block_bitmap(ext2_filsys fs, dgrp_t group);
int br_group_has_inode_bitmap(ext2_filsys fs, dgrp_t group);

/* Inode table blocks of the group that anybody reads. */
uint64_t br_group_used_table_blks(ext2_filsys fs, dgrp_t group);

/* Superblocks, descriptors, bitmaps, inode tables. `reserved` adds the blocks that are only kept
 * free of files: descriptor blocks in reserve, unread bitmaps, unused parts of tables. */
int br_group_metadata(struct br_fs *handle, int reserved, struct br_extents *list,
                      struct br_err *err);

#endif
