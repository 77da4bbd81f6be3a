/* Entries of extended attributes, in an inode or in a block of their own. */
#ifndef BR_EXT4_XATTR_H
#define BR_EXT4_XATTR_H

#include <stddef.h>
#include <stdint.h>

enum {
	BR_XATTR_MAGIC = 0xEA020000u,
	BR_XATTR_HEADER_BYTES = 32,
	BR_XATTR_CHECKSUM_AT = 16, /* in the header of a block */
	BR_XATTR_INUM_AT = 4,      /* of e_value_inum in an entry */
};

/* `bytes` begins with the first entry and runs to the end of the inode or block. */
struct br_xattrs {
	const uint8_t *bytes;
	size_t length;
	size_t at;
};

struct br_xattr {
	size_t offset; /* of the entry in bytes */
	unsigned int name_index;
	unsigned int name_length;
	const uint8_t *name;
	unsigned int value_offset;
	uint32_t value_ino; /* 0, or the inode that holds the value */
	uint32_t value_bytes;
};

/* The entries after i_extra_isize of a raw inode; none if it has no room or no magic. */
struct br_xattrs br_xattrs_in_inode(const uint8_t *raw, size_t size);
/* The entries of an xattr block; none if it has no magic. */
struct br_xattrs br_xattrs_in_block(const uint8_t *block, size_t size);

/* The next entry: 1, 0 at the end (or where the list leaves its space). */
int br_xattr_next(struct br_xattrs *list, struct br_xattr *out);

#endif
