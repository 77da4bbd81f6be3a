/* The pages of a chunk map as they lie on a disk and on the wire (docs/segment-format.md). */
#ifndef BR_CHUNK_MAP_H
#define BR_CHUNK_MAP_H

#include "chunk.h"
#include "core_api.h"

#define BR_PAGE_BYTES ((size_t)4096)
#define BR_PAGE_ENTRIES ((size_t)102)

/* Write mask and digest of a chunk into a whole map, leaving what the holder keeps; the page's
 * checksum is not true any more. */
void br_map_put(uint8_t *map, uint64_t chunk, uint16_t mask, const uint8_t digest[BR_DIGEST_BYTES]);

#endif
