/* A table of all inodes in use and where their data lies, and what can be told from it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "error.h"
#include "ext4_group.h"
#include "ext4_view.h"
#include "extent.h"

enum { MOST_CELLS = 1 << 20 };

struct br_map {
	struct br_fs *handle;
	struct br_map_inode *inodes;
	size_t inode_count;
	size_t inode_capacity;
	struct br_map_extent *extents;
	size_t extent_count;
	size_t extent_capacity;
};

struct build {
	struct br_map *map;
	const struct br_extents *fixed; /* the groups' own metadata: files cannot lie there */
	struct br_map_inode *entry;
	uint64_t end_lblk; /* of the last run */
};

static int is_fixed(const struct br_extents *fixed, uint64_t start, uint64_t end)
{
	size_t index = br_extents_find(fixed, start);

	return index < fixed->count && fixed->items[index].start <= start &&
	       fixed->items[index].start + fixed->items[index].length >= end;
}

/* Whether a run can follow what came before without being a fragment of its own. */
static int continues(const struct build *build, const struct br_run *run)
{
	uint64_t pblk = run->pblk;
	uint64_t expected = run->after_blk;
	uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(build->map->handle->fs);

	if (pblk < expected)
		return 0;
	if (br_run_goes_on(run) || is_fixed(build->fixed, expected, pblk))
		return 1;
	/* Room left for what a hole may become. */
	if (pblk - expected == run->lblk - build->end_lblk)
		return 1;
	/* A hole may begin or end within a cluster. */
	return ratio > 1 && pblk / ratio <= (expected - 1) / ratio + 1;
}

static int add_run(void *context, const struct br_run *run)
{
	struct build *build = context;
	struct br_map *map = build->map;
	struct br_map_inode *entry = build->entry;

	if (run->node)
		return 0;
	if (entry->extent_count == 0 || !continues(build, run))
		entry->runs++;
	build->end_lblk = run->lblk + run->length;
	entry->extent_count++;
	entry->blocks += run->length;
	struct br_map_extent extent = {
		.lblk = run->lblk,
		.pblk = run->pblk,
		.length = (uint32_t)run->length,
		.unwritten = (uint32_t)run->unwritten,
	};
	return br_array_push(&map->extents, &map->extent_count, &map->extent_capacity, &extent,
	                     sizeof(extent));
}

static int add_inode(struct build *build, struct br_tree *tree, const struct br_inode *inode,
                     struct br_err *err)
{
	struct br_map *map = build->map;

	struct br_map_inode entry = {
		.size_bytes = br_inode_size(inode),
		.first_extent = map->extent_count,
		.ino = inode->ino,
		.flags = inode->core.i_flags,
		.mode = inode->core.i_mode,
		.kind = (uint16_t)inode->kind,
		.links = inode->core.i_links_count,
	};

	if (br_array_push(&map->inodes, &map->inode_count, &map->inode_capacity, &entry,
	                  sizeof(entry)))
		return br_fail(err, ENOMEM, "out of memory for the map of the files");
	build->entry = &map->inodes[map->inode_count - 1];
	int result = br_tree_walk(tree, inode, add_run, build, err);
	return result == -ENOMEM ? br_fail(err, ENOMEM, "out of memory for the map of the files")
	                         : result;
}

static int build_map(struct br_map *map, struct br_err *err)
{
	struct br_view view;
	struct br_inode inode = {0};
	struct br_extents fixed = {0};
	struct build build = {.map = map, .fixed = &fixed};
	int result = br_view_open(&view, map->handle, err);

	if (!result)
		result = br_group_metadata(map->handle, 1, &fixed, err);
	while (!result) {
		result = br_inode_next(&view.inodes, &inode, err);
		if (result <= 0)
			break;
		result = add_inode(&build, &view.tree, &inode, err);
	}
	br_view_close(&view);
	br_extents_free(&fixed);
	return result;
}

int br_map_open(struct br_fs *handle, struct br_map **out, struct br_err *err)
{
	struct br_map *map = calloc(1, sizeof(*map));

	if (!map)
		return br_fail(err, ENOMEM, "out of memory for the map of the files");
	map->handle = handle;
	int result = build_map(map, err);
	if (result) {
		br_map_close(map);
		return result;
	}
	*out = map;
	return 0;
}

void br_map_close(struct br_map *map)
{
	if (!map)
		return;
	free(map->inodes);
	free(map->extents);
	free(map);
}

const struct br_map_inode *br_map_inodes(const struct br_map *map, size_t *count)
{
	*count = map->inode_count;
	return map->inodes;
}

const struct br_map_extent *br_map_extents(const struct br_map *map, size_t *count)
{
	*count = map->extent_count;
	return map->extents;
}

static int is_file_data(const struct br_map_inode *entry)
{
	return entry->kind == BR_KIND_FILE || entry->kind == BR_KIND_EA;
}

static void count_inode(const struct br_map_inode *entry, struct br_summary *sum)
{
	sum->inodes_used++;
	switch (entry->kind) {
	case BR_KIND_FILE:
		sum->files++;
		sum->fragmented_files += entry->runs > 1;
		sum->file_blocks += entry->blocks;
		sum->fragmented_blocks += entry->runs > 1 ? entry->blocks : 0;
		break;
	case BR_KIND_DIRECTORY:
		sum->directories++;
		break;
	case BR_KIND_SYMLINK:
		sum->symlinks++;
		break;
	case BR_KIND_SPECIAL:
		sum->devices++;
		break;
	case BR_KIND_EA:
		sum->ea_inodes++;
		sum->file_blocks += entry->blocks;
		break;
	default:
		sum->system_inodes++;
	}
}

int br_map_summary(struct br_map *map, struct br_summary *out, struct br_err *err)
{
	struct br_extents used = {0};
	struct br_summary sum = {0};
	int result = br_fs_used_extents(map->handle, &used, err);

	if (result)
		return result;
	for (size_t i = 0; i < map->inode_count; i++)
		count_inode(&map->inodes[i], &sum);
	for (size_t i = 0; i < used.count; i++)
		sum.used_blocks += used.items[i].length;
	if (used.count) {
		const struct br_extent *last = &used.items[used.count - 1];
		sum.highest_used_blk = last->start + last->length - 1;
	}
	br_extents_free(&used);
	*out = sum;
	return 0;
}

struct cells {
	struct br_cell *items;
	uint64_t count;
	uint64_t blocks;
};

/* Add [start, end) to one counter of every cell that it meets; `field` is the counter's offset. */
static void spread(const struct cells *cells, uint64_t start, uint64_t end, size_t field)
{
	while (start < end) {
		uint64_t cell = ((start + 1) * cells->count - 1) / cells->blocks;
		uint64_t next = (cell + 1) * cells->blocks / cells->count;
		uint64_t stop = next < end ? next : end;
		*(uint64_t *)(void *)((char *)&cells->items[cell] + field) += stop - start;
		start = stop;
	}
}

/* In whole clusters, each once: the rest of a cluster belongs to its file. */
static void spread_inode(const struct br_map *map, const struct cells *cells,
                         const struct br_map_inode *entry)
{
	uint64_t ratio = (uint64_t)EXT2FS_CLUSTER_RATIO(map->handle->fs);
	size_t field = entry->runs > 1 ? offsetof(struct br_cell, fragmented)
	                               : offsetof(struct br_cell, contiguous);
	uint64_t done_start = 0, done_end = 0;

	for (size_t i = 0; i < entry->extent_count; i++) {
		const struct br_map_extent *extent = &map->extents[entry->first_extent + i];
		uint64_t start = extent->pblk - extent->pblk % ratio;
		uint64_t end = (extent->pblk + extent->length + ratio - 1) / ratio * ratio;
		if (end > cells->blocks)
			end = cells->blocks;
		if (start >= done_start && start < done_end)
			start = done_end;
		spread(cells, start, end, field);
		done_start = extent->pblk - extent->pblk % ratio;
		done_end = end;
	}
}

int br_map_cells(struct br_map *map, struct br_cell *out, size_t count, struct br_err *err)
{
	struct br_extents unused = {0};
	struct cells cells = {out, count, ext2fs_blocks_count(map->handle->fs->super)};

	if (count == 0 || count > MOST_CELLS || count > cells.blocks)
		return br_fail(err, EINVAL, "a map cannot have %zu cells", count);
	int result = br_fs_free_extents(map->handle, &unused, err);
	if (result)
		return result;
	memset(out, 0, count * sizeof(*out));
	for (size_t i = 0; i < unused.count; i++)
		spread(&cells, unused.items[i].start,
		       unused.items[i].start + unused.items[i].length,
		       offsetof(struct br_cell, unused));
	for (size_t i = 0; i < map->inode_count; i++)
		if (is_file_data(&map->inodes[i]))
			spread_inode(map, &cells, &map->inodes[i]);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t size = (i + 1) * cells.blocks / count - i * cells.blocks / count;
		uint64_t known = out[i].unused + out[i].contiguous + out[i].fragmented;
		out[i].metadata = size > known ? size - known : 0;
	}
	br_extents_free(&unused);
	return 0;
}
