#include "ext4_moves.h"

#include <errno.h>

#include "array.h"
#include "error.h"

static int add_move(struct br_plan *plan, struct br_file *file, struct br_move move)
{
	if (file->move_count) {
		struct br_move *last = &plan->moves[plan->move_count - 1];
		bool adjacent = last->to + last->length == move.to;
		if (adjacent && last->from + last->length == move.from &&
		    (uint64_t)last->length + move.length <= UINT32_MAX) {
			last->length += move.length;
			return 0;
		}
		move.joined = move.joined || adjacent;
	}
	file->move_count++;
	return br_array_push(&plan->moves, &plan->move_count, &plan->move_capacity, &move,
	                     sizeof(move));
}

static int refill(struct br_plan *plan, struct br_source *source)
{
	size_t run = br_free_runs_find(&plan->space, 0, source->wanted);

	if (run == BR_NO_RUN)
		run = br_free_runs_longest(&plan->space);
	if (run == BR_NO_RUN)
		return -ENOSPC;
	uint64_t length = plan->space.runs[run].length;
	source->left = length < source->wanted ? length : source->wanted;
	source->wanted -= source->left;
	source->at = br_free_runs_take(&plan->space, run, source->left);
	return 0;
}

static int move_piece(struct br_plan *plan, struct br_file *file, struct br_piece piece,
                      struct br_source *source)
{
	while (piece.length) {
		int result = source->left ? 0 : refill(plan, source);
		if (result)
			return result;
		uint32_t part = piece.length;
		if (part > source->left)
			part = (uint32_t)source->left;
		result = add_move(plan, file,
		                  (struct br_move){piece.start, source->at, part, false});
		if (result)
			return result;
		piece.start += part;
		piece.length -= part;
		source->at += part;
		source->left -= part;
	}
	return 0;
}

int br_moves_record(struct br_plan *plan, struct br_file *file, enum br_part part,
                    uint32_t kept_pieces, struct br_source source)
{
	file->first_move = plan->move_count;
	file->move_count = 0;
	bool last_stayed = false;

	for (uint32_t i = 0; i < file->piece_count; i++) {
		struct br_piece piece = plan->pieces[file->first_piece + i];
		bool goes = part == BR_PART_ALL || (part == BR_PART_MUST && piece.must) ||
		            (part == BR_PART_REST && i >= kept_pieces);
		int result;
		if (goes)
			result = move_piece(plan, file, piece, &source);
		else
			result = add_move(plan, file,
			                  (struct br_move){piece.start, piece.start, piece.length,
			                                   piece.joined && last_stayed});
		if (result)
			return result;
		last_stayed = !goes;
	}
	file->new_runs = file->piece_count ? 1 : 0;
	for (uint32_t i = 1; i < file->move_count; i++)
		file->new_runs += !plan->moves[file->first_move + i].joined;
	return 0;
}

int br_moves_apply(const struct br_plan *plan, const struct br_file *file,
                   const struct br_run_list *old, struct br_run_list *out, struct br_err *err)
{
	const struct br_move *moves = plan->moves + file->first_move;
	unsigned bits = plan->cluster_bits;
	uint32_t at = 0;

	out->count = 0;
	for (size_t i = 0; i < old->count; i++) {
		struct br_run item = old->items[i];
		while (item.length) {
			uint64_t cluster = item.pblk >> bits;
			while (at < file->move_count &&
			       (cluster < moves[at].from ||
			        cluster - moves[at].from >= moves[at].length))
				at++;
			if (at == file->move_count)
				return br_fail(err, EUCLEAN, "inode %u changed its mapping",
				               file->ino);
			uint64_t end_blk = (moves[at].from + moves[at].length) << bits;
			struct br_run part = item;
			if (part.length > end_blk - item.pblk)
				part.length = end_blk - item.pblk;
			part.pblk = item.pblk - (moves[at].from << bits) + (moves[at].to << bits);
			int result = br_run_list_join(out, part);
			if (result)
				return br_fail(err, -result, "out of memory");
			item.lblk += part.length;
			item.pblk += part.length;
			item.length -= part.length;
		}
	}
	return 0;
}
