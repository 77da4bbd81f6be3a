/* Extent lists against a model that marks every unit of a small space. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "extent.h"

#define SPACE 256

static void check_against_marks(const struct br_extents *list, const bool *marks)
{
	bool seen[SPACE] = {false};

	for (size_t i = 0; i < list->count; i++) {
		const struct br_extent *e = &list->items[i];
		CHECK(e->length > 0);
		CHECK(e->start + e->length <= SPACE);
		for (uint64_t at = e->start; at < e->start + e->length; at++)
			seen[at] = true;
	}
	CHECK(memcmp(seen, marks, sizeof(seen)) == 0);
}

static void check_normal(const struct br_extents *list)
{
	for (size_t i = 1; i < list->count; i++) {
		const struct br_extent *last = &list->items[i - 1];
		CHECK(list->items[i].start > last->start + last->length);
	}
}

static void check_random_list(uint64_t *state)
{
	struct br_extents list = {0};
	bool marks[SPACE] = {false};
	uint64_t adds = random_u64(state) % 150;

	for (uint64_t i = 0; i < adds; i++) {
		uint64_t start = random_u64(state) % SPACE;
		uint64_t length = random_u64(state) % 12;
		if (length > SPACE - start)
			length = SPACE - start;
		CHECK(br_extents_add(&list, start, length) == 0);
		memset(marks + start, true, length);
	}
	check_against_marks(&list, marks);
	br_extents_normalise(&list);
	check_against_marks(&list, marks);
	check_normal(&list);
	br_extents_free(&list);
	CHECK(list.items == NULL && list.count == 0 && list.capacity == 0);
}

static void check_joining(void)
{
	struct br_extents list = {0};

	CHECK(br_extents_add(&list, 10, 5) == 0);
	CHECK(br_extents_add(&list, 15, 5) == 0);
	CHECK(list.count == 1 && list.items[0].length == 10);
	CHECK(br_extents_add(&list, 30, 0) == 0);
	CHECK(list.count == 1);
	CHECK(br_extents_add(&list, 5, 5) == 0);
	CHECK(list.count == 2);
	br_extents_normalise(&list);
	CHECK(list.count == 1 && list.items[0].start == 5 && list.items[0].length == 15);
	br_extents_free(&list);
	br_extents_free(&list);
}

static void check_ends(void)
{
	struct br_extents list = {0};

	br_extents_normalise(&list);
	CHECK(list.count == 0);
	CHECK(br_extents_add(&list, UINT64_MAX - 4, 4) == 0);
	CHECK(br_extents_add(&list, UINT64_MAX - 4, 5) == -EOVERFLOW);
	CHECK(br_extents_add(&list, UINT64_MAX, 0) == 0);
	CHECK(list.count == 1);
	CHECK(br_extents_add(&list, 0, 1) == 0);
	br_extents_normalise(&list);
	CHECK(list.count == 2 && list.items[1].start == UINT64_MAX - 4);
	br_extents_free(&list);
}

int main(void)
{
	uint64_t state = random_seed(1);
	uint64_t rounds = random_rounds(20000);

	check_joining();
	check_ends();
	for (uint64_t round = 0; round < rounds; round++)
		check_random_list(&state);
	return 0;
}
