/* Every reader of a filesystem on thousands of damaged ones: an error or a result, nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "core_api.h"

enum { IMAGE_BYTES = 12 << 20, WOUNDS = 12, RESTORE_EACH = 4 };

static const char *const varieties[] = {
	"-t ext4 -b 1024 -O ^metadata_csum,^has_journal",
	"-t ext4 -b 1024 -I 512 -O ^metadata_csum,^has_journal,inline_data",
	"-t ext2 -b 1024",
	"-t ext4 -b 4096 -O ^metadata_csum,^has_journal,bigalloc -C 16384",
	"-t ext4 -b 1024 -J size=1 -O ^metadata_csum,quota,orphan_file",
};

struct wound {
	off_t at;
	uint8_t byte;
};

static void make_image(const char *variety, const char *path)
{
	char words[512];
	char *argv[24] = {0};
	char *no_environment[] = {NULL};
	char *rest = NULL;
	size_t count = 0;
	pid_t child;
	int status = -1;

	snprintf(words, sizeof(words), "mke2fs -q -F -d /usr/include/ext2fs %s %s 12M", variety,
	         path);
	for (char *word = strtok_r(words, " ", &rest); word && count < 23;
	     word = strtok_r(NULL, " ", &rest))
		argv[count++] = word;
	CHECK(posix_spawnp(&child, "mke2fs", NULL, NULL, argv, no_environment) == 0);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(status == 0);
}

static void read_all(struct br_fs *fs)
{
	struct br_extents list = {0};
	struct br_map *map = NULL;
	struct br_names *names = NULL;
	struct br_err err;
	uint64_t size;

	if (!br_fs_metadata(fs, &list, &err))
		br_extents_free(&list);
	if (!br_map_open(fs, &map, &err)) {
		struct br_summary summary;
		struct br_cell cells[64];
		(void)br_map_summary(map, &summary, &err);
		(void)br_map_cells(map, cells, 64, &err);
		br_map_close(map);
	}
	if (!br_names_open(fs, &names, &err))
		br_names_close(names);
	(void)br_fs_minimum_blocks(fs, &size, &err);
	(void)br_fs_effective_size(fs, 5000, &size, &err);
}

static void compare_with(struct br_fs *before, struct br_fs *after)
{
	struct br_inode_map *map = NULL;
	struct br_copies copies = {0};
	struct br_err err;

	if (br_match(before, after, &map, &err))
		return;
	if (!br_compare(before, after, map, &copies, &err))
		br_copies_free(&copies);
	br_inode_map_free(map);
}

static void try_image(const char *path, struct br_fs *sound)
{
	struct br_fs *fs = NULL;
	struct br_err err = {0};

	if (br_fs_open(path, 0, 0, &fs, &err)) {
		CHECK(err.message[0]);
		return;
	}
	read_all(fs);
	compare_with(sound, fs);
	compare_with(fs, sound);
	CHECK(br_fs_close(fs, &err) == 0);
}

/* Restoring writes, so the image is made anew afterwards. */
static void restore_image(const char *path, int fd, struct br_fs *sound, const uint8_t *image)
{
	struct br_fs *fs = NULL;
	struct br_inode_map *pairs = NULL;
	struct br_err err;

	if (!br_fs_open(path, 0, 1, &fs, &err)) {
		if (!br_match(sound, fs, &pairs, &err))
			(void)br_restore(sound, fs, pairs, &err);
		br_inode_map_free(pairs);
		(void)br_fs_close(fs, &err);
	}
	CHECK(pwrite(fd, image, IMAGE_BYTES, 0) == IMAGE_BYTES);
}

static off_t pick(const struct br_extents *list, uint32_t unit, uint64_t *random)
{
	const struct br_extent *item = &list->items[random_u64(random) % list->count];

	return (off_t)(item->start * unit + random_u64(random) % (item->length * unit));
}

static void damage_variety(const char *variety, uint64_t rounds, uint64_t *random)
{
	char sound_path[] = "/tmp/br-sound-XXXXXX", path[] = "/tmp/br-damaged-XXXXXX";
	struct br_extents list = {0};
	struct br_geometry geometry;
	struct br_fs *sound = NULL;
	struct wound wounds[WOUNDS];
	int sound_fd = mkstemp(sound_path), fd = mkstemp(path);

	CHECK(sound_fd >= 0 && fd >= 0);
	make_image(variety, sound_path);
	uint8_t *image = malloc(IMAGE_BYTES);
	CHECK(image && pread(sound_fd, image, IMAGE_BYTES, 0) == IMAGE_BYTES);
	CHECK(pwrite(fd, image, IMAGE_BYTES, 0) == IMAGE_BYTES);
	CHECK(br_fs_open(sound_path, 0, 0, &sound, NULL) == 0);
	CHECK(br_fs_metadata(sound, &list, NULL) == 0);
	br_fs_geometry(sound, &geometry);
	for (uint64_t round = 0; round < rounds; round++) {
		for (int i = 0; i < WOUNDS; i++) {
			wounds[i].at = pick(&list, geometry.block_bytes, random);
			wounds[i].byte = (uint8_t)random_u64(random);
			CHECK(pwrite(fd, &wounds[i].byte, 1, wounds[i].at) == 1);
		}
		try_image(path, sound);
		if (round % RESTORE_EACH == 0)
			restore_image(path, fd, sound, image);
		for (int i = 0; i < WOUNDS; i++)
			CHECK(pwrite(fd, image + wounds[i].at, 1, wounds[i].at) == 1);
	}
	CHECK(br_fs_close(sound, NULL) == 0);
	br_extents_free(&list);
	free(image);
	close(fd);
	close(sound_fd);
	unlink(path);
	unlink(sound_path);
}

int main(void)
{
	uint64_t random = random_seed(1);

	for (size_t i = 0; i < sizeof(varieties) / sizeof(*varieties); i++)
		damage_variety(varieties[i], random_rounds(100), &random);
	return 0;
}
