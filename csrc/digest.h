/* Digests of stored blocks. A hasher belongs to one thread and is used for one digest after the
 * other, because setting one up costs as much as hashing a block. */
#ifndef BR_DIGEST_H
#define BR_DIGEST_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "chunk.h"
#include "core_api.h"

struct br_hasher {
	EVP_MD *sha256;
	EVP_MD_CTX *context;
};

/* Release with br_hasher_free, also after a failure. -ENOMEM. */
int br_hasher_init(struct br_hasher *hasher);
void br_hasher_free(struct br_hasher *hasher);

/* SHA-256 of `head`, then `body`. -ENOMEM, the only way in which libcrypto fails here. */
int br_hash(struct br_hasher *hasher, const uint8_t *head, size_t head_bytes, const uint8_t *body,
            size_t body_bytes, uint8_t digest[BR_DIGEST_BYTES]);

/* The digest of a chunk from its stored blocks, packed; zeros where the mask is 0. */
int br_hash_chunk(struct br_hasher *hasher, uint16_t mask, const uint8_t *blocks,
                  uint8_t digest[BR_DIGEST_BYTES]);

bool br_block_is_zero(const uint8_t *block);

#endif
