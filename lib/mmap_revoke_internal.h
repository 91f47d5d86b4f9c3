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
	struct address_space mapping;
	refcount_t ref;
	/* Constant, and copied from @ops, which may go when it is dead. */
	char owner[16];
	char device[40];
	bool zeros;
	bool contiguous;
	bool cow;
	bool no_ranges;
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
/* 0, 0: all pages. */
void mmap_revoke_unmap(struct mmap_revoke *mr, pgoff_t first, pgoff_t nr);

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
/*
 * Map the page at @addr, or, if @around, all of the VMA in the same page table,
 * whose PFNs follow each other. As vmf_insert_pfn_prot() does with each: what is
 * there stays. Allocates nothing.
 */
static inline vm_fault_t
mmap_revoke_insert_ptes(struct vm_area_struct *vma, pmd_t *pmd,
			unsigned long addr, unsigned long pfn, pgprot_t prot,
			bool around)
{
	unsigned long first = around ? max(addr & PMD_MASK, vma->vm_start) :
				       addr;
	unsigned long end = around ? pmd_addr_end(addr, vma->vm_end) :
				     addr + PAGE_SIZE;
	vm_fault_t ret = VM_FAULT_NOPAGE;
	pte_t *table, *pte, entry;
	spinlock_t *ptl; /* of the page table */

	table = pte_offset_map_lock(vma->vm_mm, pmd, first, &ptl);
	if (!table) /* It is gone, or a huge page is there: try again. */
		return ret;

	pfn -= (addr - first) >> PAGE_SHIFT;
	entry = pte_mkspecial(pfn_pte(pfn, prot));
	for (pte = table, addr = first; addr < end; addr += PAGE_SIZE) {
		if (!pfn_modify_allowed(pfn++, prot)) {
			ret = VM_FAULT_SIGBUS;
			break;
		}
		if (pte_none(ptep_get(pte))) {
			set_pte_at(vma->vm_mm, addr, pte, entry);
			update_mmu_cache(vma, addr, pte);
		}
		entry = pte_next_pfn(entry);
		pte++;
	}
	pte_unmap_unlock(table, ptl);
	return ret;
}
#endif

#endif /* _LIB_MMAP_REVOKE_INTERNAL_H */
