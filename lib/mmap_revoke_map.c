// SPDX-License-Identifier: GPL-2.0-only
/*
 * Maps: the layer of mmap_revoke for owners that map different things through
 * one file and take them back one by one.
 *
 * A map is what one mmap() call made, shared by the VMAs that came of it
 * through fork, split and mremap. It gives faults their PFN, so that nothing
 * depends on page offsets, which owners reuse and give other meanings to. It
 * keeps the memory type of the PFNs reserved: on x86 vmf_insert_pfn_prot() uses
 * that type and ignores the cache mode in vm_page_prot. It also holds the
 * owner's cookie. It drops both once, when it is killed or its last VMA goes.
 *
 * Lock order: mmap_lock -> mr->lock -> what ops->map() and ops->unmap() take
 */
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <trace/events/mmap_revoke.h>

#include "mmap_revoke_internal.h"

struct mmap_revoke_map {
	struct mmap_revoke *mr;
	refcount_t vmas;
	pgoff_t pgoff;
	unsigned long pfn;
	unsigned long size;
	void *cookie;
	/* Written under mr->lock and mr->gate, read under either. */
	bool dead;
	/* In mr->maps until it is released, under mr->lock. */
	struct list_head node;
};

/* The map must be gone from all page tables. */
static void mmap_revoke_release_map(struct mmap_revoke_map *map)
{
	struct mmap_revoke *mr = map->mr;

	lockdep_assert_held(&mr->lock);

	list_del(&map->node);
	pfnmap_untrack(map->pfn, map->size);
	if (map->cookie)
		mr->ops->unmap(map->cookie);
}

static void mmap_revoke_map_open(struct vm_area_struct *vma)
{
	struct mmap_revoke_map *map = vma->vm_private_data;

	refcount_inc(&map->vmas);
}

static void mmap_revoke_map_close(struct vm_area_struct *vma)
{
	struct mmap_revoke_map *map = vma->vm_private_data;

	if (!refcount_dec_and_test(&map->vmas))
		return;

	/* The VMA still has its file, and that the object. */
	scoped_guard(mutex, &map->mr->lock)
		if (!map->dead)
			mmap_revoke_release_map(map);
	kfree(map);
}

/*
 * Map all pages of the VMA that are in the same page table, so that a doorbell
 * does not fault again on a path where a fault is too slow.
 */
static vm_fault_t mmap_revoke_map_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mmap_revoke_map *map = vma->vm_private_data;
	unsigned long pfn = map->pfn + (vmf->pgoff - map->pgoff);
	unsigned long table = ALIGN_DOWN(vmf->address, PMD_SIZE);
	unsigned long first = max(table, vma->vm_start);
	unsigned long nr = (min(table + PMD_SIZE - 1, vma->vm_end - 1) - first) /
			   PAGE_SIZE + 1;
	/* As io_remap_pfn_range() does. vm_page_prot does not keep it. */
	pgprot_t prot = pgprot_decrypted(vma->vm_page_prot);
	struct mmap_revoke *mr = map->mr;
	unsigned long addr;
	vm_fault_t ret;

	guard(rwsem_read)(&mr->gate);
	if (map->dead || mr->state == MMAP_REVOKE_DEAD)
		return mmap_revoke_dead_fault(mr, vmf);
	if (mr->state != MMAP_REVOKE_LIVE)
		return VM_FAULT_SIGBUS;

	ret = vmf_insert_pfn_prot(vma, vmf->address, pfn, prot);
	pfn -= (vmf->address - first) >> PAGE_SHIFT;
	for (addr = first; nr && ret == VM_FAULT_NOPAGE; nr--) {
		ret = vmf_insert_pfn_prot(vma, addr, pfn++, prot);
		addr += PAGE_SIZE;
	}
	return ret;
}

static const struct vm_operations_struct mmap_revoke_map_vm_ops = {
	.open = mmap_revoke_map_open,
	.close = mmap_revoke_map_close,
	.fault = mmap_revoke_map_fault,
};

/**
 * mmap_revoke_map_io - map PFNs in a VMA, to be killed on their own
 * @vma: a new VMA of a bound file; vm_page_prot has the cache mode
 * @pfn: PFN of device memory that backs the first page of @vma
 * @cookie: passed to ops->map() and ops->unmap(), and to
 *	mmap_revoke_kill_maps() to find the map; NULL for neither
 *
 * For ->mmap(), in place of io_remap_pfn_range(). Pages are inserted by the
 * first fault in each PMD_SIZE of the address range, and not here, because a
 * concurrent revocation cannot find a VMA that is not linked yet.
 *
 * Context: ->mmap(), with mmap_lock held for writing. Calls ops->map().
 * Return: 0; -EINVAL as mmap_revoke_mmap(); -EBUSY where the PFNs are in use
 * with another memory type; -ENODEV where the object is dead; -ENOMEM; or what
 * ops->map() returned.
 */
int mmap_revoke_map_io(struct vm_area_struct *vma, unsigned long pfn,
		       void *cookie)
{
	struct mmap_revoke_map *map;
	int ret;

	ret = mmap_revoke_mmap(vma);
	if (ret)
		return ret;

	map = kmalloc_obj(*map, GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;

	map->mr = mmap_revoke_from_mapping(vma->vm_file->f_mapping);
	refcount_set(&map->vmas, 1);
	map->pgoff = vma->vm_pgoff;
	map->size = vma->vm_end - vma->vm_start;
	map->pfn = io_remap_pfn_range_pfn(pfn, map->size);
	map->cookie = cookie;
	map->dead = false;
	ret = pfnmap_track(map->pfn, map->size, &vma->vm_page_prot);
	if (ret) {
		ret = -EBUSY;
		goto err_free;
	}

	scoped_guard(mutex, &map->mr->lock) {
		if (map->mr->state == MMAP_REVOKE_DEAD)
			ret = -ENODEV;
		else if (cookie)
			ret = map->mr->ops->map(cookie);
		if (ret)
			goto err_untrack;
		list_add_tail(&map->node, &map->mr->maps);
	}

	vma->vm_private_data = map;
	vma->vm_ops = &mmap_revoke_map_vm_ops;
	return 0;

err_untrack:
	pfnmap_untrack(map->pfn, map->size);
err_free:
	kfree(map);
	return ret;
}
EXPORT_SYMBOL_GPL(mmap_revoke_map_io);

/**
 * mmap_revoke_kill_maps - revoke maps for good
 * @mr: the object
 * @cookie: the cookie of the maps to kill; NULL for all maps
 *
 * When this returns, no page table maps their pages or ever will; ops->unmap()
 * has been called for each and has returned; a fault on their VMAs gets
 * SIGBUS, or zeros where ops->zero_page. New maps can be made: an owner that
 * wants none refuses them in ops->map().
 *
 * What the object's files map by other means is left alone, even at the same
 * page offsets. Subscribers are not called, because the object stays live.
 *
 * Context: Process context, may sleep; waits for page table insertions, not
 * for user space. Takes no mmap_lock and allocates nothing. Must not be called
 * from ops->map() or ops->unmap() of the object.
 */
void mmap_revoke_kill_maps(struct mmap_revoke *mr, void *cookie)
{
	struct mmap_revoke_map *map, *next;
	pgoff_t first = ULONG_MAX, last = 0;
	u64 start = ktime_get_ns();
	struct vm_area_struct *vma;

	guard(mutex)(&mr->lock);

	scoped_guard(rwsem_write, &mr->gate) {
		list_for_each_entry(map, &mr->maps, node) {
			if (cookie && map->cookie != cookie)
				continue;
			map->dead = true;
			first = min(first, map->pgoff);
			last = max(last, map->pgoff +
					 (map->size >> PAGE_SHIFT) - 1);
		}
	}
	if (first > last)
		return;

	mr->nr_revoked++;
	/*
	 * In the order of unmap_mapping_pages(). It finds a VMA before those
	 * that were forked, split or moved from it.
	 */
	i_mmap_lock_read(&mr->inode.i_data);
	mapping_rmap_tree_foreach(vma, &mr->inode.i_data, first, last) {
		if (vma->vm_ops != &mmap_revoke_map_vm_ops)
			continue;
		map = vma->vm_private_data;
		if (map->dead)
			zap_special_vma_range(vma, vma->vm_start,
					      vma->vm_end - vma->vm_start);
	}
	i_mmap_unlock_read(&mr->inode.i_data);

	list_for_each_entry_safe(map, next, &mr->maps, node)
		if (map->dead)
			mmap_revoke_release_map(map);

	trace_mmap_revoke_kill(mr->ops->name, mr->device, first, last,
			       ktime_get_ns() - start);
}
EXPORT_SYMBOL_GPL(mmap_revoke_kill_maps);
