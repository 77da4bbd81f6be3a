/* Who owns each cluster: every one at most once, and exactly those that the bitmap calls used. */
#ifndef BR_EXT4_CLAIM_H
#define BR_EXT4_CLAIM_H

#include "ext4_tree.h"

struct br_claims {
	struct br_fs *handle;
	uint64_t *bits;
	uint64_t clusters;
	uint64_t claimed;
	/* Where the last data run of the current inode ended: with bigalloc two runs of one file
	 * may share a cluster, if they share it logically too. */
	uint64_t last_cluster;
	uint64_t last_logical;
};

/* Claims the groups' own metadata. */
int br_claims_open(struct br_claims *claims, struct br_fs *handle, struct br_err *err);
void br_claims_close(struct br_claims *claims);

/* Claim every block that an inode maps, tree blocks too. */
int br_claims_inode(struct br_claims *claims, struct br_tree *tree, const struct br_inode *inode,
                    struct br_err *err);
/* Claim one block for itself. */
int br_claims_block(struct br_claims *claims, uint64_t blk, struct br_err *err);
/* After all were claimed: the bitmap says the same. */
int br_claims_check(const struct br_claims *claims, struct br_err *err);

#endif
