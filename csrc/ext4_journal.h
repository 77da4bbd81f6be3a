/* The superblock's copy of the journal's mapping. */
#ifndef BR_EXT4_JOURNAL_H
#define BR_EXT4_JOURNAL_H

#include "ext4.h"

/* Make the copy, if the superblock keeps one, say what the inode of the journal says. */
int br_journal_back_up(struct br_fs *handle, struct br_err *err);

#endif
