/* What the plan starts from: the free runs, and the inodes that have to move or may be joined. */
#include "ext4_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "error.h"
#include "ext4_space.h"
#include "extent.h"

struct scan {
	struct br_plan *plan;
	const struct br_consolidate_request *request;
	uint32_t *pinned; /* sorted */
	struct br_err *err;
};

/* The first cluster at or after `at` whose duty to leave differs from that of `at`. */
static uint64_t duty_change(const struct br_plan *plan, uint64_t at, bool *must)
{
	const struct br_extents *forbidden = &plan->forbidden;

	*must = at >= plan->end;
	if (*must)
		return UINT64_MAX;
	size_t index = br_extents_find(forbidden, at);
	if (index == forbidden->count || forbidden->items[index].start >= plan->end)
		return plan->end;
	const struct br_extent *next = &forbidden->items[index];
	*must = next->start <= at;
	uint64_t change = *must ? next->start + next->length : next->start;
	/* What is forbidden up to the end goes on behind it. */
	return *must && change >= plan->end ? UINT64_MAX : change;
}

bool br_plan_must_leave(const struct br_plan *plan, uint64_t blk)
{
	bool must;

	duty_change(plan, blk >> plan->cluster_bits, &must);
	return must;
}

static int round_forbidden(struct br_plan *plan, const struct br_consolidate_request *request)
{
	uint64_t mask = ((uint64_t)1 << plan->cluster_bits) - 1;
	uint64_t last = ext2fs_blocks_count(plan->fs->super);

	for (size_t i = 0; i < request->forbidden_count; i++) {
		struct br_extent item = request->forbidden[i];
		if (item.start >= last)
			continue;
		uint64_t length = item.length < last - item.start ? item.length : last - item.start;
		uint64_t from = item.start >> plan->cluster_bits;
		uint64_t to = (item.start + length + mask) >> plan->cluster_bits;
		int result = br_extents_add(&plan->forbidden, from, to - from);
		if (result)
			return result;
	}
	br_extents_normalise(&plan->forbidden);
	return 0;
}

/* Add the parts of the free clusters [from, to) that may be used. */
static int add_usable(struct br_plan *plan, uint64_t from, uint64_t to)
{
	while (from < to) {
		bool must;
		uint64_t change = duty_change(plan, from, &must);
		uint64_t next = change < to ? change : to;
		if (!must) {
			int result = br_extents_add(&plan->free_at_start, from, next - from);
			if (result)
				return result;
		}
		from = next;
	}
	return 0;
}

static int find_free_runs(struct br_plan *plan, struct br_err *err)
{
	uint64_t mask = ((uint64_t)1 << plan->cluster_bits) - 1;
	uint64_t end = plan->end << plan->cluster_bits;
	uint64_t to = plan->fs->super->s_first_data_block;

	for (;;) {
		struct br_extent run;
		int result = br_space_next(plan->fs, 0, to, end, &run, err);
		if (result || !run.length)
			return result;
		to = run.start + run.length;
		result = add_usable(plan, run.start >> plan->cluster_bits,
		                    (to + mask) >> plan->cluster_bits);
		if (result)
			return result;
	}
}

static int find_free_space(struct br_plan *plan, struct br_err *err)
{
	int result = find_free_runs(plan, err);

	if (result)
		return result;
	return br_free_runs_init(&plan->space, plan->free_at_start.items,
	                         plan->free_at_start.count);
}

static int add_piece(struct br_plan *plan, struct br_piece piece)
{
	return br_array_push(&plan->pieces, &plan->piece_count, &plan->piece_capacity, &piece,
	                     sizeof(piece));
}

/* Add the clusters [from, from + length) to the file's last pieces. */
static int add_clusters(struct br_plan *plan, struct br_file *file, uint64_t from, uint64_t length,
                        bool joined)
{
	if (!joined)
		file->runs++;
	file->clusters += length;
	while (length) {
		bool must;
		uint64_t change = duty_change(plan, from, &must);
		uint64_t part = change - from < length ? change - from : length;
		struct br_piece *last = NULL;
		if (plan->piece_count > file->first_piece)
			last = &plan->pieces[plan->piece_count - 1];
		if (must)
			file->must_clusters += part;
		if (last && last->start + last->length == from && last->must == must &&
		    last->length + part <= UINT32_MAX) {
			last->length += (uint32_t)part;
		} else {
			/* A run is not longer than an extent, or than one indirect block maps. */
			struct br_piece piece = {from, (uint32_t)part, joined, must};
			int result = add_piece(plan, piece);
			if (result)
				return result;
		}
		from += part;
		length -= part;
		joined = true;
	}
	return 0;
}

static int add_pieces(struct br_plan *plan, struct br_file *file)
{
	unsigned bits = plan->cluster_bits;
	uint64_t mask = ((uint64_t)1 << bits) - 1;
	uint64_t last_logical = UINT64_MAX, last_physical = UINT64_MAX - 1;

	for (size_t i = 0; i < plan->view.runs.count; i++) {
		const struct br_run *item = &plan->view.runs.items[i];
		uint64_t from = item->pblk >> bits;
		uint64_t to = (item->pblk + item->length + mask) >> bits;
		if ((item->pblk & mask) != (item->lblk & mask))
			return -EUCLEAN;
		if (item->lblk >> bits == last_logical) {
			if (from != last_physical)
				return -EUCLEAN;
			from++;
		}
		bool joined = from == last_physical + 1 || br_run_goes_on(item);
		if (from < to) {
			int result = add_clusters(plan, file, from, to - from, joined);
			if (result)
				return result;
		}
		last_logical = (item->lblk + item->length - 1) >> bits;
		last_physical = to - 1;
	}
	return 0;
}

static int compare_ino(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static bool is_pinned(const struct scan *scan, uint32_t ino)
{
	return scan->pinned && bsearch(&ino, scan->pinned, scan->request->pinned_count,
	                               sizeof(*scan->pinned), compare_ino);
}

/* Files and the values of large attributes. */
static bool is_regular(const struct br_plan *plan, const struct br_inode *inode)
{
	return (inode->kind == BR_KIND_FILE || inode->kind == BR_KIND_EA) &&
	       LINUX_S_ISREG(inode->core.i_mode) && inode->ino >= EXT2_FIRST_INO(plan->fs->super);
}

static void classify(struct scan *scan, struct br_file *file, const struct br_inode *inode)
{
	struct br_plan *plan = scan->plan;

	file->block_mapped = !(inode->core.i_flags & EXT4_EXTENTS_FL);
	file->regular = is_regular(plan, inode);
	file->immovable = is_pinned(scan, file->ino) || file->ino == EXT2_BOOT_LOADER_INO;
	/* Boot loaders address immutable files by block: none moves without need. */
	file->joinable =
		file->regular && !file->immovable && !(inode->core.i_flags & EXT2_IMMUTABLE_FL);
	file->extents = (uint32_t)plan->view.runs.count;
	file->old_nodes = (uint32_t)plan->tree_blocks.count;
	for (size_t i = 0; i < plan->tree_blocks.count; i++)
		file->must_nodes += br_plan_must_leave(plan, plan->tree_blocks.items[i].pblk);
}

static int keep_file(struct scan *scan, const struct br_file *file)
{
	struct br_plan *plan = scan->plan;

	if (file->immovable && (file->must_clusters || file->must_nodes))
		return br_fail(scan->err, EOPNOTSUPP,
		               "inode %u lies past the end and must not move", file->ino);
	return br_array_push(&plan->files, &plan->file_count, &plan->file_capacity, file,
	                     sizeof(*file));
}

static int scan_mapping(struct scan *scan, const struct br_inode *inode)
{
	struct br_plan *plan = scan->plan;
	struct br_file file = {
		.ino = inode->ino,
		.rank = UINT32_MAX,
		.first_piece = plan->piece_count,
	};
	int result = br_tree_collect(&plan->view.tree, inode, &plan->view.runs, &plan->tree_blocks,
	                             scan->err);

	if (result)
		return result;
	classify(scan, &file, inode);
	if (file.block_mapped && plan->cluster_bits && plan->view.runs.count)
		return br_fail(scan->err, EUCLEAN,
		               "inode %u has no extents on a filesystem with "
		               "clusters",
		               inode->ino);
	result = add_pieces(plan, &file);
	if (result == -EUCLEAN)
		return br_fail(scan->err, EUCLEAN, "the clusters of inode %u make no sense",
		               inode->ino);
	if (result)
		return result;
	file.piece_count = (uint32_t)(plan->piece_count - file.first_piece);
	bool fragmented = file.regular && file.runs > 1;
	bool must = file.must_clusters || file.must_nodes;
	plan->stats->regular_files += file.regular;
	plan->stats->fragmented_before += fragmented;
	plan->must_total += file.must_clusters;
	plan->must_single += file.must_nodes;
	if (must || (scan->request->join && file.joinable && fragmented))
		return keep_file(scan, &file);
	plan->piece_count = file.first_piece;
	plan->untouched_fragmented += fragmented;
	return 0;
}

static int scan_attribute(struct scan *scan, const struct br_inode *inode)
{
	struct br_plan *plan = scan->plan;
	uint64_t blk = br_inode_acl_blk(plan->view.handle, inode);

	if (!blk)
		return 0;
	int result = br_check_blk(plan->view.handle, blk, inode->ino, scan->err);
	if (result || !br_plan_must_leave(plan, blk))
		return result;
	if (is_pinned(scan, inode->ino))
		return br_fail(scan->err, EOPNOTSUPP,
		               "inode %u lies past the end and must not move", inode->ino);
	struct br_attribute_move move = {blk, 0, inode->ino};
	return br_array_push(&plan->attributes, &plan->attribute_count, &plan->attribute_capacity,
	                     &move, sizeof(move));
}

static int scan_inode(struct scan *scan, const struct br_inode *inode)
{
	/* Bad blocks are refused before; resize2fs itself keeps the resize inode. */
	if (inode->kind == BR_KIND_BAD_BLOCKS || inode->kind == BR_KIND_RESIZE)
		return 0;
	if (inode->kind == BR_KIND_DIRECTORY)
		ext2fs_mark_inode_bitmap2(scan->plan->directories, inode->ino);
	int result = scan_attribute(scan, inode);
	if (!result && inode->mapped)
		result = scan_mapping(scan, inode);
	return result;
}

static int scan_inodes(struct scan *scan)
{
	struct br_inode inode = {0};

	for (;;) {
		int result = br_inode_next(&scan->plan->view.inodes, &inode, scan->err);
		if (result <= 0)
			return result;
		result = scan_inode(scan, &inode);
		if (result)
			return result;
	}
}

static int compare_attribute(const void *a, const void *b)
{
	const struct br_attribute_move *x = a, *y = b;

	if (x->from_blk != y->from_blk)
		return (x->from_blk > y->from_blk) - (x->from_blk < y->from_blk);
	return (x->ino > y->ino) - (x->ino < y->ino);
}

static void count_attributes(struct br_plan *plan)
{
	if (plan->attribute_count)
		qsort(plan->attributes, plan->attribute_count, sizeof(*plan->attributes),
		      compare_attribute);
	for (size_t i = 0; i < plan->attribute_count; i++) {
		if (i == 0 || plan->attributes[i].from_blk != plan->attributes[i - 1].from_blk)
			plan->must_single++;
	}
}

static int copy_pinned(struct scan *scan)
{
	size_t count = scan->request->pinned_count;

	if (!count)
		return 0;
	scan->pinned = calloc(count, sizeof(*scan->pinned));
	if (!scan->pinned)
		return -ENOMEM;
	memcpy(scan->pinned, scan->request->pinned, count * sizeof(*scan->pinned));
	qsort(scan->pinned, count, sizeof(*scan->pinned), compare_ino);
	return 0;
}

int br_plan_scan(struct br_plan *plan, const struct br_consolidate_request *request,
                 struct br_err *err)
{
	struct scan scan = {
		.plan = plan,
		.request = request,
		.err = err,
	};
	int result = round_forbidden(plan, request);

	if (!result)
		result = find_free_space(plan, err);
	if (!result)
		result = copy_pinned(&scan);
	if (!result && ext2fs_allocate_inode_bitmap(plan->fs, "directories", &plan->directories))
		result = -ENOMEM;
	if (!result)
		result = scan_inodes(&scan);
	if (!result)
		count_attributes(plan);
	free(scan.pinned);
	return result;
}
