#include "array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int br_array_reserve(void *place, size_t wanted, size_t *capacity, size_t size)
{
	size_t larger = *capacity ? *capacity + *capacity / 2 + 1 : 64;
	void *items;

	if (wanted <= *capacity)
		return 0;
	if (larger < wanted)
		larger = wanted;
	/* Whatever the pointer's type, its bytes are those of a void pointer. */
	memcpy(&items, place, sizeof(items));
	items = reallocarray(items, larger, size);
	if (!items)
		return -ENOMEM;
	memcpy(place, &items, sizeof(items));
	*capacity = larger;
	return 0;
}

int br_array_push(void *place, size_t *count, size_t *capacity, const void *item, size_t size)
{
	char *items;
	int result = br_array_reserve(place, *count + 1, capacity, size);

	if (result)
		return result;
	memcpy(&items, place, sizeof(items));
	memcpy(items + *count * size, item, size);
	(*count)++;
	return 0;
}
