#include "ext4_xattr.h"

#include "bytes.h"

enum {
	OLD_INODE_BYTES = 128,
	ENTRY_BYTES = 16,
};

struct br_xattrs br_xattrs_in_inode(const uint8_t *raw, size_t size)
{
	struct br_xattrs none = {0};

	if (size <= OLD_INODE_BYTES + 2)
		return none;
	size_t extra = br_load16(raw + OLD_INODE_BYTES);
	size_t at = OLD_INODE_BYTES + extra;
	if (extra == 0 || extra % 4 || at + 8 > size || br_load32(raw + at) != BR_XATTR_MAGIC)
		return none;
	return (struct br_xattrs){.bytes = raw + at + 4, .length = size - at - 4};
}

struct br_xattrs br_xattrs_in_block(const uint8_t *block, size_t size)
{
	if (br_load32(block) != BR_XATTR_MAGIC)
		return (struct br_xattrs){0};
	return (struct br_xattrs){.bytes = block + BR_XATTR_HEADER_BYTES,
	                          .length = size - BR_XATTR_HEADER_BYTES};
}

int br_xattr_next(struct br_xattrs *list, struct br_xattr *out)
{
	const uint8_t *entry = list->bytes + list->at;
	size_t left = list->length - list->at;

	if (left < 4 || br_load32(entry) == 0 || left < ENTRY_BYTES)
		return 0;
	size_t span = ((size_t)ENTRY_BYTES + entry[0] + 3) & ~(size_t)3;
	if (span > left)
		return 0;
	*out = (struct br_xattr){
		.offset = list->at,
		.name_length = entry[0],
		.name_index = entry[1],
		.name = entry + ENTRY_BYTES,
		.value_offset = br_load16(entry + 2),
		.value_ino = br_load32(entry + BR_XATTR_INUM_AT),
		.value_bytes = br_load32(entry + 8),
	};
	list->at += span;
	return 1;
}
