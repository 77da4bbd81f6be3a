/* Every name in every directory, as flat tables; the caller joins them to paths. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "error.h"
#include "ext4_dirent.h"

struct br_names {
	struct br_name *items;
	size_t count;
	size_t capacity;
	char *text;
	size_t text_used;
	size_t text_capacity;
	ext2_ino_t dir; /* the directory that is being read */
};

static int add_name(void *context, const struct br_dirent *entry)
{
	struct br_names *names = context;

	struct br_name name = {
		.text_at = names->text_used,
		.parent_ino = names->dir,
		.ino = entry->ino,
		.length = entry->name_length,
	};
	int result = br_array_reserve(&names->text, names->text_used + entry->name_length,
	                              &names->text_capacity, 1);

	if (result)
		return result;
	memcpy(names->text + names->text_used, entry->name, entry->name_length);
	names->text_used += entry->name_length;
	return br_array_push(&names->items, &names->count, &names->capacity, &name, sizeof(name));
}

static int read_directories(struct br_fs *handle, struct br_names *names, struct br_err *err)
{
	struct br_view view;
	struct br_inode inode = {0};
	int result = br_view_open(&view, handle, err);

	while (!result) {
		result = br_inode_next(&view.inodes, &inode, err);
		if (result <= 0)
			break;
		result = 0;
		names->dir = inode.ino;
		if (inode.kind == BR_KIND_DIRECTORY)
			result = br_dir_walk(&view, &inode, add_name, names, err);
	}
	br_view_close(&view);
	return result == -ENOMEM ? br_fail(err, ENOMEM, "out of memory for the names") : result;
}

int br_names_open(struct br_fs *handle, struct br_names **out, struct br_err *err)
{
	struct br_names *names = calloc(1, sizeof(*names));

	if (!names)
		return br_fail(err, ENOMEM, "out of memory for the names");
	int result = read_directories(handle, names, err);
	if (result) {
		br_names_close(names);
		return result;
	}
	*out = names;
	return 0;
}

void br_names_close(struct br_names *names)
{
	if (!names)
		return;
	free(names->items);
	free(names->text);
	free(names);
}

const struct br_name *br_names_items(const struct br_names *names, size_t *count)
{
	*count = names->count;
	return names->items;
}

const char *br_names_text(const struct br_names *names, size_t *length)
{
	*length = names->text_used;
	return names->text;
}
