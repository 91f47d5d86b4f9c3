// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ranges: how IOMMU backends, and others that derive something from the PFNs of
 * a user mapping, learn that these are revoked.
 *
 * Joining, leaving and every change of the object's state happen under
 * mr->lock. So a range is told of all that comes after mmap_revoke_range_add(),
 * in order, and of nothing after mmap_revoke_range_del() or a kill.
 */
#include <linux/export.h>

#include "mmap_revoke_internal.h"

static void mmap_revoke_set_live(struct mmap_revoke_range *range, bool live)
{
	lockdep_assert_held(&range->mr->lock);

	guard(mutex)(range->lock);
	if (range->live == live)
		return;
	range->live = live;
	if (live)
		range->ops->map(range);
	else
		range->ops->unmap(range);
}

void mmap_revoke_tell_ranges(struct mmap_revoke *mr)
{
	struct mmap_revoke_range *range, *next;

	lockdep_assert_held(&mr->lock);

	list_for_each_entry_safe(range, next, &mr->ranges, node) {
		mmap_revoke_set_live(range, mr->state == MMAP_REVOKE_LIVE);
		/* The next generation of the object is somebody else's. */
		if (mr->state == MMAP_REVOKE_DEAD)
			list_del_init(&range->node);
	}
}

/**
 * mmap_revoke_vma - does a VMA map a revocable mmap object?
 * @vma: any VMA
 *
 * Context: The mmap_lock of the VMA's mm is held.
 * Return: true: what is derived from its PFNs needs a range.
 */
bool mmap_revoke_vma(const struct vm_area_struct *vma)
{
	struct mmap_revoke *mr = mmap_revoke_from_vma(vma);

	return mr && !mr->no_ranges;
}
EXPORT_SYMBOL_GPL(mmap_revoke_vma);

/* There is device memory that takes part in coherency. */
static bool mmap_revoke_cached(pgprot_t prot)
{
	return pgprot_val(prot) != pgprot_val(pgprot_noncached(prot)) &&
	       pgprot_val(prot) != pgprot_val(pgprot_writecombine(prot)) &&
	       pgprot_val(prot) != pgprot_val(pgprot_device(prot));
}

/**
 * mmap_revoke_range_add - subscribe to the memory behind a user address
 * @range: the range, with ops and lock set, and all else that ops need
 * @vma: the VMA, for which mmap_revoke_vma() is true
 * @addr: user address in @vma, a multiple of PAGE_SIZE
 * @size: bytes, a multiple of PAGE_SIZE, that are to be in @vma
 * @write: may they be written, or only read, by way of @range?
 *
 * Sets range->pfn, the PFN at @addr; the others follow. Nothing is faulted in.
 * Sets range->cached, by which DMA can be as coherent as the CPU is.
 *
 * range->live says whether something may be derived from the PFNs now, and
 * stays true as long as range->lock is held: take it, look, and derive. Where
 * it is false, ops->map() comes when the object is resumed. Callbacks can come
 * before this returns. The VMA may go, and the range stays, until it is deleted.
 *
 * Context: The mmap_lock of the VMA's mm is held; may sleep. range->lock must
 * not be held.
 * Return: 0; -EFAULT where the VMA is too short, or does not allow the access;
 * -ENODEV where the object is dead; -EPERM where its owner gives out no PFNs;
 * or what ops->pfn() of the owner returned.
 */
int mmap_revoke_range_add(struct mmap_revoke_range *range,
			  struct vm_area_struct *vma, unsigned long addr,
			  size_t size, bool write)
{
	struct mmap_revoke *mr = mmap_revoke_from_vma(vma);
	int ret;

	mmap_assert_locked(vma->vm_mm);

	if (addr < vma->vm_start || addr >= vma->vm_end ||
	    size > vma->vm_end - addr ||
	    !(vma->vm_flags & (write ? VM_WRITE : VM_READ)))
		return -EFAULT;

	guard(mutex)(&mr->lock);
	if (mr->state == MMAP_REVOKE_DEAD)
		return -ENODEV;
	if (!mr->ops->pfn)
		return -EPERM;
	ret = mr->ops->pfn(mr, vma, addr, &range->pfn);
	if (ret)
		return ret;

	mmap_revoke_get(mr);
	range->mr = mr;
	range->device = mr->device;
	range->cached = mmap_revoke_cached(vma->vm_page_prot);
	range->live = mr->state == MMAP_REVOKE_LIVE;
	list_add_tail(&range->node, &mr->ranges);
	return 0;
}
EXPORT_SYMBOL_GPL(mmap_revoke_range_add);

/**
 * mmap_revoke_range_del - drop what was derived, and unsubscribe
 * @range: a range that was added; also after its object was killed
 *
 * Calls ops->unmap() where the range is live. When this returns no callback
 * runs or will run.
 *
 * Context: Process context, may sleep; waits for a revocation under way. Must
 * not be called from a callback, or with range->lock or a lock that the owner
 * takes in callbacks held (lockdep watches).
 */
void mmap_revoke_range_del(struct mmap_revoke_range *range)
{
	struct mmap_revoke *mr = range->mr;

	scoped_guard(mutex, &mr->lock) {
		mmap_revoke_set_live(range, false);
		list_del(&range->node);
	}
	mmap_revoke_put(mr);
}
EXPORT_SYMBOL_GPL(mmap_revoke_range_del);
