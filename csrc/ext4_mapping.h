/* The block mapping of one inode as a list, and extent trees written from such a list. */
#ifndef BR_EXT4_MAPPING_H
#define BR_EXT4_MAPPING_H

#include <stdbool.h>

#include "ext4.h"

struct br_mapped {
	uint64_t lblk;
	uint64_t pblk;
	uint32_t length;
	bool unwritten;
	bool joined; /* physically goes on where the one before ended (own indirect blocks between)
	              */
};

/* Everything an inode maps, in logical order, and the blocks that hold the mapping itself. One
 * buffer serves many inodes; initialise with zeros, release with br_mapping_free. */
struct br_mapping {
	struct br_mapped *items;
	size_t count;
	size_t capacity;
	uint64_t *nodes;
	size_t node_count;
	size_t node_capacity;
	char *buffers; /* one block per tree level */
};

/* Read the mapping of an inode that has blocks (ext2fs_inode_has_valid_blocks2). `budget_blk` caps
 * the blocks named, over all calls; it is lowered by what was found. -EUCLEAN for a tree that is
 * damaged or too large. */
int br_mapping_read(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *inode,
                    struct br_mapping *map, uint64_t *budget_blk, struct br_err *err);
/* Append, joined to the last item where both are consecutive; splits at the longest extent. */
int br_mapping_add(struct br_mapping *map, struct br_mapped item);
void br_mapping_free(struct br_mapping *map);

/* How many node blocks a tree of so many extents has. */
size_t br_tree_nodes(ext2_filsys fs, size_t extents);
/* Write `map` as the extent tree of the inode: nodes to blocks[0 .. br_tree_nodes), the root into
 * inode->i_block. The caller writes the inode; its number and generation go into the checksums. */
int br_tree_write(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *inode,
                  const struct br_mapping *map, const uint64_t *blocks, struct br_err *err);

#endif
