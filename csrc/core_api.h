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

/* ---- consolidation: everything below an end (free_runs, ext4_mapping, ext4_relocate, ext4_remap) ---- */

struct br_consolidate_request {
	uint64_t end_blk;
	const struct br_extent *forbidden; /* blocks to be evacuated and never used */
	size_t forbidden_count;
	const uint32_t *pinned; /* inodes that stay where they are; in any order */
	size_t pinned_count;
	int join; /* also give fragmented regular files one run */
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
	uint64_t nodes_allocated;   /* tree nodes and indirect blocks at new places */
	uint64_t attributes_moved;  /* extended attribute blocks */
	uint64_t recounted_inodes;  /* inodes whose i_blocks changed: quota has to follow */
	uint64_t free_blk;          /* usable free blocks below the end before and ... */
	uint64_t free_after_blk;    /* ... after, not counting what was freed */
};

/* Map every block at or past end_blk, or forbidden, that an inode uses to a block below it that is
 * free now. Works on a shadow: data is not copied, metadata content is. -ENOSPC when it does not
 * fit (nothing changed), -EUCLEAN when the filesystem is damaged, -EBUSY when a pinned inode would
 * have to move; after any failure but -ENOSPC the shadow is to be thrown away. */
int br_consolidate(struct br_fs *fs, const struct br_consolidate_request *request,
                   struct br_consolidate_stats *stats, struct br_err *err);

#endif
