#include "error.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set_message(struct br_err *err, long code, const char *format, va_list args)
{
	if (!err)
		return;
	err->code = code;
	vsnprintf(err->message, sizeof(err->message), format, args);
}

int br_fail(struct br_err *err, int errno_value, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set_message(err, errno_value, format, args);
	va_end(args);
	return -errno_value;
}

int br_fail_ext2(struct br_err *err, long code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set_message(err, code, format, args);
	va_end(args);
	if (err) {
		size_t used = strlen(err->message);
		/* Without its table the library's errors are but numbers; a second time does
		 * nothing. */
		initialize_ext2_error_table();
		snprintf(err->message + used, sizeof(err->message) - used, ": %s",
		         error_message(code));
	}
	if (code > 0 && code < 256)
		return -(int)code;
	if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL)
		return -ENOSPC;
	if (code == EXT2_ET_NO_MEMORY)
		return -ENOMEM;
	if (code == EXT2_ET_UNSUPP_FEATURE || code == EXT2_ET_RO_UNSUPP_FEATURE)
		return -EOPNOTSUPP;
	/* The library has a code of its own for each way in which a filesystem can be damaged, and
	 * a short read is a filesystem that is longer than what holds it. */
	return code >= EXT2_ET_BASE && code < EXT2_ET_BASE + 256 ? -EUCLEAN : -EIO;
}
