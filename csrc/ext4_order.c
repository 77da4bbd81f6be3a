/* Directory order: files of one directory side by side, directories from the root downwards. */
#include <stdlib.h>

#include "array.h"
#include "ext4_dirent.h"
#include "ext4_relocate.h"

struct walk {
	struct br_plan *plan;
	ext2_ino_t *stack;
	size_t depth, capacity;
	uint32_t next_rank;
};

static struct br_file *find_file(const struct br_plan *plan, ext2_ino_t ino)
{
	size_t low = 0, high = plan->file_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (plan->files[middle].ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < plan->file_count && plan->files[low].ino == ino)
		return &plan->files[low];
	return NULL;
}

static int visit(struct walk *walk, ext2_ino_t ino)
{
	struct br_plan *plan = walk->plan;

	if (ino > plan->fs->super->s_inodes_count)
		return 0;
	struct br_file *file = find_file(plan, ino);
	if (file && file->rank == UINT32_MAX)
		file->rank = walk->next_rank++;
	if (!ext2fs_test_inode_bitmap2(plan->directories, ino))
		return 0;
	/* Taken out of the set, so that a loop in a damaged tree ends. */
	ext2fs_unmark_inode_bitmap2(plan->directories, ino);
	return br_array_push(&walk->stack, &walk->depth, &walk->capacity, &ino, sizeof(ino));
}

static int visit_entry(void *context, const struct br_dirent *entry)
{
	return visit(context, entry->ino);
}

int br_plan_rank_files(struct br_plan *plan, struct br_err *err)
{
	struct walk walk = {.plan = plan};
	struct br_inode dir;
	int result = visit(&walk, EXT2_ROOT_INO);

	br_tree_reset(&plan->view.tree);
	while (!result && walk.depth) {
		ext2_ino_t ino = walk.stack[--walk.depth];
		result = br_inode_read(&plan->view.inodes, ino, &dir, err);
		if (!result)
			result = br_dir_walk(&plan->view, &dir, visit_entry, &walk, err);
	}
	free(walk.stack);
	return result;
}
