/* Digests, zeros and map pages against one-shot SHA-256 and byte offsets written out by hand. */
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "bytes.h"
#include "check.h"
#include "chunk_map.h"
#include "digest.h"

static void fill(uint64_t *state, uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		data[i] = (uint8_t)random_u64(state);
}

static void check_digest(uint64_t *state)
{
	static uint8_t chunk[2 + BR_CHUNK_BYTES];
	uint16_t mask = (uint16_t)random_u64(state);
	size_t length = 2 + (size_t)__builtin_popcount(mask) * 4096;
	uint8_t ours[32], theirs[32] = {0};

	fill(state, chunk, length);
	chunk[0] = (uint8_t)mask;
	chunk[1] = (uint8_t)(mask >> 8);
	if (mask)
		CHECK(EVP_Digest(chunk, length, theirs, NULL, EVP_sha256(), NULL));
	CHECK(br_chunk_digests(&mask, 1, chunk + 2, ours) == 0);
	CHECK(memcmp(ours, theirs, 32) == 0);
}

static void check_zeros(void)
{
	uint8_t block[BR_BLOCK_BYTES + 2] = {[0] = 1, [BR_BLOCK_BYTES + 1] = 1};

	CHECK(br_block_is_zero(block + 1));
	for (size_t at = 1; at <= BR_BLOCK_BYTES; at++) {
		block[at] = (uint8_t)(1u << at % 8);
		CHECK(!br_block_is_zero(block + 1));
		block[at] = 0;
	}
}

static void check_put(uint64_t *state)
{
	enum { PAGES = 3 };
	uint8_t map[PAGES * BR_PAGE_BYTES], other[sizeof(map)], digest[32];
	uint64_t chunk = random_u64(state) % (BR_PAGE_ENTRIES * PAGES);
	size_t page = chunk / 102, at = page * 4096 + 16 + 40 * (chunk % 102);

	br_pages_clear(map, 0, PAGES);
	memcpy(other, map, sizeof(map));
	fill(state, digest, sizeof(digest));
	br_map_put(map, chunk, 0xA55A, digest);
	CHECK(!br_page_is_sound(map + page * 4096, page));
	br_page_seal(map + page * 4096);
	for (size_t i = 0; i < PAGES; i++)
		CHECK(br_page_is_sound(map + i * 4096, i));
	CHECK(br_load16(map + at) == 0xA55A && memcmp(map + at + 8, digest, 32) == 0);
	CHECK(br_changed_chunks(map, other, 0, chunk, 1) == 1);
	memset(map + at, 0, 40);
	br_page_seal(map + page * 4096);
	CHECK(memcmp(map, other, sizeof(map)) == 0);
}

int main(void)
{
	uint64_t state = random_seed(1);
	uint64_t rounds = random_rounds(300);

	check_zeros();
	for (uint64_t round = 0; round < rounds; round++) {
		check_digest(&state);
		check_put(&state);
	}
	return 0;
}
