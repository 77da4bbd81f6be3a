/* Extent trees written from a list of runs. */
#ifndef BR_EXT4_TREE_WRITE_H
#define BR_EXT4_TREE_WRITE_H

#include "ext4.h"
#include "ext4_runs.h"

/* How many node blocks a tree of so many extents has. */
size_t br_tree_nodes(ext2_filsys fs, size_t extents);

/* Write `runs`, each no longer than one extent, as the extent tree of the inode: nodes to blocks[0
 * .. br_tree_nodes), the root into inode->i_block. The caller writes the inode; its number and
 * generation go into the checksums. */
int br_tree_write(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *inode,
                  const struct br_run_list *runs, const uint64_t *blocks, struct br_err *err);

#endif
