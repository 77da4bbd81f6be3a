/* The reading half of a plan. */
#ifndef BR_EXT4_SCAN_H
#define BR_EXT4_SCAN_H

#include "ext4_relocate.h"

/* Fill in the plan's forbidden clusters, free runs, files with their pieces, and attribute blocks.
 * A failure without a sentence in err is -ENOMEM. */
int br_plan_scan(struct br_plan *plan, const struct br_consolidate_request *request,
                 struct br_err *err);

#endif
