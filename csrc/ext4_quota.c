/* Quota files of format vfsv1 (v2r1): a radix tree of 1 KiB blocks over the bytes of the id. */
#include "ext4_quota.h"

#include <errno.h>
#include <stdlib.h>

#include "array.h"
#include "bytes.h"
#include "error.h"
#include "ext4_view.h"

enum {
	UNIT_BYTES = 1024,
	TREE_DEPTH = 4,
	ROOT_UNIT = 1,
	LEAF_HEADER_BYTES = 16,
	ENTRY_BYTES = 72,
	ENTRIES = (UNIT_BYTES - LEAF_HEADER_BYTES) / ENTRY_BYTES,
	USAGE_AT = 48,
	TYPES = 3,
};

struct quota_file {
	struct br_view view; /* its runs are those of the file */
	uint64_t pblk;       /* what is in the view's block */
	struct br_err *err;
};

int br_quota_is_usage(uint64_t offset)
{
	uint64_t at = offset % UNIT_BYTES;

	if (offset < (uint64_t)(ROOT_UNIT + 1) * UNIT_BYTES || at < LEAF_HEADER_BYTES)
		return 0;
	at = (at - LEAF_HEADER_BYTES) % ENTRY_BYTES;
	return at >= USAGE_AT && at < USAGE_AT + 8;
}

static int note_one(struct br_quota_changes *list, int type, uint32_t id, int64_t bytes)
{
	for (size_t i = 0; i < list->count; i++) {
		struct br_quota_change *item = &list->items[i];
		if (item->type == type && item->id == id) {
			item->bytes += bytes;
			return 0;
		}
	}
	struct br_quota_change change = {type, id, bytes};
	return br_array_push(&list->items, &list->count, &list->capacity, &change, sizeof(change));
}

static int is_accounted(struct br_fs *handle, const struct br_inode *inode)
{
	const struct ext2_super_block *super = handle->fs->super;

	if (inode->kind == BR_KIND_QUOTA || inode->kind == BR_KIND_ORPHAN ||
	    inode->kind == BR_KIND_EA)
		return 0;
	return inode->ino == EXT2_ROOT_INO || inode->ino >= EXT2_FIRST_INO(super);
}

static uint32_t project_of(const struct br_inode *inode)
{
	const unsigned int end = offsetof(struct ext2_inode_large, i_projid) + 4;

	if (inode->size < end ||
	    EXT2_GOOD_OLD_INODE_SIZE + (unsigned int)inode->core.i_extra_isize < end)
		return 0;
	return inode->core.i_projid;
}

int br_quota_note(struct br_quota_changes *list, struct br_fs *handle, const struct br_inode *inode,
                  int64_t bytes)
{
	const struct ext2_inode_large *core = &inode->core;
	uint32_t uid = core->i_uid | (uint32_t)core->osd2.linux2.l_i_uid_high << 16;
	uint32_t gid = core->i_gid | (uint32_t)core->osd2.linux2.l_i_gid_high << 16;

	if (!ext2fs_has_feature_quota(handle->fs->super) || !is_accounted(handle, inode))
		return 0;
	int result = note_one(list, 0, uid, bytes);
	if (!result)
		result = note_one(list, 1, gid, bytes);
	return result ? result : note_one(list, 2, project_of(inode), bytes);
}

/* Make `unit` of the file available: *out points into the view's block. */
static int load_unit(struct quota_file *file, uint64_t unit, uint8_t **out)
{
	uint64_t size = file->view.handle->fs->blocksize;
	uint64_t lblk = unit * UNIT_BYTES / size;

	*out = file->view.block + unit * UNIT_BYTES % size;
	for (size_t i = 0; i < file->view.runs.count; i++) {
		const struct br_run *run = &file->view.runs.items[i];
		if (lblk < run->lblk || lblk >= run->lblk + run->length)
			continue;
		file->pblk = run->pblk + (lblk - run->lblk);
		return br_view_block(&file->view, file->pblk, file->err);
	}
	return br_fail(file->err, EUCLEAN, "a quota file ends before its tree");
}

static int is_entry_of(const uint8_t *entry, uint32_t id)
{
	if (br_load32(entry) != id)
		return 0;
	for (int i = 0; i < ENTRY_BYTES; i++) /* id 0 is stored with a mark, free places are zero */
		if (entry[i])
			return 1;
	return 0;
}

static int change_entry(struct quota_file *file, const struct br_quota_change *change,
                        uint8_t *leaf)
{
	for (int i = 0; i < ENTRIES; i++) {
		uint8_t *entry = leaf + LEAF_HEADER_BYTES + (size_t)i * ENTRY_BYTES;
		if (!is_entry_of(entry, change->id))
			continue;
		uint64_t usage = br_load64(entry + USAGE_AT);
		br_store64(entry + USAGE_AT, usage + (uint64_t)change->bytes);
		errcode_t code = io_channel_write_blk64(file->view.handle->fs->io, file->pblk, 1,
		                                        file->view.block);
		return code ? br_fail_ext2(file->err, code, "cannot write a quota file") : 0;
	}
	return br_fail(file->err, EUCLEAN, "a quota file has no entry for id %u", change->id);
}

static int apply_one(struct quota_file *file, const struct br_quota_change *change)
{
	uint64_t unit = ROOT_UNIT;
	uint8_t *bytes;

	for (int depth = 0; depth < TREE_DEPTH; depth++) {
		int result = load_unit(file, unit, &bytes);
		if (result)
			return result;
		uint32_t slot = change->id >> (8 * (TREE_DEPTH - 1 - depth)) & 0xFF;
		unit = br_load32(bytes + (size_t)4 * slot);
		if (!unit)
			return br_fail(file->err, EUCLEAN, "a quota file has no entry for id %u",
			               change->id);
	}
	int result = load_unit(file, unit, &bytes);
	return result ? result : change_entry(file, change, bytes);
}

static int apply_type(struct br_quota_changes *list, struct br_fs *handle, int type, ext2_ino_t ino,
                      struct br_err *err)
{
	struct br_inode inode;
	struct quota_file file = {.err = err};
	int result = br_view_open(&file.view, handle, err);

	if (!result)
		result = br_inode_read(&file.view.inodes, ino, &inode, err);
	if (!result)
		result = br_view_runs(&file.view, &inode, err);
	for (size_t i = 0; i < list->count && !result; i++)
		if (list->items[i].type == type && list->items[i].bytes)
			result = apply_one(&file, &list->items[i]);
	br_view_close(&file.view);
	return result;
}

int br_quota_apply(struct br_quota_changes *list, struct br_fs *handle, struct br_err *err)
{
	struct ext2_super_block *super = handle->fs->super;
	ext2_ino_t files[TYPES] = {super->s_usr_quota_inum, super->s_grp_quota_inum,
	                           ext2fs_has_feature_project(super) ? super->s_prj_quota_inum : 0};
	int result = 0;

	for (int type = 0; type < TYPES && !result && list->count; type++)
		if (files[type])
			result = apply_type(list, handle, type, files[type], err);
	return result;
}

void br_quota_free(struct br_quota_changes *list)
{
	free(list->items);
	*list = (struct br_quota_changes){0};
}
