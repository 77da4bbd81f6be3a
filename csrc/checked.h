/* Overflow-checked arithmetic for numbers that come from a disk or a peer.
 *
 * Each function returns true and stores the exact result, or returns false and stores nothing.
 */
#ifndef BR_CHECKED_H
#define BR_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool br_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t sum;
	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*out = sum;
	return true;
}

static inline bool br_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t product;
	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*out = product;
	return true;
}

#endif
