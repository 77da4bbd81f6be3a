/* The applying half of a consolidation. */
#ifndef BR_EXT4_REMAP_H
#define BR_EXT4_REMAP_H

#include "ext4_relocate.h"

/* Give every inode of the plan its new mapping, move metadata content inside the filesystem, and
 * put bitmaps, counts and the superblock's copy of the journal's mapping right. Fills the stats. */
int br_plan_apply(struct br_plan *plan, struct br_err *err);

#endif
