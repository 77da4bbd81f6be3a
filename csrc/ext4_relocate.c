/* The planner. In this order, so that the scarce long runs go to whom they help most:
 *
 *   1. what can go on right behind the part that stays
 *   2. what has to move: large files, largest first, first fit; small ones in directory order
 *   3. fragmented files that may be joined, in the same order
 *   4. what has to move and found no run: split over the longest runs left
 *   5. tree nodes and attribute blocks, from the shortest runs
 *
 * Nothing is applied before the plan is complete. Joining only uses what the others leave over; if
 * that estimate was wrong the whole plan is made again without it. Joining costs copies: the
 * cheapest files are chosen, up to a share of what has to be copied anyway, or beyond it as long as
 * too many files would stay fragmented, or as long as there is room if that is asked for.
 */
#define _GNU_SOURCE /* qsort_r */
#include "ext4_relocate.h"

#include <errno.h>
#include <stdlib.h>

#include "array.h"
#include "error.h"
#include "ext4_moves.h"
#include "ext4_scan.h"
#include "ext4_tree_write.h"
#include "extent.h"

/* From this size on a file is placed before the small ones. */
#define LARGE_BYTES ((uint64_t)1 << 20)

/* Joining may add this part to the copies, ... */
#define JOIN_SHARE 4
/* ... and more than that while more than one regular file in so many is fragmented. */
#define ONE_FRAGMENTED_IN 200

struct attempt {
	struct br_plan *plan;
	uint32_t *order;   /* indices of files */
	size_t small_from; /* in order */
	bool join;
	size_t cursor; /* next fit for small files */
};

static uint64_t large_clusters(const struct br_plan *plan)
{
	return LARGE_BYTES / ((uint64_t)plan->fs->blocksize << plan->cluster_bits);
}

static int record_at(struct br_plan *plan, struct br_file *file, enum br_part part,
                     uint32_t kept_pieces, size_t run, uint64_t length)
{
	struct br_source source = {br_free_runs_take(&plan->space, run, length), length, 0};

	if (length > file->must_clusters)
		plan->spare -= length - file->must_clusters;
	return br_moves_record(plan, file, part, kept_pieces, source);
}

/* 1. Behind the part that stays. */

static bool may_spend(const struct br_plan *plan, const struct br_file *file, uint64_t length)
{
	if (length <= file->must_clusters)
		return true;
	return file->chosen && length - file->must_clusters <= plan->spare;
}

/* How many leading pieces stay and form one run; their clusters, and where it ends. */
static uint32_t kept_prefix(const struct br_plan *plan, const struct br_file *file,
                            uint64_t *clusters, uint64_t *end)
{
	const struct br_piece *pieces = plan->pieces + file->first_piece;
	uint32_t kept = 0;

	*clusters = 0;
	while (kept < file->piece_count && !pieces[kept].must &&
	       (kept == 0 || pieces[kept].joined)) {
		*clusters += pieces[kept].length;
		*end = pieces[kept].start + pieces[kept].length;
		kept++;
	}
	return kept;
}

static int extend_in_place(struct attempt *attempt)
{
	struct br_plan *plan = attempt->plan;

	for (size_t i = 0; i < plan->file_count; i++) {
		struct br_file *file = &plan->files[i];
		uint64_t prefix, end = 0;
		if (!file->must_clusters && !file->chosen)
			continue;
		uint32_t kept = kept_prefix(plan, file, &prefix, &end);
		uint64_t rest = file->clusters - prefix;
		if (!kept || !rest || !may_spend(plan, file, rest))
			continue;
		size_t run = br_free_runs_starting_at(&plan->space, end);
		if (run == BR_NO_RUN || plan->space.runs[run].length < rest)
			continue;
		int result = record_at(plan, file, BR_PART_REST, kept, run, rest);
		if (result)
			return result;
	}
	return 0;
}

/* 2. and 3. Into one run. */

static size_t find_run(struct attempt *attempt, bool small, uint64_t length)
{
	struct br_free_runs *space = &attempt->plan->space;

	if (!small)
		return br_free_runs_find(space, 0, length);
	size_t run = br_free_runs_find(space, attempt->cursor, length);
	if (run == BR_NO_RUN)
		run = br_free_runs_find(space, 0, length);
	if (run != BR_NO_RUN)
		attempt->cursor = run;
	return run;
}

static int place_part(struct attempt *attempt, struct br_file *file, bool small, enum br_part part)
{
	uint64_t length = part == BR_PART_ALL ? file->clusters : file->must_clusters;

	if (!may_spend(attempt->plan, file, length))
		return 0;
	size_t run = find_run(attempt, small, length);
	if (run == BR_NO_RUN)
		return 0;
	return record_at(attempt->plan, file, part, 0, run, length);
}

/* Files that find no run stay without moves. */
static int place_movers(struct attempt *attempt)
{
	struct br_plan *plan = attempt->plan;

	for (size_t i = 0; i < plan->file_count; i++) {
		struct br_file *file = &plan->files[attempt->order[i]];
		bool small = i >= attempt->small_from;
		int result = 0;
		if (!file->must_clusters || file->move_count)
			continue;
		if (file->chosen || file->clusters == file->must_clusters)
			result = place_part(attempt, file, small, BR_PART_ALL);
		if (!result && !file->move_count)
			result = place_part(attempt, file, small, BR_PART_MUST);
		if (result)
			return result;
	}
	return 0;
}

static int place_joiners(struct attempt *attempt)
{
	struct br_plan *plan = attempt->plan;

	for (size_t i = 0; i < plan->file_count; i++) {
		struct br_file *file = &plan->files[attempt->order[i]];
		if (file->must_clusters || file->move_count || !file->chosen)
			continue;
		int result = place_part(attempt, file, i >= attempt->small_from, BR_PART_ALL);
		if (result)
			return result;
	}
	return 0;
}

/* 4. Over the longest runs left. */

static int split_rest(struct br_plan *plan)
{
	for (size_t i = 0; i < plan->file_count; i++) {
		struct br_file *file = &plan->files[i];
		if (file->move_count || (!file->must_clusters && !file->must_nodes))
			continue;
		int result = br_moves_record(plan, file,
		                             file->must_clusters ? BR_PART_MUST : BR_PART_NONE, 0,
		                             (struct br_source){.wanted = file->must_clusters});
		if (result)
			return result;
	}
	return 0;
}

/* 5. Single blocks. */

int br_plan_look_at(struct br_plan *plan, ext2_ino_t ino, struct br_inode *inode,
                    struct br_err *err)
{
	int result = br_inode_read(&plan->view.inodes, ino, inode, err);

	return result ? result
	              : br_tree_collect(&plan->view.tree, inode, &plan->view.runs,
	                                &plan->tree_blocks, err);
}

static int nodes_wanted(struct br_plan *plan, struct br_file *file, size_t *wanted,
                        struct br_err *err)
{
	struct br_run_list runs = {0};
	struct br_inode inode;
	size_t kept = file->old_nodes - file->must_nodes;

	*wanted = file->must_nodes;
	if (file->block_mapped)
		return 0;
	*wanted = 0;
	if (br_tree_nodes(plan->fs, (size_t)file->extents + file->move_count) <= kept)
		return 0;
	int result = br_plan_look_at(plan, file->ino, &inode, err);
	if (!result)
		result = br_moves_apply(plan, file, &plan->view.runs, &runs, err);
	if (!result) {
		size_t nodes = br_tree_nodes(plan->fs, runs.count);
		*wanted = nodes > kept ? nodes - kept : 0;
	}
	br_run_list_free(&runs);
	return result;
}

static int take_node(struct br_plan *plan)
{
	uint64_t cluster;
	int result = br_free_runs_take_single(&plan->space, &cluster);

	if (result)
		return result;
	uint64_t blk = cluster << plan->cluster_bits;
	return br_array_push(&plan->nodes, &plan->node_count, &plan->node_capacity, &blk,
	                     sizeof(blk));
}

static int place_nodes(struct br_plan *plan, struct br_err *err)
{
	br_tree_reset(&plan->view.tree);
	for (size_t i = 0; i < plan->file_count; i++) {
		struct br_file *file = &plan->files[i];
		size_t wanted;
		if (!file->move_count && !file->must_nodes)
			continue;
		int result = nodes_wanted(plan, file, &wanted, err);
		file->first_node = plan->node_count;
		file->new_nodes = (uint32_t)wanted;
		for (size_t n = 0; !result && n < wanted; n++)
			result = take_node(plan);
		if (result)
			return result;
	}
	return 0;
}

static int place_attributes(struct br_plan *plan)
{
	for (size_t i = 0; i < plan->attribute_count; i++) {
		struct br_attribute_move *move = &plan->attributes[i];
		if (i && move->from_blk == move[-1].from_blk) {
			move->to_blk = move[-1].to_blk;
			continue;
		}
		uint64_t cluster;
		int result = br_free_runs_take_single(&plan->space, &cluster);
		if (result)
			return result;
		move->to_blk = cluster << plan->cluster_bits;
	}
	return 0;
}

/* The order of placing. */

static uint64_t size_to_place(const struct br_file *file)
{
	return file->chosen ? file->clusters : file->must_clusters;
}

static int compare_order(const void *a, const void *b, void *opaque)
{
	const struct attempt *attempt = opaque;
	const struct br_file *x = &attempt->plan->files[*(const uint32_t *)a];
	const struct br_file *y = &attempt->plan->files[*(const uint32_t *)b];
	uint64_t large = large_clusters(attempt->plan);
	uint64_t x_size = size_to_place(x), y_size = size_to_place(y);

	if (x_size < large && y_size < large)
		x_size = y_size = 0;
	if (x_size != y_size)
		return (x_size < y_size) - (x_size > y_size);
	if (x->rank != y->rank)
		return (x->rank > y->rank) - (x->rank < y->rank);
	return (x->ino > y->ino) - (x->ino < y->ino);
}

static void sort_order(struct attempt *attempt)
{
	struct br_plan *plan = attempt->plan;
	uint64_t large = large_clusters(plan);

	for (uint32_t i = 0; i < plan->file_count; i++)
		attempt->order[i] = i;
	if (plan->file_count)
		qsort_r(attempt->order, plan->file_count, sizeof(*attempt->order), compare_order,
		        attempt);
	attempt->small_from = 0;
	while (attempt->small_from < plan->file_count &&
	       size_to_place(&plan->files[attempt->order[attempt->small_from]]) >= large)
		attempt->small_from++;
}

/* What joining costs and brings. */

static bool would_gain(const struct br_file *file)
{
	if (file->must_clusters)
		return file->clusters > file->must_clusters;
	return file->joinable && file->runs > 1;
}

static int compare_extra(const void *a, const void *b, void *opaque)
{
	const struct attempt *attempt = opaque;
	const struct br_file *x = &attempt->plan->files[*(const uint32_t *)a];
	const struct br_file *y = &attempt->plan->files[*(const uint32_t *)b];
	uint64_t x_extra = x->clusters - x->must_clusters, y_extra = y->clusters - y->must_clusters;

	if (x_extra != y_extra)
		return (x_extra > y_extra) - (x_extra < y_extra);
	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* Of those that fit into `spare`; lowers it to what the chosen ones may use. */
static void choose_files(struct attempt *attempt)
{
	struct br_plan *plan = attempt->plan;
	uint64_t fragmented = plan->untouched_fragmented, spent = 0;
	uint64_t share = plan->must_total / JOIN_SHARE;
	size_t candidates = 0;

	for (uint32_t i = 0; i < plan->file_count; i++) {
		if (!would_gain(&plan->files[i]))
			continue;
		attempt->order[candidates++] = i;
		fragmented += plan->files[i].regular;
	}
	if (candidates)
		qsort_r(attempt->order, candidates, sizeof(*attempt->order), compare_extra,
		        attempt);
	for (size_t i = 0; i < candidates; i++) {
		struct br_file *file = &plan->files[attempt->order[i]];
		uint64_t extra = file->clusters - file->must_clusters;
		bool too_many = plan->at_any_cost ||
		                fragmented * ONE_FRAGMENTED_IN > plan->stats->regular_files;
		if (extra > plan->spare - spent || (!too_many && spent + extra > share))
			break;
		file->chosen = true;
		spent += extra;
		fragmented -= file->regular;
	}
	plan->spare = spent;
}

static void begin_attempt(struct attempt *attempt)
{
	struct br_plan *plan = attempt->plan;

	br_free_runs_reset(&plan->space, plan->free_at_start.items);
	plan->move_count = 0;
	plan->node_count = 0;
	for (size_t i = 0; i < plan->file_count; i++) {
		plan->files[i].move_count = 0;
		plan->files[i].new_nodes = 0;
		plan->files[i].new_runs = plan->files[i].runs;
		plan->files[i].chosen = false;
	}
	/* Splitting makes trees grow; a leaf names hundreds of extents. */
	uint64_t reserved = plan->must_total + plan->must_single + plan->must_total / 256 + 16;
	plan->spare = 0;
	if (attempt->join && plan->space.total > reserved)
		plan->spare = plan->space.total - reserved;
	if (plan->spare)
		choose_files(attempt);
	attempt->cursor = 0;
	sort_order(attempt);
}

static int make_attempt(struct attempt *attempt, struct br_err *err)
{
	struct br_plan *plan = attempt->plan;

	begin_attempt(attempt);
	int result = extend_in_place(attempt);
	if (!result)
		result = place_movers(attempt);
	if (!result)
		result = place_joiners(attempt);
	if (!result)
		result = split_rest(plan);
	if (!result)
		result = place_nodes(plan, err);
	if (!result)
		result = place_attributes(plan);
	return result;
}

static int does_not_fit(const struct br_plan *plan, struct br_err *err)
{
	unsigned bits = plan->cluster_bits;
	unsigned long long needed = (plan->must_total + plan->must_single) << bits;
	unsigned long long available = 0;

	for (size_t i = 0; i < plan->free_at_start.count; i++)
		available += plan->free_at_start.items[i].length << bits;
	return br_fail(err, ENOSPC,
	               "at least %llu blocks have to move below block %llu, and %llu "
	               "are free there",
	               needed, (unsigned long long)plan->end << bits, available);
}

int br_plan_build(struct br_plan *plan, const struct br_consolidate_request *request,
                  struct br_err *err)
{
	struct attempt attempt = {.plan = plan, .join = request->join != 0};
	int result = br_plan_scan(plan, request, err);

	if (!result && plan->must_total + plan->must_single > plan->space.total)
		return does_not_fit(plan, err);
	if (!result && plan->file_count)
		result = br_plan_rank_files(plan, err);
	if (result)
		return result;
	attempt.order = calloc(plan->file_count + 1, sizeof(*attempt.order));
	if (!attempt.order)
		return -ENOMEM;
	result = make_attempt(&attempt, err);
	if (result == -ENOSPC && attempt.join) {
		attempt.join = false;
		result = make_attempt(&attempt, err);
	}
	free(attempt.order);
	return result == -ENOSPC ? does_not_fit(plan, err) : result;
}

void br_plan_free(struct br_plan *plan)
{
	br_extents_free(&plan->forbidden);
	br_extents_free(&plan->free_at_start);
	br_free_runs_free(&plan->space);
	br_view_close(&plan->view);
	br_run_list_free(&plan->tree_blocks);
	if (plan->directories)
		ext2fs_free_inode_bitmap(plan->directories);
	free(plan->files);
	free(plan->pieces);
	free(plan->moves);
	free(plan->nodes);
	free(plan->attributes);
	*plan = (struct br_plan){0};
}
