/* The proof that a filesystem holds what another one held, and the copies that make it true.
 *
 * Nothing here knows how the new filesystem was computed: both are read from their own metadata.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "error.h"
#include "ext4_claim.h"
#include "ext4_normal.h"
#include "ext4_view.h"

struct side {
	struct br_view view;
	struct br_normal normal;
	uint8_t *inode; /* one raw inode */
};

/* An xattr block of the old filesystem and the one that took its place. */
struct acl_pair {
	uint64_t before_blk;
	uint64_t after_blk;
	ext2_ino_t ino; /* one that refers to it, for messages */
};

struct compare {
	const struct br_inode_map *map;
	struct side before;
	struct side after;
	struct br_claims claims;
	struct br_copies *copies;
	struct acl_pair *acls;
	size_t acl_count;
	size_t acl_capacity;
	struct br_err *err;
};

static int differ(struct compare *compare, ext2_ino_t ino, const char *what)
{
	return br_fail(compare->err, EUCLEAN, "inode %u: %s", ino, what);
}

static int side_open(struct side *side, struct br_fs *handle, const struct br_inode_map *map,
                     struct br_err *err)
{
	*side = (struct side){.normal = {handle, map, err}};
	side->inode = malloc(EXT2_INODE_SIZE(handle->fs->super));
	int result = br_view_open(&side->view, handle, err);
	return result || side->inode ? result : br_fail(err, ENOMEM, "out of memory");
}

static void side_close(struct side *side)
{
	br_view_close(&side->view);
	free(side->inode);
}

static int add_copy(struct compare *compare, const struct br_stretch *stretch)
{
	struct br_copies *list = compare->copies;

	if (stretch->unwritten || stretch->before_blk == stretch->after_blk)
		return 0;
	struct br_copy copy = {stretch->before_blk, stretch->after_blk, stretch->length};
	if (br_array_push(&list->items, &list->count, &list->capacity, &copy, sizeof(copy)))
		return br_fail(compare->err, ENOMEM, "out of memory for the copies");
	return 0;
}

/* Bring a block of one side that is in memory into the form in which both must agree. */
static int normalise_block(struct side *side, const struct br_inode *inode, uint64_t lblk)
{
	switch (inode->kind) {
	case BR_KIND_DIRECTORY:
		return br_normal_dir_block(&side->normal, inode->ino, side->view.block);
	case BR_KIND_ORPHAN:
		br_normal_orphan_block(&side->normal, side->view.block);
		return 0;
	case BR_KIND_QUOTA:
		br_normal_quota_block(&side->normal, lblk, side->view.block);
		return 0;
	default:
		return 0;
	}
}

static int load_blocks(struct compare *compare, uint64_t before_blk, uint64_t after_blk)
{
	int result = br_view_block(&compare->before.view, before_blk, compare->err);

	return result ? result : br_view_block(&compare->after.view, after_blk, compare->err);
}

static int blocks_agree(struct compare *compare)
{
	return !memcmp(compare->before.view.block, compare->after.view.block,
	               compare->before.view.handle->fs->blocksize);
}

/* `count` blocks of content that lives in the shadow. */
static int compare_blocks(struct compare *compare, const struct br_inode *old,
                          const struct br_stretch *stretch, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		int result = load_blocks(compare, stretch->before_blk + i, stretch->after_blk + i);
		if (!result)
			result = normalise_block(&compare->before, old, stretch->lblk + i);
		if (!result)
			result = normalise_block(&compare->after, old, stretch->lblk + i);
		if (result)
			return result;
		if (!blocks_agree(compare))
			return differ(compare, old->ino, "the content of a metadata block changed");
	}
	return 0;
}

static int compare_stretch(struct compare *compare, const struct br_inode *old,
                           struct br_stretch *stretch)
{
	uint64_t metadata = br_kind_metadata_blks(old->kind);
	uint64_t count = metadata > stretch->lblk ? metadata - stretch->lblk : 0;

	if (count > stretch->length)
		count = stretch->length;
	int result = compare_blocks(compare, old, stretch, count);
	if (result || count == stretch->length)
		return result;
	stretch->before_blk += count;
	stretch->after_blk += count;
	stretch->length -= count;
	return add_copy(compare, stretch);
}

static int compare_content(struct compare *compare, const struct br_inode *old,
                           const struct br_inode *new)
{
	struct br_stretch stretch;
	int result = br_view_runs(&compare->before.view, old, compare->err);

	if (!result)
		result = br_view_runs(&compare->after.view, new, compare->err);
	if (result)
		return result;
	struct br_run_pair pair = {.before = &compare->before.view.runs,
	                           .after = &compare->after.view.runs};
	while ((result = br_run_pair_next(&pair, &stretch)) > 0) {
		result = compare_stretch(compare, old, &stretch);
		if (result)
			return result;
	}
	return result ? differ(compare, old->ino, "its extents cover other blocks") : 0;
}

static int note_acl(struct compare *compare, const struct br_inode *old, const struct br_inode *new)
{
	uint64_t before = br_inode_acl_blk(compare->before.view.handle, old);
	uint64_t after = br_inode_acl_blk(compare->after.view.handle, new);

	if (!before && !after)
		return 0;
	if (!before || !after)
		return differ(compare, old->ino, "its xattr block came or went");
	int result = br_check_blk(compare->before.view.handle, before, old->ino, compare->err);
	if (!result)
		result = br_check_blk(compare->after.view.handle, after, new->ino, compare->err);
	if (result)
		return result;
	struct acl_pair pair = {before, after, old->ino};
	if (br_array_push(&compare->acls, &compare->acl_count, &compare->acl_capacity, &pair,
	                  sizeof(pair)))
		return br_fail(compare->err, ENOMEM, "out of memory for xattr blocks");
	return 0;
}

static int compare_fields(struct compare *compare, const struct br_inode *old,
                          const struct br_inode *new)
{
	if (old->kind != new->kind || old->mapped != new->mapped || old->size != new->size)
		return differ(compare, old->ino, "it became another kind of file");
	int result = br_normal_inode(&compare->before.normal, old, compare->before.inode);
	if (!result)
		result = br_normal_inode(&compare->after.normal, new, compare->after.inode);
	if (result)
		return result;
	if (memcmp(compare->before.inode, compare->after.inode, old->size) != 0)
		return differ(compare, old->ino, "its fields changed");
	return 0;
}

static int compare_inode(struct compare *compare, const struct br_inode *old)
{
	struct br_inode new;
	ext2_ino_t ino = br_inode_map_new(compare->map, old->ino);
	int result = br_inode_read(&compare->after.view.inodes, ino, &new, compare->err);

	if (result)
		return result;
	if (!br_inode_in_use(compare->after.view.handle, &new))
		return differ(compare, old->ino, "it was lost");
	if (old->kind == BR_KIND_BAD_BLOCKS)
		return differ(compare, old->ino, "bad blocks cannot be proven");
	if (old->kind != BR_KIND_RESIZE) {
		result = compare_fields(compare, old, &new);
		if (!result)
			result = compare_content(compare, old, &new);
		if (!result)
			result = note_acl(compare, old, &new);
	}
	if (result)
		return result;
	/* The walk above counted these blocks already. */
	br_tree_reset(&compare->after.view.tree);
	return br_claims_inode(&compare->claims, &compare->after.view.tree, &new, compare->err);
}

static int by_before(const void *a, const void *b)
{
	const struct acl_pair *x = a, *y = b;

	if (x->before_blk != y->before_blk)
		return x->before_blk < y->before_blk ? -1 : 1;
	return (x->after_blk > y->after_blk) - (x->after_blk < y->after_blk);
}

/* Inodes that shared an xattr block share one still; claiming each new block once proves that no
 * two old ones were joined. */
static int compare_acls(struct compare *compare)
{
	int result = 0;

	if (compare->acl_count)
		qsort(compare->acls, compare->acl_count, sizeof(*compare->acls), by_before);
	for (size_t i = 0; i < compare->acl_count && !result; i++) {
		const struct acl_pair *pair = &compare->acls[i];
		if (i && pair[-1].before_blk == pair->before_blk) {
			if (pair[-1].after_blk != pair->after_blk)
				result = differ(compare, pair->ino,
				                "a shared xattr block was parted");
			continue;
		}
		result = load_blocks(compare, pair->before_blk, pair->after_blk);
		if (!result)
			result = br_normal_xattr_block(&compare->before.normal,
			                               compare->before.view.block);
		if (!result)
			result = br_normal_xattr_block(&compare->after.normal,
			                               compare->after.view.block);
		if (!result && !blocks_agree(compare))
			result = differ(compare, pair->ino, "its xattr block changed");
		if (!result)
			result = br_claims_block(&compare->claims, pair->after_blk, compare->err);
	}
	return result;
}

static int by_source(const void *a, const void *b)
{
	uint64_t x = ((const struct br_copy *)a)->src;
	uint64_t y = ((const struct br_copy *)b)->src;

	return (x > y) - (x < y);
}

static void join_copies(struct br_copies *list)
{
	size_t kept = 0;

	if (!list->count)
		return;
	qsort(list->items, list->count, sizeof(*list->items), by_source);
	for (size_t i = 1; i < list->count; i++) {
		struct br_copy *last = &list->items[kept];
		const struct br_copy *next = &list->items[i];
		if (last->src + last->length == next->src && last->dst + last->length == next->dst)
			last->length += next->length;
		else
			list->items[++kept] = *next;
	}
	list->count = kept + 1;
}

static int compare_super(struct compare *compare)
{
	struct ext2_super_block before, after;

	br_normal_super(&compare->before.normal, &before);
	br_normal_super(&compare->after.normal, &after);
	for (size_t i = 0; i < sizeof(before); i++)
		if (((const char *)&before)[i] != ((const char *)&after)[i])
			return br_fail(compare->err, EUCLEAN, "the superblock changed at byte %zu",
			               i);
	return 0;
}

static int compare_all(struct compare *compare)
{
	struct br_inode old = {0};
	uint32_t seen = 0;
	int result = compare_super(compare);

	while (!result) {
		result = br_inode_next(&compare->before.view.inodes, &old, compare->err);
		if (result <= 0)
			break;
		seen++;
		result = compare_inode(compare, &old);
	}
	if (!result)
		result = compare_acls(compare);
	if (!result)
		result = br_claims_check(&compare->claims, compare->err);
	if (result)
		return result;
	/* The map is one to one, so equal numbers mean that nothing was added. */
	old = (struct br_inode){0};
	while ((result = br_inode_next(&compare->after.view.inodes, &old, compare->err)) > 0)
		if (seen-- == 0)
			return br_fail(compare->err, EUCLEAN, "there are more inodes than before");
	if (!result && seen)
		result = br_fail(compare->err, EUCLEAN, "there are fewer inodes than before");
	return result;
}

int br_compare(struct br_fs *before, struct br_fs *after, const struct br_inode_map *map,
               struct br_copies *out, struct br_err *err)
{
	struct br_copies copies = {0};
	struct compare compare = {.map = map, .copies = &copies, .err = err};
	int result = side_open(&compare.before, before, map, err);

	if (!result)
		result = side_open(&compare.after, after, NULL, err);
	if (!result)
		result = br_claims_open(&compare.claims, after, err);
	if (!result)
		result = compare_all(&compare);
	br_claims_close(&compare.claims);
	side_close(&compare.after);
	side_close(&compare.before);
	free(compare.acls);
	if (result) {
		br_copies_free(&copies);
		return result;
	}
	join_copies(&copies);
	*out = copies;
	return 0;
}

void br_copies_free(struct br_copies *list)
{
	free(list->items);
	*list = (struct br_copies){0};
}
