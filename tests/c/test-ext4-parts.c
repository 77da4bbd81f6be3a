/* Directory entries and xattrs out of random bytes: nothing outside the buffer is ever named. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "check.h"
#include "ext4_dirent.h"
#include "ext4_quota.h"
#include "ext4_xattr.h"

static void fill(uint8_t *bytes, size_t size, uint64_t *random)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)random_u64(random);
}

/* Mostly sane lengths, so that the parser gets beyond the first entry. */
static void plant_entries(uint8_t *bytes, size_t size, uint64_t *random)
{
	for (size_t at = 0; at + 8 <= size;) {
		size_t length = 8 + random_u64(random) % 16 * 4;
		if (random_u64(random) % 32 == 0)
			length = random_u64(random) % 70000;
		bytes[at + 4] = (uint8_t)length;
		bytes[at + 5] = (uint8_t)(length >> 8);
		at += length ? length : 8;
	}
}

static void test_dirents(uint64_t *random)
{
	static const unsigned int sizes[] = {0, 4, 8, 56, 60, 1024, 4096, 65536};
	struct br_dirent entry;

	for (uint64_t round = 0; round < random_rounds(2000); round++) {
		unsigned int size = sizes[random_u64(random) % 8];
		uint8_t *bytes = malloc(size + 1);
		struct br_dir_part part = {bytes, size, 0, 2};
		unsigned int last = 0;
		CHECK(bytes);
		fill(bytes, size, random);
		plant_entries(bytes, size, random);
		while (br_dirent_next(&part, &entry, NULL) > 0) {
			CHECK(part.at > last && part.at <= size);
			last = part.at;
			if (entry.ino && entry.name_length)
				CHECK(entry.name + entry.name_length <= bytes + size);
		}
		free(bytes);
	}
}

static void test_xattrs(uint64_t *random)
{
	struct br_xattr entry;

	for (uint64_t round = 0; round < random_rounds(2000); round++) {
		size_t size = 128 << random_u64(random) % 4;
		uint8_t *raw = malloc(size);
		CHECK(raw);
		fill(raw, size, random);
		if (size > 128) {
			size_t extra = random_u64(random) % 40 * 4;
			raw[128] = (uint8_t)extra;
			raw[129] = 0;
			if (128 + extra + 4 <= size)
				br_store32(raw + 128 + extra, BR_XATTR_MAGIC);
		}
		struct br_xattrs list = br_xattrs_in_inode(raw, size);
		while (br_xattr_next(&list, &entry)) {
			CHECK(entry.name + entry.name_length <= raw + size);
			CHECK(list.at <= list.length);
		}
		free(raw);
	}
}

static void test_usage_places(void)
{
	unsigned int found = 0;

	for (uint64_t at = 0; at < 1024; at++)
		found += (unsigned int)br_quota_is_usage(5 * UINT64_C(1024) + at);
	CHECK(found == 14 * 8);
	CHECK(!br_quota_is_usage(16 + 48));
	CHECK(br_quota_is_usage(2048 + 16 + 48));
	CHECK(!br_quota_is_usage(2048 + 16 + 47));
	CHECK(!br_quota_is_usage(2048 + 16 + 56));
}

int main(void)
{
	uint64_t random = random_seed(1);

	test_dirents(&random);
	test_xattrs(&random);
	test_usage_places();
	return 0;
}
