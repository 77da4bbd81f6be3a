/* Directory entries: parsed out of one block or one inline part, with every length checked. */
#ifndef BR_EXT4_DIRENT_H
#define BR_EXT4_DIRENT_H

#include "ext4_view.h"

struct br_dirent {
	uint32_t ino;
	unsigned int offset; /* of the entry in its block */
	unsigned int type;
	unsigned int name_length;
	const uint8_t *name;
};

/* A stretch of directory entries that ends where a block, or one of the two inline parts, ends. */
struct br_dir_part {
	const uint8_t *bytes;
	unsigned int length;
	unsigned int at; /* where the next entry begins */
	ext2_ino_t dir;
};

/* The next entry, unused ones (ino 0) too: 1, 0 at the end, -EUCLEAN. */
int br_dirent_next(struct br_dir_part *part, struct br_dirent *out, struct br_err *err);
int br_dirent_is_dot(const struct br_dirent *entry); /* "." or ".." */

/* Where the entries of an inline directory lie in its raw inode: in i_block after the number of
 * the parent, and in the value of system.data. Lengths may be 0. */
void br_dir_inline_parts(const struct br_inode *inode, struct br_dir_part parts[2]);

typedef int (*br_dirent_fn)(void *context, const struct br_dirent *entry);

/* Call fn for each used entry but "." and "..". What fn returns other than 0 ends the walk and is
 * returned. */
int br_dir_walk(struct br_view *view, const struct br_inode *dir, br_dirent_fn fn, void *context,
                struct br_err *err);

#endif
