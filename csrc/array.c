#include "array.h"

#include <errno.h>
#include <stdlib.h>

int br_array_grow(void **items, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity)
		return 0;
	size_t wanted = *capacity ? *capacity + *capacity / 2 + 1 : 64;
	void *grown = reallocarray(*items, wanted, size);
	if (!grown)
		return -ENOMEM;
	*items = grown;
	*capacity = wanted;
	return 0;
}
