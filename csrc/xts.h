/* AES-256-XTS of stored blocks: a data unit is a block of 4 KiB, its tweak the number of the block
 * on the owner's disk, as dm-crypt has it with sectors of 4,096 bytes and large-sector IVs. */
#ifndef BR_XTS_H
#define BR_XTS_H

#include <openssl/types.h>

#include "chunk.h"
#include "core_api.h"

#define BR_KEY_BYTES ((size_t)64)

struct br_xts {
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *context; /* holds the key until br_xts_free, which wipes it */
};

/* For one direction and one thread. Release with br_xts_free, also after a failure. -ENOMEM,
 * -EINVAL for a key with two equal halves, with which XTS hides too little. */
int br_xts_init(struct br_xts *xts, const uint8_t key[BR_KEY_BYTES], int encrypt);
void br_xts_free(struct br_xts *xts);

/* `out` is `in`, or does not overlap with it. -ENOMEM, the only way in which libcrypto fails. */
int br_xts_block(struct br_xts *xts, uint64_t block, const uint8_t *in, uint8_t *out);

#endif
