#include "ext4_claim.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "ext4_group.h"
#include "extent.h"

static uint64_t ratio_of(const struct br_claims *claims)
{
	return (uint64_t)EXT2FS_CLUSTER_RATIO(claims->handle->fs);
}

static int is_claimed(const struct br_claims *claims, uint64_t cluster)
{
	return (claims->bits[cluster / 64] >> (cluster % 64) & 1) != 0;
}

static void claim(struct br_claims *claims, uint64_t cluster)
{
	claims->bits[cluster / 64] |= UINT64_C(1) << (cluster % 64);
	claims->claimed++;
}

static int claim_fixed(struct br_claims *claims, struct br_err *err)
{
	struct br_extents fixed = {0};
	uint64_t ratio = ratio_of(claims);
	int result = br_group_metadata(claims->handle, 1, &fixed, err);

	for (size_t i = 0; i < fixed.count && !result; i++) {
		const struct br_extent *item = &fixed.items[i];
		uint64_t last = (item->start + item->length - 1) / ratio;
		for (uint64_t cluster = item->start / ratio; cluster <= last; cluster++)
			if (!is_claimed(claims, cluster))
				claim(claims, cluster);
	}
	br_extents_free(&fixed);
	return result;
}

int br_claims_open(struct br_claims *claims, struct br_fs *handle, struct br_err *err)
{
	*claims = (struct br_claims){.handle = handle};
	claims->clusters =
		(ext2fs_blocks_count(handle->fs->super) + ratio_of(claims) - 1) / ratio_of(claims);
	claims->bits = calloc(claims->clusters / 64 + 1, sizeof(*claims->bits));
	if (!claims->bits)
		return br_fail(err, ENOMEM, "out of memory for the map of the owners");
	return claim_fixed(claims, err);
}

void br_claims_close(struct br_claims *claims)
{
	free(claims->bits);
	*claims = (struct br_claims){0};
}

int br_claims_block(struct br_claims *claims, uint64_t blk, struct br_err *err)
{
	uint64_t cluster = blk / ratio_of(claims);

	if (cluster >= claims->clusters)
		return br_fail(err, EUCLEAN, "block %llu lies past the end",
		               (unsigned long long)blk);
	if (is_claimed(claims, cluster))
		return br_fail(err, EUCLEAN, "block %llu has two owners", (unsigned long long)blk);
	claim(claims, cluster);
	return 0;
}

struct claiming {
	struct br_claims *claims;
	enum br_kind kind;
	struct br_err *err;
};

static int claim_data(struct claiming *claiming, const struct br_run *run)
{
	struct br_claims *claims = claiming->claims;
	uint64_t ratio = ratio_of(claims);
	uint64_t last = (run->pblk + run->length - 1) / ratio;
	uint64_t logical = run->lblk / ratio;

	if (run->pblk % ratio != run->lblk % ratio)
		return br_fail(claiming->err, EUCLEAN,
		               "block %llu is not where its cluster wants it",
		               (unsigned long long)run->pblk);
	for (uint64_t cluster = run->pblk / ratio; cluster <= last; cluster++, logical++) {
		if (cluster == claims->last_cluster && logical == claims->last_logical)
			continue;
		int result = br_claims_block(claims, cluster * ratio, claiming->err);
		if (result)
			return result;
		claims->last_cluster = cluster;
		claims->last_logical = logical;
	}
	return 0;
}

static int claim_run(void *context, const struct br_run *run)
{
	struct claiming *claiming = context;

	if (claiming->kind == BR_KIND_RESIZE) {
		/* All it maps but its root belongs to the groups already. */
		if (is_claimed(claiming->claims, run->pblk / ratio_of(claiming->claims)))
			return 0;
		return br_claims_block(claiming->claims, run->pblk, claiming->err);
	}
	if (run->node)
		return br_claims_block(claiming->claims, run->pblk, claiming->err);
	return claim_data(claiming, run);
}

int br_claims_inode(struct br_claims *claims, struct br_tree *tree, const struct br_inode *inode,
                    struct br_err *err)
{
	struct claiming claiming = {claims, inode->kind, err};

	claims->last_cluster = UINT64_MAX;
	return br_tree_walk(tree, inode, claim_run, &claiming, err);
}

static uint64_t count_claimed(const struct br_claims *claims, uint64_t start, uint64_t end)
{
	uint64_t sum = 0;

	while (start < end) {
		uint64_t stop = (start / 64 + 1) * 64;
		uint64_t word = claims->bits[start / 64] >> (start % 64);
		if (stop > end)
			stop = end;
		if (stop - start < 64)
			word &= (UINT64_C(1) << (stop - start)) - 1;
		sum += (uint64_t)__builtin_popcountll(word);
		start = stop;
	}
	return sum;
}

int br_claims_check(const struct br_claims *claims, struct br_err *err)
{
	struct br_extents used = {0};
	uint64_t ratio = ratio_of(claims);
	uint64_t agreed = 0, marked = 0, wrong;
	int result = br_fs_used_extents(claims->handle, &used, err);

	for (size_t i = 0; i < used.count && !result; i++) {
		uint64_t start = used.items[i].start / ratio;
		uint64_t end = (used.items[i].start + used.items[i].length + ratio - 1) / ratio;
		agreed += count_claimed(claims, start, end);
		marked += end - start;
	}
	br_extents_free(&used);
	if (result)
		return result;
	wrong = (claims->claimed - agreed) * ratio;
	if (wrong)
		return br_fail(err, EUCLEAN, "%llu blocks in use are marked free",
		               (unsigned long long)wrong);
	wrong = (marked - agreed) * ratio;
	if (wrong)
		return br_fail(err, EUCLEAN, "%llu blocks are marked used but belong to nothing",
		               (unsigned long long)wrong);
	return 0;
}
