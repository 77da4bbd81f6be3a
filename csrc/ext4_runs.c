#include "ext4_runs.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <ext2fs/ext3_extents.h>
#include <stdlib.h>

#include "array.h"

void br_run_list_free(struct br_run_list *list)
{
	free(list->items);
	*list = (struct br_run_list){0};
}

int br_run_list_add(struct br_run_list *list, const struct br_run *run)
{
	return br_array_push(&list->items, &list->count, &list->capacity, run, sizeof(*run));
}

int br_run_goes_on(const struct br_run *run)
{
	return run->after_blk && run->pblk == run->after_blk;
}

static int joins(const struct br_run *last, const struct br_run *next)
{
	return last->lblk + last->length == next->lblk && last->pblk + last->length == next->pblk &&
	       last->unwritten == next->unwritten;
}

static uint64_t shorter(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int br_run_list_join(struct br_run_list *list, struct br_run run)
{
	uint64_t longest = run.unwritten ? EXT_UNINIT_MAX_LEN : EXT_INIT_MAX_LEN;

	while (run.length) {
		struct br_run *last = list->count ? &list->items[list->count - 1] : NULL;
		struct br_run part = run;
		int result = 0;
		if (last && joins(last, &run) && last->length < longest) {
			part.length = shorter(run.length, longest - last->length);
			last->length += part.length;
		} else {
			part.length = shorter(run.length, longest);
			result = br_run_list_add(list, &part);
		}
		if (result)
			return result;
		run.lblk += part.length;
		run.pblk += part.length;
		run.length -= part.length;
	}
	return 0;
}

int br_run_pair_next(struct br_run_pair *pair, struct br_stretch *out)
{
	int before_left = pair->before_index < pair->before->count;
	int after_left = pair->after_index < pair->after->count;

	if (!before_left && !after_left)
		return 0;
	if (!before_left || !after_left)
		return -EUCLEAN;
	const struct br_run *before = &pair->before->items[pair->before_index];
	const struct br_run *after = &pair->after->items[pair->after_index];
	uint64_t before_rest = before->length - pair->before_done;
	uint64_t after_rest = after->length - pair->after_done;
	*out = (struct br_stretch){
		.lblk = before->lblk + pair->before_done,
		.before_blk = before->pblk + pair->before_done,
		.after_blk = after->pblk + pair->after_done,
		.length = before_rest < after_rest ? before_rest : after_rest,
		.unwritten = before->unwritten,
	};
	if (out->lblk != after->lblk + pair->after_done || before->unwritten != after->unwritten)
		return -EUCLEAN;
	pair->before_done += out->length;
	pair->after_done += out->length;
	if (pair->before_done == before->length) {
		pair->before_done = 0;
		pair->before_index++;
	}
	if (pair->after_done == after->length) {
		pair->after_done = 0;
		pair->after_index++;
	}
	return 1;
}
