/* Inodes as they lie on the disk: read one, or scan those in use, and say what kind each is. */
#ifndef BR_EXT4_INODE_H
#define BR_EXT4_INODE_H

#include "ext4.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "inodes are copied as they lie on disk");

/* What an inode's blocks hold, if it has any. */
enum br_kind {
	BR_KIND_FILE, /* plain bytes: regular files, the boot loader inode */
	BR_KIND_EA,   /* the value of one large xattr */
	BR_KIND_DIRECTORY,
	BR_KIND_SYMLINK,
	BR_KIND_SPECIAL, /* device, FIFO, socket */
	BR_KIND_JOURNAL,
	BR_KIND_QUOTA,
	BR_KIND_ORPHAN, /* the orphan file */
	BR_KIND_RESIZE, /* maps the reserved group descriptor blocks */
	BR_KIND_BAD_BLOCKS,
};

struct br_inode {
	ext2_ino_t ino;
	enum br_kind kind;
	int mapped;         /* i_block holds a mapping, not data of its own */
	unsigned int size;  /* bytes in raw */
	const uint8_t *raw; /* the whole inode; valid until its reader reads again */
	struct ext2_inode_large core;
};

/* Reads inodes through one buffer of a few blocks, so that neighbours cost nothing. */
struct br_inode_reader {
	struct br_fs *handle;
	uint8_t *buffer;
	uint64_t first_blk; /* what is in the buffer */
	uint64_t blocks;
	uint64_t capacity;
};

int br_inode_reader_open(struct br_inode_reader *reader, struct br_fs *handle, struct br_err *err);
void br_inode_reader_close(struct br_inode_reader *reader);
int br_inode_read(struct br_inode_reader *reader, ext2_ino_t ino, struct br_inode *out,
                  struct br_err *err);

/* The next inode in use after out->ino (0 to begin): 1, 0 at the end, or a negative errno. */
int br_inode_next(struct br_inode_reader *reader, struct br_inode *out, struct br_err *err);

/* How many of the inode's first blocks are metadata, whose content a shadow holds: none, one or
 * UINT64_MAX for all. */
uint64_t br_kind_metadata_blks(enum br_kind kind);

int br_inode_in_use(struct br_fs *handle, const struct br_inode *inode);
uint64_t br_inode_size(const struct br_inode *inode);
uint64_t br_inode_acl_blk(struct br_fs *handle, const struct br_inode *inode);
/* i_blocks as stat(2) counts them, in units of 512 bytes. */
uint64_t br_inode_sectors(struct br_fs *handle, const struct br_inode *inode);

/* -EUCLEAN unless blk is a block of the filesystem. */
int br_check_blk(struct br_fs *handle, uint64_t blk, ext2_ino_t ino, struct br_err *err);
int br_read_blk(struct br_fs *handle, uint64_t blk, uint8_t *buffer, struct br_err *err);

#endif
