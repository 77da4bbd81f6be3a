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

#endif
