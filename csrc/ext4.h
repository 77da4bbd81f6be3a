/* Shared by the files of the core that work on an open filesystem. */
#ifndef BR_EXT4_H
#define BR_EXT4_H

#include <ext2fs/ext2fs.h>

#include "core_api.h"

struct br_fs {
	ext2_filsys fs;
};

#endif
