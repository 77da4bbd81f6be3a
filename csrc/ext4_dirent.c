#include "ext4_dirent.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "ext4_xattr.h"

enum {
	HEADER_BYTES = 8,
	INLINE_AT = offsetof(struct ext2_inode_large, i_block),
	INLINE_BYTES = EXT2_N_BLOCKS * 4,
	SYSTEM_INDEX = 7,
	LONGEST_BLOCK = 65536,
};

/* 64 KiB do not fit into 16 bits: such an entry is stored as 65535 or 0. */
static unsigned int decode_length(unsigned int stored, unsigned int part_bytes)
{
	if (part_bytes < LONGEST_BLOCK)
		return stored;
	if (stored == LONGEST_BLOCK - 1 || stored == 0)
		return LONGEST_BLOCK;
	return (stored & 0xFFFC) | (stored & 3) << 16;
}

int br_dirent_next(struct br_dir_part *part, struct br_dirent *out, struct br_err *err)
{
	unsigned int left = part->length - part->at;
	const uint8_t *entry = part->bytes + part->at;

	if (left == 0)
		return 0;
	if (left < HEADER_BYTES)
		return br_fail(err, EUCLEAN, "directory %u: an entry is cut off", part->dir);
	unsigned int length = decode_length(br_load16(entry + 4), part->length);
	if (length < HEADER_BYTES || length % 4 || length > left)
		return br_fail(err, EUCLEAN, "directory %u: an entry has length %u", part->dir,
		               length);
	*out = (struct br_dirent){
		.ino = br_load32(entry),
		.offset = part->at,
		.name_length = entry[6],
		.type = entry[7],
		.name = entry + HEADER_BYTES,
	};
	if (out->ino && out->name_length + HEADER_BYTES > length)
		return br_fail(err, EUCLEAN, "directory %u: a name is too long for its entry",
		               part->dir);
	part->at += length;
	return 1;
}

int br_dirent_is_dot(const struct br_dirent *entry)
{
	return (entry->name_length == 1 && entry->name[0] == '.') ||
	       (entry->name_length == 2 && entry->name[0] == '.' && entry->name[1] == '.');
}

void br_dir_inline_parts(const struct br_inode *inode, struct br_dir_part parts[2])
{
	struct br_xattrs list = br_xattrs_in_inode(inode->raw, inode->size);
	struct br_xattr entry;

	parts[0] = (struct br_dir_part){
		.bytes = inode->raw + INLINE_AT + 4, .length = INLINE_BYTES - 4, .dir = inode->ino};
	parts[1] = (struct br_dir_part){.bytes = inode->raw, .dir = inode->ino};
	while (br_xattr_next(&list, &entry)) {
		if (entry.name_index != SYSTEM_INDEX || entry.name_length != 4 ||
		    memcmp(entry.name, "data", 4) != 0 || entry.value_ino)
			continue;
		if (entry.value_bytes > list.length ||
		    entry.value_offset > list.length - entry.value_bytes)
			continue;
		parts[1].bytes = list.bytes + entry.value_offset;
		parts[1].length = entry.value_bytes;
	}
}

static int walk_part(struct br_dir_part *part, br_dirent_fn fn, void *context, struct br_err *err)
{
	struct br_dirent entry = {0};

	for (;;) {
		int result = br_dirent_next(part, &entry, err);
		if (result <= 0)
			return result;
		if (!entry.ino || br_dirent_is_dot(&entry))
			continue;
		result = fn(context, &entry);
		if (result)
			return result;
	}
}

static int walk_inline(const struct br_inode *dir, br_dirent_fn fn, void *context,
                       struct br_err *err)
{
	struct br_dir_part parts[2];

	br_dir_inline_parts(dir, parts);
	int result = walk_part(&parts[0], fn, context, err);
	return result ? result : walk_part(&parts[1], fn, context, err);
}

int br_dir_walk(struct br_view *view, const struct br_inode *dir, br_dirent_fn fn, void *context,
                struct br_err *err)
{
	if (!dir->mapped)
		return walk_inline(dir, fn, context, err);
	int result = br_view_runs(view, dir, err);
	for (size_t i = 0; i < view->runs.count && !result; i++) {
		const struct br_run *run = &view->runs.items[i];
		for (uint64_t blk = 0; blk < run->length && !result; blk++) {
			struct br_dir_part part = {
				.bytes = view->block,
				.length = view->handle->fs->blocksize,
				.dir = dir->ino,
			};
			result = br_view_block(view, run->pblk + blk, err);
			if (!result)
				result = walk_part(&part, fn, context, err);
		}
	}
	return result;
}
