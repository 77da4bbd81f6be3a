#include "ext4_match.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "ext4_dirent.h"
#include "ext4_xattr.h"

struct match {
	struct br_inode_map *map;
	struct br_view before;
	struct br_view after;
	ext2_ino_t *queue; /* renumbered inodes whose directories are still to be walked */
	size_t queued;
	size_t taken;
	uint32_t wanted; /* inodes that must be renumbered */
	struct br_err *err;
};

ext2_ino_t br_inode_map_new(const struct br_inode_map *map, ext2_ino_t old)
{
	if (old <= map->limit)
		return old;
	return old <= map->old_count ? map->new_of[old - map->limit - 1] : 0;
}

static int is_used(struct br_fs *handle, ext2_ino_t ino)
{
	return ino && ino <= handle->fs->super->s_inodes_count &&
	       ext2fs_fast_test_inode_bitmap2(handle->fs->inode_map, ino);
}

static int add_pair(struct match *match, ext2_ino_t old, ext2_ino_t new)
{
	struct br_inode_map *map = match->map;
	struct br_err *err = match->err;

	if (old <= map->limit)
		return old == new ? 0
		                  : br_fail(err, EUCLEAN, "inode %u became %u for no reason", old,
		                            new);
	if (!is_used(match->before.handle, old))
		return br_fail(err, EUCLEAN, "a name refers to inode %u, which is not in use", old);
	ext2_ino_t *place = &map->new_of[old - map->limit - 1];
	if (*place)
		return *place == new ? 0
		                     : br_fail(err, EUCLEAN, "inode %u became both %u and %u", old,
		                               *place, new);
	if (!is_used(match->after.handle, new) || is_used(match->before.handle, new))
		return br_fail(err, EUCLEAN, "inode %u became %u, which is not a new inode", old,
		               new);
	if (map->old_of[new])
		return br_fail(err, EUCLEAN, "inodes %u and %u both became %u", map->old_of[new],
		               old, new);
	if (map->renumbered == match->wanted)
		return br_fail(err, EUCLEAN, "more inodes were renumbered than had to be");
	*place = new;
	map->old_of[new] = old;
	map->renumbered++;
	match->queue[match->queued++] = old;
	return 0;
}

static int match_entries(struct match *match, struct br_dir_part *before, struct br_dir_part *after)
{
	struct br_dirent old, new;

	if (before->length != after->length)
		return br_fail(match->err, EUCLEAN, "directory %u changed its inline size",
		               before->dir);
	for (;;) {
		int result = br_dirent_next(before, &old, match->err);
		if (result < 0)
			return result;
		int more = br_dirent_next(after, &new, match->err);
		if (more < 0)
			return more;
		if (!result && !more)
			return 0;
		if (result != more || old.offset != new.offset || !old.ino != !new.ino ||
		    old.name_length != new.name_length ||
		    (old.ino && memcmp(old.name, new.name, old.name_length) != 0))
			return br_fail(match->err, EUCLEAN, "directory %u changed its entries",
			               before->dir);
		if (!old.ino)
			continue;
		result = add_pair(match, old.ino, new.ino);
		if (result)
			return result;
	}
}

static int match_inline(struct match *match, const struct br_inode *old, const struct br_inode *new)
{
	struct br_dir_part before[2], after[2];

	br_dir_inline_parts(old, before);
	br_dir_inline_parts(new, after);
	int result = match_entries(match, &before[0], &after[0]);
	return result ? result : match_entries(match, &before[1], &after[1]);
}

static int match_block(struct match *match, const struct br_inode *old, uint64_t before_blk,
                       uint64_t after_blk)
{
	unsigned int size = match->before.handle->fs->blocksize;
	struct br_dir_part before = {match->before.block, size, 0, old->ino};
	struct br_dir_part after = {match->after.block, size, 0, old->ino};
	int result = br_view_block(&match->before, before_blk, match->err);

	if (!result)
		result = br_view_block(&match->after, after_blk, match->err);
	return result ? result : match_entries(match, &before, &after);
}

static int match_directory(struct match *match, const struct br_inode *old, ext2_ino_t new_ino)
{
	struct br_inode new;
	struct br_stretch stretch;
	int result = br_inode_read(&match->after.inodes, new_ino, &new, match->err);

	if (result)
		return result;
	if (!LINUX_S_ISDIR(new.core.i_mode) || new.mapped != old->mapped)
		return br_fail(match->err, EUCLEAN, "directory %u became something else", old->ino);
	if (!old->mapped)
		return match_inline(match, old, &new);
	result = br_view_runs(&match->before, old, match->err);
	if (!result)
		result = br_view_runs(&match->after, &new, match->err);
	if (result)
		return result;
	struct br_run_pair pair = {.before = &match->before.runs, .after = &match->after.runs};
	while ((result = br_run_pair_next(&pair, &stretch)) > 0) {
		for (uint64_t i = 0; i < stretch.length; i++) {
			result = match_block(match, old, stretch.before_blk + i,
			                     stretch.after_blk + i);
			if (result)
				return result;
		}
	}
	return result ? br_fail(match->err, EUCLEAN, "directory %u changed its size", old->ino) : 0;
}

/* The directories among the inodes that were renumbered, until no more turn up. */
static int drain(struct match *match)
{
	struct br_inode old;
	int result = 0;

	while (match->taken < match->queued && !result) {
		ext2_ino_t ino = match->queue[match->taken++];
		result = br_inode_read(&match->before.inodes, ino, &old, match->err);
		if (!result && old.kind == BR_KIND_DIRECTORY)
			result = match_directory(match, &old, br_inode_map_new(match->map, ino));
	}
	return result;
}

static int is_done(const struct match *match)
{
	return match->map->renumbered == match->wanted;
}

static int match_directories(struct match *match)
{
	struct br_inode old = {0};

	while (!is_done(match)) {
		int result = br_inode_next(&match->before.inodes, &old, match->err);
		if (result <= 0)
			return result;
		if (old.ino > match->map->limit)
			return 0;
		if (old.kind != BR_KIND_DIRECTORY)
			continue;
		result = match_directory(match, &old, old.ino);
		if (!result)
			result = drain(match);
		if (result)
			return result;
	}
	return 0;
}

static int match_values(struct match *match, ext2_ino_t ino, struct br_xattrs before,
                        struct br_xattrs after)
{
	struct br_xattr old, new;

	while (br_xattr_next(&before, &old)) {
		if (!br_xattr_next(&after, &new) || old.offset != new.offset ||
		    !old.value_ino != !new.value_ino)
			return br_fail(match->err, EUCLEAN, "inode %u changed its xattrs", ino);
		if (!old.value_ino)
			continue;
		int result = add_pair(match, old.value_ino, new.value_ino);
		if (result)
			return result;
	}
	return 0;
}

static int match_xattrs(struct match *match, const struct br_inode *old)
{
	ext2_ino_t new_ino = br_inode_map_new(match->map, old->ino);
	struct br_inode new;
	size_t size = match->before.handle->fs->blocksize;

	if (!new_ino)
		return 0; /* found later, or missing then */
	int result = br_inode_read(&match->after.inodes, new_ino, &new, match->err);
	if (result)
		return result;
	result = match_values(match, old->ino, br_xattrs_in_inode(old->raw, old->size),
	                      br_xattrs_in_inode(new.raw, new.size));
	uint64_t before = br_inode_acl_blk(match->before.handle, old);
	uint64_t after = br_inode_acl_blk(match->after.handle, &new);
	if (result || !before || !after)
		return result;
	result = br_view_block(&match->before, before, match->err);
	if (!result)
		result = br_view_block(&match->after, after, match->err);
	if (result)
		return result;
	return match_values(match, old->ino, br_xattrs_in_block(match->before.block, size),
	                    br_xattrs_in_block(match->after.block, size));
}

static int match_ea_inodes(struct match *match)
{
	struct br_inode old = {0};

	if (!ext2fs_has_feature_ea_inode(match->before.handle->fs->super))
		return 0;
	while (!is_done(match)) {
		int result = br_inode_next(&match->before.inodes, &old, match->err);
		if (result <= 0)
			return result;
		result = match_xattrs(match, &old);
		if (result)
			return result;
	}
	return 0;
}

/* The start and the end of a file's first block tell a quota file from the orphan file. */
static int read_marks(struct br_view *view, const struct br_inode *inode, uint8_t marks[16],
                      struct br_err *err)
{
	size_t size = view->handle->fs->blocksize;

	memset(marks, 0, 16);
	br_tree_reset(&view->tree); /* seen before, maybe */
	int result = br_view_runs(view, inode, err);
	if (result || !view->runs.count)
		return result;
	result = br_view_block(view, view->runs.items[0].pblk, err);
	if (result)
		return result;
	memcpy(marks, view->block, 12);
	memcpy(marks + 12, view->block + size - 8, 4); /* the orphan file's magic number */
	return 0;
}

/* A file that only the superblock names: the one new inode, not yet paired, that looks like it. */
static int match_special(struct match *match, ext2_ino_t ino)
{
	struct br_inode old, new = {0};
	uint8_t before[16], after[16];

	if (ino <= match->map->limit || br_inode_map_new(match->map, ino))
		return 0;
	int result = br_inode_read(&match->before.inodes, ino, &old, match->err);
	if (!result)
		result = read_marks(&match->before, &old, before, match->err);
	while (!result) {
		result = br_inode_next(&match->after.inodes, &new, match->err);
		if (result <= 0)
			break;
		result = 0;
		if (is_used(match->before.handle, new.ino) || match->map->old_of[new.ino])
			continue;
		if (new.core.i_mode != old.core.i_mode || new.core.i_size != old.core.i_size ||
		    new.core.i_generation != old.core.i_generation || !new.mapped)
			continue;
		result = read_marks(&match->after, &new, after, match->err);
		if (!result && !memcmp(before, after, sizeof(after)))
			return add_pair(match, ino, new.ino);
	}
	return result ? result : br_fail(match->err, EUCLEAN, "special inode %u was lost", ino);
}

static int match_specials(struct match *match)
{
	struct ext2_super_block *super = match->before.handle->fs->super;
	ext2_ino_t specials[] = {
		ext2fs_has_feature_orphan_file(super) ? super->s_orphan_file_inum : 0,
		ext2fs_has_feature_quota(super) ? super->s_usr_quota_inum : 0,
		ext2fs_has_feature_quota(super) ? super->s_grp_quota_inum : 0,
		ext2fs_has_feature_project(super) ? super->s_prj_quota_inum : 0,
	};
	int result = 0;

	for (size_t i = 0; i < sizeof(specials) / sizeof(*specials) && !result; i++)
		result = match_special(match, specials[i]);
	return result;
}

static int count_bits(struct br_fs *handle, ext2_ino_t from, uint32_t *out, struct br_err *err)
{
	ext2_ino_t last = handle->fs->super->s_inodes_count;
	ext2_ino_t ino = from;

	*out = 0;
	while (ino <= last && ino >= from) {
		errcode_t code =
			ext2fs_find_first_set_inode_bitmap2(handle->fs->inode_map, ino, last, &ino);
		if (code == ENOENT)
			return 0;
		if (code)
			return br_fail_ext2(err, code, "cannot search the inode bitmap");
		(*out)++;
		ino++;
	}
	return 0;
}

/* Every inode of the new filesystem is one of the old one, and none is missing. */
static int check_bijection(struct match *match)
{
	ext2_filsys after = match->after.handle->fs;
	ext2_ino_t last = after->super->s_inodes_count;
	uint32_t before_count, after_count;
	int result = count_bits(match->before.handle, 1, &before_count, match->err);

	if (!result)
		result = count_bits(match->after.handle, 1, &after_count, match->err);
	if (result)
		return result;
	if (before_count != after_count)
		return br_fail(match->err, EUCLEAN, "%u inodes became %u", before_count,
		               after_count);
	for (ext2_ino_t ino = 0; ino < last;) {
		errcode_t code =
			ext2fs_find_first_set_inode_bitmap2(after->inode_map, ino + 1, last, &ino);
		if (code == ENOENT)
			return 0;
		if (code)
			return br_fail_ext2(match->err, code, "cannot search the inode bitmap");
		if (!is_used(match->before.handle, ino) && !match->map->old_of[ino])
			return br_fail(match->err, EUCLEAN, "inode %u came from nowhere", ino);
	}
	return 0;
}

static int allocate(struct match *match)
{
	struct br_inode_map *map = match->map;
	ext2_ino_t new_count = match->after.handle->fs->super->s_inodes_count;
	size_t past = map->old_count > map->limit ? map->old_count - map->limit : 0;

	int result = count_bits(match->before.handle, map->limit + 1, &match->wanted, match->err);
	if (result)
		return result;
	map->new_of = calloc(past + 1, sizeof(*map->new_of));
	map->old_of = calloc((size_t)new_count + 1, sizeof(*map->old_of));
	match->queue = calloc((size_t)match->wanted + 1, sizeof(*match->queue));
	if (!map->new_of || !map->old_of || !match->queue)
		return br_fail(match->err, ENOMEM, "out of memory for the map of the inodes");
	return 0;
}

static int match_all(struct match *match)
{
	int result = allocate(match);

	if (!result)
		result = match_directories(match);
	if (!result)
		result = match_ea_inodes(match);
	if (!result)
		result = match_specials(match);
	if (!result && !is_done(match))
		result = br_fail(match->err, EUCLEAN,
		                 "%u of %u renumbered inodes were not found again",
		                 match->wanted - match->map->renumbered, match->wanted);
	return result ? result : check_bijection(match);
}

int br_match(struct br_fs *before, struct br_fs *after, struct br_inode_map **out,
             struct br_err *err)
{
	struct match match = {.err = err};
	struct br_inode_map *map = calloc(1, sizeof(*map));
	int result;

	if (!map)
		return br_fail(err, ENOMEM, "out of memory for the map of the inodes");
	match.map = map;
	map->old_count = before->fs->super->s_inodes_count;
	map->limit = after->fs->super->s_inodes_count;
	if (map->limit > map->old_count)
		map->limit = map->old_count;
	result = br_view_open(&match.before, before, err);
	if (!result)
		result = br_view_open(&match.after, after, err);
	if (!result && before->fs->blocksize != after->fs->blocksize)
		result = br_fail(err, EUCLEAN, "the block size changed");
	if (!result)
		result = match_all(&match);
	br_view_close(&match.after);
	br_view_close(&match.before);
	free(match.queue);
	if (result) {
		br_inode_map_free(map);
		return result;
	}
	*out = map;
	return 0;
}

void br_inode_map_free(struct br_inode_map *map)
{
	if (!map)
		return;
	free(map->new_of);
	free(map->old_of);
	free(map);
}

uint32_t br_inode_map_renumbered(const struct br_inode_map *map)
{
	return map->renumbered;
}
