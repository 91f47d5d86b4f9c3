/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _KUNIT_TESTS_DEVTMPFS_H
#define _KUNIT_TESTS_DEVTMPFS_H

#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/path.h>

/* Opens the node of a device; a kthread has no file system to find it in. */
static inline struct file *open_device(const char *name)
{
	struct file_system_type *type = get_fs_type("devtmpfs");
	struct path root;
	struct file *file;

	if (!type)
		return ERR_PTR(-ENODEV);
	root.mnt = kern_mount(type);
	put_filesystem(type);
	if (IS_ERR(root.mnt))
		return ERR_CAST(root.mnt);
	root.dentry = root.mnt->mnt_root;
	file = file_open_root(&root, name, O_RDWR, 0);
	kern_unmount(root.mnt);
	return file;
}

#endif /* _KUNIT_TESTS_DEVTMPFS_H */
