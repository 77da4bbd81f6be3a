/* Room for one more item in a growing array. */
#ifndef BR_ARRAY_H
#define BR_ARRAY_H

#include <stddef.h>

/* Make `*items` hold at least count + 1 items of `size` bytes. -ENOMEM. */
int br_array_grow(void **items, size_t count, size_t *capacity, size_t size);

#endif
