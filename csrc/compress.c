#include <errno.h>
#include <lz4.h>

#include "core_api.h"

size_t br_compress(const uint8_t *data, uint32_t length, uint8_t *out)
{
	/* Room for one byte less than there is: what does not become smaller does not fit. */
	return (size_t)LZ4_compress_default((const char *)data, (char *)out, (int)length,
	                                    (int)length - 1);
}

int br_decompress(const uint8_t *data, uint32_t length, uint8_t *out, uint32_t raw_length)
{
	/* Comes from a peer: the library neither reads nor writes past the two lengths. */
	int made =
		LZ4_decompress_safe((const char *)data, (char *)out, (int)length, (int)raw_length);

	return made >= 0 && (uint32_t)made == raw_length ? 0 : -EUCLEAN;
}
