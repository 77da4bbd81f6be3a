#include "window.h"

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void mark(struct br_window *window, uint64_t from, uint64_t to)
{
	size_t block = (size_t)((from - window->start_bytes) / BR_BLOCK_BYTES);
	size_t end = (size_t)((to - window->start_bytes) / BR_BLOCK_BYTES);

	for (; block < end; block++)
		window->used[block / BR_CHUNK_BLOCKS] |= (uint16_t)(1u << block % BR_CHUNK_BLOCKS);
}

struct br_window br_window_next(struct br_window_walk *walk)
{
	struct br_window window = {0};
	uint64_t start = max_u64(walk->extents[walk->at].start, walk->done_bytes);
	uint64_t end;

	window.start_bytes = start - start % BR_WINDOW_BYTES;
	end = window.start_bytes + BR_WINDOW_BYTES;
	while (walk->at < walk->count && walk->extents[walk->at].start < end) {
		const struct br_extent *extent = &walk->extents[walk->at];
		uint64_t extent_end = extent->start + extent->length;
		uint64_t from = max_u64(extent->start, window.start_bytes);
		if (extent_end > end) {
			mark(&window, from, end);
			break;
		}
		mark(&window, from, extent_end);
		walk->at++;
	}
	walk->done_bytes = end;
	return window;
}
