/* Chunks that are put together, against a model that looks at one block after the other. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "digest.h"

#define SLOTS 4
#define NO_SLOT UINT32_MAX

static void random_bytes(uint64_t *state, uint8_t *out, size_t length)
{
	for (size_t i = 0; i < length; i++)
		out[i] = (uint8_t)random_u64(state);
}

static void digest_of(uint16_t mask, uint16_t from_sent, const uint8_t *sent, const uint8_t *slot,
                      uint8_t *out)
{
	static uint8_t packed[BR_CHUNK_BYTES];
	size_t at = 0, used = 0;

	for (unsigned bit = 0; bit < BR_CHUNK_BLOCKS; bit++) {
		if (!(mask >> bit & 1))
			continue;
		if (from_sent >> bit & 1)
			memcpy(packed + at, sent + BR_BLOCK_BYTES * used++, BR_BLOCK_BYTES);
		else
			memcpy(packed + at, slot + BR_BLOCK_BYTES * bit, BR_BLOCK_BYTES);
		at += BR_BLOCK_BYTES;
	}
	CHECK(br_chunk_digests(&mask, 1, packed, out) == 0);
}

static void one_round(uint64_t *state, uint8_t *old, uint8_t *sent, uint8_t *out)
{
	struct br_stage_chunk chunks[SLOTS] = {0};
	bool spoil_new[SLOTS], spoil_old[SLOTS];
	size_t sent_blocks = 0, saved_blocks = 0;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct br_stage_chunk *chunk = &chunks[i];
		uint8_t *slot = old + (size_t)i * BR_CHUNK_BYTES;
		chunk->mask = (uint16_t)random_u64(state);
		chunk->sent = chunk->mask & (uint16_t)random_u64(state);
		if (random_u64(state) % 4 == 0)
			chunk->sent = chunk->mask;
		chunk->old_mask = (uint16_t)random_u64(state);
		chunk->saved = (uint16_t)random_u64(state);
		chunk->slot = i;
		if (chunk->sent == chunk->mask && random_u64(state) % 2) {
			chunk->slot = NO_SLOT;
			chunk->saved = 0;
		}
		digest_of(chunk->mask, chunk->sent, sent + sent_blocks * BR_BLOCK_BYTES, slot,
		          chunk->digest);
		digest_of(chunk->old_mask, 0, NULL, slot, chunk->old_digest);
		spoil_new[i] = random_u64(state) % 3 == 0;
		spoil_old[i] = random_u64(state) % 3 == 0;
		chunk->digest[random_u64(state) % BR_DIGEST_BYTES] ^= spoil_new[i];
		chunk->old_digest[random_u64(state) % BR_DIGEST_BYTES] ^= spoil_old[i];
		sent_blocks += br_mask_blocks(chunk->sent);
		saved_blocks += br_mask_blocks(chunk->saved);
	}
	CHECK(br_stage_check(chunks, SLOTS, sent, sent_blocks * BR_BLOCK_BYTES, old,
	                     (size_t)SLOTS * BR_CHUNK_BYTES) == 0);
	for (unsigned i = 0; i < SLOTS; i++) {
		CHECK(chunks[i].new_good == !spoil_new[i]);
		CHECK(chunks[i].old_good == (chunks[i].slot != NO_SLOT && !spoil_old[i]));
	}
	CHECK(br_stage_save(chunks, SLOTS, old, (size_t)SLOTS * BR_CHUNK_BYTES, out,
	                    saved_blocks * BR_BLOCK_BYTES) == 0);
	for (unsigned i = 0; i < SLOTS; i++) {
		for (unsigned bit = 0; bit < BR_CHUNK_BLOCKS; bit++) {
			if (!(chunks[i].saved >> bit & 1))
				continue;
			CHECK(memcmp(out, old + (size_t)i * BR_CHUNK_BYTES + bit * BR_BLOCK_BYTES,
			             BR_BLOCK_BYTES) == 0);
			out += BR_BLOCK_BYTES;
		}
	}
}

static void test_what_does_not_fit(const uint8_t *sent, const uint8_t *old, uint8_t *out)
{
	struct br_stage_chunk chunk = {.mask = 3, .sent = 1, .slot = 0};
	const size_t block = BR_BLOCK_BYTES, slot = BR_CHUNK_BYTES;

	CHECK(br_stage_check(&chunk, 1, sent, block, old, slot) == 0);
	CHECK(br_stage_check(&chunk, 1, sent, 2 * block, old, slot) == -EINVAL);
	CHECK(br_stage_check(&chunk, 1, sent, block, old, slot - 1) == -EINVAL);
	chunk.slot = NO_SLOT;
	CHECK(br_stage_check(&chunk, 1, sent, block, old, slot) == -EINVAL);
	chunk = (struct br_stage_chunk){.mask = 1, .sent = 3, .slot = 0};
	CHECK(br_stage_check(&chunk, 1, sent, 2 * block, old, slot) == -EINVAL);
	chunk = (struct br_stage_chunk){.saved = 1, .slot = 0};
	CHECK(br_stage_save(&chunk, 1, old, slot, out, block) == 0);
	CHECK(br_stage_save(&chunk, 1, old, slot, out, 0) == -EINVAL);
	CHECK(br_stage_save(&chunk, 1, old, slot - 1, out, block) == -EINVAL);
	chunk.slot = NO_SLOT;
	CHECK(br_stage_save(&chunk, 1, old, slot, out, block) == -EINVAL);
}

int main(void)
{
	uint64_t state = random_seed(1);
	uint64_t rounds = random_rounds(20000) / 100; /* each has a dozen digests */
	uint8_t *old = malloc((size_t)SLOTS * BR_CHUNK_BYTES);
	uint8_t *sent = malloc((size_t)SLOTS * BR_CHUNK_BYTES);
	uint8_t *out = malloc((size_t)SLOTS * BR_CHUNK_BYTES);

	CHECK(old && sent && out);
	random_bytes(&state, old, (size_t)SLOTS * BR_CHUNK_BYTES);
	random_bytes(&state, sent, (size_t)SLOTS * BR_CHUNK_BYTES);
	for (uint64_t i = 0; i < rounds; i++)
		one_round(&state, old, sent, out);
	test_what_does_not_fit(sent, old, out);
	free(old);
	free(sent);
	free(out);
	return 0;
}
