/* The parts of 1 MiB in which a disk is read: those of them that have a used block. */
#ifndef BR_WINDOW_H
#define BR_WINDOW_H

#include <stdbool.h>
#include <stddef.h>

#include "chunk.h"
#include "core_api.h"

#define BR_WINDOW_CHUNKS ((size_t)16)
#define BR_WINDOW_BLOCKS (BR_WINDOW_CHUNKS * BR_CHUNK_BLOCKS)
#define BR_WINDOW_BYTES (BR_WINDOW_CHUNKS * BR_CHUNK_BYTES)

struct br_window {
	uint64_t start_bytes;
	uint16_t used[BR_WINDOW_CHUNKS]; /* the used blocks of each chunk */
};

static inline bool br_window_uses(const struct br_window *window, size_t block)
{
	return window->used[block / BR_CHUNK_BLOCKS] >> block % BR_CHUNK_BLOCKS & 1;
}

/* Where a walk over extents is; start it with `at` and `done_bytes` 0. Extents are whole blocks,
 * ascending, not empty, and do not overlap. */
struct br_window_walk {
	const struct br_extent *extents; /* in bytes */
	size_t count;
	size_t at;
	uint64_t done_bytes; /* everything below was in a window */
};

static inline bool br_window_walk_ended(const struct br_window_walk *walk)
{
	return walk->at == walk->count;
}

/* The next window, of a walk that has not ended. */
struct br_window br_window_next(struct br_window_walk *walk);

#endif
