/* Arrays that grow at their end: a pointer, a count and a capacity, which their owner keeps. */
#ifndef BR_ARRAY_H
#define BR_ARRAY_H

#include <stddef.h>

/* Make room for `wanted` items of `size` bytes. `place` is the address of the pointer to them.
 * -ENOMEM. */
int br_array_reserve(void *place, size_t wanted, size_t *capacity, size_t size);

/* Append a copy of one item of `size` bytes. -ENOMEM. */
int br_array_push(void *place, size_t *count, size_t *capacity, const void *item, size_t size);

#endif
