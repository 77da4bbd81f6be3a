#include "chunk_map.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "digest.h"

static const uint8_t page_magic[4] = {'B', 'M', 'A', 'P'};
static const uint8_t leaf_prefix[] = "blockrep leaf 1"; /* with its NUL */

enum {
	MAGIC_AT = 4,
	NUMBER_AT = 8,
	ENTRIES_AT = 16,
	ENTRY_BYTES = 40,
	DIGEST_AT = 8, /* within an entry */
	MASK_BYTES = 2,
	LEAF_BYTES = MASK_BYTES + BR_DIGEST_BYTES, /* what the root covers of an entry */
};

static uint32_t page_checksum(const uint8_t *page)
{
	return ~br_crc32c(UINT32_MAX, page + MAGIC_AT, BR_PAGE_BYTES - MAGIC_AT);
}

static size_t entry_at(uint64_t first_page, uint64_t chunk)
{
	uint64_t page = chunk / BR_PAGE_ENTRIES - first_page;

	return page * BR_PAGE_BYTES + ENTRIES_AT + ENTRY_BYTES * (chunk % BR_PAGE_ENTRIES);
}

void br_page_seal(uint8_t *page)
{
	br_store32(page, page_checksum(page));
}

int br_page_is_sound(const uint8_t *page, uint64_t number)
{
	return br_load32(page) == page_checksum(page) &&
	       memcmp(page + MAGIC_AT, page_magic, sizeof(page_magic)) == 0 &&
	       br_load64(page + NUMBER_AT) == number;
}

void br_pages_clear(uint8_t *pages, uint64_t first_page, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t *page = pages + i * BR_PAGE_BYTES;
		memset(page, 0, BR_PAGE_BYTES);
		memcpy(page + MAGIC_AT, page_magic, sizeof(page_magic));
		br_store64(page + NUMBER_AT, first_page + i);
		br_page_seal(page);
	}
}

void br_map_put(uint8_t *map, uint64_t chunk, uint16_t mask, const uint8_t digest[BR_DIGEST_BYTES])
{
	uint8_t *entry = map + entry_at(0, chunk);

	br_store16(entry, mask);
	memcpy(entry + DIGEST_AT, digest, BR_DIGEST_BYTES);
}

uint64_t br_changed_chunks(const uint8_t *a, const uint8_t *b, uint64_t first_page,
                           uint64_t first_chunk, unsigned count)
{
	uint64_t changed = 0;

	for (unsigned i = 0; i < count; i++) {
		size_t at = entry_at(first_page, first_chunk + i);
		if (memcmp(a + at, b + at, MASK_BYTES) != 0 ||
		    memcmp(a + at + DIGEST_AT, b + at + DIGEST_AT, BR_DIGEST_BYTES) != 0)
			changed |= UINT64_C(1) << i;
	}
	return changed;
}

static size_t gather_leaf(const uint8_t *page, size_t entries, uint8_t *out)
{
	for (size_t i = 0; i < entries; i++) {
		const uint8_t *entry = page + ENTRIES_AT + i * ENTRY_BYTES;
		memcpy(out + i * LEAF_BYTES, entry, MASK_BYTES);
		memcpy(out + i * LEAF_BYTES + MASK_BYTES, entry + DIGEST_AT, BR_DIGEST_BYTES);
	}
	return entries * LEAF_BYTES;
}

int br_map_leaves(const uint8_t *pages, size_t count, uint64_t entries, uint8_t *out)
{
	struct br_hasher hasher;
	uint8_t leaf[BR_PAGE_ENTRIES * LEAF_BYTES];
	int result = br_hasher_init(&hasher);

	for (size_t i = 0; result == 0 && i < count; i++) {
		uint64_t here = entries < BR_PAGE_ENTRIES ? entries : BR_PAGE_ENTRIES;
		size_t length = gather_leaf(pages + i * BR_PAGE_BYTES, here, leaf);
		result = br_hash(&hasher, leaf_prefix, sizeof(leaf_prefix), leaf, length,
		                 out + i * BR_DIGEST_BYTES);
		entries -= here;
	}
	br_hasher_free(&hasher);
	return result;
}
