/* Space that quota files account for, adjusted in place. */
#ifndef BR_EXT4_QUOTA_H
#define BR_EXT4_QUOTA_H

#include "ext4_inode.h"

struct br_quota_change {
	int type; /* 0 user, 1 group, 2 project */
	uint32_t id;
	int64_t bytes;
};

/* Changes of usage, gathered inode by inode and then written to the quota files. */
struct br_quota_changes {
	struct br_quota_change *items;
	size_t count;
	size_t capacity;
};

/* Account for an inode whose blocks take `bytes` more than before. -ENOMEM. */
int br_quota_note(struct br_quota_changes *list, struct br_fs *handle, const struct br_inode *inode,
                  int64_t bytes);
/* Add the changes to the files that the superblock names. -EUCLEAN when one has no such entry. */
int br_quota_apply(struct br_quota_changes *list, struct br_fs *handle, struct br_err *err);
void br_quota_free(struct br_quota_changes *list);

/* Whether byte `offset` of a quota file may belong to a usage in bytes (dqb_curspace). */
int br_quota_is_usage(uint64_t offset);

#endif
