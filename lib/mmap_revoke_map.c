// SPDX-License-Identifier: GPL-2.0-only
/*
 * Maps: the layer of mmap_revoke for owners that map different things through
 * one file and take them back one by one.
 *
 * A map is what one mmap() call made, shared by the VMAs that came of it
 * through fork, split and mremap. It gives them their PFNs, so that nothing
 * depends on page offsets, which owners reuse and give other meanings to. It
 * reserves the memory type of the PFNs and holds the owner's cookie. It drops
 * both once, when it is killed or its last VMA goes.
 */
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <trace/events/mmap_revoke.h>

#include "mmap_revoke_internal.h"

struct mmap_revoke_map {
	struct mmap_revoke *mr;
	refcount_t vmas, ref; /* the VMAs have one reference, the work another */
	bool ram, decrypted;
	/* Written under mr->lock, and mr->gate where the object is live. */
	bool dead;
	pgoff_t pgoff;
	unsigned long pfn, size;
	void *cookie;
	/* In a list until it is released, under mr->lock. */
	struct list_head node;
	/* Populates @addr, where mmap() made it. */
	struct callback_head work;
	unsigned long addr;
};

static void mmap_revoke_put_map(struct mmap_revoke_map *map)
{
	if (refcount_dec_and_test(&map->ref))
		kfree(map);
}

/* The map must be gone from all page tables. */
static void mmap_revoke_release_map(struct mmap_revoke_map *map)
{
	struct mmap_revoke *mr = map->mr;

	lockdep_assert_held(&mr->lock);

	list_del_init(&map->node);
	/* Its mmap() may be slower than the next generation of the object. */
	WRITE_ONCE(map->dead, true);
	pfnmap_untrack(map->pfn, map->size);
	if (map->cookie && mr->ops->unmap)
		mr->ops->unmap(mr, map->cookie);
}

void mmap_revoke_release_maps(struct mmap_revoke *mr, struct list_head *maps)
{
	struct mmap_revoke_map *map, *next;

	list_for_each_entry_safe(map, next, maps, node)
		mmap_revoke_release_map(map);
}

/* Without a lock true is final, for this map has VMAs; false is a hint. */
static bool mmap_revoke_map_dead(struct mmap_revoke_map *map)
{
	return READ_ONCE(map->dead) ||
	       READ_ONCE(map->mr->state) == MMAP_REVOKE_DEAD;
}

static void mmap_revoke_map_open(struct vm_area_struct *vma)
{
	refcount_inc(&((struct mmap_revoke_map *)vma->vm_private_data)->vmas);
}

static void mmap_revoke_map_close(struct vm_area_struct *vma)
{
	struct mmap_revoke_map *map = vma->vm_private_data;

	if (!refcount_dec_and_test(&map->vmas))
		return;

	/* The VMA still has its file, and that the object. */
	scoped_guard(mutex, &map->mr->lock)
		if (!list_empty(&map->node))
			mmap_revoke_release_map(map);
	mmap_revoke_put_map(map);
}

static unsigned long mmap_revoke_map_pfn(struct vm_area_struct *vma,
					 unsigned long addr)
{
	struct mmap_revoke_map *map = vma->vm_private_data;

	return map->pfn + (linear_page_index(vma, addr) - map->pgoff);
}

/* In one page table. vm_page_prot has the cache mode since mmap(). */
static vm_fault_t mmap_revoke_insert_map(struct vm_area_struct *vma, pmd_t *pmd,
					 unsigned long addr)
{
	struct mmap_revoke_map *map = vma->vm_private_data;
	pgprot_t prot = map->decrypted ? pgprot_decrypted(vma->vm_page_prot) :
					 vma->vm_page_prot;

	return mmap_revoke_insert_ptes(vma, pmd, addr,
				       mmap_revoke_map_pfn(vma, addr), prot,
				       true);
}

/* Allocate what the fault needs before the gate is taken, not under it. */
static vm_fault_t mmap_revoke_prepare_fault(struct vm_fault *vmf)
{
	struct mmap_revoke_map *map = vmf->vma->vm_private_data;
	struct mmap_revoke *mr = map->mr;
	struct page *page;

	if (pte_alloc(vmf->vma->vm_mm, vmf->pmd))
		return VM_FAULT_OOM;

	if (!mmap_revoke_map_dead(map) || !mr->zeros ||
	    !(vmf->vma->vm_flags & (VM_WRITE | VM_MAYWRITE)) ||
	    READ_ONCE(mr->zero_page))
		return 0;

	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!page)
		return VM_FAULT_OOM;
	if (cmpxchg(&mr->zero_page, NULL, page))
		__free_page(page);
	return 0;
}

/*
 * Zeros instead of the device, if the owner chose so. VMAs that are or can
 * become writable share a page: the system's zero page must never be mapped
 * writable. Either is ordinary memory and takes its protection bits, not those
 * of vm_page_prot, which may be uncached or decrypted for the device.
 */
static vm_fault_t mmap_revoke_dead_fault(struct mmap_revoke *mr,
					 struct vm_fault *vmf)
{
	struct page *page = READ_ONCE(mr->zero_page);
	unsigned long pfn = zero_pfn(vmf->address);

	if (!mr->zeros)
		return VM_FAULT_SIGBUS;

	if (vmf->vma->vm_flags & (VM_WRITE | VM_MAYWRITE)) {
		/* Killed since mmap_revoke_prepare_fault(): try again. */
		if (!page)
			return VM_FAULT_NOPAGE;
		pfn = page_to_pfn(page);
	}

	return vmf_insert_pfn_prot(vmf->vma, vmf->address, pfn,
				   vma_get_page_prot(vmf->vma));
}

/* For all pages of the VMA in the same page table: a doorbell cannot wait. */
static vm_fault_t mmap_revoke_map_fault(struct vm_fault *vmf)
{
	struct mmap_revoke_map *map = vmf->vma->vm_private_data;
	struct mmap_revoke *mr = map->mr;
	vm_fault_t ret;

	ret = mmap_revoke_prepare_fault(vmf);
	if (ret)
		return ret;

	guard(rwsem_read)(&mr->gate);
	if (mmap_revoke_map_dead(map))
		return mmap_revoke_dead_fault(mr, vmf);
	if (mr->state != MMAP_REVOKE_LIVE)
		return VM_FAULT_SIGBUS;
	return mmap_revoke_insert_map(vmf->vma, vmf->pmd, vmf->address);
}

/*
 * mprotect() modifies the entries that are present, and some architectures give
 * them the memory type of vm_page_prot then. That is the device's: have the
 * next fault insert the zero page as it should be.
 */
static int mmap_revoke_map_mprotect(struct vm_area_struct *vma,
				    unsigned long start, unsigned long end,
				    unsigned long newflags)
{
	struct mmap_revoke_map *map = vma->vm_private_data;

	/* No fault from here on; what a kill zaps from here on stays away. */
	vma_start_write(vma);
	if (map->mr->zeros && mmap_revoke_map_dead(map))
		zap_special_vma_range(vma, start, end - start);
	return 0;
}

#ifdef CONFIG_HAVE_IOREMAP_PROT
/* ptrace(). Page tables may be empty, or have pages that are not IO memory. */
static int mmap_revoke_map_access(struct vm_area_struct *vma,
				  unsigned long addr, void *buf, int len,
				  int write)
{
	struct mmap_revoke_map *map = vma->vm_private_data;
	unsigned long pfn = mmap_revoke_map_pfn(vma, addr);
	unsigned int offset = offset_in_page(addr);
	void __iomem *maddr;

	if (!(vma->vm_flags & (write ? VM_WRITE : VM_READ)))
		return -EINVAL;
	/* Pages of private VMAs are read-only, or copies. */
	if (vma_is_cow_mapping(vma) && (write || vma->anon_vma))
		return -EINVAL;
	if (map->ram || mmap_revoke_map_dead(map)) /* not for ioremap() */
		return -EIO;

	/* This allocates. */
	maddr = ioremap_prot(PFN_PHYS(pfn), PAGE_SIZE, vma->vm_page_prot);
	if (!maddr)
		return -ENOMEM;

	len = min_t(int, len, PAGE_SIZE - offset);
	scoped_guard(rwsem_read, &map->mr->gate) {
		if (map->mr->state != MMAP_REVOKE_LIVE || map->dead)
			len = -EIO;
		else if (write)
			memcpy_toio(maddr + offset, buf, len);
		else
			memcpy_fromio(buf, maddr + offset, len);
	}
	iounmap(maddr);
	return len;
}
#endif

static const struct vm_operations_struct mmap_revoke_map_vm_ops = {
	.open = mmap_revoke_map_open,
	.close = mmap_revoke_map_close,
	.fault = mmap_revoke_map_fault,
	.mprotect = mmap_revoke_map_mprotect,
#ifdef CONFIG_HAVE_IOREMAP_PROT
	.access = mmap_revoke_map_access,
#endif
};

static pmd_t *mmap_revoke_alloc_table(struct mm_struct *mm, unsigned long addr)
{
	p4d_t *p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);
	pud_t *pud = p4d ? pud_alloc(mm, p4d, addr) : NULL;
	pmd_t *pmd = pud ? pmd_alloc(mm, pud, addr) : NULL;

	might_alloc(GFP_KERNEL); /* even if all tables are there */
	return !pmd || pte_alloc(mm, pmd) ? NULL : pmd;
}

/* The VMA may be gone. An mremap() that failed can leave it without tables. */
static void mmap_revoke_populate(struct mm_struct *mm,
				 struct mmap_revoke_map *map)
{
	unsigned long addr = map->addr;
	struct vm_area_struct *vma;
	pmd_t *pmd;

	guard(mmap_read_lock)(mm);
	vma = vma_lookup(mm, addr);
	if (!vma || vma->vm_ops != &mmap_revoke_map_vm_ops ||
	    vma->vm_private_data != map)
		return;
	for (; addr < vma->vm_end; addr = pmd_addr_end(addr, vma->vm_end)) {
		pmd = mmap_revoke_alloc_table(mm, addr);
		if (!pmd)
			return;
		guard(rwsem_read)(&map->mr->gate);
		if (map->mr->state != MMAP_REVOKE_LIVE || map->dead)
			return;
		mmap_revoke_insert_map(vma, pmd, addr);
	}
}

static void mmap_revoke_map_work(struct callback_head *work)
{
	struct mmap_revoke_map *map =
		container_of(work, struct mmap_revoke_map, work);

	if (current->mm) /* NULL: the task exits */
		mmap_revoke_populate(current->mm, map);
	mmap_revoke_put_map(map);
}

/* In ->mmap(): a revocation would miss pages, but what can fail is done. */
static int mmap_revoke_populate_later(struct mmap_revoke_map *map,
				      struct vm_area_struct *vma)
{
	unsigned long addr = vma->vm_start;

	if (current->flags & PF_KTHREAD)
		return 0;
	for (; addr < vma->vm_end; addr = pmd_addr_end(addr, vma->vm_end))
		if (!mmap_revoke_alloc_table(vma->vm_mm, addr))
			return -ENOMEM;
	map->addr = vma->vm_start;
	refcount_inc(&map->ref);
	init_task_work(&map->work, mmap_revoke_map_work);
	if (task_work_add(current, &map->work, TWA_RESUME)) /* exits */
		mmap_revoke_put_map(map);
	return 0;
}

static int mmap_revoke_add_map(struct mmap_revoke_map *map)
{
	struct mmap_revoke *mr = map->mr;
	int ret;

	guard(mutex)(&mr->lock);
	if (mr->state == MMAP_REVOKE_DEAD)
		return -ENODEV;
	ret = map->cookie && mr->ops->map ? mr->ops->map(mr, map->cookie) : 0;
	if (!ret)
		list_add_tail(&map->node, &mr->maps);
	return ret;
}

/**
 * mmap_revoke_map_io - map PFNs in a VMA, to be killed on their own
 * @vma: a new VMA of a bound file; vm_page_prot has the cache mode
 * @pfn: PFN of device memory, or of RAM, that backs the first page of @vma
 * @cookie: for ops->map(), ops->unmap() and mmap_revoke_kill_maps(); NULL: the
 *	callbacks are not called
 *
 * For ->mmap(), in place of io_remap_pfn_range(), or of remap_pfn_range() for
 * RAM. Inserts the pages before mmap() returns to user space; in kernel threads
 * and after a suspension by the first fault in each PMD_SIZE. If ->mmap() fails
 * later: mmap_revoke_unmap_io().
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

	map = kzalloc_obj(*map, GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;

	map->mr = mmap_revoke_from_mapping(vma->vm_file->f_mapping);
	refcount_set(&map->vmas, 1);
	refcount_set(&map->ref, 1);
	map->size = vma->vm_end - vma->vm_start;
	map->ram = pfn_valid(pfn) && page_is_ram(pfn); /* that is slow */
	/* RAM as the owner has it; mprotect() may forget that. */
	map->decrypted = !map->ram || pgprot_val(vma->vm_page_prot) ==
			pgprot_val(pgprot_decrypted(vma->vm_page_prot));
	map->pfn = io_remap_pfn_range_pfn(pfn, map->size);
	if (vma_is_cow_mapping(vma)) /* as remap_pfn_range() */
		vma->vm_pgoff = map->pfn;
	map->pgoff = vma->vm_pgoff;
	map->cookie = cookie;
	ret = -EBUSY;
	if (pfnmap_track(map->pfn, map->size, &vma->vm_page_prot))
		goto err_free;

	ret = mmap_revoke_populate_later(map, vma) ?: mmap_revoke_add_map(map);
	if (ret)
		goto err_untrack;

	vma->vm_private_data = map;
	vma->vm_ops = &mmap_revoke_map_vm_ops;
	return 0;

err_untrack:
	pfnmap_untrack(map->pfn, map->size);
err_free:
	mmap_revoke_put_map(map);
	return ret;
}
EXPORT_SYMBOL_GPL(mmap_revoke_map_io);

/**
 * mmap_revoke_unmap_io - undo mmap_revoke_map_io() in an ->mmap() that fails
 * @vma: the VMA, with a map or without
 *
 * The mm core calls no ->close() for such a VMA, so the map would stay.
 *
 * Context: ->mmap(), with mmap_lock held for writing. Calls ops->unmap().
 */
void mmap_revoke_unmap_io(struct vm_area_struct *vma)
{
	if (vma->vm_ops != &mmap_revoke_map_vm_ops)
		return;
	mmap_revoke_map_close(vma);
	vma->vm_ops = NULL;
}
EXPORT_SYMBOL_GPL(mmap_revoke_unmap_io);

/**
 * mmap_revoke_kill_maps - revoke the maps of one cookie for good
 * @mr: the object
 * @cookie: what they were made with; NULL: those that have none
 *
 * When this returns, no page table maps their pages or ever will; ops->unmap()
 * has been called for each and has returned; a fault on their VMAs gets
 * SIGBUS, or zeros where ops->zero_page. New maps can be made: an owner that
 * wants none refuses them in ops->map().
 *
 * What the object's files map by other means is left alone, also where it has
 * the same page offsets. Ranges are not told, for the object lives on.
 *
 * Context: Process context, may sleep; waits for page table insertions, not
 * for user space. Takes no mmap_lock and allocates nothing. Must not be called
 * from ops->map() or ops->unmap() of the object.
 */
void mmap_revoke_kill_maps(struct mmap_revoke *mr, void *cookie)
{
	bool all = cookie == MMAP_REVOKE_ALL_MAPS;
	struct mmap_revoke_map *map, *next;
	pgoff_t first = ULONG_MAX, last = 0;
	u64 start = ktime_get_ns();
	struct vm_area_struct *vma;
	LIST_HEAD(killed);

	guard(mutex)(&mr->lock);

	list_for_each_entry_safe(map, next, &mr->maps, node) {
		if (!all && map->cookie != cookie)
			continue;
		list_move_tail(&map->node, &killed);
		first = min(first, map->pgoff);
		last = max(last, map->pgoff + (map->size >> PAGE_SHIFT) - 1);
	}
	if (list_empty(&killed))
		return;

	scoped_guard(rwsem_write, &mr->gate)
		list_for_each_entry(map, &killed, node)
			WRITE_ONCE(map->dead, true);

	mr->nr_revoked++;
	/*
	 * In the order of unmap_mapping_pages(), which finds a VMA before what
	 * was forked, split or moved from it. Who died before is in no list.
	 */
	i_mmap_lock_read(&mr->mapping);
	mapping_rmap_tree_foreach(vma, &mr->mapping, first, last) {
		if (vma->vm_ops != &mmap_revoke_map_vm_ops)
			continue;
		map = vma->vm_private_data;
		if ((all || map->cookie == cookie) && !list_empty(&map->node))
			zap_special_vma_range(vma, vma->vm_start,
					      vma->vm_end - vma->vm_start);
	}
	i_mmap_unlock_read(&mr->mapping);

	mmap_revoke_release_maps(mr, &killed);
	trace_mmap_revoke_kill(mr->owner, mr->device, first, last,
			       ktime_get_ns() - start);
}
EXPORT_SYMBOL_GPL(mmap_revoke_kill_maps);

/**
 * mmap_revoke_kill_pages - revoke pages of an object for good
 * @mr: the object
 * @first: page offset of the first
 * @nr: their number, not 0
 *
 * A map with any of them inserts nothing from now on, but what it has inserted
 * of other pages stays. VMAs that are no maps lose what they have mapped.
 *
 * Context: As mmap_revoke_kill_maps().
 */
void mmap_revoke_kill_pages(struct mmap_revoke *mr, pgoff_t first, pgoff_t nr)
{
	struct mmap_revoke_map *map;

	guard(mutex)(&mr->lock);
	scoped_guard(rwsem_write, &mr->gate)
		list_for_each_entry(map, &mr->maps, node)
			if (map->pgoff < first + nr &&
			    first < map->pgoff + (map->size >> PAGE_SHIFT))
				WRITE_ONCE(map->dead, true);
	mr->nr_revoked++;
	mmap_revoke_unmap(mr, first, nr);
}
