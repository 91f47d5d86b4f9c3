// SPDX-License-Identifier: GPL-2.0-only
/*
 * Revocable mmap objects: take back memory that a driver has mapped into
 * processes.
 *
 * One object is one address_space. Files bound to it have their f_mapping
 * redirected there, so the VMAs of all of them, through fork, split, mremap and
 * SCM_RIGHTS, collect in one i_mmap tree by the work of the mm core alone.
 * Revoking is a walk of that tree. All objects share an inode, as their host.
 *
 * Lock order, each taken before the next:
 *
 *	owner's lock (if any) -> mr->lock -> range->lock, ops->(un)map()'s
 *			         mr->lock -> mr->gate (write)
 *			         mr->lock -> i_mmap_rwsem -> page table locks
 *	backend's locks -> mmap_lock -> mr->lock
 *	mmap_lock -> mr->gate (read) -> page table locks
 *
 * The gate makes state changes wait for page table insertions in flight. It
 * is held for writing for as long as the state changes, never while ranges are
 * told or page tables zapped, and nothing is allocated under it.
 *
 * See Documentation/core-api/mmap_revoke.rst, also for why it is a rwsem.
 */
#include <linux/debugfs.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "mmap_revoke_internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/mmap_revoke.h>

#define MMAP_REVOKE_MAGIC 0x4d524556 /* "MREV" */

static struct inode *mmap_revoke_host __ro_after_init;
static struct kmem_cache *mmap_revoke_cache __ro_after_init;
static LIST_HEAD(mmap_revoke_objects);
static DEFINE_MUTEX(mmap_revoke_objects_lock);

/*
 * For mr->lock, by who is called while it is held: nobody, backends, owners of
 * maps, or both. They may allocate, so it is not taken in reclaim but for the
 * first kind.
 */
static struct lock_class_key mmap_revoke_keys[4];

/* Under the gate, or where nobody knows the object; no VMA maps it. */
static void mmap_revoke_free_zero_page(struct mmap_revoke *mr)
{
	struct page *page = xchg(&mr->zero_page, NULL);

	if (page)
		__free_page(page);
}

/* Nobody knows it yet, or any more. */
static void mmap_revoke_free(struct mmap_revoke *mr)
{
	mmap_revoke_free_zero_page(mr);
	kmem_cache_free(mmap_revoke_cache, mr);
}

/**
 * mmap_revoke_alloc - create a revocable mmap object
 * @ops: the owner's constant data; not used after mmap_revoke_kill(), unless
 *	the object is renewed
 * @device: what the object maps, for debugfs, tracepoints and messages; copied,
 *	as far as 39 characters
 * @priv: what mmap_revoke_priv() returns
 *
 * The object is live. The caller owns the one reference.
 *
 * Context: Process context, may sleep.
 * Return: The object, or NULL without memory.
 */
struct mmap_revoke *mmap_revoke_alloc(const struct mmap_revoke_ops *ops,
				      const char *device, void *priv)
{
	struct mmap_revoke *mr;

	mr = kmem_cache_alloc(mmap_revoke_cache, GFP_KERNEL);
	if (!mr)
		return NULL;

	refcount_set(&mr->ref, 1);
	strscpy(mr->owner, ops->name);
	strscpy(mr->device, device);
	mr->zeros = ops->zero_page;
	mr->contiguous = ops->contiguous;
	mr->cow = ops->cow;
	mr->no_ranges = ops->no_ranges;
	mr->ops = ops;
	mr->priv = priv;
	lockdep_set_class_and_name(&mr->lock, &mmap_revoke_keys[!!ops->pfn +
								2 * !!ops->map],
				   "&mr->lock");
	mr->state = MMAP_REVOKE_LIVE;
	mr->nr_revoked = 0;
	mr->zero_page = NULL;

	guard(mutex)(&mmap_revoke_objects_lock);
	list_add_tail(&mr->node, &mmap_revoke_objects);
	return mr;
}
EXPORT_SYMBOL_GPL(mmap_revoke_alloc);

/**
 * mmap_revoke_put - drop a reference
 * @mr: the object; may be freed when this returns
 *
 * To drop the last reference while the object has VMAs is a bug of the owner. It
 * gets a WARN, and the object is leaked, because the mm core is going to use it.
 *
 * Context: Process context, may sleep. Must not be called with the object's
 * i_mmap_rwsem held.
 */
void mmap_revoke_put(struct mmap_revoke *mr)
{
	might_sleep();

	if (!refcount_dec_and_test(&mr->ref))
		return;

	if (WARN(mapping_mapped(&mr->mapping) || !list_empty(&mr->maps),
		 "mmap_revoke: %s %s freed while in use\n",
		 mr->owner, mr->device))
		return;

	scoped_guard(mutex, &mmap_revoke_objects_lock)
		list_del(&mr->node);
	mmap_revoke_free(mr);
}
EXPORT_SYMBOL_GPL(mmap_revoke_put);

/**
 * mmap_revoke_priv - the owner's data
 * @mr: the object
 *
 * Context: Any. The object does not keep the data alive: that is between the
 * owner and the caller.
 * Return: What was passed to mmap_revoke_alloc().
 */
void *mmap_revoke_priv(struct mmap_revoke *mr)
{
	return mr->priv;
}
EXPORT_SYMBOL_GPL(mmap_revoke_priv);

/**
 * mmap_revoke_mapping - the address_space in which the VMAs collect
 * @mr: the object
 *
 * For other parts of the kernel, such as memory failure handling. To unmap
 * pages through it keeps no fault out.
 *
 * Context: Any.
 * Return: The address_space; it lives as long as the object.
 */
struct address_space *mmap_revoke_mapping(struct mmap_revoke *mr)
{
	return &mr->mapping;
}
EXPORT_SYMBOL_GPL(mmap_revoke_mapping);

/* The object that @mapping belongs to, or NULL. */
struct mmap_revoke *mmap_revoke_from_mapping(struct address_space *mapping)
{
	if (mapping->host != mmap_revoke_host)
		return NULL;
	return container_of(mapping, struct mmap_revoke, mapping);
}

/**
 * mmap_revoke_bind_file - let all mappings of a file belong to an object
 * @mr: the object
 * @file: a file that nobody has mapped yet
 *
 * To be called from ->open(), or between the creation of a file and its
 * installation. Where ->open() fails ->release() is not called, so bind last.
 * The file holds a reference to the object until mmap_revoke_unbind_file().
 *
 * Context: Process context; nobody else uses the file.
 */
void mmap_revoke_bind_file(struct mmap_revoke *mr, struct file *file)
{
	if (WARN_ON_ONCE(mmap_revoke_from_mapping(file->f_mapping)))
		return;

	mmap_revoke_get(mr);
	file->f_mapping = &mr->mapping;
	trace_mmap_revoke_bind(mr->owner, mr->device);
}
EXPORT_SYMBOL_GPL(mmap_revoke_bind_file);

/**
 * mmap_revoke_unbind_file - undo mmap_revoke_bind_file()
 * @file: the file
 *
 * To be called from ->release(): a VMA pins its file, so none is left then.
 *
 * Context: Process context, may sleep.
 */
void mmap_revoke_unbind_file(struct file *file)
{
	struct mmap_revoke *mr = mmap_revoke_from_mapping(file->f_mapping);

	if (WARN_ON_ONCE(!mr))
		return;

	file->f_mapping = file_inode(file)->i_mapping;
	mmap_revoke_put(mr);
}
EXPORT_SYMBOL_GPL(mmap_revoke_unbind_file);

void mmap_revoke_unmap(struct mmap_revoke *mr, pgoff_t first, pgoff_t nr)
{
	u64 start = ktime_get_ns();

	unmap_mapping_pages(&mr->mapping, first, nr, true);
	trace_mmap_revoke_zap(mr->owner, mr->device, first,
			      first + nr - 1, ktime_get_ns() - start);
}

static void mmap_revoke_set_state(struct mmap_revoke *mr,
				  enum mmap_revoke_state state)
{
	scoped_guard(rwsem_write, &mr->gate)
		WRITE_ONCE(mr->state, state);
	mmap_revoke_tell_ranges(mr);
}

/**
 * mmap_revoke_begin - suspend all mappings
 * @mr: the object
 *
 * When this returns, no page table maps pages of the object and
 * mmap_revoke_fault() will insert none before mmap_revoke_end(); insertions and
 * accesses by ptrace() that were under way have finished; unmap() of every
 * range has returned.
 *
 * Suspending is a state and does not nest: another begin makes sure again
 * that nothing is mapped, and one end resumes. An owner with several reasons
 * to suspend decides under a lock of its own when the last one is gone. An
 * owner that inserts with mmap_revoke_insert_pfn() must hold that lock, so
 * that faults wait or fail. A dead object stays dead.
 *
 * Context: Process context, may sleep; waits for page table insertions and
 * ranges, not for user space. Takes no mmap_lock and allocates nothing. May be
 * called from reclaim for objects whose ops have none of pfn(), map() and
 * unmap(). Must not be called from a callback of the object (lockdep watches).
 */
void mmap_revoke_begin(struct mmap_revoke *mr)
{
	u64 start = ktime_get_ns();

	guard(mutex)(&mr->lock);
	if (mr->state == MMAP_REVOKE_LIVE) {
		mr->nr_revoked++;
		mmap_revoke_set_state(mr, MMAP_REVOKE_SUSPENDED);
	}
	mmap_revoke_unmap(mr, 0, 0);
	trace_mmap_revoke_begin(mr->owner, mr->device, 0, ULONG_MAX,
				ktime_get_ns() - start);
}
EXPORT_SYMBOL_GPL(mmap_revoke_begin);

/**
 * mmap_revoke_end - resume the mappings of a suspended object
 * @mr: the object
 *
 * Faults insert pages again, and map() of every range is called. Does nothing
 * where the object is not suspended.
 *
 * Context: As mmap_revoke_begin(), but backends allocate.
 */
void mmap_revoke_end(struct mmap_revoke *mr)
{
	u64 start = ktime_get_ns();

	guard(mutex)(&mr->lock);
	if (mr->state != MMAP_REVOKE_SUSPENDED)
		return;
	mmap_revoke_set_state(mr, MMAP_REVOKE_LIVE);
	trace_mmap_revoke_end(mr->owner, mr->device, 0, ULONG_MAX,
			      ktime_get_ns() - start);
}
EXPORT_SYMBOL_GPL(mmap_revoke_end);

/**
 * mmap_revoke_kill - revoke all mappings for good
 * @mr: the object
 *
 * As mmap_revoke_begin(), without an end: ranges are told and leave, maps are
 * released, no new one can be made. When this returns, nothing of the owner is
 * called any more, and its module may go.
 *
 * Context: As mmap_revoke_begin().
 */
void mmap_revoke_kill(struct mmap_revoke *mr)
{
	u64 start = ktime_get_ns();

	guard(mutex)(&mr->lock);
	if (mr->state == MMAP_REVOKE_DEAD)
		return;
	mr->nr_revoked++;
	mmap_revoke_set_state(mr, MMAP_REVOKE_DEAD);
	mmap_revoke_unmap(mr, 0, 0);
	mmap_revoke_release_maps(mr, &mr->maps);
	trace_mmap_revoke_kill(mr->owner, mr->device, 0, ULONG_MAX,
			       ktime_get_ns() - start);
}
EXPORT_SYMBOL_GPL(mmap_revoke_kill);

/**
 * mmap_revoke_renew - start another generation of a dead object
 * @mr: the object
 *
 * For devices that are opened again after they were closed: the object lives
 * on, but nothing that was mapped before the kill comes back, and no range of
 * that time hears of it. An object with VMAs would break that promise, so it
 * stays dead. Does nothing where the object is not dead.
 *
 * Context: Process context, may sleep. Nobody is called.
 * Return: 0, or -EBUSY, with a WARN, where VMAs of the last generation are
 * left: the caller must not let anybody use the device.
 */
int mmap_revoke_renew(struct mmap_revoke *mr)
{
	guard(mutex)(&mr->lock);
	if (mr->state != MMAP_REVOKE_DEAD)
		return 0;
	/* A fault has its VMA by now, or finds the next generation. */
	scoped_guard(rwsem_write, &mr->gate) {
		if (WARN(mapping_mapped(&mr->mapping),
			 "mmap_revoke: %s %s renewed while mapped\n",
			 mr->owner, mr->device))
			return -EBUSY;
		mmap_revoke_free_zero_page(mr);
		WRITE_ONCE(mr->state, MMAP_REVOKE_LIVE);
	}
	return 0;
}
EXPORT_SYMBOL_GPL(mmap_revoke_renew);

#ifdef CONFIG_MMU
/**
 * mmap_revoke_mmap - prepare a VMA of device memory
 * @vma: a new VMA of a bound file
 *
 * For the ->mmap() of owners that map device memory by PFN: refuses
 * copy-on-write mappings, but for ops->cow, and sets the flags of memory that
 * has no struct pages, does not grow and is not dumped. The caller checks that
 * the VMA is within the device. Insert pages from the fault handler only:
 * ->mmap() runs before a revocation can find the VMA.
 *
 * Context: ->mmap(), with mmap_lock held for writing.
 * Return: 0, or -EINVAL for copy-on-write or for an unbound file.
 * MAP_SHARED of a file that is not open for writing is fine, though the mm core
 * takes VM_SHARED away from it.
 */
int mmap_revoke_mmap(struct vm_area_struct *vma)
{
	struct mmap_revoke *mr = mmap_revoke_from_vma(vma);

	if (WARN_ON_ONCE(!mr) || (vma_is_cow_mapping(vma) && !mr->cow))
		return -EINVAL;

	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}
EXPORT_SYMBOL_GPL(mmap_revoke_mmap);

/**
 * mmap_revoke_insert_pfn - map PFNs of the faulting address
 * @vmf: the fault, in a VMA of a bound file
 * @pfn: PFN that backs the fault address rounded down to @order
 * @order: 0, PMD_ORDER or PUD_ORDER
 *
 * For owners that bring their own lock, held here and while they revoke. With
 * ops->contiguous the pages around the address are mapped, too.
 *
 * Context: ->fault() or ->huge_fault(); may sleep.
 * Return: As a fault handler; VM_FAULT_FALLBACK where a page of this order
 * does not fit.
 */
vm_fault_t mmap_revoke_insert_pfn(struct vm_fault *vmf, unsigned long pfn,
				  unsigned int order)
{
	unsigned long addr = ALIGN_DOWN(vmf->address, PAGE_SIZE << order);
	pgprot_t prot = pgprot_decrypted(vmf->vma->vm_page_prot);
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	struct vm_area_struct *vma = vmf->vma;

	if (!mmap_revoke_order_fits(vma, addr, pfn, order))
		return VM_FAULT_FALLBACK;

	pfn = io_remap_pfn_range_pfn(pfn, PAGE_SIZE << order);
	if (!order) {
		if (pte_alloc(vma->vm_mm, vmf->pmd))
			return VM_FAULT_OOM;
		/* Of all pages, as where one is huge. */
		pfnmap_setup_cachemode_pfn(pfn, &prot);
		return mmap_revoke_insert_ptes(vma, vmf->pmd, addr, pfn, prot,
					       mmap_revoke_from_vma(vma)->contiguous);
	}

	/* The others take vm_page_prot as it is. */
	if (pgprot_val(vma->vm_page_prot) != pgprot_val(prot))
		return VM_FAULT_FALLBACK;

	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && order == PMD_ORDER)
		return vmf_insert_pfn_pmd(vmf, pfn, write);

	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) && order == PUD_ORDER)
		return vmf_insert_pfn_pud(vmf, pfn, write);

	return VM_FAULT_FALLBACK;
}
EXPORT_SYMBOL_GPL(mmap_revoke_insert_pfn);

/**
 * mmap_revoke_fault - map PFNs of the faulting address, if the object is live
 * @vmf: the fault, in a VMA of a bound file
 * @pfn: PFN that backs the fault address rounded down to @order
 * @order: 0, PMD_ORDER or PUD_ORDER
 *
 * mmap_revoke_insert_pfn() under the gate. While the object is suspended, and
 * when it is dead, the fault fails with SIGBUS; an owner that wants it to wait
 * holds a lock of its own from begin to end and takes it in its fault handler,
 * as vfio-pci does.
 *
 * Context: ->fault() or ->huge_fault(); may sleep.
 * Return: As a fault handler.
 */
vm_fault_t mmap_revoke_fault(struct vm_fault *vmf, unsigned long pfn,
			     unsigned int order)
{
	struct mmap_revoke *mr = mmap_revoke_from_vma(vmf->vma);

	/* Not under the gate: a revocation does not wait for reclaim. */
	if (!order && pte_alloc(vmf->vma->vm_mm, vmf->pmd))
		return VM_FAULT_OOM;

	guard(rwsem_read)(&mr->gate);
	return mr->state == MMAP_REVOKE_LIVE ?
	       mmap_revoke_insert_pfn(vmf, pfn, order) : VM_FAULT_SIGBUS;
}
EXPORT_SYMBOL_GPL(mmap_revoke_fault);
#endif /* CONFIG_MMU */

static const char * const mmap_revoke_state_names[] = {
	[MMAP_REVOKE_LIVE] = "live",
	[MMAP_REVOKE_SUSPENDED] = "suspended",
	[MMAP_REVOKE_DEAD] = "dead",
};

static void mmap_revoke_show(struct seq_file *s, struct mmap_revoke *mr)
{
	struct address_space *mapping = &mr->mapping;
	struct task_struct *task = NULL;
	struct vm_area_struct *vma;
	unsigned long nr_vmas = 0;

	i_mmap_lock_read(mapping);
	mapping_rmap_tree_foreach(vma, mapping, 0, ULONG_MAX)
		nr_vmas++;
	seq_printf(s, "%s %s %s %lu %lu\n", mr->owner, mr->device,
		   mmap_revoke_state_names[READ_ONCE(mr->state)], nr_vmas,
		   READ_ONCE(mr->nr_revoked));
	mapping_rmap_tree_foreach(vma, mapping, 0, ULONG_MAX) {
		guard(rcu)();
#ifdef CONFIG_MEMCG
		task = rcu_dereference(vma->vm_mm->owner);
#endif
		seq_printf(s, "  %d %s %#lx-%#lx %#lx\n",
			   task ? task_pid_nr(task) : 0,
			   task ? task->comm : "?", vma->vm_start, vma->vm_end,
			   vma->vm_pgoff);
	}
	i_mmap_unlock_read(mapping);
}

static int mmap_revoke_objects_show(struct seq_file *s, void *unused)
{
	struct mmap_revoke *mr;

	seq_puts(s, "owner device state vmas revoked\n");
	guard(mutex)(&mmap_revoke_objects_lock);
	list_for_each_entry(mr, &mmap_revoke_objects, node)
		mmap_revoke_show(s, mr);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mmap_revoke_objects);

static int mmap_revoke_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, MMAP_REVOKE_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type mmap_revoke_fs_type = {
	.name = "mmap_revoke",
	.init_fs_context = mmap_revoke_init_fs_context,
	.kill_sb = kill_anon_super,
};

/* Objects are as good as new when they are freed. */
static void mmap_revoke_init_once(void *data)
{
	struct mmap_revoke *mr = data;

	address_space_init_once(&mr->mapping);
	init_rwsem(&mr->mapping.invalidate_lock);
	mapping_set_gfp_mask(&mr->mapping, GFP_HIGHUSER_MOVABLE);
	mr->mapping.host = mmap_revoke_host;
	mr->mapping.a_ops = mmap_revoke_host->i_data.a_ops;
	mutex_init(&mr->lock);
	init_rwsem(&mr->gate);
	INIT_LIST_HEAD(&mr->maps);
	INIT_LIST_HEAD(&mr->ranges);
}

static int __init mmap_revoke_init(void)
{
	struct vfsmount *mnt = kern_mount(&mmap_revoke_fs_type);

	mmap_revoke_cache = kmem_cache_create("mmap_revoke",
					      sizeof(struct mmap_revoke), 0,
					      SLAB_ACCOUNT | SLAB_PANIC,
					      mmap_revoke_init_once);
	if (!IS_ERR(mnt))
		mmap_revoke_host = alloc_anon_inode(mnt->mnt_sb);
	if (IS_ERR_OR_NULL(mmap_revoke_host))
		panic("mmap_revoke: no inode\n");

	debugfs_create_file("objects", 0400,
			    debugfs_create_dir("mmap_revoke", NULL), NULL,
			    &mmap_revoke_objects_fops);
	return 0;
}
subsys_initcall(mmap_revoke_init);
