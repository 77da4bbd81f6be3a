/* The leaves first, then level by level up to what fits into the inode. */
#include "ext4_tree_write.h"

#include <errno.h>
#include <ext2fs/ext3_extents.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

enum { ROOT_ENTRIES = 4 };

static size_t entries_per_node(ext2_filsys fs)
{
	return (fs->blocksize - sizeof(struct ext3_extent_header)) / sizeof(struct ext3_extent);
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

struct writer {
	ext2_filsys fs;
	ext2_ino_t ino;
	const struct br_run_list *runs;
	struct index_entry *index; /* the entries of the level that is made, above the leaves */
	const uint64_t *blocks;    /* that are still to be used */
	char *node;                /* one block */
	struct br_err *err;
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

static void put_leaf_entries(void *node, const struct br_run *items, size_t count)
{
	struct ext3_extent *entry = EXT_FIRST_EXTENT(node);

	for (size_t i = 0; i < count; i++) {
		uint64_t length = items[i].length;
		if (items[i].unwritten)
			length += EXT_INIT_MAX_LEN;
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

/* Entries [from, from + count) of the level with this depth. */
static void put_entries(const struct writer *writer, void *node, size_t from, size_t count,
                        unsigned depth)
{
	if (depth == 0)
		put_leaf_entries(node, writer->runs->items + from, count);
	else
		put_index_entries(node, writer->index + from, count);
}

static int write_node(struct writer *writer, size_t from, size_t count, unsigned depth)
{
	ext2_filsys fs = writer->fs;

	memset(writer->node, 0, fs->blocksize);
	put_header(writer->node, count, entries_per_node(fs), depth);
	put_entries(writer, writer->node, from, count, depth);
	errcode_t code = ext2fs_extent_block_csum_set(fs, writer->ino, (void *)writer->node);
	if (!code)
		code = io_channel_write_blk64(fs->io, *writer->blocks, 1, writer->node);
	return code ? br_fail_ext2(writer->err, code, "cannot write a tree node") : 0;
}

/* Put `entries` entries into nodes; `index` becomes the entries that name those. */
static int write_level(struct writer *writer, size_t entries, unsigned depth)
{
	size_t per_node = entries_per_node(writer->fs);
	size_t made = 0;

	for (size_t from = 0; from < entries; from += per_node) {
		size_t count = entries - from < per_node ? entries - from : per_node;
		uint64_t lblk = depth ? writer->index[from].lblk : writer->runs->items[from].lblk;
		int result = write_node(writer, from, count, depth);
		if (result)
			return result;
		/* Entry `made` was read before: a node holds at least one entry. */
		writer->index[made++] = (struct index_entry){lblk, *writer->blocks++};
	}
	return 0;
}

static int write_tree(struct writer *writer, struct ext2_inode *inode)
{
	size_t entries = writer->runs->count;
	unsigned depth = 0;

	while (entries > ROOT_ENTRIES) {
		int result = write_level(writer, entries, depth++);
		if (result)
			return result;
		entries = nodes_for(writer->fs, entries);
	}
	memset(inode->i_block, 0, sizeof(inode->i_block));
	put_header(inode->i_block, entries, ROOT_ENTRIES, depth);
	put_entries(writer, inode->i_block, 0, entries, depth);
	return 0;
}

int br_tree_write(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *inode,
                  const struct br_run_list *runs, const uint64_t *blocks, struct br_err *err)
{
	struct writer writer = {
		.fs = fs,
		.ino = ino,
		.runs = runs,
		.index = calloc(nodes_for(fs, runs->count) + 1, sizeof(*writer.index)),
		.blocks = blocks,
		.node = malloc(fs->blocksize),
		.err = err,
	};
	int result = writer.index && writer.node ? write_tree(&writer, inode)
	                                         : br_fail(err, ENOMEM, "out of memory");

	free(writer.index);
	free(writer.node);
	return result;
}
