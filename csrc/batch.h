/* What a window that was read becomes: masks, digests, and its stored blocks in one piece. */
#ifndef BR_BATCH_H
#define BR_BATCH_H

#include "digest.h"
#include "window.h"
#include "xts.h"

struct br_batch_content {
	uint16_t masks[BR_WINDOW_CHUNKS];
	uint8_t digests[BR_WINDOW_CHUNKS][BR_DIGEST_BYTES];
	size_t stored_bytes; /* from the start of the buffer */
};

/* Leave out the blocks that are zeros, move the others together, encrypting them when xts is not
 * NULL, and take the digest of each chunk that uses a block. -ENOMEM; the buffer is undefined then.
 */
int br_batch_build(struct br_hasher *hasher, struct br_xts *xts, const struct br_window *window,
                   uint8_t *buffer, struct br_batch_content *out);

#endif
