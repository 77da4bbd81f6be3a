#ifndef BR_CORE_API_H
#define BR_CORE_API_H
#include <stddef.h>
#include <stdint.h>

/* The whole public face of the C core. The Python glue is generated from this file, so it holds
 * plain declarations only.
 *
 * Every function that can fail returns 0 or a negative errno; detail goes to the caller's br_err.
 * Out-pointers are untouched on failure. All positions and lengths are in filesystem blocks unless
 * the name says bytes. A br_* handle belongs to one thread at a time.
 */

struct br_err {
	long code;         /* libext2fs or errno code, 0 when there is none */
	char message[400]; /* one sentence without a final period, empty when there is none */
};

struct br_extent {
	uint64_t start;
	uint64_t length;
};

/* A list that owns its memory; initialise with zeros, release with br_extents_free. */
struct br_extents {
	struct br_extent *items;
	size_t count;
	size_t capacity;
};

void br_extents_free(struct br_extents *list);

/* CRC32C (Castagnoli), reflected, no final inversion, as ext4 uses it. */
uint32_t br_crc32c(uint32_t seed, const uint8_t *data, size_t length);

/* An ext2, ext3 or ext4 filesystem, opened with libext2fs at an offset within a file or device. */
struct br_fs;

int br_fs_open(const char *path, uint64_t offset_bytes, int writable, struct br_fs **out,
               struct br_err *err);
/* Writes back what changed (writable handles) and releases the handle even on failure. */
int br_fs_close(struct br_fs *fs, struct br_err *err);

/* ---- what is where in a filesystem (ext4_walk.c, ext4_space.c, ext4_map.c, ext4_names.c) ---- */

struct br_geometry {
	uint64_t blocks;
	uint64_t first_data_blk;
	uint32_t block_bytes;
	uint32_t cluster_blocks; /* blocks per bit of the block bitmap */
	uint32_t blocks_per_group;
	uint32_t inodes_per_group;
	uint32_t inodes;
	uint32_t groups;
};

struct br_group {
	uint64_t block_bitmap_blk;
	uint64_t inode_bitmap_blk;
	uint64_t table_blk;
	uint32_t table_blocks;
	uint32_t used_table_blocks; /* the leading part of the table that anybody reads */
	uint32_t block_bitmap_used; /* 0: the group is uninitialised and nobody reads its bitmap */
	uint32_t inode_bitmap_used;
};

void br_fs_geometry(struct br_fs *fs, struct br_geometry *out);
int br_fs_group(struct br_fs *fs, uint32_t group, struct br_group *out, struct br_err *err);

/* Every block whose content is metadata in a wide sense, as a normalised list: superblocks and
 * descriptors with their backups, initialised bitmaps and tables, trees, directories, symlinks, xattr
 * blocks, quota and orphan files, the journal's superblock. -EUCLEAN on damage. */
int br_fs_metadata(struct br_fs *fs, struct br_extents *out, struct br_err *err);

#endif
