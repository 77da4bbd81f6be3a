#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "ext4_relocate.h"
#include "ext4_remap.h"

static int check_request(ext2_filsys fs, const struct br_consolidate_request *request,
                         struct br_err *err)
{
	if (request->end_blk <= fs->super->s_first_data_block ||
	    request->end_blk > ext2fs_blocks_count(fs->super))
		return br_fail(err, EINVAL, "block %llu is not inside the filesystem",
		               (unsigned long long)request->end_blk);
	/* Its translators are blocks that nothing here follows. */
	if (fs->super->s_creator_os == EXT2_OS_HURD)
		return br_fail(err, EOPNOTSUPP, "a filesystem of the Hurd cannot be consolidated");
	return 0;
}

int br_consolidate(struct br_fs *handle, const struct br_consolidate_request *request,
                   struct br_consolidate_stats *stats, struct br_err *err)
{
	ext2_filsys fs = handle->fs;
	struct br_consolidate_stats found = {0};
	int result = check_request(fs, request, err);

	if (result)
		return result;
	struct br_plan plan = {
		.fs = fs,
		.cluster_bits = (unsigned)fs->cluster_ratio_bits,
		.end = request->end_blk >> fs->cluster_ratio_bits,
		.at_any_cost = request->at_any_cost != 0,
		.stats = &found,
	};
	if (err)
		err->message[0] = '\0';
	result = br_view_open(&plan.view, handle, err);
	if (!result)
		result = br_plan_build(&plan, request, err);
	if (!result)
		result = br_plan_apply(&plan, err);
	br_plan_free(&plan);
	if (!result)
		*stats = found;
	else if (err && !err->message[0])
		br_fail(err, -result, "%s", strerror(-result));
	return result;
}
