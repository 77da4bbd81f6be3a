/* Several threads take windows one after the other, read them and build batches; one consumer gets
 * the batches in the order of the disk.
 *
 * A window has a sequence number from when it is taken, and its slot is that number modulo the
 * count of slots. Windows [head, next) are in slots; a thread takes another one only while there is
 * room for it, which bounds memory and keeps the threads from running ahead of the consumer. All
 * that threads share is behind one lock, but the content of a slot: it belongs to the thread that
 * took it until it is ready, then to the consumer until it asks for the next one. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "checked.h"
#include "chunk_map.h"
#include "window_read.h"

enum { MAX_WORKERS = 64, MAX_SLOTS = 4096, WAIT_MS = 100 };

struct slot {
	struct br_window window;
	struct br_batch_content content;
	int result;
	uint64_t failed_at;
	bool ready;
};

struct worker {
	struct br_pump *pump;
	struct br_hasher hasher;
	struct br_xts xts;
	pthread_t thread;
};

struct br_pump {
	int fd; /* our own, so that closing the caller's does no harm */
	uint64_t content_bytes;
	struct br_extent *extents;
	uint8_t *map;
	uint8_t *buffers;
	bool encrypts;

	pthread_mutex_t lock;
	pthread_cond_t room;  /* a slot is free, or stopping */
	pthread_cond_t ready; /* a slot is ready */
	struct br_window_walk walk;
	struct slot *slots;
	size_t slot_count;
	uint64_t head; /* the oldest window that the consumer has not let go of */
	uint64_t next; /* the one that is taken next */
	bool stopping; /* no further window is taken */
	bool lent;     /* the consumer has the batch at head */

	struct worker *workers;
	size_t worker_count; /* that have a thread */
};

static struct slot *slot_of(const struct br_pump *pump, uint64_t sequence)
{
	return &pump->slots[sequence % pump->slot_count];
}

static uint8_t *buffer_of(const struct br_pump *pump, const struct slot *slot)
{
	return pump->buffers + (size_t)(slot - pump->slots) * BR_WINDOW_BYTES;
}

/* ---- a worker ---- */

static bool may_go_on(const struct br_pump *pump)
{
	return !pump->stopping && !br_window_walk_ended(&pump->walk);
}

/* The slot of the next window, or NULL when there is nothing more to do. */
static struct slot *take(struct br_pump *pump)
{
	struct slot *slot = NULL;

	pthread_mutex_lock(&pump->lock);
	while (may_go_on(pump) && pump->next - pump->head == pump->slot_count)
		pthread_cond_wait(&pump->room, &pump->lock);
	if (may_go_on(pump)) {
		slot = slot_of(pump, pump->next++);
		slot->ready = false;
		slot->window = br_window_next(&pump->walk);
	}
	pthread_mutex_unlock(&pump->lock);
	return slot;
}

static void give(struct br_pump *pump, struct slot *slot)
{
	pthread_mutex_lock(&pump->lock);
	slot->ready = true;
	/* The pass ends here; windows before this one have all been taken and will be delivered. */
	if (slot->result)
		pump->stopping = true;
	pthread_cond_signal(&pump->ready);
	pthread_mutex_unlock(&pump->lock);
}

static void fill(struct worker *worker, struct slot *slot)
{
	const struct br_pump *pump = worker->pump;
	uint8_t *buffer = buffer_of(pump, slot);

	slot->failed_at = slot->window.start_bytes;
	slot->result = br_window_read(pump->fd, &slot->window, pump->content_bytes, buffer,
	                              &slot->failed_at);
	if (slot->result == 0)
		slot->result = br_batch_build(&worker->hasher, pump->encrypts ? &worker->xts : NULL,
		                              &slot->window, buffer, &slot->content);
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	for (;;) {
		struct slot *slot = take(worker->pump);
		if (!slot)
			return NULL;
		fill(worker, slot);
		give(worker->pump, slot);
	}
}

/* ---- the consumer ---- */

static void seal_pages(uint8_t *map, uint64_t first_chunk, size_t chunks)
{
	uint64_t last = (first_chunk + chunks - 1) / BR_PAGE_ENTRIES;

	for (uint64_t page = first_chunk / BR_PAGE_ENTRIES; page <= last; page++)
		br_page_seal(map + page * BR_PAGE_BYTES);
}

/* The threads do not touch the map, so between two batches it is whole. */
static void record(const struct br_pump *pump, const struct slot *slot, struct br_batch *out)
{
	uint64_t chunks = (pump->content_bytes + BR_CHUNK_BYTES - 1) / BR_CHUNK_BYTES;
	uint64_t first = slot->window.start_bytes / BR_CHUNK_BYTES;

	out->state = BR_PUMP_BATCH;
	out->first_chunk = first;
	out->chunks =
		chunks - first < BR_WINDOW_CHUNKS ? (unsigned)(chunks - first) : BR_WINDOW_CHUNKS;
	out->buffer_at = (size_t)(slot - pump->slots) * BR_WINDOW_BYTES;
	out->stored_bytes = slot->content.stored_bytes;
	memcpy(out->masks, slot->content.masks, sizeof(out->masks));
	for (size_t i = 0; i < out->chunks; i++)
		if (slot->window.used[i])
			br_map_put(pump->map, first + i, slot->content.masks[i],
			           slot->content.digests[i]);
	seal_pages(pump->map, first, out->chunks);
}

static void let_go(struct br_pump *pump)
{
	if (!pump->lent)
		return;
	pump->lent = false;
	pump->head++;
	pthread_cond_signal(&pump->room);
}

static struct timespec soon(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += WAIT_MS * 1000000L;
	if (at.tv_nsec >= 1000000000L) {
		at.tv_nsec -= 1000000000L;
		at.tv_sec++;
	}
	return at;
}

static bool is_ready(const struct br_pump *pump)
{
	return pump->head != pump->next && slot_of(pump, pump->head)->ready;
}

static bool has_ended(const struct br_pump *pump)
{
	return pump->head == pump->next && !may_go_on(pump);
}

static enum br_pump_state wait_for_batch(struct br_pump *pump)
{
	struct timespec until = soon();
	int waited = 0;

	while (waited == 0 && !is_ready(pump) && !has_ended(pump))
		waited = pthread_cond_timedwait(&pump->ready, &pump->lock, &until);
	if (is_ready(pump))
		return BR_PUMP_BATCH;
	return has_ended(pump) ? BR_PUMP_END : BR_PUMP_WAIT;
}

int br_pump_next(struct br_pump *pump, struct br_batch *out)
{
	const struct slot *slot;
	enum br_pump_state state;

	pthread_mutex_lock(&pump->lock);
	let_go(pump);
	state = wait_for_batch(pump);
	slot = slot_of(pump, pump->head);
	pump->lent = state == BR_PUMP_BATCH && slot->result == 0;
	pthread_mutex_unlock(&pump->lock);
	out->state = state;
	if (state != BR_PUMP_BATCH)
		return 0;
	if (slot->result) {
		out->failed_at = slot->failed_at;
		return slot->result;
	}
	record(pump, slot, out);
	return 0;
}

/* ---- beginning and end ---- */

static bool is_block_range(const struct br_extent *extent, uint64_t from, uint64_t content_bytes)
{
	uint64_t end;

	return extent->length != 0 && extent->start % BR_BLOCK_BYTES == 0 &&
	       extent->length % BR_BLOCK_BYTES == 0 && extent->start >= from &&
	       br_add_u64(extent->start, extent->length, &end) &&
	       (end <= content_bytes || end - content_bytes < BR_BLOCK_BYTES);
}

static bool is_possible(const struct br_pump_request *request)
{
	uint64_t from = 0;

	if (request->workers < 1 || request->workers > MAX_WORKERS || request->slots < 1 ||
	    request->slots > MAX_SLOTS || request->content_bytes > INT64_MAX - BR_WINDOW_BYTES)
		return false;
	for (size_t i = 0; i < request->extent_count; i++) {
		if (!is_block_range(&request->extents[i], from, request->content_bytes))
			return false;
		from = request->extents[i].start + request->extents[i].length;
	}
	return true;
}

static int allocate(struct br_pump *pump, const struct br_pump_request *request)
{
	size_t count = request->extent_count;

	pump->slot_count = request->slots;
	pump->slots = calloc(request->slots, sizeof(*pump->slots));
	pump->workers = calloc(request->workers, sizeof(*pump->workers));
	pump->extents = reallocarray(NULL, count ? count : 1, sizeof(*pump->extents));
	if (!pump->slots || !pump->workers || !pump->extents)
		return -ENOMEM;
	if (count)
		memcpy(pump->extents, request->extents, count * sizeof(*pump->extents));
	pump->walk = (struct br_window_walk){.extents = pump->extents, .count = count};
	pump->fd = fcntl(request->fd, F_DUPFD_CLOEXEC, 0);
	return pump->fd < 0 ? -errno : 0;
}

static void init_locks(struct br_pump *pump)
{
	pthread_condattr_t monotonic;

	/* On Linux none of these can fail. */
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&pump->lock, NULL);
	pthread_cond_init(&pump->room, NULL);
	pthread_cond_init(&pump->ready, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void worker_free(struct worker *worker)
{
	br_xts_free(&worker->xts);
	br_hasher_free(&worker->hasher);
}

static int start_worker(struct br_pump *pump, const uint8_t *key)
{
	struct worker *worker = &pump->workers[pump->worker_count];
	int result = br_hasher_init(&worker->hasher);

	worker->pump = pump;
	if (result == 0 && key)
		result = br_xts_init(&worker->xts, key, 1);
	if (result == 0)
		result = -pthread_create(&worker->thread, NULL, work, worker);
	if (result)
		worker_free(worker);
	else
		pump->worker_count++;
	return result;
}

/* Threads are made with all signals blocked: those are for the interpreter's threads. */
static int start_workers(struct br_pump *pump, const struct br_pump_request *request)
{
	sigset_t all, before;
	int result = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (result == 0 && pump->worker_count < request->workers)
		result = start_worker(pump, request->key);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}

int br_pump_open(const struct br_pump_request *request, struct br_pump **out)
{
	struct br_pump *pump;
	int result;

	if (!is_possible(request))
		return -EINVAL;
	pump = calloc(1, sizeof(*pump));
	if (!pump)
		return -ENOMEM;
	pump->fd = -1;
	pump->content_bytes = request->content_bytes;
	pump->map = request->map;
	pump->buffers = request->buffers;
	pump->encrypts = request->key != NULL;
	init_locks(pump);
	result = allocate(pump, request);
	if (result == 0)
		result = start_workers(pump, request);
	if (result)
		br_pump_close(pump);
	else
		*out = pump;
	return result;
}

static void stop_workers(struct br_pump *pump)
{
	pthread_mutex_lock(&pump->lock);
	pump->stopping = true;
	pthread_cond_broadcast(&pump->room);
	pthread_mutex_unlock(&pump->lock);
	for (size_t i = 0; i < pump->worker_count; i++) {
		pthread_join(pump->workers[i].thread, NULL);
		worker_free(&pump->workers[i]);
	}
}

void br_pump_close(struct br_pump *pump)
{
	if (!pump)
		return;
	stop_workers(pump);
	pthread_cond_destroy(&pump->ready);
	pthread_cond_destroy(&pump->room);
	pthread_mutex_destroy(&pump->lock);
	if (pump->fd >= 0)
		close(pump->fd);
	free(pump->extents);
	free(pump->workers);
	free(pump->slots);
	free(pump);
}
