/* Directory order: files of one directory side by side, directories from the root downwards. */
#include <errno.h>
#include <stdlib.h>

#include "array.h"
#include "error.h"
#include "ext4_relocate.h"

struct walk {
	struct br_plan *plan;
	ext2_ino_t *stack;
	size_t depth, capacity;
	uint32_t next_rank;
	int result;
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

static int visit_entry(ext2_ino_t dir, int entry, struct ext2_dir_entry *dirent, int offset,
                       int blocksize, char *buf, void *opaque)
{
	struct walk *walk = opaque;
	struct br_plan *plan = walk->plan;
	ext2_ino_t ino = dirent->inode;

	(void)dir;
	(void)entry;
	(void)offset;
	(void)blocksize;
	(void)buf;
	if (ino == 0 || ino > plan->fs->super->s_inodes_count)
		return 0;
	struct br_file *file = find_file(plan, ino);
	if (file && file->rank == UINT32_MAX)
		file->rank = walk->next_rank++;
	if (!ext2fs_test_inode_bitmap2(plan->directories, ino))
		return 0;
	/* Taken out of the set, so that a loop in a damaged tree ends. */
	ext2fs_unmark_inode_bitmap2(plan->directories, ino);
	walk->result =
		br_array_push(&walk->stack, &walk->depth, &walk->capacity, &ino, sizeof(ino));
	return walk->result ? DIRENT_ABORT : 0;
}

int br_plan_rank_files(struct br_plan *plan, struct br_err *err)
{
	struct walk walk = {.plan = plan};
	ext2_ino_t dir = EXT2_ROOT_INO;
	errcode_t code = 0;
	char *buffer = malloc(plan->fs->blocksize);

	if (!buffer)
		return br_fail(err, ENOMEM, "out of memory");
	for (;;) {
		code = ext2fs_dir_iterate2(plan->fs, dir, 0, buffer, visit_entry, &walk);
		if (code || walk.result || walk.depth == 0)
			break;
		dir = walk.stack[--walk.depth];
	}
	free(buffer);
	free(walk.stack);
	if (walk.result)
		return br_fail(err, -walk.result, "out of memory");
	return code ? br_fail_ext2(err, code, "cannot read directory %u", dir) : 0;
}
