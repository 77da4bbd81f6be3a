#include <ext2fs/ext2fs.h>

#include "core_api.h"

uint32_t br_crc32c(uint32_t seed, const uint8_t *data, size_t length)
{
	return ext2fs_crc32c_le(seed, data, length);
}
