#include "ext4_space.h"

#include <errno.h>

#include "error.h"
#include "extent.h"

/* The first block at or past `at` that is used (or free); the end where there is none. */
static int find_next(ext2_filsys fs, int used, uint64_t at, uint64_t end, blk64_t *out,
                     struct br_err *err)
{
	blk64_t found = end;
	errcode_t code = 0;

	if (at < end && used)
		code = ext2fs_find_first_set_block_bitmap2(fs->block_map, at, end - 1, &found);
	else if (at < end)
		code = ext2fs_find_first_zero_block_bitmap2(fs->block_map, at, end - 1, &found);
	if (code && code != ENOENT)
		return br_fail_ext2(err, code, "cannot search the block bitmap");
	*out = code || found > end ? end : found;
	return 0;
}

int br_space_next(ext2_filsys fs, int used, uint64_t from, uint64_t end, struct br_extent *out,
                  struct br_err *err)
{
	blk64_t start = end, stop = end;
	int result = find_next(fs, used, from, end, &start, err);

	if (!result)
		result = find_next(fs, !used, start, end, &stop, err);
	if (!result)
		*out = (struct br_extent){start, stop - start};
	return result;
}

static int list_space(struct br_fs *handle, int used, struct br_extents *out, struct br_err *err)
{
	ext2_filsys fs = handle->fs;
	struct br_extents list = {0};
	struct br_extent run = {.start = fs->super->s_first_data_block};
	uint64_t end = ext2fs_blocks_count(fs->super);
	int result;

	do {
		result = br_space_next(fs, used, run.start + run.length, end, &run, err);
		if (!result && br_extents_add(&list, run.start, run.length))
			result = br_fail(err, ENOMEM, "out of memory for the map of the space");
	} while (!result && run.length);
	if (result) {
		br_extents_free(&list);
		return result;
	}
	*out = list;
	return 0;
}

int br_fs_free_extents(struct br_fs *handle, struct br_extents *out, struct br_err *err)
{
	return list_space(handle, 0, out, err);
}

int br_fs_used_extents(struct br_fs *handle, struct br_extents *out, struct br_err *err)
{
	return list_space(handle, 1, out, err);
}
