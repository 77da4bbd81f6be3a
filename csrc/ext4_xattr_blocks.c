/* To change a number in an inline directory, libext2fs stores all xattrs of the inode anew. It
 * gives the block a hash of 0, and a block of its own to an inode that shared one. */
#include "ext4_xattr_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "error.h"
#include "ext4_normal.h"
#include "ext4_view.h"

struct work {
	struct br_view before;
	struct br_view after;
	const struct br_inode_map *map;
	uint8_t *inode; /* one raw inode */
	struct br_err *err;
};

int br_xattr_owners_note(struct br_xattr_owners *list, struct br_fs *before,
                         const struct br_inode *old, struct br_fs *after,
                         const struct br_inode *new, struct br_err *err)
{
	struct br_xattr_owner owner = {br_inode_acl_blk(before, old), br_inode_acl_blk(after, new),
	                               new->ino};

	if (!owner.before_blk || !owner.after_blk)
		return 0;
	int result = br_check_blk(before, owner.before_blk, old->ino, err);
	if (!result)
		result = br_check_blk(after, owner.after_blk, new->ino, err);
	if (result)
		return result;
	if (br_array_push(&list->items, &list->count, &list->capacity, &owner, sizeof(owner)))
		return br_fail(err, ENOMEM, "out of memory for xattr blocks");
	return 0;
}

static int by_blocks(const void *a, const void *b)
{
	const struct br_xattr_owner *x = a, *y = b;

	if (x->before_blk != y->before_blk)
		return x->before_blk < y->before_blk ? -1 : 1;
	return (x->after_blk > y->after_blk) - (x->after_blk < y->after_blk);
}

static int share_again(struct work *work, ext2_ino_t ino, uint64_t blk)
{
	ext2_filsys fs = work->after.handle->fs;
	struct ext2_inode *inode = (struct ext2_inode *)(void *)work->inode;
	int size = (int)EXT2_INODE_SIZE(fs->super);
	errcode_t code = ext2fs_read_inode_full(fs, ino, inode, size);

	if (!code) {
		ext2fs_file_acl_block_set(fs, inode, blk);
		code = ext2fs_write_inode_full(fs, ino, inode, size);
	}
	return code ? br_fail_ext2(work->err, code, "cannot write inode %u", ino) : 0;
}

static int restore_content(struct work *work, const struct br_xattr_owner *owner)
{
	const struct br_normal old = {work->before.handle, work->map, work->err};
	const struct br_normal new = {work->after.handle, NULL, work->err};
	ext2_filsys fs = work->after.handle->fs;
	int result = br_view_block(&work->before, owner->before_blk, work->err);

	if (!result)
		result = br_normal_xattr_block(&old, work->before.block);
	if (!result)
		result = br_view_block(&work->after, owner->after_blk, work->err);
	if (!result)
		result = br_normal_xattr_block(&new, work->after.block);
	if (result || !memcmp(work->before.block, work->after.block, fs->blocksize))
		return result;
	errcode_t code =
		ext2fs_write_ext_attr3(fs, owner->after_blk, work->before.block, owner->ino);
	return code ? br_fail_ext2(work->err, code, "cannot write the xattr block of inode %u",
	                           owner->ino)
	            : 0;
}

/* The inodes that shared one block: all get the first one's, and other blocks are free again. */
static int restore_group(struct work *work, const struct br_xattr_owner *owners, size_t count)
{
	uint64_t kept = owners[0].after_blk;
	int result = restore_content(work, &owners[0]);

	for (size_t i = 1; i < count && !result; i++) {
		if (owners[i].after_blk == kept)
			continue;
		if (owners[i].after_blk != owners[i - 1].after_blk)
			ext2fs_block_alloc_stats2(work->after.handle->fs, owners[i].after_blk, -1);
		result = share_again(work, owners[i].ino, kept);
	}
	return result;
}

static int restore_all(struct work *work, const struct br_xattr_owners *list)
{
	size_t first = 0;
	int result = 0;

	for (size_t i = 1; i <= list->count && !result; i++) {
		if (i < list->count && list->items[i].before_blk == list->items[first].before_blk)
			continue;
		result = restore_group(work, list->items + first, i - first);
		first = i;
	}
	return result;
}

int br_xattr_owners_restore(struct br_xattr_owners *list, struct br_fs *before, struct br_fs *after,
                            const struct br_inode_map *map, struct br_err *err)
{
	struct work work = {.map = map, .err = err};

	if (!list->count)
		return 0;
	qsort(list->items, list->count, sizeof(*list->items), by_blocks);
	int result = br_view_open(&work.before, before, err);
	if (!result)
		result = br_view_open(&work.after, after, err);
	work.inode = malloc(EXT2_INODE_SIZE(after->fs->super));
	if (!result && !work.inode)
		result = br_fail(err, ENOMEM, "out of memory");
	if (!result)
		result = restore_all(&work, list);
	free(work.inode);
	br_view_close(&work.after);
	br_view_close(&work.before);
	return result;
}

void br_xattr_owners_free(struct br_xattr_owners *list)
{
	free(list->items);
	*list = (struct br_xattr_owners){0};
}
