#include "ext4_remap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "error.h"
#include "ext4_journal.h"
#include "ext4_moves.h"
#include "ext4_tree_write.h"

struct remap {
	struct br_plan *plan;
	ext2_filsys fs;
	struct br_run_list runs; /* of the inode, under its moves; the old ones are in the view */
	uint64_t *blocks;        /* of the tree that is written */
	size_t block_count, block_capacity;
	char *buffer;
	struct br_err *err;
};

/* Bitmap, group and superblock counts. */

static int account(struct remap *remap, uint64_t cluster, uint64_t length, bool used)
{
	ext2_filsys fs = remap->fs;
	unsigned bits = remap->plan->cluster_bits;
	uint64_t mask = ((uint64_t)1 << bits) - 1;

	while (length) {
		uint64_t blk = cluster << bits;
		dgrp_t group = ext2fs_group_of_blk2(fs, blk);
		uint64_t room = (ext2fs_group_last_block2(fs, group) - blk + 1 + mask) >> bits;
		uint64_t part = length < room ? length : room;
		uint32_t count = ext2fs_bg_free_blocks_count(fs, group);
		if (used) {
			if (count < part)
				return br_fail(remap->err, EUCLEAN,
				               "group %u has more free blocks than it counts",
				               group);
			ext2fs_mark_block_bitmap_range2(fs->block_map, blk,
			                                (unsigned)(part << bits));
			count -= (uint32_t)part;
		} else {
			ext2fs_unmark_block_bitmap_range2(fs->block_map, blk,
			                                  (unsigned)(part << bits));
			count += (uint32_t)part;
		}
		ext2fs_bg_free_blocks_count_set(fs, group, count);
		ext2fs_bg_flags_clear(fs, group, EXT2_BG_BLOCK_UNINIT);
		ext2fs_group_desc_csum_set(fs, group);
		uint64_t change = part << bits;
		ext2fs_free_blocks_count_add(fs->super, used ? 0 - change : change);
		cluster += part;
		length -= part;
	}
	return 0;
}

static int account_block(struct remap *remap, uint64_t blk, bool used)
{
	return account(remap, blk >> remap->plan->cluster_bits, 1, used);
}

static int account_moves(struct remap *remap, const struct br_file *file)
{
	struct br_plan *plan = remap->plan;
	struct br_consolidate_stats *stats = plan->stats;
	bool moved = false;

	for (uint32_t i = 0; i < file->move_count; i++) {
		const struct br_move *move = &plan->moves[file->first_move + i];
		if (move->from == move->to)
			continue;
		int result = account(remap, move->from, move->length, false);
		if (!result)
			result = account(remap, move->to, move->length, true);
		if (result)
			return result;
		stats->copied_blk += (uint64_t)move->length << plan->cluster_bits;
		stats->copied_runs++;
		moved = true;
	}
	stats->files_moved += moved;
	stats->files_joined += moved && !file->must_clusters && file->regular;
	return 0;
}

/* Content that lives in the shadow. */

static int copy_block(struct remap *remap, const struct br_inode *inode, uint64_t from, uint64_t to)
{
	ext2_filsys fs = remap->fs;
	errcode_t code = io_channel_read_blk64(fs->io, from, 1, remap->buffer);

	/* Its checksum covers where it lies. */
	if (!code && inode->kind == BR_KIND_ORPHAN)
		code = ext2fs_orphan_file_block_csum_set(fs, inode->ino, to, remap->buffer);
	if (!code)
		code = io_channel_write_blk64(fs->io, to, 1, remap->buffer);
	return code ? br_fail_ext2(remap->err, code, "cannot copy block %llu to %llu",
	                           (unsigned long long)from, (unsigned long long)to)
	            : 0;
}

static int copy_content(struct remap *remap, const struct br_inode *inode)
{
	uint64_t metadata = br_kind_metadata_blks(inode->kind);
	struct br_run_pair pair = {.before = &remap->plan->view.runs, .after = &remap->runs};
	struct br_stretch stretch;
	int result = 0;

	while (metadata && (result = br_run_pair_next(&pair, &stretch)) > 0) {
		if (stretch.unwritten || stretch.before_blk == stretch.after_blk)
			continue;
		for (uint64_t i = 0; i < stretch.length && stretch.lblk + i < metadata; i++) {
			result = copy_block(remap, inode, stretch.before_blk + i,
			                    stretch.after_blk + i);
			if (result)
				return result;
		}
	}
	return result ? br_fail(remap->err, EUCLEAN, "inode %u changed its mapping", inode->ino)
	              : 0;
}

/* Inodes mapped by extents. */

static int use_block(struct remap *remap, uint64_t blk)
{
	return br_array_push(&remap->blocks, &remap->block_count, &remap->block_capacity, &blk,
	                     sizeof(blk));
}

/* Tree nodes that may stay are used again, then the new ones; what is left over is freed. */
static int choose_nodes(struct remap *remap, const struct br_file *file)
{
	struct br_plan *plan = remap->plan;
	size_t wanted = br_tree_nodes(remap->fs, remap->runs.count);
	int result = 0;

	remap->block_count = 0;
	for (size_t i = 0; !result && i < plan->tree_blocks.count; i++) {
		uint64_t blk = plan->tree_blocks.items[i].pblk;
		if (!br_plan_must_leave(plan, blk) && remap->block_count < wanted)
			result = use_block(remap, blk);
		else
			result = account_block(remap, blk, false);
	}
	for (size_t i = 0; !result && remap->block_count < wanted; i++) {
		if (i == file->new_nodes)
			return br_fail(remap->err, EUCLEAN, "inode %u changed its mapping",
			               file->ino);
		uint64_t blk = plan->nodes[file->first_node + i];
		result = use_block(remap, blk);
		if (!result)
			result = account_block(remap, blk, true);
		plan->stats->nodes_allocated++;
	}
	return result;
}

static int recount_blocks(struct remap *remap, struct ext2_inode *inode)
{
	size_t before = remap->plan->tree_blocks.count, after = remap->block_count;
	errcode_t code = 0;

	if (after > before)
		code = ext2fs_iblk_add_blocks(remap->fs, inode, after - before);
	else if (after < before)
		code = ext2fs_iblk_sub_blocks(remap->fs, inode, before - after);
	remap->plan->stats->recounted_inodes += after != before;
	return code ? br_fail_ext2(remap->err, code, "the block count of an inode is wrong") : 0;
}

static int remap_extents(struct remap *remap, const struct br_file *file, struct br_inode *found)
{
	struct ext2_inode *inode = EXT2_INODE(&found->core);
	int result = br_moves_apply(remap->plan, file, &remap->plan->view.runs, &remap->runs,
	                            remap->err);

	if (!result)
		result = copy_content(remap, found);
	if (!result)
		result = choose_nodes(remap, file);
	if (!result)
		result = recount_blocks(remap, inode);
	if (!result)
		result = br_tree_write(remap->fs, file->ino, inode, &remap->runs, remap->blocks,
		                       remap->err);
	if (result)
		return result;
	errcode_t code = ext2fs_write_inode(remap->fs, file->ino, inode);
	return code ? br_fail_ext2(remap->err, code, "cannot write inode %u", file->ino) : 0;
}

/* Inodes mapped by indirect blocks. */

struct block_remap {
	struct remap *remap;
	const struct br_file *file;
	const struct br_inode *inode;
	uint32_t at_move;
	uint32_t at_node;
	int result;
};

static int remap_indirect(struct block_remap *state, blk64_t *blk)
{
	struct br_plan *plan = state->remap->plan;

	if (!br_plan_must_leave(plan, *blk))
		return 0;
	if (state->at_node == state->file->new_nodes)
		return br_fail(state->remap->err, EUCLEAN, "inode %u changed its mapping",
		               state->file->ino);
	uint64_t to = plan->nodes[state->file->first_node + state->at_node++];
	/* Copied before the library goes down to it at its new place. */
	int result = copy_block(state->remap, state->inode, *blk, to);
	if (!result)
		result = account_block(state->remap, *blk, false);
	if (!result)
		result = account_block(state->remap, to, true);
	plan->stats->nodes_allocated++;
	*blk = to;
	return result;
}

static int remap_data(struct block_remap *state, blk64_t *blk, uint64_t lblk)
{
	const struct br_plan *plan = state->remap->plan;
	const struct br_file *file = state->file;
	const struct br_move *moves = plan->moves + file->first_move;

	while (state->at_move < file->move_count &&
	       *blk - moves[state->at_move].from >= moves[state->at_move].length)
		state->at_move++;
	if (state->at_move == file->move_count)
		return br_fail(state->remap->err, EUCLEAN, "inode %u changed its mapping",
		               file->ino);
	const struct br_move *move = &moves[state->at_move];
	uint64_t to = *blk - move->from + move->to;
	int result = 0;
	if (to != *blk && lblk < br_kind_metadata_blks(state->inode->kind))
		result = copy_block(state->remap, state->inode, *blk, to);
	*blk = to;
	return result;
}

static int remap_block(ext2_filsys fs, blk64_t *blk, e2_blkcnt_t lblk, blk64_t ref_blk,
                       int ref_offset, void *opaque)
{
	struct block_remap *state = opaque;
	blk64_t before = *blk;

	(void)fs;
	(void)ref_blk;
	(void)ref_offset;
	if (lblk < 0)
		state->result = remap_indirect(state, blk);
	else
		state->result = remap_data(state, blk, (uint64_t)lblk);
	return (*blk == before ? 0 : BLOCK_CHANGED) | (state->result ? BLOCK_ABORT : 0);
}

static int remap_blocks(struct remap *remap, const struct br_file *file,
                        const struct br_inode *inode)
{
	struct block_remap state = {
		.remap = remap,
		.file = file,
		.inode = inode,
	};
	errcode_t code = ext2fs_block_iterate3(remap->fs, file->ino, 0, NULL, remap_block, &state);

	if (state.result)
		return state.result;
	return code ? br_fail_ext2(remap->err, code, "cannot remap inode %u", file->ino) : 0;
}

static int remap_file(struct remap *remap, const struct br_file *file)
{
	struct br_inode inode;
	int result = br_plan_look_at(remap->plan, file->ino, &inode, remap->err);

	if (!result)
		result = file->block_mapped ? remap_blocks(remap, file, &inode)
		                            : remap_extents(remap, file, &inode);
	if (!result)
		result = account_moves(remap, file);
	if (!result && inode.kind == BR_KIND_JOURNAL)
		result = br_journal_back_up(remap->plan->view.handle, remap->err);
	return result;
}

/* Extended attribute blocks, each moved once for all the inodes that share it. */

static int move_attribute_block(struct remap *remap, const struct br_attribute_move *move)
{
	errcode_t code = ext2fs_read_ext_attr3(remap->fs, move->from_blk, remap->buffer, move->ino);

	if (!code)
		code = ext2fs_write_ext_attr3(remap->fs, move->to_blk, remap->buffer, move->ino);
	if (code)
		return br_fail_ext2(remap->err, code, "cannot move the attribute block of inode %u",
		                    move->ino);
	remap->plan->stats->attributes_moved++;
	int result = account_block(remap, move->from_blk, false);
	return result ? result : account_block(remap, move->to_blk, true);
}

static int move_attributes(struct remap *remap)
{
	struct br_plan *plan = remap->plan;

	for (size_t i = 0; i < plan->attribute_count; i++) {
		const struct br_attribute_move *move = &plan->attributes[i];
		struct ext2_inode inode;
		if (i == 0 || move->from_blk != move[-1].from_blk) {
			int result = move_attribute_block(remap, move);
			if (result)
				return result;
		}
		errcode_t code = ext2fs_read_inode(remap->fs, move->ino, &inode);
		if (!code) {
			ext2fs_file_acl_block_set(remap->fs, &inode, move->to_blk);
			code = ext2fs_write_inode(remap->fs, move->ino, &inode);
		}
		if (code)
			return br_fail_ext2(remap->err, code, "cannot change inode %u", move->ino);
	}
	return 0;
}

static void finish_stats(const struct br_plan *plan)
{
	struct br_consolidate_stats *stats = plan->stats;
	unsigned bits = plan->cluster_bits;

	stats->fragmented_after = plan->untouched_fragmented;
	for (size_t i = 0; i < plan->file_count; i++)
		stats->fragmented_after += plan->files[i].regular && plan->files[i].new_runs > 1;
	stats->must_blk = plan->must_total << bits;
	for (size_t i = 0; i < plan->free_at_start.count; i++)
		stats->free_blk += plan->free_at_start.items[i].length << bits;
	stats->free_after_blk = plan->space.total << bits;
}

int br_plan_apply(struct br_plan *plan, struct br_err *err)
{
	ext2_filsys fs = plan->fs;
	struct remap remap = {
		.plan = plan,
		.fs = fs,
		.buffer = malloc(fs->blocksize),
		.err = err,
	};
	int result = remap.buffer ? 0 : -ENOMEM;

	br_tree_reset(&plan->view.tree);

	for (size_t i = 0; !result && i < plan->file_count; i++) {
		const struct br_file *file = &plan->files[i];
		if (file->move_count || file->must_nodes)
			result = remap_file(&remap, file);
	}
	if (!result)
		result = move_attributes(&remap);
	fs->flags &= ~EXT2_FLAG_SUPER_ONLY;
	ext2fs_mark_super_dirty(fs);
	ext2fs_mark_bb_dirty(fs);
	finish_stats(plan);
	br_run_list_free(&remap.runs);
	free(remap.blocks);
	free(remap.buffer);
	return result;
}
