#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "ext4.h"

int br_fs_open(const char *path, uint64_t offset_bytes, int writable, struct br_fs **out,
               struct br_err *err)
{
	char options[64];
	int flags = EXT2_FLAG_64BITS | EXT2_FLAG_THREADS | (writable ? EXT2_FLAG_RW : 0);
	int result = 0;
	struct br_fs *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return br_fail(err, ENOMEM, "out of memory");
	snprintf(options, sizeof(options), "offset=%llu", (unsigned long long)offset_bytes);
	errcode_t code = ext2fs_open2(path, options, flags, 0, 0, unix_io_manager, &handle->fs);
	if (code) {
		result = br_fail_ext2(err, code, "cannot open the filesystem on %s", path);
		goto out;
	}
	code = ext2fs_read_bitmaps(handle->fs);
	if (code) {
		result = br_fail_ext2(err, code, "cannot read the allocation bitmaps on %s", path);
		goto out;
	}
	*out = handle;
	return 0;
out:
	if (handle->fs)
		ext2fs_free(handle->fs);
	free(handle);
	return result;
}

int br_fs_close(struct br_fs *handle, struct br_err *err)
{
	errcode_t code = ext2fs_close_free(&handle->fs);

	if (handle->fs)
		ext2fs_free(handle->fs);
	free(handle);
	return code ? br_fail_ext2(err, code, "cannot write the filesystem back") : 0;
}
