#include "batch.h"

#include <string.h>

/* Both places are whole blocks of one buffer, so they are the same or apart. */
static int store_block(struct br_xts *xts, uint64_t block, const uint8_t *from, uint8_t *to)
{
	if (xts)
		return br_xts_block(xts, block, from, to);
	if (from != to)
		memcpy(to, from, BR_BLOCK_BYTES);
	return 0;
}

/* One chunk from its place in the buffer to `to`, which is not behind it. */
static int build_chunk(struct br_hasher *hasher, struct br_xts *xts, uint64_t first_block,
                       uint16_t used, const uint8_t *from, uint8_t *to, uint16_t *mask,
                       uint8_t digest[BR_DIGEST_BYTES])
{
	uint8_t *end = to;

	*mask = 0;
	for (unsigned bit = 0; bit < BR_CHUNK_BLOCKS; bit++) {
		const uint8_t *block = from + bit * BR_BLOCK_BYTES;
		if (!(used >> bit & 1) || br_block_is_zero(block))
			continue;
		int result = store_block(xts, first_block + bit, block, end);
		if (result)
			return result;
		*mask |= (uint16_t)(1u << bit);
		end += BR_BLOCK_BYTES;
	}
	return br_hash_chunk(hasher, *mask, to, digest);
}

int br_batch_build(struct br_hasher *hasher, struct br_xts *xts, const struct br_window *window,
                   uint8_t *buffer, struct br_batch_content *out)
{
	uint64_t first_block = window->start_bytes / BR_BLOCK_BYTES;
	int result = 0;

	out->stored_bytes = 0;
	for (size_t i = 0; result == 0 && i < BR_WINDOW_CHUNKS; i++) {
		result = build_chunk(hasher, xts, first_block + i * BR_CHUNK_BLOCKS,
		                     window->used[i], buffer + i * BR_CHUNK_BYTES,
		                     buffer + out->stored_bytes, &out->masks[i], out->digests[i]);
		out->stored_bytes += br_mask_blocks(out->masks[i]) * BR_BLOCK_BYTES;
	}
	return result;
}
