#include "digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

int br_hasher_init(struct br_hasher *hasher)
{
	hasher->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	hasher->context = EVP_MD_CTX_new();
	return hasher->sha256 && hasher->context ? 0 : -ENOMEM;
}

void br_hasher_free(struct br_hasher *hasher)
{
	EVP_MD_CTX_free(hasher->context);
	EVP_MD_free(hasher->sha256);
	*hasher = (struct br_hasher){0};
}

int br_hash(struct br_hasher *hasher, const uint8_t *head, size_t head_bytes, const uint8_t *body,
            size_t body_bytes, uint8_t digest[BR_DIGEST_BYTES])
{
	bool good = EVP_DigestInit_ex(hasher->context, hasher->sha256, NULL) &&
	            EVP_DigestUpdate(hasher->context, head, head_bytes) &&
	            EVP_DigestUpdate(hasher->context, body, body_bytes) &&
	            EVP_DigestFinal_ex(hasher->context, digest, NULL);

	return good ? 0 : -ENOMEM;
}

int br_hash_chunk(struct br_hasher *hasher, uint16_t mask, const uint8_t *blocks,
                  uint8_t digest[BR_DIGEST_BYTES])
{
	const uint8_t head[2] = {(uint8_t)mask, (uint8_t)(mask >> 8)};

	if (mask == 0) {
		memset(digest, 0, BR_DIGEST_BYTES);
		return 0;
	}
	return br_hash(hasher, head, sizeof(head), blocks, br_mask_blocks(mask) * BR_BLOCK_BYTES,
	               digest);
}

/* The inner loop has no exit and a constant length, so that the compiler makes it vectors; the
 * outer one ends at the first quarter KiB that has a byte, which in data is nearly always the
 * first. */
bool br_block_is_zero(const uint8_t *block)
{
	enum { STEP = 256 };

	for (size_t at = 0; at < BR_BLOCK_BYTES; at += STEP) {
		uint64_t words[STEP / 8], any = 0;
		memcpy(words, block + at, STEP);
		for (size_t i = 0; i < STEP / 8; i++)
			any |= words[i];
		if (any)
			return false;
	}
	return true;
}

int br_chunk_digests(const uint16_t *masks, size_t count, const uint8_t *blocks, uint8_t *out)
{
	struct br_hasher hasher;
	int result = br_hasher_init(&hasher);

	for (size_t i = 0; result == 0 && i < count; i++) {
		result = br_hash_chunk(&hasher, masks[i], blocks, out + i * BR_DIGEST_BYTES);
		blocks += br_mask_blocks(masks[i]) * BR_BLOCK_BYTES;
	}
	br_hasher_free(&hasher);
	return result;
}

int br_short_digests(const uint8_t *salt, size_t salt_bytes, const uint8_t *blocks, size_t count,
                     uint8_t *out)
{
	enum { SHORT_BYTES = 8 };
	struct br_hasher hasher;
	uint8_t digest[BR_DIGEST_BYTES];
	int result = br_hasher_init(&hasher);

	for (size_t i = 0; result == 0 && i < count; i++) {
		result = br_hash(&hasher, salt, salt_bytes, blocks + i * BR_BLOCK_BYTES,
		                 BR_BLOCK_BYTES, digest);
		if (result == 0)
			memcpy(out + i * SHORT_BYTES, digest, SHORT_BYTES);
	}
	br_hasher_free(&hasher);
	return result;
}

static size_t pick_chunk(uint16_t mask, uint16_t wanted, const uint8_t **blocks, uint8_t *out)
{
	size_t taken = 0;

	for (unsigned bit = 0; bit < BR_CHUNK_BLOCKS; bit++) {
		if (!(mask >> bit & 1))
			continue;
		if (wanted >> bit & 1)
			memcpy(out + taken++ * BR_BLOCK_BYTES, *blocks, BR_BLOCK_BYTES);
		*blocks += BR_BLOCK_BYTES;
	}
	return taken * BR_BLOCK_BYTES;
}

void br_pick_blocks(const uint16_t *masks, const uint16_t *wanted, size_t count,
                    const uint8_t *blocks, uint8_t *out)
{
	for (size_t i = 0; i < count; i++)
		out += pick_chunk(masks[i], wanted[i], &blocks, out);
}
