#include "ext4_mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "error.h"

#define MAX_DEPTH 5
#define ROOT_ENTRIES 4
#define ENTRY_BYTES 12

void br_mapping_free(struct br_mapping *map)
{
	free(map->items);
	free(map->nodes);
	free(map->buffers);
	*map = (struct br_mapping){0};
}

static int push(struct br_mapping *map, struct br_mapped item)
{
	return br_array_push(&map->items, &map->count, &map->capacity, &item, sizeof(item));
}

int br_mapping_add(struct br_mapping *map, struct br_mapped item)
{
	uint32_t longest = item.unwritten ? EXT_UNINIT_MAX_LEN : EXT_INIT_MAX_LEN;

	while (item.length) {
		struct br_mapped *last = map->count ? &map->items[map->count - 1] : NULL;
		bool goes_on = last && last->unwritten == item.unwritten &&
		               last->lblk + last->length == item.lblk &&
		               last->pblk + last->length == item.pblk && last->length < longest;
		uint32_t room = goes_on ? longest - last->length : longest;
		uint32_t part = item.length < room ? item.length : room;
		struct br_mapped next = item;
		if (goes_on) {
			last->length += part;
		} else {
			next.length = part;
			int result = push(map, next);
			if (result)
				return result;
		}
		item.lblk += part;
		item.pblk += part;
		item.length -= part;
		item.joined = true;
	}
	return 0;
}

static int add_node(struct br_mapping *map, uint64_t blk)
{
	return br_array_push(&map->nodes, &map->node_count, &map->node_capacity, &blk, sizeof(blk));
}

static bool in_filesystem(ext2_filsys fs, uint64_t blk, uint64_t length)
{
	uint64_t end = ext2fs_blocks_count(fs->super);

	return blk >= fs->super->s_first_data_block && blk < end && length <= end - blk;
}

static int spend(uint64_t *budget_blk, uint64_t length)
{
	if (length > *budget_blk)
		return -EUCLEAN;
	*budget_blk -= length;
	return 0;
}

/* Reading extent trees: one open node per level, an explicit stack. */

struct level {
	const uint8_t *node;
	unsigned entries;
	unsigned next;
};

struct tree_reader {
	ext2_filsys fs;
	struct br_mapping *map;
	uint64_t *budget_blk;
	uint64_t next_lblk; /* nothing below this may come any more */
	unsigned root_depth;
	unsigned depth; /* of the level on top of the stack, counted from the root */
	struct level levels[MAX_DEPTH + 1];
};

static unsigned le16(const uint8_t *p)
{
	return (unsigned)p[0] | (unsigned)p[1] << 8;
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

static int enter_node(struct tree_reader *reader, const uint8_t *node, size_t node_bytes)
{
	unsigned entries = le16(node + 2);
	unsigned room = (unsigned)((node_bytes - ENTRY_BYTES) / ENTRY_BYTES);

	if (le16(node) != EXT3_EXT_MAGIC || entries > le16(node + 4) || le16(node + 4) > room ||
	    le16(node + 6) != reader->root_depth - reader->depth)
		return -EUCLEAN;
	reader->levels[reader->depth] = (struct level){node, entries, 0};
	return 0;
}

static int read_leaf(struct tree_reader *reader, const uint8_t *entry)
{
	uint32_t length = le16(entry + 4);
	struct br_mapped item = {
		.lblk = le32(entry),
		.pblk = le32(entry + 8) | (uint64_t)le16(entry + 6) << 32,
		.unwritten = length > EXT_INIT_MAX_LEN,
	};
	struct br_mapping *map = reader->map;

	item.length = item.unwritten ? length - (uint32_t)EXT_INIT_MAX_LEN : length;
	if (!item.length || item.lblk < reader->next_lblk ||
	    !in_filesystem(reader->fs, item.pblk, item.length) ||
	    spend(reader->budget_blk, item.length))
		return -EUCLEAN;
	reader->next_lblk = item.lblk + item.length;
	if (map->count) {
		const struct br_mapped *last = &map->items[map->count - 1];
		item.joined = last->pblk + last->length == item.pblk;
	}
	return push(map, item);
}

static int read_index(struct tree_reader *reader, const uint8_t *entry)
{
	uint64_t blk = le32(entry + 4) | (uint64_t)le16(entry + 8) << 32;
	size_t blocksize = reader->fs->blocksize;

	if (!in_filesystem(reader->fs, blk, 1) || spend(reader->budget_blk, 1))
		return -EUCLEAN;
	int result = add_node(reader->map, blk);
	if (result)
		return result;
	reader->depth++;
	char *buffer = reader->map->buffers + reader->depth * blocksize;
	if (io_channel_read_blk64(reader->fs->io, blk, 1, buffer))
		return -EIO;
	return enter_node(reader, (const uint8_t *)buffer, blocksize);
}

static int read_tree(struct tree_reader *reader, const uint8_t *root, size_t root_bytes)
{
	reader->root_depth = le16(root + 6);
	if (reader->root_depth > MAX_DEPTH)
		return -EUCLEAN;
	int result = enter_node(reader, root, root_bytes);

	while (!result) {
		struct level *level = &reader->levels[reader->depth];
		if (level->next == level->entries) {
			if (reader->depth == 0)
				return 0;
			reader->depth--;
			continue;
		}
		const uint8_t *entry = level->node + (size_t)ENTRY_BYTES * (1 + level->next++);
		if (reader->depth == reader->root_depth)
			result = read_leaf(reader, entry);
		else
			result = read_index(reader, entry);
	}
	return result;
}

/* Reading block-mapped inodes. */

struct block_reader {
	struct br_mapping *map;
	uint64_t *budget_blk;
	uint64_t expected; /* the block that would go on with the run */
	int result;
};

static int read_block(ext2_filsys fs, blk64_t *blk, e2_blkcnt_t lblk, blk64_t ref_blk,
                      int ref_offset, void *opaque)
{
	struct block_reader *reader = opaque;
	struct br_mapping *map = reader->map;

	(void)ref_blk;
	(void)ref_offset;
	if (!in_filesystem(fs, *blk, 1) || spend(reader->budget_blk, 1)) {
		reader->result = -EUCLEAN;
		return BLOCK_ABORT;
	}
	bool joined = *blk == reader->expected;
	if (lblk < 0) {
		reader->result = add_node(map, *blk);
		if (joined)
			reader->expected++;
	} else {
		struct br_mapped item = {(uint64_t)lblk, *blk, 1, false, joined && map->count};
		reader->result = br_mapping_add(map, item);
		reader->expected = *blk + 1;
	}
	return reader->result ? BLOCK_ABORT : 0;
}

static int read_blocks(ext2_filsys fs, ext2_ino_t ino, struct br_mapping *map, uint64_t *budget_blk)
{
	struct block_reader reader = {.map = map, .budget_blk = budget_blk};
	errcode_t code =
		ext2fs_block_iterate3(fs, ino, BLOCK_FLAG_READ_ONLY, NULL, read_block, &reader);

	if (reader.result)
		return reader.result;
	return code ? -EUCLEAN : 0;
}

int br_mapping_read(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *inode,
                    struct br_mapping *map, uint64_t *budget_blk, struct br_err *err)
{
	int result;

	map->count = 0;
	map->node_count = 0;
	if (!map->buffers)
		map->buffers = calloc(MAX_DEPTH + 1, fs->blocksize);
	if (!map->buffers)
		return br_fail(err, ENOMEM, "out of memory");
	if (inode->i_flags & EXT4_EXTENTS_FL) {
		struct tree_reader reader = {.fs = fs, .map = map, .budget_blk = budget_blk};
		result =
			read_tree(&reader, (const uint8_t *)inode->i_block, sizeof(inode->i_block));
	} else {
		result = read_blocks(fs, ino, map, budget_blk);
	}
	if (result)
		return br_fail(err, -result, "the block mapping of inode %u cannot be followed",
		               ino);
	return 0;
}

/* Writing extent trees: the leaves first, then level by level up to what fits into the inode. */

static size_t entries_per_node(ext2_filsys fs)
{
	return (fs->blocksize - ENTRY_BYTES) / ENTRY_BYTES;
}

static size_t nodes_for(ext2_filsys fs, size_t entries)
{
	return (entries + entries_per_node(fs) - 1) / entries_per_node(fs);
}

size_t br_tree_nodes(ext2_filsys fs, size_t extents)
{
	size_t total = 0;

	for (size_t entries = extents; entries > ROOT_ENTRIES;) {
		entries = nodes_for(fs, entries);
		total += entries;
	}
	return total;
}

struct index_entry {
	uint64_t lblk;
	uint64_t blk;
};

static void put_header(void *node, size_t entries, size_t room, unsigned depth)
{
	struct ext3_extent_header *header = node;

	header->eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
	header->eh_entries = ext2fs_cpu_to_le16((uint16_t)entries);
	header->eh_max = ext2fs_cpu_to_le16((uint16_t)room);
	header->eh_depth = ext2fs_cpu_to_le16((uint16_t)depth);
	header->eh_generation = 0;
}

static void put_leaf_entries(void *node, const struct br_mapped *items, size_t count)
{
	struct ext3_extent *entry = EXT_FIRST_EXTENT(node);

	for (size_t i = 0; i < count; i++) {
		uint32_t length = items[i].length;
		if (items[i].unwritten)
			length += (uint32_t)EXT_INIT_MAX_LEN;
		entry[i].ee_block = ext2fs_cpu_to_le32((uint32_t)items[i].lblk);
		entry[i].ee_len = ext2fs_cpu_to_le16((uint16_t)length);
		entry[i].ee_start_hi = ext2fs_cpu_to_le16((uint16_t)(items[i].pblk >> 32));
		entry[i].ee_start = ext2fs_cpu_to_le32((uint32_t)items[i].pblk);
	}
}

static void put_index_entries(void *node, const struct index_entry *items, size_t count)
{
	struct ext3_extent_idx *entry = EXT_FIRST_INDEX(node);

	for (size_t i = 0; i < count; i++) {
		entry[i].ei_block = ext2fs_cpu_to_le32((uint32_t)items[i].lblk);
		entry[i].ei_leaf = ext2fs_cpu_to_le32((uint32_t)items[i].blk);
		entry[i].ei_leaf_hi = ext2fs_cpu_to_le16((uint16_t)(items[i].blk >> 32));
		entry[i].ei_unused = 0;
	}
}

static void put_entries(void *node, const struct br_mapped *leaf, const struct index_entry *index,
                        size_t from, size_t count, unsigned depth)
{
	if (depth == 0)
		put_leaf_entries(node, leaf + from, count);
	else
		put_index_entries(node, index + from, count);
}

int br_tree_write(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *inode,
                  const struct br_mapping *map, const uint64_t *blocks, struct br_err *err)
{
	size_t per_node = entries_per_node(fs);
	size_t entries = map->count;
	unsigned depth = 0;
	int result = 0;
	struct index_entry *index = calloc(nodes_for(fs, entries) + 1, sizeof(*index));
	char *node = malloc(fs->blocksize);

	if (!index || !node) {
		result = br_fail(err, ENOMEM, "out of memory");
		goto out;
	}
	for (; entries > ROOT_ENTRIES; depth++) {
		size_t made = 0;
		for (size_t from = 0; from < entries; from += per_node) {
			size_t count = entries - from < per_node ? entries - from : per_node;
			uint64_t lblk = depth ? index[from].lblk : map->items[from].lblk;
			memset(node, 0, fs->blocksize);
			put_header(node, count, per_node, depth);
			put_entries(node, map->items, index, from, count, depth);
			errcode_t code = ext2fs_extent_block_csum_set(fs, ino, (void *)node);
			if (!code)
				code = io_channel_write_blk64(fs->io, *blocks, 1, node);
			if (code) {
				result = br_fail_ext2(err, code, "cannot write a tree node");
				goto out;
			}
			/* Entry `made` was read before: a node holds at least one entry. */
			index[made++] = (struct index_entry){lblk, *blocks++};
		}
		entries = made;
	}
	memset(inode->i_block, 0, sizeof(inode->i_block));
	put_header(inode->i_block, entries, ROOT_ENTRIES, depth);
	put_entries(inode->i_block, map->items, index, 0, entries, depth);
out:
	free(index);
	free(node);
	return result;
}
