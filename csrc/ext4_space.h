/* Free and used space, as the block bitmap has it. */
#ifndef BR_EXT4_SPACE_H
#define BR_EXT4_SPACE_H

#include "ext4.h"

/* The first run of used (or free) blocks within [from, end); its length is 0 where there is none.
 */
int br_space_next(ext2_filsys fs, int used, uint64_t from, uint64_t end, struct br_extent *out,
                  struct br_err *err);

#endif
