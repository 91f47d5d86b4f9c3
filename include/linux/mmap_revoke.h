/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Revocable mmap objects: take back memory that a driver has mapped into
 * processes. See Documentation/core-api/mmap_revoke.rst.
 */
#ifndef _LINUX_MMAP_REVOKE_H
#define _LINUX_MMAP_REVOKE_H

#include <linux/cleanup.h>
#include <linux/list.h>
#include <linux/mm.h>

struct address_space;
struct file;
struct mmap_revoke;
struct notifier_block;

/**
 * struct mmap_revoke_ops - what an owner tells about its objects
 * @name: the owner, as debugfs and tracepoints show it
 * @zero_page: a fault on a killed object maps a zero-filled page instead of
 *	raising SIGBUS; see mmap_revoke_fault()
 * @map: takes a reference to what a cookie of mmap_revoke_map_io() stands for,
 *	or refuses with an errno; called with mmap_lock held for writing
 * @unmap: gives it back, once, when the map is killed or its last VMA goes; in
 *	the latter case with mmap_lock held, for reading or writing
 *
 * @map and @unmap are needed for maps with cookies only. They exclude each
 * other for all maps of an object, and may sleep.
 *
 * Constant data of the owner. Its address is the type of the object:
 * mmap_revoke_from_vma() finds only objects with the ops it is given.
 */
struct mmap_revoke_ops {
	const char *name;
	bool zero_page;
	int (*map)(void *cookie);
	void (*unmap)(void *cookie);
};

/**
 * enum mmap_revoke_event - what happens to an object
 * @MMAP_REVOKE_BEGIN: suspended; whatever was derived from its mappings must
 *	be gone when the callback returns
 * @MMAP_REVOKE_END: resumed; it may be derived again
 * @MMAP_REVOKE_KILL: as @MMAP_REVOKE_BEGIN, and for good
 */
enum mmap_revoke_event {
	MMAP_REVOKE_BEGIN,
	MMAP_REVOKE_END,
	MMAP_REVOKE_KILL,
};

/**
 * struct mmap_revoke_notifier - a subscriber to the events of one object
 * @notify: called for each event, see mmap_revoke_register_notifier()
 * @node: private
 */
struct mmap_revoke_notifier {
	void (*notify)(struct mmap_revoke_notifier *nb, struct mmap_revoke *mr,
		       enum mmap_revoke_event event);
	struct list_head node;
};

struct mmap_revoke *mmap_revoke_alloc(const struct mmap_revoke_ops *ops,
				      const char *device, void *priv);
void mmap_revoke_get(struct mmap_revoke *mr);
void mmap_revoke_put(struct mmap_revoke *mr);
void *mmap_revoke_priv(struct mmap_revoke *mr);
struct address_space *mmap_revoke_mapping(struct mmap_revoke *mr);

void mmap_revoke_bind_file(struct mmap_revoke *mr, struct file *file);
void mmap_revoke_unbind_file(struct file *file);

void mmap_revoke_begin(struct mmap_revoke *mr);
void mmap_revoke_end(struct mmap_revoke *mr);
void mmap_revoke_kill(struct mmap_revoke *mr);
void mmap_revoke_renew(struct mmap_revoke *mr);
void mmap_revoke_zap(struct mmap_revoke *mr, pgoff_t pgoff, unsigned long nr);

bool mmap_revoke_enter(struct mmap_revoke *mr);
void mmap_revoke_exit(struct mmap_revoke *mr);

/*
 * CLASS(mmap_revoke_access, access)(mr);
 * if (!access)
 *	return -EIO;
 * ... the object is live until the end of the scope ...
 */
DEFINE_CLASS(mmap_revoke_access, struct mmap_revoke *,
	     mmap_revoke_exit(_T),
	     mmap_revoke_enter(mr) ? mr : NULL, struct mmap_revoke *mr)

void mmap_revoke_register_notifier(struct mmap_revoke *mr,
				   struct mmap_revoke_notifier *nb);
void mmap_revoke_unregister_notifier(struct mmap_revoke *mr,
				     struct mmap_revoke_notifier *nb);

#ifdef CONFIG_MMU
struct mmap_revoke *mmap_revoke_from_vma(struct vm_area_struct *vma,
					 const struct mmap_revoke_ops *ops);
int mmap_revoke_mmap(struct vm_area_struct *vma);
vm_fault_t mmap_revoke_insert_pfn(struct vm_fault *vmf, unsigned long pfn,
				  unsigned int order);
vm_fault_t mmap_revoke_fault(struct vm_fault *vmf, unsigned long pfn,
			     unsigned int order);

int mmap_revoke_map_io(struct vm_area_struct *vma, unsigned long pfn,
		       void *cookie);
void mmap_revoke_kill_maps(struct mmap_revoke *mr, void *cookie);
#else
static inline struct mmap_revoke *
mmap_revoke_from_vma(struct vm_area_struct *vma,
		     const struct mmap_revoke_ops *ops)
{
	return NULL;
}
#endif

#if IS_ENABLED(CONFIG_KUNIT)
int mmap_revoke_module_event(struct notifier_block *nb, unsigned long event,
			     void *data);
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
