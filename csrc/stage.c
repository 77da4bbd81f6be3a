#include <errno.h>
#include <string.h>

#include "digest.h"

#define BR_STAGE_NO_SLOT UINT32_MAX

static const uint8_t *slot_of(const struct br_stage_chunk *chunk, const uint8_t *old)
{
	return chunk->slot == BR_STAGE_NO_SLOT ? NULL : old + (size_t)chunk->slot * BR_CHUNK_BYTES;
}

/* Whether all that is named lies within the buffers. */
static bool fits(const struct br_stage_chunk *chunks, size_t count, uint64_t sent_bytes,
                 uint64_t old_bytes)
{
	uint64_t blocks = 0, slots = old_bytes / BR_CHUNK_BYTES;

	for (size_t i = 0; i < count; i++) {
		const struct br_stage_chunk *chunk = &chunks[i];
		bool has_slot = chunk->slot != BR_STAGE_NO_SLOT;
		uint16_t needed = (uint16_t)(chunk->mask & ~chunk->sent) | chunk->saved;
		if ((has_slot && chunk->slot >= slots) || (!has_slot && needed) ||
		    (chunk->sent & ~chunk->mask))
			return false;
		blocks += br_mask_blocks(chunk->sent);
	}
	return blocks * BR_BLOCK_BYTES == sent_bytes;
}

/* The blocks of `mask`: from `sent`, packed, where `from_sent` has them, else from their place in
 * the slot. Without gaps in `out`, which has room for a chunk. */
static void compose(uint16_t mask, uint16_t from_sent, const uint8_t *sent, const uint8_t *slot,
                    uint8_t *out)
{
	for (unsigned bit = 0; bit < BR_CHUNK_BLOCKS; bit++) {
		if (!(mask >> bit & 1))
			continue;
		if (from_sent >> bit & 1) {
			memcpy(out, sent, BR_BLOCK_BYTES);
			sent += BR_BLOCK_BYTES;
		} else {
			memcpy(out, slot + (size_t)bit * BR_BLOCK_BYTES, BR_BLOCK_BYTES);
		}
		out += BR_BLOCK_BYTES;
	}
}

/* Whether the blocks of `mask`, found as in `compose`, have this digest. */
static int agrees(struct br_hasher *hasher, uint16_t mask, uint16_t from_sent, const uint8_t *sent,
                  const uint8_t *slot, const uint8_t *digest, uint8_t *out)
{
	uint8_t packed[BR_CHUNK_BYTES], found[BR_DIGEST_BYTES];
	const uint8_t *blocks = packed;
	int result;

	/* Whole chunks, which are most, lie without gaps where they are. */
	if (mask == from_sent)
		blocks = sent;
	else if (from_sent == 0 && mask == UINT16_MAX)
		blocks = slot;
	else
		compose(mask, from_sent, sent, slot, packed);
	result = br_hash_chunk(hasher, mask, blocks, found);
	if (result == 0)
		*out = memcmp(found, digest, BR_DIGEST_BYTES) == 0;
	return result;
}

static int check_chunk(struct br_hasher *hasher, struct br_stage_chunk *chunk, const uint8_t *sent,
                       const uint8_t *slot)
{
	int result = agrees(hasher, chunk->mask, chunk->sent, sent, slot, chunk->digest,
	                    &chunk->new_good);

	chunk->old_good = 0;
	if (result == 0 && slot)
		result = agrees(hasher, chunk->old_mask, 0, sent, slot, chunk->old_digest,
		                &chunk->old_good);
	return result;
}

int br_stage_check(struct br_stage_chunk *chunks, size_t count, const uint8_t *sent,
                   size_t sent_bytes, const uint8_t *old, size_t old_bytes)
{
	struct br_hasher hasher;
	int result;

	if (!fits(chunks, count, sent_bytes, old_bytes))
		return -EINVAL;
	result = br_hasher_init(&hasher);
	for (size_t i = 0; result == 0 && i < count; i++) {
		result = check_chunk(&hasher, &chunks[i], sent, slot_of(&chunks[i], old));
		sent += (size_t)br_mask_blocks(chunks[i].sent) * BR_BLOCK_BYTES;
	}
	br_hasher_free(&hasher);
	return result;
}

int br_stage_save(const struct br_stage_chunk *chunks, size_t count, const uint8_t *old,
                  size_t old_bytes, uint8_t *out, size_t out_bytes)
{
	uint64_t blocks = 0;

	for (size_t i = 0; i < count; i++) {
		const struct br_stage_chunk *chunk = &chunks[i];
		if (chunk->saved && chunk->slot >= old_bytes / BR_CHUNK_BYTES)
			return -EINVAL;
		blocks += br_mask_blocks(chunk->saved);
	}
	if (blocks * BR_BLOCK_BYTES != out_bytes)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		if (!chunks[i].saved)
			continue;
		compose(chunks[i].saved, 0, NULL, slot_of(&chunks[i], old), out);
		out += (size_t)br_mask_blocks(chunks[i].saved) * BR_BLOCK_BYTES;
	}
	return 0;
}
