/* Lists of extents: append with coalescing, sort, release. */
#ifndef BR_EXTENT_H
#define BR_EXTENT_H

#include "core_api.h"

/* Append [start, start + length); joins it to the last item where they touch.
 * -ENOMEM, -EOVERFLOW. */
int br_extents_add(struct br_extents *list, uint64_t start, uint64_t length);

/* Sort by start and join what touches or overlaps. */
void br_extents_normalise(struct br_extents *list);

/* In a normalised list, the index of the first item that ends past `at`, or the count. */
size_t br_extents_find(const struct br_extents *list, uint64_t at);

#endif
