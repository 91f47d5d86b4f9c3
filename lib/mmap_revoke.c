// SPDX-License-Identifier: GPL-2.0-only
/*
 * Revocable mmap objects: take back memory that a driver has mapped into
 * processes.
 *
 * One object is one inode on a private pseudo filesystem. Files bound to it
 * have their f_mapping redirected there, so the VMAs of all of them, through
 * fork, split, mremap and SCM_RIGHTS, collect in one i_mmap tree by the work
 * of the mm core alone. Revoking is a walk of that tree.
 *
 * Lock order, each taken before the next:
 *
 *	owner's lock (if any) -> mr->lock -> what a notifier takes
 *			         mr->lock -> mr->gate (write)
 *			         mr->lock -> i_mmap_rwsem -> page table locks
 *	mmap_lock -> mr->gate (read) -> page table locks
 *
 * The gate makes state changes wait for page table insertions in flight. It
 * is held for writing only to change the state and never while notifying or
 * zapping. A per-object rwsem was chosen over SRCU and percpu-rwsem because
 * of the writer: a guest that sizes BARs revokes dozens of times while it
 * boots, and each would wait for a grace period; both also need per-CPU
 * memory for every object, of which there is one for each open file in some
 * subsystems. Readers are faults, which cost more than an uncontended rwsem.
 *
 * See Documentation/core-api/mmap_revoke.rst.
 */
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <kunit/visibility.h>

#include "mmap_revoke_internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/mmap_revoke.h>

#define MMAP_REVOKE_MAGIC 0x4d524556 /* "MREV" */

static struct vfsmount *mmap_revoke_mnt __ro_after_init;
static struct kmem_cache *mmap_revoke_cache __ro_after_init;
static LIST_HEAD(mmap_revoke_objects);
static DEFINE_MUTEX(mmap_revoke_objects_lock);

#ifdef CONFIG_LOCKDEP
/* Held while a notifier runs: nobody may wait for it with a lock it takes. */
static struct lockdep_map mmap_revoke_notify_map =
	STATIC_LOCKDEP_MAP_INIT("mmap_revoke_notify", &mmap_revoke_notify_map);
#endif

/**
 * mmap_revoke_alloc - create a revocable mmap object
 * @ops: the owner's constant data and the type of the object; must outlive it
 * @device: what the object maps, for debugfs and tracepoints; copied
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
	struct inode *inode;

	device = kstrdup(device, GFP_KERNEL);
	if (!device)
		return NULL;

	inode = alloc_anon_inode(mmap_revoke_mnt->mnt_sb);
	if (IS_ERR(inode)) {
		kfree(device);
		return NULL;
	}

	mr = container_of(inode, struct mmap_revoke, inode);
	refcount_set(&mr->ref, 1);
	mr->ops = ops;
	mr->device = device;
	mr->priv = priv;
	mutex_init(&mr->lock);
	init_rwsem(&mr->gate);
	mr->state = MMAP_REVOKE_LIVE;
	mr->nr_revoked = 0;
	INIT_LIST_HEAD(&mr->maps);
	mr->zero_page = NULL;
	spin_lock_init(&mr->notifier_lock);
	INIT_LIST_HEAD(&mr->notifiers);
	mr->notifying = NULL;
	mr->notifier_task = NULL;
	init_waitqueue_head(&mr->notifier_wait);

	guard(mutex)(&mmap_revoke_objects_lock);
	list_add_tail(&mr->node, &mmap_revoke_objects);
	return mr;
}
EXPORT_SYMBOL_GPL(mmap_revoke_alloc);

/**
 * mmap_revoke_get - take another reference
 * @mr: an object that the caller has a reference to
 *
 * Context: Any.
 */
void mmap_revoke_get(struct mmap_revoke *mr)
{
	refcount_inc(&mr->ref);
}

static void mmap_revoke_free_zero_page(struct mmap_revoke *mr)
{
	if (mr->zero_page)
		__free_page(mr->zero_page);
	mr->zero_page = NULL;
}

/**
 * mmap_revoke_put - drop a reference
 * @mr: the object; may be freed when this returns
 *
 * To drop the last reference while the object has VMAs or subscribers is a bug
 * of the owner. It gets a WARN, and the object is leaked, because the mm core
 * or the subscriber is going to use it.
 *
 * Context: Process context, may sleep. Must not be called with the object's
 * i_mmap_rwsem held.
 */
void mmap_revoke_put(struct mmap_revoke *mr)
{
	might_sleep();

	if (!refcount_dec_and_test(&mr->ref))
		return;

	if (WARN(mapping_mapped(&mr->inode.i_data) ||
		 !list_empty(&mr->maps) || !list_empty(&mr->notifiers),
		 "mmap_revoke: %s %s freed while in use\n",
		 mr->ops->name, mr->device))
		return;

	scoped_guard(mutex, &mmap_revoke_objects_lock)
		list_del(&mr->node);
	mmap_revoke_free_zero_page(mr);
	kfree(mr->device);
	iput(&mr->inode);
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
 * For owners that hand it to other parts of the kernel, such as memory
 * failure handling. Use mmap_revoke_zap() to unmap.
 *
 * Context: Any.
 * Return: The address_space; it lives as long as the object.
 */
struct address_space *mmap_revoke_mapping(struct mmap_revoke *mr)
{
	return &mr->inode.i_data;
}
EXPORT_SYMBOL_GPL(mmap_revoke_mapping);

/* The object that @mapping belongs to, or NULL. */
struct mmap_revoke *mmap_revoke_from_mapping(struct address_space *mapping)
{
	if (mapping->host->i_sb != mmap_revoke_mnt->mnt_sb)
		return NULL;
	return container_of(mapping->host, struct mmap_revoke, inode);
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
	file->f_mapping = &mr->inode.i_data;
	trace_mmap_revoke_bind(mr->ops->name, mr->device);
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

/*
 * Call the subscribers one after the other, without a lock that they would
 * need to join or leave: the cursor keeps the place in the list.
 */
static void mmap_revoke_notify(struct mmap_revoke *mr,
			       enum mmap_revoke_event event)
{
	struct mmap_revoke_notifier cursor, *nb;

	lockdep_assert_held(&mr->lock);

	spin_lock(&mr->notifier_lock);
	mr->notifier_task = current;
	list_add(&cursor.node, &mr->notifiers);
	while (!list_is_last(&cursor.node, &mr->notifiers)) {
		nb = list_next_entry(&cursor, node);
		list_move(&cursor.node, &nb->node);
		mr->notifying = nb;
		spin_unlock(&mr->notifier_lock);

		lock_map_acquire(&mmap_revoke_notify_map);
		nb->notify(nb, mr, event);
		lock_map_release(&mmap_revoke_notify_map);

		spin_lock(&mr->notifier_lock);
		/* Who waits for the callback must see what it did. */
		smp_store_release(&mr->notifying, NULL);
		wake_up_all(&mr->notifier_wait);
	}
	list_del(&cursor.node);
	mr->notifier_task = NULL;
	spin_unlock(&mr->notifier_lock);
}

/**
 * mmap_revoke_register_notifier - subscribe to the events of an object
 * @mr: the object; the caller keeps a reference until it has unsubscribed
 * @nb: the subscriber, with @nb->notify set
 *
 * Callbacks run in the order of registration, in the task that revokes or
 * resumes, after the state of the object has changed and, on the way to
 * suspended or dead, before the page tables are zapped. They may sleep. They
 * may join or leave subscribers of the object; one that joins is called for
 * the same event. They must not take mmap_lock, wait for user space, or revoke
 * or resume this object.
 *
 * The subscriber may miss an event that is being delivered while it joins,
 * and may see MMAP_REVOKE_END without a MMAP_REVOKE_BEGIN before it. So join
 * first, then look at the state with mmap_revoke_enter(), under a lock that
 * the callback takes as well.
 *
 * Context: Any but hard or soft interrupt context.
 */
void mmap_revoke_register_notifier(struct mmap_revoke *mr,
				   struct mmap_revoke_notifier *nb)
{
	guard(spinlock)(&mr->notifier_lock);
	list_add_tail(&nb->node, &mr->notifiers);
}
EXPORT_SYMBOL_GPL(mmap_revoke_register_notifier);

/**
 * mmap_revoke_unregister_notifier - leave an object
 * @mr: the object
 * @nb: the subscriber
 *
 * When this returns no callback of @nb runs or will run, except where it is
 * called from that callback: then it is the last one. A revocation does not
 * wait for a subscriber that has left, so drop first what was derived from the
 * mappings of the object.
 *
 * Context: Process context, may sleep. Waits for a running callback of @nb:
 * the caller must not hold a lock that it takes (lockdep watches).
 */
void mmap_revoke_unregister_notifier(struct mmap_revoke *mr,
				     struct mmap_revoke_notifier *nb)
{
	might_sleep();

	scoped_guard(spinlock, &mr->notifier_lock) {
		list_del_init(&nb->node);
		if (mr->notifier_task == current)
			return;
	}

	lock_map_acquire(&mmap_revoke_notify_map);
	lock_map_release(&mmap_revoke_notify_map);
	/* Pairs with the release in mmap_revoke_notify(). */
	wait_event(mr->notifier_wait, smp_load_acquire(&mr->notifying) != nb);
}
EXPORT_SYMBOL_GPL(mmap_revoke_unregister_notifier);

/* @nr == 0: to the end. */
static void mmap_revoke_unmap(struct mmap_revoke *mr, pgoff_t pgoff,
			      unsigned long nr)
{
	pgoff_t last = pgoff + nr - 1;
	u64 start = ktime_get_ns();

	unmap_mapping_pages(&mr->inode.i_data, pgoff, nr, true);
	trace_mmap_revoke_zap(mr->ops->name, mr->device, pgoff,
			      last < pgoff ? ULONG_MAX : last,
			      ktime_get_ns() - start);
}

/**
 * mmap_revoke_zap - remove the page table entries of a range
 * @mr: the object
 * @pgoff: first page, in units of PAGE_SIZE as in vm_pgoff
 * @nr: number of pages; 0 does nothing, and pages beyond the largest page
 *	offset are ignored
 *
 * In all processes. Does not keep out faults, neither later ones nor those
 * under way. It is for owners that do so with a lock of their own, and for
 * ranges that are gone for good.
 *
 * Context: Process context, may sleep. Takes i_mmap_rwsem, not mmap_lock.
 */
void mmap_revoke_zap(struct mmap_revoke *mr, pgoff_t pgoff, unsigned long nr)
{
	might_sleep();

	if (nr)
		mmap_revoke_unmap(mr, pgoff, nr);
}

static void mmap_revoke_set_state(struct mmap_revoke *mr,
				  enum mmap_revoke_state state)
{
	lockdep_assert_held(&mr->lock);

	down_write(&mr->gate);
	WRITE_ONCE(mr->state, state);
	up_write(&mr->gate);
}

/**
 * mmap_revoke_begin - suspend all mappings
 * @mr: the object
 *
 * When this returns, no page table maps pages of the object and
 * mmap_revoke_fault() will insert none before mmap_revoke_end(); guarded
 * accesses have finished; every subscriber has seen MMAP_REVOKE_BEGIN.
 *
 * Suspending is a state and does not nest: another begin makes sure again
 * that nothing is mapped, and one end resumes. An owner with several reasons
 * to suspend decides under a lock of its own when the last one is gone. An
 * owner that inserts with mmap_revoke_insert_pfn() must hold that lock, so
 * that faults wait or fail. A dead object stays dead.
 *
 * Context: Process context, may sleep; waits for page table insertions and
 * subscribers, not for user space. Takes no mmap_lock. Must not be called from
 * a guarded section or a notifier of the object (lockdep watches).
 */
void mmap_revoke_begin(struct mmap_revoke *mr)
{
	u64 start = ktime_get_ns();

	guard(mutex)(&mr->lock);
	if (mr->state == MMAP_REVOKE_LIVE) {
		mr->nr_revoked++;
		mmap_revoke_set_state(mr, MMAP_REVOKE_SUSPENDED);
		mmap_revoke_notify(mr, MMAP_REVOKE_BEGIN);
	}
	mmap_revoke_unmap(mr, 0, 0);
	trace_mmap_revoke_begin(mr->ops->name, mr->device, 0, ULONG_MAX,
				ktime_get_ns() - start);
}
EXPORT_SYMBOL_GPL(mmap_revoke_begin);

/**
 * mmap_revoke_end - resume the mappings of a suspended object
 * @mr: the object
 *
 * Faults insert pages again, subscribers see MMAP_REVOKE_END. Does nothing
 * where the object is not suspended.
 *
 * Context: As mmap_revoke_begin().
 */
void mmap_revoke_end(struct mmap_revoke *mr)
{
	u64 start = ktime_get_ns();

	guard(mutex)(&mr->lock);
	if (mr->state != MMAP_REVOKE_SUSPENDED)
		return;
	mmap_revoke_set_state(mr, MMAP_REVOKE_LIVE);
	mmap_revoke_notify(mr, MMAP_REVOKE_END);
	trace_mmap_revoke_end(mr->ops->name, mr->device, 0, ULONG_MAX,
			      ktime_get_ns() - start);
}
EXPORT_SYMBOL_GPL(mmap_revoke_end);

/**
 * mmap_revoke_kill - revoke all mappings for good
 * @mr: the object
 *
 * As mmap_revoke_begin(), without an end: subscribers see MMAP_REVOKE_KILL,
 * faults through mmap_revoke_fault() SIGBUS or, where the owner chose so, zero
 * pages. A lookup does not find the object any more. Maps are not released:
 * see mmap_revoke_kill_maps().
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
	mmap_revoke_notify(mr, MMAP_REVOKE_KILL);
	mmap_revoke_unmap(mr, 0, 0);
	trace_mmap_revoke_kill(mr->ops->name, mr->device, 0, ULONG_MAX,
			       ktime_get_ns() - start);
}
EXPORT_SYMBOL_GPL(mmap_revoke_kill);

/**
 * mmap_revoke_renew - start another generation of a dead object
 * @mr: the object
 *
 * For devices that are opened again after they were closed: the object lives
 * on, but nothing that was mapped before the kill comes back. An object with
 * VMAs would break that promise, so it stays dead, with a WARN. Does nothing
 * where the object is not dead.
 *
 * Context: Process context, may sleep. No notifier is called, and a subscriber
 * that did not leave at MMAP_REVOKE_KILL is one of the new generation.
 */
void mmap_revoke_renew(struct mmap_revoke *mr)
{
	guard(mutex)(&mr->lock);
	if (mr->state != MMAP_REVOKE_DEAD)
		return;
	/* No fault may map the zero page between the check and its end. */
	guard(rwsem_write)(&mr->gate);
	if (WARN(mapping_mapped(&mr->inode.i_data),
		 "mmap_revoke: %s %s renewed while mapped\n",
		 mr->ops->name, mr->device))
		return;
	mmap_revoke_free_zero_page(mr);
	WRITE_ONCE(mr->state, MMAP_REVOKE_LIVE);
}
EXPORT_SYMBOL_GPL(mmap_revoke_renew);

/**
 * mmap_revoke_enter - begin a guarded access
 * @mr: the object
 *
 * While it lasts the object stays live: begin and kill wait for it. Keep it
 * as short as the access itself; it must not touch user memory, revoke the
 * object, or nest. See also the class mmap_revoke_access.
 *
 * Context: Process context, may sleep.
 * Return: false, and nothing to exit, where the object is suspended or dead.
 */
bool mmap_revoke_enter(struct mmap_revoke *mr)
{
	down_read(&mr->gate);
	if (mr->state == MMAP_REVOKE_LIVE)
		return true;
	up_read(&mr->gate);
	return false;
}
EXPORT_SYMBOL_GPL(mmap_revoke_enter);

/**
 * mmap_revoke_exit - end a guarded access
 * @mr: the object that mmap_revoke_enter() returned true for; NULL is ignored
 *
 * Context: The task that entered.
 */
void mmap_revoke_exit(struct mmap_revoke *mr)
{
	if (mr)
		up_read(&mr->gate);
}
EXPORT_SYMBOL_GPL(mmap_revoke_exit);

#ifdef CONFIG_MMU
/**
 * mmap_revoke_from_vma - the object that a VMA maps
 * @vma: any VMA
 * @ops: the type of object that the caller knows
 *
 * Context: The mmap_lock of the VMA's mm is held, for reading or writing.
 * Return: The object with a reference for the caller; NULL where the VMA maps
 * something else, an object with other ops, or one that was killed.
 */
struct mmap_revoke *mmap_revoke_from_vma(struct vm_area_struct *vma,
					 const struct mmap_revoke_ops *ops)
{
	struct mmap_revoke *mr;

	mmap_assert_locked(vma->vm_mm);

	if (!vma->vm_file)
		return NULL;
	mr = mmap_revoke_from_mapping(vma->vm_file->f_mapping);
	if (!mr || mr->ops != ops ||
	    READ_ONCE(mr->state) == MMAP_REVOKE_DEAD)
		return NULL;
	mmap_revoke_get(mr);
	return mr;
}
EXPORT_SYMBOL_GPL(mmap_revoke_from_vma);

/**
 * mmap_revoke_mmap - prepare a VMA of device memory
 * @vma: a new VMA of a bound file
 *
 * For the ->mmap() of owners that map device memory by PFN: refuses private
 * mappings, and sets the flags of memory that has no struct pages, does not
 * grow and is not dumped. Insert pages from the fault handler only: ->mmap()
 * runs before the VMA can be found, so a concurrent revocation would miss
 * what was inserted there. That the VMA is within the device is for the caller
 * to check.
 *
 * Context: ->mmap(), with mmap_lock held for writing.
 * Return: 0, or -EINVAL for a private mapping, for one of a file that is not
 * open for writing, which the mm core makes private, or for an unbound file.
 */
int mmap_revoke_mmap(struct vm_area_struct *vma)
{
	if (WARN_ON_ONCE(!mmap_revoke_from_mapping(vma->vm_file->f_mapping)))
		return -EINVAL;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}
EXPORT_SYMBOL_GPL(mmap_revoke_mmap);

/**
 * mmap_revoke_insert_pfn - map PFNs of the faulting address
 * @vmf: the fault
 * @pfn: PFN that backs the fault address rounded down to @order
 * @order: 0, PMD_ORDER or PUD_ORDER
 *
 * For owners that have a lock of their own, and hold it here and while they
 * revoke. Others use mmap_revoke_fault().
 *
 * Context: ->fault() or ->huge_fault(); may sleep.
 * Return: As a fault handler; VM_FAULT_FALLBACK where a page of this order
 * does not fit.
 */
vm_fault_t mmap_revoke_insert_pfn(struct vm_fault *vmf, unsigned long pfn,
				  unsigned int order)
{
	unsigned long addr = ALIGN_DOWN(vmf->address, PAGE_SIZE << order);
	bool write = vmf->flags & FAULT_FLAG_WRITE;

	if (!mmap_revoke_order_fits(vmf->vma, addr, pfn, order))
		return VM_FAULT_FALLBACK;

	if (!order)
		return vmf_insert_pfn(vmf->vma, addr, pfn);

	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && order == PMD_ORDER)
		return vmf_insert_pfn_pmd(vmf, pfn, write);

	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) && order == PUD_ORDER)
		return vmf_insert_pfn_pud(vmf, pfn, write);

	return VM_FAULT_FALLBACK;
}
EXPORT_SYMBOL_GPL(mmap_revoke_insert_pfn);

/*
 * A fault on what was killed: zeros instead of the device, if the owner chose
 * so. VMAs that are or can become writable share one page per object: the
 * system's zero page must never be mapped writable. These are PFNs of ordinary
 * memory, so they take its protection bits and not vm_page_prot, which may be
 * uncached or decrypted for the device.
 */
vm_fault_t mmap_revoke_dead_fault(struct mmap_revoke *mr, struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long pfn = zero_pfn(vmf->address);
	struct page *page, *old;

	lockdep_assert_held_read(&mr->gate);

	if (!mr->ops->zero_page)
		return VM_FAULT_SIGBUS;

	if (vma->vm_flags & (VM_WRITE | VM_MAYWRITE)) {
		page = READ_ONCE(mr->zero_page);
		if (!page) {
			page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
			if (!page)
				return VM_FAULT_OOM;
			old = cmpxchg(&mr->zero_page, NULL, page);
			if (old) {
				__free_page(page);
				page = old;
			}
		}
		pfn = page_to_pfn(page);
	}

	return vmf_insert_pfn_prot(vma, vmf->address, pfn,
				   vma_get_page_prot(vma));
}

/**
 * mmap_revoke_fault - map PFNs of the faulting address, if the object is live
 * @vmf: the fault, in a VMA of a bound file
 * @pfn: PFN that backs the fault address rounded down to @order
 * @order: 0, PMD_ORDER or PUD_ORDER
 *
 * mmap_revoke_insert_pfn() under the guard. While the object is suspended the
 * fault fails with SIGBUS; an owner that wants it to wait holds a lock of its
 * own from begin to end and takes it in its fault handler, as vfio-pci does.
 * A fault on a dead object gets SIGBUS, or zeros where ops->zero_page.
 *
 * Context: ->fault() or ->huge_fault(); may sleep.
 * Return: As a fault handler.
 */
vm_fault_t mmap_revoke_fault(struct vm_fault *vmf, unsigned long pfn,
			     unsigned int order)
{
	struct mmap_revoke *mr =
		mmap_revoke_from_mapping(vmf->vma->vm_file->f_mapping);

	guard(rwsem_read)(&mr->gate);
	if (mr->state == MMAP_REVOKE_LIVE)
		return mmap_revoke_insert_pfn(vmf, pfn, order);
	if (mr->state != MMAP_REVOKE_DEAD)
		return VM_FAULT_SIGBUS;
	return order ? VM_FAULT_FALLBACK : mmap_revoke_dead_fault(mr, vmf);
}
EXPORT_SYMBOL_GPL(mmap_revoke_fault);
#endif /* CONFIG_MMU */

#ifdef CONFIG_DEBUG_FS
static const char * const mmap_revoke_state_names[] = {
	[MMAP_REVOKE_LIVE] = "live",
	[MMAP_REVOKE_SUSPENDED] = "suspended",
	[MMAP_REVOKE_DEAD] = "dead",
};

static void *mmap_revoke_seq_start(struct seq_file *s, loff_t *pos)
{
	mutex_lock(&mmap_revoke_objects_lock);
	return seq_list_start_head(&mmap_revoke_objects, *pos);
}

static void *mmap_revoke_seq_next(struct seq_file *s, void *v, loff_t *pos)
{
	return seq_list_next(v, &mmap_revoke_objects, pos);
}

static void mmap_revoke_seq_stop(struct seq_file *s, void *v)
{
	mutex_unlock(&mmap_revoke_objects_lock);
}

static void mmap_revoke_show_vma(struct seq_file *s,
				 struct vm_area_struct *vma)
{
	struct task_struct *task = NULL;

	guard(rcu)();
#ifdef CONFIG_MEMCG
	task = rcu_dereference(vma->vm_mm->owner);
#endif
	seq_printf(s, "  %d %s %#lx-%#lx %#lx\n", task ? task_pid_nr(task) : 0,
		   task ? task->comm : "?", vma->vm_start, vma->vm_end,
		   vma->vm_pgoff);
}

static int mmap_revoke_seq_show(struct seq_file *s, void *v)
{
	struct vm_area_struct *vma;
	unsigned long nr_vmas = 0;
	struct mmap_revoke *mr;

	if (v == &mmap_revoke_objects) {
		seq_puts(s, "owner device state vmas revoked\n");
		return 0;
	}

	mr = list_entry(v, struct mmap_revoke, node);
	i_mmap_lock_read(&mr->inode.i_data);
	mapping_rmap_tree_foreach(vma, &mr->inode.i_data, 0, ULONG_MAX)
		nr_vmas++;
	seq_printf(s, "%s %s %s %lu %lu\n", mr->ops->name, mr->device,
		   mmap_revoke_state_names[READ_ONCE(mr->state)], nr_vmas,
		   READ_ONCE(mr->nr_revoked));
	mapping_rmap_tree_foreach(vma, &mr->inode.i_data, 0, ULONG_MAX)
		mmap_revoke_show_vma(s, vma);
	i_mmap_unlock_read(&mr->inode.i_data);
	return 0;
}

static const struct seq_operations mmap_revoke_objects_sops = {
	.start = mmap_revoke_seq_start,
	.next = mmap_revoke_seq_next,
	.stop = mmap_revoke_seq_stop,
	.show = mmap_revoke_seq_show,
};
DEFINE_SEQ_ATTRIBUTE(mmap_revoke_objects);

static void __init mmap_revoke_debugfs_init(void)
{
	debugfs_create_file("objects", 0400,
			    debugfs_create_dir("mmap_revoke", NULL), NULL,
			    &mmap_revoke_objects_fops);
}
#else
static void __init mmap_revoke_debugfs_init(void)
{
}
#endif /* CONFIG_DEBUG_FS */

#ifdef CONFIG_MODULES
static int mmap_revoke_leaked_map(void *cookie)
{
	return -ENODEV;
}

static void mmap_revoke_leaked_unmap(void *cookie)
{
}

static const struct mmap_revoke_ops mmap_revoke_leaked_ops = {
	.name = "leaked",
	.map = mmap_revoke_leaked_map,
	.unmap = mmap_revoke_leaked_unmap,
};

/*
 * An object that outlives the module of its owner was leaked. Say so, and keep
 * it away from the ops that are about to be freed.
 */
VISIBLE_IF_KUNIT int mmap_revoke_module_event(struct notifier_block *nb,
					      unsigned long event, void *data)
{
	struct mmap_revoke *mr;

	if (event != MODULE_STATE_GOING)
		return NOTIFY_DONE;

	guard(mutex)(&mmap_revoke_objects_lock);
	list_for_each_entry(mr, &mmap_revoke_objects, node) {
		if (!within_module((unsigned long)mr->ops, data))
			continue;
		WARN(1, "mmap_revoke: %s %s leaked by its module\n",
		     mr->ops->name, mr->device);
		mr->ops = &mmap_revoke_leaked_ops;
	}
	return NOTIFY_DONE;
}

static struct notifier_block mmap_revoke_module_nb = {
	.notifier_call = mmap_revoke_module_event,
};

static void __init mmap_revoke_module_init(void)
{
	register_module_notifier(&mmap_revoke_module_nb);
}
#else
static void __init mmap_revoke_module_init(void)
{
}
#endif /* CONFIG_MODULES */

static struct inode *mmap_revoke_alloc_inode(struct super_block *sb)
{
	struct mmap_revoke *mr;

	mr = alloc_inode_sb(sb, mmap_revoke_cache, GFP_KERNEL);
	return mr ? &mr->inode : NULL;
}

static void mmap_revoke_free_inode(struct inode *inode)
{
	kmem_cache_free(mmap_revoke_cache,
			container_of(inode, struct mmap_revoke, inode));
}

static const struct super_operations mmap_revoke_sops = {
	.statfs = simple_statfs,
	.alloc_inode = mmap_revoke_alloc_inode,
	.free_inode = mmap_revoke_free_inode,
};

static int mmap_revoke_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *ctx = init_pseudo(fc, MMAP_REVOKE_MAGIC);

	if (!ctx)
		return -ENOMEM;
	ctx->ops = &mmap_revoke_sops;
	return 0;
}

static struct file_system_type mmap_revoke_fs_type = {
	.name = "mmap_revoke",
	.init_fs_context = mmap_revoke_init_fs_context,
	.kill_sb = kill_anon_super,
};

static void mmap_revoke_init_once(void *mr)
{
	inode_init_once(&((struct mmap_revoke *)mr)->inode);
}

static int __init mmap_revoke_init(void)
{
	mmap_revoke_cache = kmem_cache_create("mmap_revoke",
					      sizeof(struct mmap_revoke), 0,
					      SLAB_HWCACHE_ALIGN |
					      SLAB_ACCOUNT | SLAB_PANIC,
					      mmap_revoke_init_once);
	mmap_revoke_mnt = kern_mount(&mmap_revoke_fs_type);
	if (IS_ERR(mmap_revoke_mnt))
		panic("mmap_revoke: cannot mount: %pe\n", mmap_revoke_mnt);

	mmap_revoke_debugfs_init();
	mmap_revoke_module_init();
	return 0;
}
subsys_initcall(mmap_revoke_init);
