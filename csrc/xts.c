#include "xts.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>

#include "bytes.h"

int br_xts_init(struct br_xts *xts, const uint8_t key[BR_KEY_BYTES], int encrypt)
{
	xts->cipher = EVP_CIPHER_fetch(NULL, "AES-256-XTS", NULL);
	xts->context = EVP_CIPHER_CTX_new();
	if (!xts->cipher || !xts->context)
		return -ENOMEM;
	/* libcrypto checks this when it encrypts, not when it decrypts. */
	if (CRYPTO_memcmp(key, key + BR_KEY_BYTES / 2, BR_KEY_BYTES / 2) == 0)
		return -EINVAL;
	return EVP_CipherInit_ex(xts->context, xts->cipher, NULL, key, NULL, encrypt) ? 0 : -ENOMEM;
}

void br_xts_free(struct br_xts *xts)
{
	EVP_CIPHER_CTX_free(xts->context);
	EVP_CIPHER_free(xts->cipher);
	*xts = (struct br_xts){0};
}

int br_xts_block(struct br_xts *xts, uint64_t block, const uint8_t *in, uint8_t *out)
{
	uint8_t tweak[16] = {0};
	int length;
	bool good;

	br_store64(tweak, block);
	/* The key schedule stays; only the tweak is new. */
	good = EVP_CipherInit_ex(xts->context, NULL, NULL, NULL, tweak, -1) &&
	       EVP_CipherUpdate(xts->context, out, &length, in, BR_BLOCK_BYTES);
	return good ? 0 : -ENOMEM;
}

static int crypt_chunk(struct br_xts *xts, uint64_t chunk, uint16_t mask, uint8_t **blocks)
{
	int result = 0;

	for (unsigned bit = 0; result == 0 && bit < BR_CHUNK_BLOCKS; bit++) {
		if (!(mask >> bit & 1))
			continue;
		result = br_xts_block(xts, chunk * BR_CHUNK_BLOCKS + bit, *blocks, *blocks);
		*blocks += BR_BLOCK_BYTES;
	}
	return result;
}

int br_crypt_blocks(const uint8_t *key, int encrypt, const uint64_t *chunks, const uint16_t *masks,
                    size_t count, uint8_t *blocks)
{
	struct br_xts xts;
	int result = br_xts_init(&xts, key, encrypt);

	for (size_t i = 0; result == 0 && i < count; i++)
		result = crypt_chunk(&xts, chunks[i], masks[i], &blocks);
	br_xts_free(&xts);
	return result;
}
