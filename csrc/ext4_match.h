/* Which inode of the old filesystem is which of the new one. */
#ifndef BR_EXT4_MATCH_H
#define BR_EXT4_MATCH_H

#include "ext4_inode.h"

/* Inodes up to `limit` keep their numbers; tables say where the others went. The tables are as long
 * as the ranges they cover, but only touched pages of them cost memory. */
struct br_inode_map {
	ext2_ino_t limit;
	ext2_ino_t old_count;
	ext2_ino_t *new_of; /* of limit + 1 + index; 0: not in use */
	ext2_ino_t *old_of; /* of a new number: the old number if it is another; index 0 unused */
	uint32_t renumbered;
};

/* The new number, or 0 for what is not in use or out of range. */
ext2_ino_t br_inode_map_new(const struct br_inode_map *map, ext2_ino_t old);

#endif
