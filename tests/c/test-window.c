/* Windows against marks on every block; reading them from a disk that is slow to give, interrupted,
 * and broken in places. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "check.h"
#include "window_read.h"

enum { DISK_BLOCKS = 1024, SECTOR = 512, NO_FD = -1 };

/* The disk that pread below reads. */
static uint8_t disk[DISK_BLOCKS * 4096];
static uint64_t disk_bytes;
static bool broken[DISK_BLOCKS];
static size_t unit; /* of offset, length and address, which with O_DIRECT is a sector, else 1 */
static uint64_t noise;

static size_t readable(uint64_t offset, size_t length)
{
	size_t got = 0;

	while (got < length && offset + got < disk_bytes && !broken[(offset + got) / 4096])
		got += SECTOR;
	return got;
}

/* Takes the place of libc's. */
ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
	size_t got, least = unit > SECTOR ? unit : SECTOR;

	CHECK(fd == NO_FD && length > 0 && offset >= 0);
	CHECK(offset % (off_t)unit == 0 && length % unit == 0 && (uintptr_t)buffer % unit == 0);
	if (random_u64(&noise) % 8 == 0) {
		errno = EINTR;
		return -1;
	}
	got = readable((uint64_t)offset, length);
	if (got == 0 && (uint64_t)offset < disk_bytes) {
		errno = EIO;
		return -1;
	}
	if (got > least && random_u64(&noise) % 4 == 0) {
		got = least + random_u64(&noise) % (got - least);
		got -= got % unit;
	}
	memcpy(buffer, disk + offset, got);
	return (ssize_t)got;
}

/* Extents of random blocks; marks has what is in them. */
static void random_extents(uint64_t *state, struct br_extent *items, size_t *count, bool *marks)
{
	size_t at = 0;

	*count = 0;
	memset(marks, 0, DISK_BLOCKS);
	while (*count < 64) {
		size_t gap = random_u64(state) % (random_u64(state) % 4 ? 30 : 400);
		size_t length = 1 + random_u64(state) % (random_u64(state) % 4 ? 10 : 300);
		at += gap;
		if (at + length > DISK_BLOCKS)
			return;
		memset(marks + at, 1, length);
		items[(*count)++] = (struct br_extent){at * 4096, length * 4096};
		at += length;
	}
}

static void check_walk(uint64_t *state)
{
	struct br_extent items[64];
	bool marks[DISK_BLOCKS], seen[DISK_BLOCKS] = {false};
	struct br_window_walk walk = {.extents = items};
	uint64_t last_end = 0;

	random_extents(state, items, &walk.count, marks);
	while (!br_window_walk_ended(&walk)) {
		struct br_window window = br_window_next(&walk);
		size_t used = 0, first = (size_t)(window.start_bytes / 4096);
		CHECK(window.start_bytes % BR_WINDOW_BYTES == 0 && window.start_bytes >= last_end);
		last_end = window.start_bytes + BR_WINDOW_BYTES;
		for (size_t i = 0; i < BR_WINDOW_BLOCKS; i++) {
			seen[first + i] = br_window_uses(&window, i);
			used += seen[first + i];
		}
		CHECK(used > 0);
	}
	CHECK(memcmp(marks, seen, sizeof(seen)) == 0);
}

/* The first byte of the window that a used block needs and the disk cannot give, or UINT64_MAX. */
static uint64_t first_unreadable(const struct br_window *window, uint64_t content_bytes)
{
	for (size_t i = 0; i < BR_WINDOW_BLOCKS; i++) {
		uint64_t at = window->start_bytes + i * 4096;
		uint64_t end = at + 4096 < content_bytes ? at + 4096 : content_bytes;
		if (!br_window_uses(window, i))
			continue;
		if (broken[at / 4096] || disk_bytes <= at)
			return at;
		if (disk_bytes < end)
			return disk_bytes;
	}
	return UINT64_MAX;
}

static void check_content(const struct br_window *window, uint64_t content_bytes,
                          const uint8_t *buffer)
{
	for (size_t i = 0; i < BR_WINDOW_BLOCKS; i++) {
		uint64_t at = window->start_bytes + i * 4096;
		uint8_t wanted[4096] = {0};
		if (!br_window_uses(window, i))
			continue;
		memcpy(wanted, disk + at,
		       content_bytes - at < 4096 ? (size_t)(content_bytes - at) : 4096);
		CHECK(memcmp(buffer + i * 4096, wanted, 4096) == 0);
	}
}

static void check_window(const struct br_window *window, uint64_t content_bytes)
{
	static _Alignas(4096) uint8_t buffer[BR_WINDOW_BYTES];
	uint64_t failed_at = UINT64_MAX, wanted = first_unreadable(window, content_bytes);
	int result = br_window_read(NO_FD, window, content_bytes, buffer, &failed_at);

	if (wanted == UINT64_MAX) {
		CHECK(result == 0);
		check_content(window, content_bytes, buffer);
		return;
	}
	CHECK(result == (wanted < disk_bytes ? -EIO : -ENODATA));
	CHECK(failed_at == wanted);
}

static void check_read(uint64_t *state)
{
	struct br_extent items[64];
	bool marks[DISK_BLOCKS];
	struct br_window_walk walk = {.extents = items};
	static const size_t units[3] = {1, 512, 4096};
	uint64_t content_bytes;

	random_extents(state, items, &walk.count, marks);
	if (walk.count == 0)
		return;
	content_bytes = items[walk.count - 1].start + items[walk.count - 1].length -
	                random_u64(state) % 8 * SECTOR;
	disk_bytes = sizeof(disk) - random_u64(state) % (random_u64(state) % 4 ? 8 : 2048) * SECTOR;
	unit = units[random_u64(state) % 3];
	disk_bytes -= disk_bytes % unit;
	memset(broken, 0, sizeof(broken));
	for (uint64_t i = random_u64(state) % 4; i > 0; i--)
		broken[random_u64(state) % DISK_BLOCKS] = true;
	while (!br_window_walk_ended(&walk)) {
		struct br_window window = br_window_next(&walk);
		check_window(&window, content_bytes);
	}
}

int main(void)
{
	uint64_t state = random_seed(1);
	uint64_t rounds = random_rounds(2000);

	noise = state;
	for (size_t i = 0; i < sizeof(disk); i++)
		disk[i] = (uint8_t)random_u64(&state);
	for (uint64_t round = 0; round < rounds; round++) {
		check_walk(&state);
		check_read(&state);
	}
	return 0;
}
