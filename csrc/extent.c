#include "extent.h"

#include <errno.h>
#include <stdlib.h>

#include "array.h"
#include "checked.h"

int br_extents_add(struct br_extents *list, uint64_t start, uint64_t length)
{
	uint64_t end;

	if (length == 0)
		return 0;
	if (!br_add_u64(start, length, &end))
		return -EOVERFLOW;
	if (list->count) {
		struct br_extent *last = &list->items[list->count - 1];
		if (last->start + last->length == start) {
			last->length += length;
			return 0;
		}
	}
	struct br_extent item = {start, length};
	return br_array_push(&list->items, &list->count, &list->capacity, &item, sizeof(item));
}

static int compare_start(const void *a, const void *b)
{
	uint64_t x = ((const struct br_extent *)a)->start;
	uint64_t y = ((const struct br_extent *)b)->start;
	return (x > y) - (x < y);
}

void br_extents_normalise(struct br_extents *list)
{
	size_t kept = 0;

	if (list->count == 0)
		return;
	qsort(list->items, list->count, sizeof(*list->items), compare_start);
	for (size_t i = 1; i < list->count; i++) {
		struct br_extent *last = &list->items[kept];
		const struct br_extent *next = &list->items[i];
		uint64_t last_end = last->start + last->length;
		if (next->start > last_end) {
			list->items[++kept] = *next;
			continue;
		}
		if (next->start + next->length > last_end)
			last->length = next->start + next->length - last->start;
	}
	list->count = kept + 1;
}

void br_extents_free(struct br_extents *list)
{
	free(list->items);
	*list = (struct br_extents){0};
}

size_t br_extents_find(const struct br_extents *list, uint64_t at)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (list->items[middle].start + list->items[middle].length <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
