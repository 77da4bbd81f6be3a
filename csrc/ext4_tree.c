#include "ext4_tree.h"

#include <errno.h>
#include <ext2fs/ext3_extents.h>
#include <stdlib.h>

#include "bytes.h"
#include "error.h"

enum {
	HEADER_BYTES = sizeof(struct ext3_extent_header),
	ENTRY_BYTES = sizeof(struct ext3_extent),
	EXTENT_MAX_DEPTH = 5,
};

struct level {
	const uint8_t *node;
	unsigned int count;
	unsigned int next;
	unsigned int depth;
	uint64_t low; /* logical blocks below are done */
	uint64_t end; /* and those from here on belong to a sibling */
};

struct walk {
	struct br_tree *tree;
	const struct br_inode *inode;
	br_run_fn fn;
	void *context;
	uint64_t end_blk; /* of the last run, and of the indirect blocks that lie behind it */
	struct br_err *err;
};

int br_tree_open(struct br_tree *tree, struct br_fs *handle, struct br_err *err)
{
	*tree = (struct br_tree){.handle = handle};
	br_tree_reset(tree);
	tree->buffers = calloc(BR_TREE_LEVELS, handle->fs->blocksize);
	return tree->buffers ? 0 : br_fail(err, ENOMEM, "out of memory");
}

void br_tree_close(struct br_tree *tree)
{
	free(tree->buffers);
	*tree = (struct br_tree){0};
}

void br_tree_reset(struct br_tree *tree)
{
	tree->budget = ext2fs_blocks_count(tree->handle->fs->super);
}

static int damaged(struct walk *walk, const char *what)
{
	return br_fail(walk->err, EUCLEAN, "inode %u: %s", walk->inode->ino, what);
}

/* Indirect blocks lie between the data that they map. */
static void note_end(struct walk *walk, struct br_run *run)
{
	run->after_blk = walk->end_blk;
	if (!run->node)
		walk->end_blk = run->pblk + run->length;
	else if (!(walk->inode->core.i_flags & EXT4_EXTENTS_FL) && run->pblk == walk->end_blk)
		walk->end_blk++;
}

static int emit(struct walk *walk, struct br_run *run)
{
	struct br_tree *tree = walk->tree;
	int result = br_check_blk(tree->handle, run->pblk, walk->inode->ino, walk->err);

	if (!result)
		result = br_check_blk(tree->handle, run->pblk + run->length - 1, walk->inode->ino,
		                      walk->err);
	if (result)
		return result;
	if (run->length > tree->budget)
		return damaged(walk, "with it, files have more blocks than the filesystem");
	tree->budget -= run->length;
	note_end(walk, run);
	return walk->fn(walk->context, run);
}

static int read_node(struct walk *walk, uint64_t pblk, unsigned int slot, uint8_t **out)
{
	struct br_tree *tree = walk->tree;
	struct br_run run = {.pblk = pblk, .length = 1, .node = 1};
	int result = emit(walk, &run);

	*out = tree->buffers + (size_t)slot * tree->handle->fs->blocksize;
	return result ? result : br_read_blk(tree->handle, pblk, *out, walk->err);
}

static int open_level(struct walk *walk, struct level *level, const uint8_t *node, size_t bytes)
{
	unsigned int count = br_load16(node + 2);
	unsigned int max = br_load16(node + 4);

	if (br_load16(node) != EXT3_EXT_MAGIC)
		return damaged(walk, "an extent tree block has a bad signature");
	if (count > max || max > (bytes - HEADER_BYTES) / ENTRY_BYTES)
		return damaged(walk, "an extent tree block has too many entries");
	level->node = node + HEADER_BYTES;
	level->count = count;
	level->next = 0;
	level->depth = br_load16(node + 6);
	if (level->depth && !count)
		return damaged(walk, "an extent index block is empty");
	return 0;
}

static int leaf_entry(struct walk *walk, struct level *level)
{
	const uint8_t *entry = level->node + (size_t)ENTRY_BYTES * level->next++;
	struct br_run run = {
		.lblk = br_load32(entry),
		.pblk = br_load32(entry + 8) | (uint64_t)br_load16(entry + 6) << 32,
		.length = br_load16(entry + 4),
	};

	if (run.length > EXT_INIT_MAX_LEN) {
		run.length -= EXT_INIT_MAX_LEN;
		run.unwritten = 1;
	}
	if (!run.length)
		return damaged(walk, "an extent is empty");
	if (run.lblk < level->low || run.lblk + run.length > level->end)
		return damaged(walk, "extents are out of order");
	level->low = run.lblk + run.length;
	return emit(walk, &run);
}

static int index_entry(struct walk *walk, struct level *level, struct level *child,
                       unsigned int slot)
{
	const uint8_t *entry = level->node + (size_t)ENTRY_BYTES * level->next++;
	uint64_t first = br_load32(entry);
	uint64_t pblk = br_load32(entry + 4) | (uint64_t)br_load16(entry + 8) << 32;
	uint64_t end = level->next < level->count ? br_load32(entry + ENTRY_BYTES) : level->end;
	uint8_t *buffer;

	if (first < level->low || end <= first || end > level->end)
		return damaged(walk, "extent indexes are out of order");
	level->low = end;
	int result = read_node(walk, pblk, slot, &buffer);
	if (!result)
		result = open_level(walk, child, buffer, walk->tree->handle->fs->blocksize);
	if (result)
		return result;
	if (child->depth != level->depth - 1)
		return damaged(walk, "an extent tree block is at the wrong depth");
	child->low = first;
	child->end = end;
	return 0;
}

static int walk_extents(struct walk *walk)
{
	struct level stack[EXTENT_MAX_DEPTH + 1] = {0};
	const uint8_t *root = walk->inode->raw + offsetof(struct ext2_inode_large, i_block);
	unsigned int top = 0;
	int result = open_level(walk, &stack[0], root, EXT2_N_BLOCKS * 4);

	if (result)
		return result;
	if (stack[0].depth > EXTENT_MAX_DEPTH)
		return damaged(walk, "its extent tree is too deep");
	stack[0].low = 0;
	stack[0].end = UINT64_C(1) << 32;
	for (;;) {
		struct level *level = &stack[top];
		if (level->next == level->count) {
			if (top == 0)
				return 0;
			top--;
		} else if (level->depth == 0) {
			result = leaf_entry(walk, level);
		} else {
			result = index_entry(walk, level, &stack[top + 1], top);
			top++;
		}
		if (result)
			return result;
	}
}

/* Joins neighbouring blocks of a block-mapped inode into runs. */
struct joiner {
	struct walk *walk;
	struct br_run pending;
};

static int flush_run(struct joiner *joiner)
{
	struct br_run run = joiner->pending;

	joiner->pending.length = 0;
	return run.length ? emit(joiner->walk, &run) : 0;
}

static int add_blk(struct joiner *joiner, uint64_t lblk, uint64_t pblk)
{
	struct br_run *run = &joiner->pending;

	if (run->length && run->lblk + run->length == lblk && run->pblk + run->length == pblk) {
		run->length++;
		return 0;
	}
	int result = flush_run(joiner);
	*run = (struct br_run){.lblk = lblk, .pblk = pblk, .length = 1};
	return result;
}

/* One of the three indirect trees: `depth` levels of pointer blocks below `root`. */
static int walk_indirect(struct joiner *joiner, uint64_t root, unsigned int depth, uint64_t lblk)
{
	struct walk *walk = joiner->walk;
	unsigned int per_blk = walk->tree->handle->fs->blocksize / 4;
	struct level stack[3] = {0};
	uint8_t *buffer;
	unsigned int top = 0;
	int result = flush_run(joiner);

	if (!result)
		result = read_node(walk, root, 0, &buffer);
	if (result)
		return result;
	stack[0] =
		(struct level){.node = buffer, .count = per_blk, .depth = depth - 1, .low = lblk};
	for (;;) {
		struct level *level = &stack[top];
		if (level->next == level->count) {
			if (top == 0)
				return 0;
			top--;
			continue;
		}
		uint64_t span = 1;
		for (unsigned int i = 0; i < level->depth; i++)
			span *= per_blk;
		uint64_t at = level->low + span * level->next;
		uint32_t pblk = br_load32(level->node + (size_t)4 * level->next++);
		if (!pblk)
			continue;
		if (level->depth == 0) {
			result = add_blk(joiner, at, pblk);
		} else {
			result = flush_run(joiner);
			if (!result)
				result = read_node(walk, pblk, top + 1, &buffer);
			stack[top + 1] = (struct level){.node = buffer,
			                                .count = per_blk,
			                                .depth = level->depth - 1,
			                                .low = at};
			top++;
		}
		if (result)
			return result;
	}
}

static int walk_blocks(struct walk *walk)
{
	const uint8_t *map = walk->inode->raw + offsetof(struct ext2_inode_large, i_block);
	struct joiner joiner = {.walk = walk};
	uint64_t per_blk = walk->tree->handle->fs->blocksize / 4;
	uint64_t lblk = EXT2_NDIR_BLOCKS;
	uint64_t span = per_blk;
	int result = 0;

	for (unsigned int i = 0; i < EXT2_NDIR_BLOCKS && !result; i++)
		if (br_load32(map + (size_t)4 * i))
			result = add_blk(&joiner, i, br_load32(map + (size_t)4 * i));
	for (unsigned int depth = 1; depth <= 3 && !result; depth++) {
		uint32_t root = br_load32(map + (size_t)4 * (EXT2_NDIR_BLOCKS + depth - 1));
		if (root)
			result = walk_indirect(&joiner, root, depth, lblk);
		lblk += span;
		span *= per_blk;
	}
	return result ? result : flush_run(&joiner);
}

int br_tree_walk(struct br_tree *tree, const struct br_inode *inode, br_run_fn fn, void *context,
                 struct br_err *err)
{
	struct walk walk = {.tree = tree, .inode = inode, .fn = fn, .context = context, .err = err};

	if (!inode->mapped)
		return 0;
	if (inode->core.i_flags & EXT4_EXTENTS_FL)
		return walk_extents(&walk);
	return walk_blocks(&walk);
}

struct collect {
	struct br_run_list *runs;
	struct br_run_list *nodes;
};

static int collect_run(void *context, const struct br_run *run)
{
	struct collect *collect = context;
	struct br_run_list *list = run->node ? collect->nodes : collect->runs;

	return list ? br_run_list_add(list, run) : 0;
}

int br_tree_collect(struct br_tree *tree, const struct br_inode *inode, struct br_run_list *runs,
                    struct br_run_list *nodes, struct br_err *err)
{
	struct collect collect = {runs, nodes};

	runs->count = 0;
	if (nodes)
		nodes->count = 0;
	int result = br_tree_walk(tree, inode, collect_run, &collect, err);
	return result == -ENOMEM ? br_fail(err, ENOMEM, "out of memory for the runs of a file")
	                         : result;
}
