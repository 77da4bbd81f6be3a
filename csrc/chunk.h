/* The units of a replica: chunks of 64 KiB of 16 blocks of 4 KiB (docs/segment-format.md). */
#ifndef BR_CHUNK_H
#define BR_CHUNK_H

#include <stdint.h>

#define BR_BLOCK_BYTES 4096u
#define BR_CHUNK_BLOCKS 16u
#define BR_CHUNK_BYTES (BR_CHUNK_BLOCKS * BR_BLOCK_BYTES)
#define BR_DIGEST_BYTES 32u

/* How many blocks a mask names. */
static inline unsigned br_mask_blocks(uint16_t mask)
{
	return (unsigned)__builtin_popcount(mask);
}

#endif
