/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of mmap_revoke share. */
#ifndef _LIB_MMAP_REVOKE_INTERNAL_H
#define _LIB_MMAP_REVOKE_INTERNAL_H

#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmap_revoke.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>

enum mmap_revoke_state {
	MMAP_REVOKE_LIVE,
	MMAP_REVOKE_SUSPENDED,
	MMAP_REVOKE_DEAD,
};

struct mmap_revoke {
	struct inode inode;
	refcount_t ref;
	/* Constant, and copied from @ops, which may go when it is dead. */
	const char *owner;
	const char *device;
	bool zeros;
	/* For callbacks, while it is not dead. */
	const struct mmap_revoke_ops *ops;
	void *priv;
	/*
	 * Serializes begin, end, kill and renew, and with them what joins and
	 * leaves: ranges and maps.
	 */
	struct mutex lock;
	/* Held for reading while PTEs are inserted under @state. */
	struct rw_semaphore gate;
	/* Written under @lock and @gate, read under either. */
	enum mmap_revoke_state state;
	/* Under @lock. */
	unsigned long nr_revoked;
	struct list_head maps;
	struct list_head ranges;
	/* What writable VMAs of dead maps see where @zeros. */
	struct page *zero_page;
	/* In mmap_revoke_objects, under mmap_revoke_objects_lock. */
	struct list_head node;
};

static inline void mmap_revoke_get(struct mmap_revoke *mr)
{
	refcount_inc(&mr->ref);
}

struct mmap_revoke *mmap_revoke_from_mapping(struct address_space *mapping);

/* The object that @vma maps, or NULL; it lives as long as @vma. */
static inline struct mmap_revoke *
mmap_revoke_from_vma(const struct vm_area_struct *vma)
{
	return vma->vm_file ?
	       mmap_revoke_from_mapping(vma->vm_file->f_mapping) : NULL;
}

#ifdef CONFIG_MMAP_REVOKE_RANGE
/* Have all ranges follow the state; dead ones leave. */
void mmap_revoke_tell_ranges(struct mmap_revoke *mr);
#else
static inline void mmap_revoke_tell_ranges(struct mmap_revoke *mr)
{
}
#endif

#ifdef CONFIG_MMAP_REVOKE_MAP
/* Of maps whose page tables are empty. */
void mmap_revoke_release_maps(struct mmap_revoke *mr, struct list_head *maps);
#else
static inline void mmap_revoke_release_maps(struct mmap_revoke *mr,
					    struct list_head *maps)
{
}
#endif

#ifdef CONFIG_MMU
/* As io_remap_pfn_range() does; vm_page_prot is computed anew at times. */
static inline vm_fault_t mmap_revoke_insert_page(struct vm_area_struct *vma,
						 unsigned long addr,
						 unsigned long pfn)
{
	return vmf_insert_pfn_prot(vma, addr, pfn,
				   pgprot_decrypted(vma->vm_page_prot));
}
#endif

#endif /* _LIB_MMAP_REVOKE_INTERNAL_H */
