/* The units of a replica: chunks of 64 KiB of 16 blocks of 4 KiB (docs/segment-format.md). */
#ifndef BR_CHUNK_H
#define BR_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#define BR_BLOCK_BYTES ((size_t)4096)
#define BR_CHUNK_BLOCKS ((size_t)16)
#define BR_CHUNK_BYTES (BR_CHUNK_BLOCKS * BR_BLOCK_BYTES)
#define BR_DIGEST_BYTES ((size_t)32)

/* How many blocks a mask names. */
static inline unsigned br_mask_blocks(uint16_t mask)
{
	return (unsigned)__builtin_popcount(mask);
}

#endif
