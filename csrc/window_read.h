/* The used blocks of a window read from a disk or a file, with O_DIRECT or without. */
#ifndef BR_WINDOW_READ_H
#define BR_WINDOW_READ_H

#include "window.h"

/* Read the used blocks of a window to their places in `buffer`, which has BR_WINDOW_BYTES and lies
 * on a page. What lies between may be read too; what lies past the content is zeros.
 *
 * A negative errno, -ENODATA when the disk ends before its content does; *failed_at is then the
 * first byte that cannot be read, to the block. A block that is not used never makes it fail. */
int br_window_read(int fd, const struct br_window *window, uint64_t content_bytes, uint8_t *buffer,
                   uint64_t *failed_at);

#endif
