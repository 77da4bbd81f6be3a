#include "ext4_journal.h"

#include <string.h>

#include "error.h"

/* e2fsck finds a damaged journal inode again through this copy. */
int br_journal_back_up(struct br_fs *handle, struct br_err *err)
{
	ext2_filsys fs = handle->fs;
	struct ext2_super_block *super = fs->super;
	struct ext2_inode inode;

	if (!ext2fs_has_feature_journal(super) || !super->s_journal_inum ||
	    super->s_jnl_backup_type != EXT3_JNL_BACKUP_BLOCKS)
		return 0;
	errcode_t code = ext2fs_read_inode(fs, super->s_journal_inum, &inode);
	if (code)
		return br_fail_ext2(err, code, "cannot read the journal's inode");
	memcpy(super->s_jnl_blocks, inode.i_block, sizeof(inode.i_block));
	super->s_jnl_blocks[15] = inode.i_size_high;
	super->s_jnl_blocks[16] = inode.i_size;
	ext2fs_mark_super_dirty(fs);
	return 0;
}
