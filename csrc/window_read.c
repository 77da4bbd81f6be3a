#include "window_read.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Reading through a gap of 32 KiB takes no longer than one more request. */
enum { GAP_BLOCKS = 8 };

/* Of the smallest there are; a disk with larger ones gives whole larger ones. */
enum { SECTOR_BYTES = 512 };

/* One read that is not cut short by a signal. */
static ssize_t read_once(int fd, uint8_t *buffer, size_t length, uint64_t offset)
{
	ssize_t got;

	do {
		got = pread(fd, buffer, length, (off_t)offset);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* At least `length` bytes. O_DIRECT takes whole sectors only: so whole blocks are asked for, for
 * which there is room, and a short read is gone on with at a sector. */
static int read_full(int fd, uint8_t *buffer, size_t length, uint64_t offset, uint64_t *failed_at)
{
	size_t whole = (length + BR_BLOCK_BYTES - 1) / BR_BLOCK_BYTES * BR_BLOCK_BYTES;
	size_t done = 0, reached = 0;

	while (reached < length) {
		ssize_t got = read_once(fd, buffer + done, whole - done, offset + done);
		if (got < 0) {
			*failed_at = offset + done;
			return (int)got;
		}
		if (done + (size_t)got <= reached) {
			*failed_at = offset + reached;
			return -ENODATA;
		}
		reached = done + (size_t)got;
		done = reached - reached % SECTOR_BYTES;
	}
	return 0;
}

/* Read blocks [first, end) of a window, as far as the content goes; zeros behind it. */
static int read_blocks(int fd, const struct br_window *window, size_t first, size_t end,
                       uint64_t content_bytes, uint8_t *buffer, uint64_t *failed_at)
{
	uint64_t offset = window->start_bytes + first * BR_BLOCK_BYTES;
	size_t length = (end - first) * BR_BLOCK_BYTES;
	uint8_t *place = buffer + first * BR_BLOCK_BYTES;
	int result;

	if (content_bytes - offset >= length)
		return read_full(fd, place, length, offset, failed_at);
	result = read_full(fd, place, (size_t)(content_bytes - offset), offset, failed_at);
	memset(place + (content_bytes - offset), 0, length - (size_t)(content_bytes - offset));
	return result;
}

/* The end of the run of blocks from `first`, which is used, that are read in one piece: up to a gap
 * that is too large. Its last block is a used one. */
static size_t run_end(const struct br_window *window, size_t first, size_t largest_gap)
{
	size_t end = first + 1;

	for (size_t block = end; block < BR_WINDOW_BLOCKS && block - end <= largest_gap; block++)
		if (br_window_uses(window, block))
			end = block + 1;
	return end;
}

/* Block by block, when a larger piece failed: what is not used may be what cannot be read. */
static int read_used_alone(int fd, const struct br_window *window, size_t first, size_t end,
                           uint64_t content_bytes, uint8_t *buffer, uint64_t *failed_at)
{
	int result = 0;

	for (size_t block = first; result == 0 && block < end; block++)
		if (br_window_uses(window, block))
			result = read_blocks(fd, window, block, block + 1, content_bytes, buffer,
			                     failed_at);
	return result;
}

int br_window_read(int fd, const struct br_window *window, uint64_t content_bytes, uint8_t *buffer,
                   uint64_t *failed_at)
{
	int result = 0;

	for (size_t block = 0; result == 0 && block < BR_WINDOW_BLOCKS;) {
		if (!br_window_uses(window, block)) {
			block++;
			continue;
		}
		size_t end = run_end(window, block, GAP_BLOCKS);
		result = read_blocks(fd, window, block, end, content_bytes, buffer, failed_at);
		if (result)
			result = read_used_alone(fd, window, block, end, content_bytes, buffer,
			                         failed_at);
		block = end;
	}
	return result;
}
