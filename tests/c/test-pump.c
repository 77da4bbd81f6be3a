/* Threads, slots and their end under the sanitizers; what comes out is checked by the tests in
 * Python, here only that all of it does, in order. */
#define _GNU_SOURCE /* memfd_create */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "chunk_map.h"
#include "digest.h"
#include "window.h"

enum { WINDOWS = 24, MAX_TEST_SLOTS = 8 };

static uint8_t disk[WINDOWS * BR_WINDOW_BYTES];
static uint8_t map[(WINDOWS * BR_WINDOW_CHUNKS / BR_PAGE_ENTRIES + 1) * BR_PAGE_BYTES];
static _Alignas(4096) uint8_t buffers[MAX_TEST_SLOTS * BR_WINDOW_BYTES];
static const struct br_extent everything = {0, sizeof(disk)};

static atomic_bool disk_hangs;
static atomic_int reads_that_wait;
static atomic_long farthest_read;

/* Takes the place of libc's, for a disk that does not answer. */
ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
	reads_that_wait++;
	while (disk_hangs)
		usleep(1000);
	reads_that_wait--;
	if (offset > farthest_read)
		farthest_read = offset;
	return syscall(SYS_pread64, fd, buffer, length, offset);
}

static struct br_pump_request random_request(uint64_t *state, int fd)
{
	static const uint8_t key[64] = {1};

	return (struct br_pump_request){
		.fd = fd,
		.content_bytes = sizeof(disk),
		.extents = &everything,
		.extent_count = 1,
		.key = random_u64(state) % 2 ? key : NULL,
		.map = map,
		.buffers = buffers,
		.workers = 1 + random_u64(state) % 6,
		.slots = 1 + random_u64(state) % MAX_TEST_SLOTS,
	};
}

static int next_batch(struct br_pump *pump, struct br_batch *batch)
{
	int result;

	do {
		result = br_pump_next(pump, batch);
	} while (result == 0 && batch->state == BR_PUMP_WAIT);
	return result;
}

static void check_batch(const struct br_batch *batch, uint64_t window, bool plain)
{
	const uint8_t *from = disk + window * BR_WINDOW_BYTES;
	uint8_t digests[16 * 32];

	CHECK(batch->state == BR_PUMP_BATCH && batch->first_chunk == window * BR_WINDOW_CHUNKS);
	CHECK(batch->chunks == 16 && batch->stored_bytes == BR_WINDOW_BYTES);
	CHECK((memcmp(buffers + batch->buffer_at, from, BR_WINDOW_BYTES) == 0) == plain);
	CHECK(br_chunk_digests(batch->masks, 16, buffers + batch->buffer_at, digests) == 0);
	for (size_t i = 0; i < 16; i++) {
		size_t chunk = batch->first_chunk + i;
		const uint8_t *page = map + chunk / 102 * 4096;
		CHECK(br_page_is_sound(page, chunk / 102));
		CHECK(memcmp(page + 16 + chunk % 102 * 40 + 8, digests + i * 32, 32) == 0);
	}
}

/* Up to `windows` batches, then the end wherever it is. */
static void check_pass(uint64_t *state, int fd, uint64_t windows)
{
	struct br_pump_request request = random_request(state, fd);
	struct br_pump *pump = NULL;
	struct br_batch batch;

	br_pages_clear(map, 0, sizeof(map) / BR_PAGE_BYTES);
	CHECK(br_pump_open(&request, &pump) == 0);
	for (uint64_t i = 0; i < windows; i++) {
		CHECK(next_batch(pump, &batch) == 0);
		check_batch(&batch, i, request.key == NULL);
	}
	if (windows == WINDOWS) {
		CHECK(next_batch(pump, &batch) == 0 && batch.state == BR_PUMP_END);
		CHECK(next_batch(pump, &batch) == 0 && batch.state == BR_PUMP_END);
	}
	br_pump_close(pump);
}

/* The disk ends in window `good`: what is before comes out, then the error, again and again. */
static void check_failure(uint64_t *state, int fd, uint64_t good)
{
	struct br_pump_request request = random_request(state, fd);
	uint64_t ends_at = good * BR_WINDOW_BYTES + random_u64(state) % BR_WINDOW_BYTES;
	struct br_pump *pump = NULL;
	struct br_batch batch;

	CHECK(ftruncate(fd, (off_t)ends_at) == 0);
	CHECK(br_pump_open(&request, &pump) == 0);
	for (uint64_t i = 0; i < good; i++)
		CHECK(next_batch(pump, &batch) == 0 && batch.first_chunk == i * 16);
	for (int i = 0; i < 2; i++) {
		CHECK(next_batch(pump, &batch) == -ENODATA);
		CHECK(batch.failed_at == ends_at);
	}
	br_pump_close(pump);
}

/* A disk that fails is left alone from then on, though there is room for more windows. */
static void check_stop(uint64_t *state, int fd)
{
	struct br_pump_request request = random_request(state, fd);
	struct br_pump *pump = NULL;
	struct br_batch batch;

	request.workers = 1;
	request.slots = MAX_TEST_SLOTS;
	CHECK(ftruncate(fd, 0) == 0);
	farthest_read = 0;
	CHECK(br_pump_open(&request, &pump) == 0);
	CHECK(next_batch(pump, &batch) == -ENODATA && batch.failed_at == 0);
	usleep(20000);
	br_pump_close(pump);
	CHECK(farthest_read < (long)BR_WINDOW_BYTES);
}

/* The consumer comes back while the disk does not answer; closing waits for it. */
static void check_waiting(uint64_t *state, int fd)
{
	struct br_pump_request request = random_request(state, fd);
	struct br_pump *pump = NULL;
	struct br_batch batch;

	br_pages_clear(map, 0, sizeof(map) / BR_PAGE_BYTES);
	disk_hangs = true;
	CHECK(br_pump_open(&request, &pump) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(br_pump_next(pump, &batch) == 0 && batch.state == BR_PUMP_WAIT);
	while (reads_that_wait == 0)
		usleep(1000);
	disk_hangs = false;
	CHECK(next_batch(pump, &batch) == 0);
	check_batch(&batch, 0, request.key == NULL);
	br_pump_close(pump);
	CHECK(reads_that_wait == 0);
}

static void check_refusals(int fd)
{
	static const struct br_extent bad[][2] = {
		{{0, 4096}, {0, 4096}},    /* twice */
		{{8192, 4096}, {0, 4096}}, /* backwards */
		{{0, 8192}, {4096, 8192}}, /* overlapping */
		{{0, 4096}, {8192, 0}},    /* empty */
		{{0, 4096}, {4608, 4096}}, /* not on a block */
		{{0, 512}, {8192, 4096}},  /* not a whole block */
		{{0, 4096}, {sizeof(disk), 4096}},
		{{0, 4096}, {UINT64_MAX - 4095, 8192}},
		{{0, 4096}, {8192, UINT64_MAX - 4095}},
	};
	uint64_t state = 1;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct br_pump_request request = random_request(&state, fd);
		struct br_pump *pump = NULL;
		request.extents = bad[i];
		request.extent_count = 2;
		CHECK(br_pump_open(&request, &pump) == -EINVAL && !pump);
	}
	struct br_pump *pump = NULL;
	struct br_pump_request request = random_request(&state, -1);
	CHECK(br_pump_open(&request, &pump) == -EBADF && !pump);
	br_pump_close(NULL);
}

int main(void)
{
	uint64_t state = random_seed(1);
	uint64_t rounds = random_rounds(8000) / 1000; /* each is 48 MiB */
	int fd = memfd_create("disk", 0);

	for (size_t i = 0; i < sizeof(disk); i += 8) {
		uint64_t word = random_u64(&state);
		memcpy(disk + i, &word, 8);
	}
	CHECK(fd >= 0);
	check_refusals(fd);
	CHECK(pwrite(fd, disk, sizeof(disk), 0) == (ssize_t)sizeof(disk));
	check_waiting(&state, fd);
	check_stop(&state, fd);
	for (uint64_t round = 0; round < rounds; round++) {
		CHECK(ftruncate(fd, 0) == 0);
		CHECK(pwrite(fd, disk, sizeof(disk), 0) == (ssize_t)sizeof(disk));
		check_pass(&state, fd, WINDOWS);
		check_pass(&state, fd, random_u64(&state) % WINDOWS);
		check_failure(&state, fd, random_u64(&state) % WINDOWS);
	}
	close(fd);
	return 0;
}
