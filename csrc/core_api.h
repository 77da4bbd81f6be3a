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

/* ---- consolidation: everything below an end (ext4_consolidate.c and what it calls) ---- */

struct br_consolidate_request {
	uint64_t end_blk;
	const struct br_extent *forbidden; /* blocks to be evacuated and never used */
	size_t forbidden_count;
	const uint32_t *pinned; /* inodes that stay where they are; in any order */
	size_t pinned_count;
	int join;        /* also give fragmented regular files one run */
	int at_any_cost; /* joining has no limit but the free space */
};

struct br_consolidate_stats {
	uint64_t regular_files;
	uint64_t fragmented_before; /* regular files in more than one run */
	uint64_t fragmented_after;
	uint64_t files_moved;  /* inodes of which at least one block moves */
	uint64_t files_joined; /* of those, regular files that had nothing to evacuate */
	uint64_t must_blk;     /* data blocks that could not stay */
	uint64_t copied_blk;   /* data blocks that move */
	uint64_t copied_runs;
	uint64_t nodes_allocated;  /* tree nodes and indirect blocks at new places */
	uint64_t attributes_moved; /* extended attribute blocks */
	uint64_t recounted_inodes; /* inodes whose i_blocks changed: quota has to follow */
	uint64_t free_blk;         /* usable free blocks below the end before and ... */
	uint64_t free_after_blk;   /* ... after, not counting what was freed */
};

/* Map every block at or past end_blk, or forbidden, that an inode uses to a block below it that is
 * free now. Works on a shadow: data is not copied, metadata content is. -ENOSPC when it does not
 * fit (nothing changed), -EUCLEAN when the filesystem is damaged, -EOPNOTSUPP when a pinned inode
 * would have to move; after any failure but -ENOSPC the shadow is to be thrown away. */
int br_consolidate(struct br_fs *fs, const struct br_consolidate_request *request,
                   struct br_consolidate_stats *stats, struct br_err *err);
/* ---- what is where in a filesystem (ext4_{group,metadata,space,size,map,names}.c) ---- */

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
 * descriptors with their backups, initialised bitmaps and tables, trees, directories, symlinks,
 * xattr blocks, quota and orphan files, the journal's superblock. -EUCLEAN on damage. */
int br_fs_metadata(struct br_fs *fs, struct br_extents *out, struct br_err *err);

/* Normalised lists out of the block bitmap. */
int br_fs_free_extents(struct br_fs *fs, struct br_extents *out, struct br_err *err);
int br_fs_used_extents(struct br_fs *fs, struct br_extents *out, struct br_err *err);

/* The size in blocks that resize2fs makes of a requested one. -ENOSPC when not one group fits. */
int br_fs_effective_size(struct br_fs *fs, uint64_t blocks, uint64_t *out, struct br_err *err);
/* The smallest size in blocks that holds the used inodes, the used blocks and the metadata. */
int br_fs_minimum_blocks(struct br_fs *fs, uint64_t *out, struct br_err *err);

/* All inodes in use in number order, and their data extents in logical order. */
struct br_map;

struct br_map_inode {
	uint64_t size_bytes;
	uint64_t blocks;       /* of data, tree blocks not counted */
	uint64_t first_extent; /* index of its first item in br_map_extents */
	uint32_t extent_count;
	uint32_t runs; /* physical runs; metadata of the groups between two does not part them */
	uint32_t ino;
	uint32_t flags; /* i_flags */
	uint16_t mode;
	uint16_t kind; /* enum br_kind: file, ea, directory, symlink, special, journal, quota,
	                  orphan, resize, bad blocks */
	uint32_t links;
};

struct br_map_extent {
	uint64_t lblk;
	uint64_t pblk;
	uint32_t length;
	uint32_t unwritten;
};

struct br_summary {
	uint64_t used_blocks;
	uint64_t highest_used_blk;
	uint64_t file_blocks; /* data of files and of large xattrs */
	uint64_t fragmented_blocks;
	uint64_t inodes_used;
	uint64_t files;
	uint64_t fragmented_files; /* files in more runs than they need */
	uint64_t directories;
	uint64_t symlinks;
	uint64_t devices; /* and FIFOs and sockets */
	uint64_t ea_inodes;
	uint64_t system_inodes;
};

/* Blocks of one of N equal parts of the filesystem. */
struct br_cell {
	uint64_t metadata;
	uint64_t contiguous; /* data of files in one run */
	uint64_t fragmented;
	uint64_t unused;
};

int br_map_open(struct br_fs *fs, struct br_map **out, struct br_err *err);
void br_map_close(struct br_map *map);
const struct br_map_inode *br_map_inodes(const struct br_map *map, size_t *count);
const struct br_map_extent *br_map_extents(const struct br_map *map, size_t *count);
int br_map_summary(struct br_map *map, struct br_summary *out, struct br_err *err);
int br_map_cells(struct br_map *map, struct br_cell *out, size_t count, struct br_err *err);

/* Every name of every directory but "." and "..", directories in inode order. */
struct br_names;

struct br_name {
	uint64_t text_at; /* into br_names_text */
	uint32_t parent_ino;
	uint32_t ino;
	uint32_t length;
	uint32_t pad;
};

int br_names_open(struct br_fs *fs, struct br_names **out, struct br_err *err);
void br_names_close(struct br_names *names);
const struct br_name *br_names_items(const struct br_names *names, size_t *count);
const char *br_names_text(const struct br_names *names, size_t *length);

/* ---- two filesystems proven equal (ext4_match.c, ext4_restore.c, ext4_compare.c) ----
 *
 * `before` is the filesystem as it lies on the device, `after` the shadow that takes its place.
 * -EUCLEAN means that they differ, and names where.
 */

/* Which inode became which. */
struct br_inode_map;

int br_match(struct br_fs *before, struct br_fs *after, struct br_inode_map **out,
             struct br_err *err);
void br_inode_map_free(struct br_inode_map *map);
uint32_t br_inode_map_renumbered(const struct br_inode_map *map);

/* Put right on `after` (writable) what resize2fs leaves wrong: times, numbers of special inodes,
 * checksums of the orphan file, the journal's backup in the superblock, free counts, quota usage.
 */
int br_restore(struct br_fs *before, struct br_fs *after, const struct br_inode_map *map,
               struct br_err *err);

struct br_copy {
	uint64_t src;
	uint64_t dst;
	uint64_t length;
};

struct br_copies {
	struct br_copy *items;
	size_t count;
	size_t capacity;
};

void br_copies_free(struct br_copies *list);

/* Prove that every inode of `after` is one of `before` with the same fields and the same content,
 * and give the data blocks that must be copied for that, by source. */
int br_compare(struct br_fs *before, struct br_fs *after, const struct br_inode_map *map,
               struct br_copies *out, struct br_err *err);

/* ---- chunks, their digests and their map (digest.c, chunk_map.c) ----
 *
 * Masks, digests, packed blocks and pages are those of docs/segment-format.md. The caller has
 * checked that the blocks are as many as the masks name, and that the chunks lie in the pages.
 */

/* 32 bytes for each chunk, from the stored blocks of all of them, packed. -ENOMEM. */
int br_chunk_digests(const uint16_t *masks, size_t count, const uint8_t *blocks, uint8_t *out);
/* 8 bytes for each of `count` blocks: the first of SHA-256 of salt and block. -ENOMEM. */
int br_short_digests(const uint8_t *salt, size_t salt_bytes, const uint8_t *blocks, size_t count,
                     uint8_t *out);
/* Of the blocks of `masks` those of `wanted`, which has no other bits. */
void br_pick_blocks(const uint16_t *masks, const uint16_t *wanted, size_t count,
                    const uint8_t *blocks, uint8_t *out);

/* Make the checksum of a page of 4 KiB true. */
void br_page_seal(uint8_t *page);
/* 1 when checksum, magic and number are right, else 0; its entries are not looked at. */
int br_page_is_sound(const uint8_t *page, uint64_t number);
/* Pages without a stored block, sealed. */
void br_pages_clear(uint8_t *pages, uint64_t first_page, size_t count);
/* Bit i: mask or digest of chunk first_chunk + i is not the same in both; at most 64 chunks. */
uint64_t br_changed_chunks(const uint8_t *a, const uint8_t *b, uint64_t first_page,
                           uint64_t first_chunk, unsigned count);
/* The leaf of each page, 32 bytes, from the `entries` that they have together, full pages first.
 * -ENOMEM. */
int br_map_leaves(const uint8_t *pages, size_t count, uint64_t entries, uint8_t *out);

/* ---- blocks encrypted and compressed (xts.c, compress.c) ---- */

/* Encrypt or decrypt packed blocks where they lie; the key has 64 bytes, chunks are below 2^60.
 * -EINVAL for a key with two equal halves, -ENOMEM. */
int br_crypt_blocks(const uint8_t *key, int encrypt, const uint64_t *chunks, const uint16_t *masks,
                    size_t count, uint8_t *blocks);

/* One lz4 block. The length that was made, less than `length`, or 0 when it cannot be; `out` has
 * room for length - 1. Lengths are 1 to 2^30. */
size_t br_compress(const uint8_t *data, uint32_t length, uint8_t *out);
/* -EUCLEAN when it is no lz4 block, or none of exactly raw_length. `out` is undefined then. */
int br_decompress(const uint8_t *data, uint32_t length, uint8_t *out, uint32_t raw_length);

/* ---- the used blocks of a disk on their way (pump.c and what it calls) ---- */

/* Threads read a disk's used blocks in windows of 1 MiB, leave out zeros, encrypt, and digest;
 * batches come out in the order of the disk. Memory is that of the slots. */
struct br_pump;

struct br_pump_request {
	int fd;                          /* with or without O_DIRECT; copied */
	uint64_t content_bytes;          /* what lies past it is taken for zeros */
	const struct br_extent *extents; /* in bytes: whole blocks, ascending, disjoint; copied */
	size_t extent_count;
	const uint8_t *key; /* 64 bytes, or NULL: not encrypted; copied */
	uint8_t *map;       /* all pages of the map of the content */
	uint8_t *buffers;   /* a MiB for each slot, on a page */
	size_t workers;     /* 1 to 64 */
	size_t slots;       /* 1 to 4096 */
};

enum br_pump_state {
	BR_PUMP_BATCH,
	BR_PUMP_END,
	BR_PUMP_WAIT, /* nothing is ready yet: ask again */
};

struct br_batch {
	enum br_pump_state state;
	unsigned chunks; /* at most 16; what lies behind the content has none */
	uint64_t first_chunk;
	uint16_t masks[16];
	size_t buffer_at; /* where in the buffers its stored blocks are, packed */
	size_t stored_bytes;
	uint64_t failed_at; /* the first byte that cannot be read, when br_pump_next fails */
};

/* Map and buffers stay the caller's, who does not touch them but as br_pump_next says, until
 * br_pump_close. -EINVAL, -ENOMEM, -EAGAIN when there can be no more threads. */
int br_pump_open(const struct br_pump_request *request, struct br_pump **out);
/* Let go of the batch before, and give the next one; returns within a tenth of a second. Writes
 * mask and digest of each chunk that has a block in the extents to the map and seals its pages; no
 * other entry is touched. A failure of the disk comes in its turn, and again from then on: its
 * errno, -ENODATA when it ends too early, -ENOMEM. For one thread at a time. */
int br_pump_next(struct br_pump *pump, struct br_batch *out);
/* At any time; returns when all threads have ended, which may take as long as one read. */
void br_pump_close(struct br_pump *pump);

/* ---- chunks that are about to be applied to a segment (stage.c) ---- */

/* What lies on the disk now is read into slots of a whole chunk, each block in its place. */
struct br_stage_chunk {
	uint16_t mask;      /* of the chunk as it shall be */
	uint16_t sent;      /* blocks of it that came; the others are in the slot */
	uint16_t old_mask;  /* of the chunk as it is */
	uint16_t saved;     /* blocks of the slot that br_stage_save copies */
	uint32_t slot;      /* 0xffffffff: there is none, and nothing of it is needed */
	uint8_t digest[32]; /* of the chunk as it shall be */
	uint8_t old_digest[32];
	uint8_t new_good; /* out: what was put together has its digest */
	uint8_t old_good; /* out: the slot has its digest; 0 without one */
	uint16_t reserved;
};

/* Compare both digests of each chunk. `sent` has the blocks that came, packed. -EINVAL when the
 * chunks do not fit the buffers, -ENOMEM. */
int br_stage_check(struct br_stage_chunk *chunks, size_t count, const uint8_t *sent,
                   size_t sent_bytes, const uint8_t *old, size_t old_bytes);
/* The saved blocks of all chunks, packed, into `out`, which they fill; else -EINVAL. */
int br_stage_save(const struct br_stage_chunk *chunks, size_t count, const uint8_t *old,
                  size_t old_bytes, uint8_t *out, size_t out_bytes);

#endif
