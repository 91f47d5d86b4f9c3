/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Revocable mmap objects: take back memory that a driver has mapped into
 * processes. See Documentation/core-api/mmap_revoke.rst.
 */
#ifndef _LINUX_MMAP_REVOKE_H
#define _LINUX_MMAP_REVOKE_H

#include <linux/list.h>
#include <linux/mm.h>

struct address_space;
struct file;
struct mmap_revoke;
struct mutex;

/**
 * struct mmap_revoke_ops - what an owner tells about its objects
 * @name: the owner, as debugfs and tracepoints show it
 * @zero_page: a fault on a map that was killed, or whose object was, maps a
 *	zero-filled page instead of raising SIGBUS
 * @contiguous: the PFNs of a VMA follow each other and have one memory type, so
 *	that a fault maps all its pages in the same page table. Those of maps do.
 * @cow: mmap_revoke_map_io() takes private mappings, too, and sets their
 *	vm_pgoff, as io_remap_pfn_range() does; not with @zero_page
 * @no_ranges: mmap_revoke_vma() is false, so that backends do with VMAs of the
 *	object what they do with any other, and hear of no revocation
 * @map: takes a reference to what a cookie of mmap_revoke_map_io() stands for,
 *	or refuses with an errno; called with mmap_lock held for writing
 * @unmap: gives it back, once, when the map is killed or its last VMA goes; in
 *	the latter case with mmap_lock held, for reading or writing
 * @pfn: the PFN that backs a user address of a VMA of the object; those of the
 *	pages from there to the end of the VMA follow it. Called with mmap_lock
 *	held, also while the object is suspended. Returns 0 or an errno. An
 *	object without it is not for backends: see mmap_revoke_range_add().
 *
 * @map and @unmap are for maps with cookies, and may be missing. All callbacks
 * for one object exclude each other and every change of its state, may sleep,
 * and must not take a lock under which the owner revokes or resumes.
 */
struct mmap_revoke_ops {
	const char *name;
	bool zero_page;
	bool contiguous;
	bool cow;
	bool no_ranges;
	int (*map)(struct mmap_revoke *mr, void *cookie);
	void (*unmap)(struct mmap_revoke *mr, void *cookie);
	int (*pfn)(struct mmap_revoke *mr, struct vm_area_struct *vma,
		   unsigned long addr, unsigned long *pfn);
};

struct mmap_revoke_range;

/**
 * struct mmap_revoke_range_ops - what a backend does with its ranges
 * @map: the object is live again; derive again what was dropped. There is
 *	nobody to tell of a failure, and the next chance is the next resume
 * @unmap: the object is suspended or killed, or the range is deleted; nothing
 *	that was derived from its PFNs is left when this returns
 *
 * In the task that revokes, resumes or deletes, after range->live has changed.
 * For each revocation of an object, of all ranges, in the order in which they
 * were added, before page tables are zapped. With range->lock held, and locks
 * of the owner that its fault handler takes: so they must not take mmap_lock,
 * fault, pin, wait for user space, or call mmap_revoke functions for the same
 * object. They may sleep, and @map may allocate.
 */
struct mmap_revoke_range_ops {
	void (*map)(struct mmap_revoke_range *range);
	void (*unmap)(struct mmap_revoke_range *range);
};

/**
 * struct mmap_revoke_range - a run of PFNs that a backend uses
 * @ops: the backend's callbacks
 * @lock: the backend's, held in callbacks; it can be shared by many ranges
 * @pfn: the first PFN; set by mmap_revoke_range_add() and constant then
 * @cached: the CPU maps them as cacheable memory; set and constant as @pfn is
 * @device: what they belong to, for messages; valid until the range is deleted
 * @live: under @lock: may something be derived from the PFNs? Written by the
 *	helper only
 * @mr: private
 * @node: private
 */
struct mmap_revoke_range {
	const struct mmap_revoke_range_ops *ops;
	struct mutex *lock;	/* of the backend */
	unsigned long pfn;
	bool cached;
	const char *device;
	bool live;
	struct mmap_revoke *mr;
	struct list_head node;
};

struct mmap_revoke *mmap_revoke_alloc(const struct mmap_revoke_ops *ops,
				      const char *device, void *priv);
void mmap_revoke_put(struct mmap_revoke *mr);
void *mmap_revoke_priv(struct mmap_revoke *mr);
struct address_space *mmap_revoke_mapping(struct mmap_revoke *mr);

void mmap_revoke_bind_file(struct mmap_revoke *mr, struct file *file);
void mmap_revoke_unbind_file(struct file *file);

void mmap_revoke_begin(struct mmap_revoke *mr);
void mmap_revoke_end(struct mmap_revoke *mr);
void mmap_revoke_kill(struct mmap_revoke *mr);
int mmap_revoke_renew(struct mmap_revoke *mr);

bool mmap_revoke_vma(const struct vm_area_struct *vma);
int mmap_revoke_range_add(struct mmap_revoke_range *range,
			  struct vm_area_struct *vma, unsigned long addr,
			  size_t size, bool write);
void mmap_revoke_range_del(struct mmap_revoke_range *range);

#ifdef CONFIG_MMU
int mmap_revoke_mmap(struct vm_area_struct *vma);
vm_fault_t mmap_revoke_insert_pfn(struct vm_fault *vmf, unsigned long pfn,
				  unsigned int order);
vm_fault_t mmap_revoke_fault(struct vm_fault *vmf, unsigned long pfn,
			     unsigned int order);

int mmap_revoke_map_io(struct vm_area_struct *vma, unsigned long pfn,
		       void *cookie);
void mmap_revoke_unmap_io(struct vm_area_struct *vma);
void mmap_revoke_kill_maps(struct mmap_revoke *mr, void *cookie);
void mmap_revoke_kill_pages(struct mmap_revoke *mr, pgoff_t first, pgoff_t nr);

#define MMAP_REVOKE_ALL_MAPS	((void *)-1L)

/**
 * mmap_revoke_kill_all_maps - revoke all maps for good
 * @mr: the object
 *
 * Context: As mmap_revoke_kill_maps(), which this is for any cookie.
 */
static inline void mmap_revoke_kill_all_maps(struct mmap_revoke *mr)
{
	mmap_revoke_kill_maps(mr, MMAP_REVOKE_ALL_MAPS);
}
#endif

/**
 * mmap_revoke_order_fits - may a page of this order be mapped here?
 * @vma: the VMA
 * @addr: user address, aligned to the order
 * @pfn: first PFN that would be mapped at @addr
 * @order: log2 of the number of pages; 0 always fits
 *
 * Context: Any; the VMA must be stable.
 * Return: true where 2^@order pages from @addr lie in the VMA and @pfn is
 * aligned to them.
 */
static inline bool mmap_revoke_order_fits(const struct vm_area_struct *vma,
					  unsigned long addr, unsigned long pfn,
					  unsigned int order)
{
	return !order || (addr >= vma->vm_start && addr < vma->vm_end &&
			  vma->vm_end - addr >= PAGE_SIZE << order &&
			  IS_ALIGNED(pfn, 1UL << order));
}

#endif /* _LINUX_MMAP_REVOKE_H */
