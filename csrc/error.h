/* How the core reports failures: a negative errno, and one sentence in the caller's br_err. */
#ifndef BR_ERROR_H
#define BR_ERROR_H

#include "core_api.h"

/* Fill err (which may be NULL) and return -errno_value. */
int br_fail(struct br_err *err, int errno_value, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a libext2fs error_code; maps errno-valued codes to themselves, the library's own to
 * -EUCLEAN (-ENOMEM, -ENOSPC, -EOPNOTSUPP where that is what the code means), others to -EIO.
 * Appends ": <library's message>". */
int br_fail_ext2(struct br_err *err, long code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
