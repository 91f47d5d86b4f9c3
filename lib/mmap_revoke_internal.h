/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by the object and the maps of mmap_revoke. */
#ifndef _LIB_MMAP_REVOKE_INTERNAL_H
#define _LIB_MMAP_REVOKE_INTERNAL_H

#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mmap_revoke.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

enum mmap_revoke_state {
	MMAP_REVOKE_LIVE,
	MMAP_REVOKE_SUSPENDED,
	MMAP_REVOKE_DEAD,
};

struct mmap_revoke {
	struct inode inode;
	refcount_t ref;
	const struct mmap_revoke_ops *ops;
	const char *device;
	void *priv;
	/*
	 * Serializes begin, end, kill and renew, and so the notifications; and
	 * the release of maps.
	 */
	struct mutex lock;
	/* Held for reading while PTEs are inserted under @state. */
	struct rw_semaphore gate;
	/* Written under @lock and @gate, read under either. */
	enum mmap_revoke_state state;
	/* Under @lock. */
	unsigned long nr_revoked;
	struct list_head maps;
	/* With ops->zero_page: what writable VMAs map after a kill. */
	struct page *zero_page;

	/* Protects the fields below. */
	spinlock_t notifier_lock;
	struct list_head notifiers;
	/* The subscriber whose callback runs, and in which task. */
	struct mmap_revoke_notifier *notifying;
	struct task_struct *notifier_task;
	wait_queue_head_t notifier_wait;

	/* In mmap_revoke_objects, under mmap_revoke_objects_lock. */
	struct list_head node;
};

struct mmap_revoke *mmap_revoke_from_mapping(struct address_space *mapping);

#ifdef CONFIG_MMU
vm_fault_t mmap_revoke_dead_fault(struct mmap_revoke *mr,
				  struct vm_fault *vmf);
#endif

#endif /* _LIB_MMAP_REVOKE_INTERNAL_H */
