/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the KUnit tests of revocable mmap objects share: an owner of objects,
 * address spaces, threads, and looks at real page tables. "Device memory" is
 * ordinary pages with a distinct word in each.
 *
 * User accesses on UML walk page tables in software and without a lock, so
 * they must not race with a revocation: there the tests call the fault handler
 * and look at what it inserted. On other architectures they access user memory
 * and so see stale TLB entries too.
 */
#ifndef _KUNIT_TESTS_MMAP_REVOKE_KUNIT_H
#define _KUNIT_TESTS_MMAP_REVOKE_KUNIT_H

#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/completion.h>
#include <linux/debug_locks.h>
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_revoke.h>
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/syscalls.h>
#include <linux/task_work.h>
#include <linux/uaccess.h>
#ifdef CONFIG_ARCH_HAS_SYSCALL_WRAPPER
#include <asm/syscall.h>
#endif

#include "../mmap_revoke_internal.h"

#define DEV_ORDER	9
#define DEV_PAGES	BIT(DEV_ORDER)
#define ADDR		0x40000000UL
#define ADDR2		0x50000000UL
#define RW		(PROT_READ | PROT_WRITE)
#define LOG_SIZE	64

/* What a map stands for. */
struct mr_cookie {
	int refuse;		/* errno for the next mmap() calls */
	unsigned int mapped, unmapped;
	/* The next unmap() wakes one, and waits for the other. */
	struct task_struct *wakes;
	struct completion *waits;
};

/* The owner of the objects under test. */
struct mr_dev {
	unsigned long pfn;
	/* For its next mmap() calls: */
	pgoff_t add_pgoff;	/* rewrites vm_pgoff, as vfio-platform does */
	bool no_maywrite;	/* read-only for ever */
	bool foreign;		/* knows nothing of mmap_revoke */
	bool uncached;		/* wants it uncached */
	bool maps;		/* uses the map layer, with @cookie */
	struct mr_cookie *cookie;
	struct mmap_revoke *renews; /* killed and renewed before it returns */
	/* For faults: */
	bool own_lock;		/* claims that its own lock keeps faults out */
};

/* What the exit handler has to take down, whatever the test came to. */
struct mr_test {
	struct mr_dev dev;
	struct page *pages;
	struct mm_struct *mm[6];
	struct file *file[4];
	struct mmap_revoke *mr[3];
	struct mr_cookie cookies[3];
	struct mmap_revoke *held[3];
	unsigned long taint;
	int debug_locks;
	bool failing;
};

static const struct mmap_revoke_ops mr_ops __maybe_unused = { .name = "kunit" };

/* The helper serializes the calls for one object. */
static inline int cookie_map(struct mmap_revoke *mr, void *data)
{
	struct mr_cookie *cookie = data;

	if (!cookie->refuse)
		cookie->mapped++;
	return cookie->refuse;
}

static inline void cookie_unmap(struct mmap_revoke *mr, void *data)
{
	struct mr_cookie *cookie = data;

	cookie->unmapped++;
	if (cookie->wakes) {
		wake_up_process(cookie->wakes);
		cookie->wakes = NULL;
		wait_for_completion(cookie->waits);
	}
}

static const struct mmap_revoke_ops mr_map_ops __maybe_unused = {
	.name = "maps",
	.zero_page = true,
	.map = cookie_map,
	.unmap = cookie_unmap,
};

static inline u32 dev_word(unsigned long page)
{
	return 0xd0000000 | (page % DEV_PAGES);
}

static inline vm_fault_t dev_huge_fault(struct vm_fault *vmf,
					unsigned int order)
{
	struct mr_dev *dev = vmf->vma->vm_file->private_data;
	unsigned long first = ALIGN_DOWN(vmf->address, PAGE_SIZE << order);
	unsigned long pfn = dev->pfn + vmf->pgoff % DEV_PAGES -
			    ((vmf->address - first) >> PAGE_SHIFT);

	if (dev->own_lock)
		return mmap_revoke_insert_pfn(vmf, pfn, order);
	return mmap_revoke_fault(vmf, pfn, order);
}

static inline vm_fault_t dev_fault(struct vm_fault *vmf)
{
	return dev_huge_fault(vmf, 0);
}

static const struct vm_operations_struct dev_vm_ops = {
	.fault = dev_fault,
	.huge_fault = dev_huge_fault,
};

static inline int dev_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mr_dev *dev = file->private_data;
	int ret;

	vma->vm_ops = &dev_vm_ops;
	vma->vm_pgoff += dev->add_pgoff;
	if (dev->uncached)
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	if (dev->foreign)
		return 0;

	if (dev->maps)
		ret = mmap_revoke_map_io(vma, dev->pfn + vma->vm_pgoff %
					 DEV_PAGES, dev->cookie);
	else
		ret = mmap_revoke_mmap(vma);
	if (!ret && dev->renews) {
		mmap_revoke_kill(dev->renews);
		ret = mmap_revoke_renew(dev->renews);
	}
	if (!ret && dev->no_maywrite)
		vm_flags_clear(vma, VM_MAYWRITE);
	return ret;
}

static inline int dev_release(struct inode *inode, struct file *file)
{
	if (file->f_mapping != inode->i_mapping)
		mmap_revoke_unbind_file(file);
	return 0;
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.mmap = dev_mmap,
	.release = dev_release,
	.fop_flags = FOP_UNSIGNED_OFFSET,
};

static inline int first_free(struct kunit *test, void *slots, int nr)
{
	void **slot = slots;
	int i;

	for (i = 0; i < nr && slot[i]; i++)
		;
	KUNIT_ASSERT_LT(test, i, nr);
	return i;
}

/* The second reference lets the exit handler see that all others are gone. */
static inline struct mmap_revoke *new_object(struct kunit *test,
					     const struct mmap_revoke_ops *ops)
{
	struct mr_test *t = test->priv;
	int i = first_free(test, t->held, ARRAY_SIZE(t->held));

	t->mr[i] = mmap_revoke_alloc(ops, test->name, t);
	KUNIT_ASSERT_NOT_NULL(test, t->mr[i]);
	mmap_revoke_get(t->mr[i]);
	t->held[i] = t->mr[i];
	return t->mr[i];
}

/* Who has a reference, the test included. */
static inline unsigned int nr_refs(struct mr_test *t, int i)
{
	return refcount_read(&t->held[i]->ref);
}

static inline void drop_held(struct mr_test *t, int i)
{
	struct mmap_revoke *mr = t->held[i];

	t->held[i] = NULL;
	mmap_revoke_put(mr);
}

static inline void put_object(struct mr_test *t, int i)
{
	struct mmap_revoke *mr = t->mr[i];

	t->mr[i] = NULL;
	mmap_revoke_put(mr);
}

static inline struct file *new_file_of(struct kunit *test,
				       struct mmap_revoke *mr,
				       const struct file_operations *fops)
{
	struct mr_test *t = test->priv;
	int i = first_free(test, t->file, ARRAY_SIZE(t->file));
	struct file *file;

	file = anon_inode_getfile("mmap_revoke_kunit", fops, &t->dev, O_RDWR);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	t->file[i] = file;
	if (mr)
		mmap_revoke_bind_file(mr, file);
	return file;
}

static inline struct file *new_file(struct kunit *test, struct mmap_revoke *mr)
{
	return new_file_of(test, mr, &dev_fops);
}

/* From a kthread the last fput() is deferred. */
static inline void put_file(struct mr_test *t, int i)
{
	struct file *file = t->file[i];

	t->file[i] = NULL;
	fput(file);
	flush_delayed_fput();
}

static inline struct mmap_revoke *new_bound(struct kunit *test,
					    const struct mmap_revoke_ops *ops)
{
	struct mmap_revoke *mr = new_object(test, ops);

	new_file(test, mr);
	return mr;
}

/* Each task that uses an mm has a reference to it, and so has the test. */
static inline struct mm_struct *keep_mm(struct kunit *test,
					struct mm_struct *mm)
{
	struct mr_test *t = test->priv;

	t->mm[first_free(test, t->mm, ARRAY_SIZE(t->mm))] = mm;
	return mm;
}

static inline struct mm_struct *new_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	return keep_mm(test, mm);
}

static inline void use_mm(struct mm_struct *mm)
{
	struct mm_struct *old = current->mm;

	mmget(mm);
	if (old) {
		kthread_unuse_mm(old);
		mmput(old);
	}
	kthread_use_mm(mm);
}

static inline void drop_mm(struct mr_test *t, int i)
{
	struct mm_struct *mm = t->mm[i];

	t->mm[i] = NULL;
	kthread_use_mm(mm);
	vm_munmap(0, TASK_SIZE);
	kthread_unuse_mm(mm);
	mmput(mm);
}

/*
 * Fault injection: its switches are files in debugfs and nowhere else. Without
 * this it spares what may sleep, and single pages.
 */
static inline bool set_fault(const char *kind, const char *name,
			     const void *val, size_t size)
{
	struct dentry *dir = debugfs_lookup(kind, NULL);
	struct dentry *file = dir ? debugfs_lookup(name, dir) : NULL;

	if (file)
		memcpy(d_inode(file)->i_private, val, size);
	dput(file);
	dput(dir);
	return file;
}

static inline bool set_failing(bool on)
{
	const unsigned long quiet = 0;
	const u32 min_order = !on;
	const bool spare = !on;

	set_fault("failslab", "verbose", &quiet, sizeof(quiet));
	set_fault("fail_page_alloc", "verbose", &quiet, sizeof(quiet));
	return set_fault("failslab", "ignore-gfp-wait", &spare,
			 sizeof(spare)) &&
	       set_fault("fail_page_alloc", "ignore-gfp-wait", &spare,
			 sizeof(spare)) &&
	       set_fault("fail_page_alloc", "min-order", &min_order,
			 sizeof(min_order));
}

/* From here on the @nth allocation of this thread after fail_nth() fails. */
static inline void allow_failing(struct kunit *test)
{
	struct mr_test *t = test->priv;

	if (!IS_ENABLED(CONFIG_FAILSLAB) ||
	    !IS_ENABLED(CONFIG_FAIL_PAGE_ALLOC) ||
	    !IS_ENABLED(CONFIG_FAULT_INJECTION_DEBUG_FS))
		kunit_skip(test, "no fault injection");
	t->failing = true;
	KUNIT_ASSERT_TRUE(test, set_failing(true));
}

static inline void fail_nth(unsigned int nth)
{
#ifdef CONFIG_FAULT_INJECTION
	current->fail_nth = nth;
#endif
}

/* 0: it has failed; otherwise how far away that was. */
static inline unsigned int fail_left(void)
{
	unsigned int left = 0;

#ifdef CONFIG_FAULT_INJECTION
	left = current->fail_nth;
	current->fail_nth = 0;
#endif
	return left;
}

static inline int mr_test_init(struct kunit *test)
{
	struct mr_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->taint = get_taint();
	t->debug_locks = debug_locks;
	t->pages = alloc_pages(GFP_KERNEL, DEV_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, t->pages);
	for (i = 0; i < DEV_PAGES; i++)
		*(u32 *)page_address(t->pages + i) = dev_word(i);
	t->dev.pfn = page_to_pfn(t->pages);
	use_mm(new_mm(test));
	return 0;
}

static inline void mr_test_exit(struct kunit *test)
{
	struct mr_test *t = test->priv;
	int i;

	if (!t)
		return;
	if (t->failing)
		set_failing(false);
	for (i = 0; i < ARRAY_SIZE(t->mm); i++)
		if (t->mm[i])
			drop_mm(t, i);
	for (i = 0; i < ARRAY_SIZE(t->file); i++)
		if (t->file[i])
			put_file(t, i);
	flush_delayed_fput();
	for (i = 0; i < ARRAY_SIZE(t->held); i++) {
		if (t->mr[i])
			put_object(t, i);
		if (!t->held[i])
			continue;
		/* Nobody else has one: all references have been dropped. */
		KUNIT_EXPECT_EQ(test, nr_refs(t, i), 1);
		drop_held(t, i);
	}
	if (t->pages)
		__free_pages(t->pages, DEV_ORDER);
	/* A report in the log does not fail a test by itself. */
	KUNIT_EXPECT_EQ(test, get_taint() & ~t->taint, 0);
	KUNIT_EXPECT_EQ(test, debug_locks, t->debug_locks);
}

static inline unsigned long map_prot(struct file *file, unsigned long addr,
				     unsigned long nr, pgoff_t pgoff,
				     unsigned long prot)
{
	return vm_mmap(file, addr, nr << PAGE_SHIFT, prot,
		       MAP_SHARED | MAP_FIXED, pgoff << PAGE_SHIFT);
}

static inline unsigned long map(struct file *file, unsigned long addr,
				unsigned long nr, pgoff_t pgoff)
{
	return map_prot(file, addr, nr, pgoff, RW);
}

/*
 * As a process maps, until it returns to user space and runs task_work_run().
 * Kernel threads do not return there.
 */
static inline unsigned long user_map(struct file *file, unsigned long addr,
				     unsigned long nr, pgoff_t pgoff)
{
	unsigned long ret;

	current->flags &= ~PF_KTHREAD;
	ret = map(file, addr, nr, pgoff);
	current->flags |= PF_KTHREAD;
	return ret;
}

/* Looks at the page tables without a fault; ends with the page table lock. */
static inline bool find_pte(struct mm_struct *mm, unsigned long addr,
			    struct follow_pfnmap_args *args)
{
	args->address = addr;
	args->vma = vma_lookup(mm, addr);
	return args->vma && !follow_pfnmap_start(args);
}

static inline struct follow_pfnmap_args pte_at(struct mm_struct *mm,
					       unsigned long addr)
{
	struct follow_pfnmap_args args = {};

	mmap_read_lock(mm);
	if (find_pte(mm, addr, &args))
		follow_pfnmap_end(&args);
	mmap_read_unlock(mm);
	return args;
}

/* One bit for each page that is mapped. */
static inline u64 mapped(struct mm_struct *mm, unsigned long addr,
			 unsigned int nr)
{
	struct follow_pfnmap_args args;
	u64 bits = 0;

	mmap_read_lock(mm);
	while (nr--) {
		if (!find_pte(mm, addr + nr * PAGE_SIZE, &args))
			continue;
		follow_pfnmap_end(&args);
		bits |= BIT_ULL(nr);
	}
	mmap_read_unlock(mm);
	return bits;
}

static inline int touch(struct mm_struct *mm, unsigned long addr,
			unsigned int flags)
{
	bool unlocked;
	int ret;

	mmap_read_lock(mm);
	ret = fixup_user_fault(mm, addr, flags, &unlocked);
	mmap_read_unlock(mm);
	return ret;
}

#ifdef CONFIG_UML
static inline int user_access(unsigned long addr, u32 *val, bool write)
{
	struct mm_struct *mm = current->mm;
	struct follow_pfnmap_args args;
	bool found = false;
	u32 *word;
	int ret;

	while (!found) {
		ret = touch(mm, addr, write ? FAULT_FLAG_WRITE : 0);
		if (ret)
			return ret;
		/* Once more where it was zapped meanwhile. */
		mmap_read_lock(mm);
		found = find_pte(mm, addr, &args);
		if (found) {
			word = page_address(pfn_to_page(args.pfn));
			if (write)
				*word = *val;
			else
				*val = *word;
			follow_pfnmap_end(&args);
		}
		mmap_read_unlock(mm);
	}
	return 0;
}
#else
static inline int user_access(unsigned long addr, u32 *val, bool write)
{
	u32 __user *p = (u32 __user *)addr;

	return write ? put_user(*val, p) : get_user(*val, p);
}
#endif

static inline int read_word(unsigned long addr, u32 *val)
{
	return user_access(addr, val, false);
}

static inline int write_word(unsigned long addr, u32 val)
{
	return user_access(addr, &val, true);
}

/* Is page @pgoff of the device and what follows readable at @addr? */
static inline bool reads(unsigned long addr, unsigned long nr, pgoff_t pgoff)
{
	u32 val;

	for (; nr; nr--, addr += PAGE_SIZE, pgoff++)
		if (read_word(addr, &val) || val != dev_word(pgoff))
			return false;
	return true;
}

static inline bool zeros(unsigned long addr, unsigned long nr)
{
	u32 val;

	for (; nr; nr--, addr += PAGE_SIZE)
		if (read_word(addr, &val) || val)
			return false;
	return true;
}

/* Does every access fail, and leave nothing behind in the page tables? */
static inline bool sigbus(unsigned long addr, unsigned int nr)
{
	unsigned int i;
	u32 val;

	for (i = 0; i < nr; i++)
		if (read_word(addr + i * PAGE_SIZE, &val) != -EFAULT)
			return false;
	return !mapped(current->mm, addr, nr);
}

static inline bool is_live(struct mmap_revoke *mr)
{
	guard(rwsem_read)(&mr->gate);
	return mr->state == MMAP_REVOKE_LIVE;
}

#ifdef CONFIG_ARCH_HAS_SYSCALL_WRAPPER
static inline long do_syscall(unsigned int nr, const unsigned long *args)
{
	struct pt_regs regs = {};

	syscall_set_arguments(current, &regs, args);
	return sys_call_table[nr](&regs);
}

#define user_mremap(addr, old_len, new_len, flags, to)			\
	do_syscall(__NR_mremap, (unsigned long [6]) { addr, old_len,	\
		   new_len, flags, to })
#define user_mprotect(addr, len, prot)					\
	do_syscall(__NR_mprotect, (unsigned long [6]) { addr, len, prot })
#else
#define user_mremap	sys_mremap
#define user_mprotect	sys_mprotect
#endif

/*
 * Threads
 */
struct mr_thread {
	void (*fn)(struct mr_thread *th);
	struct mr_test *t;
	struct mmap_revoke *mr;
	struct mm_struct *mm;
	void *arg;
	struct task_struct *task;
	bool finished;
	/* What it saw, in races. */
	unsigned long ok, refused, bad;
	/* Complete @reached after so many more accesses. */
	unsigned long more;
	struct completion reached;
};

static inline int thread_fn(void *data)
{
	struct mr_thread *th = data;

	if (th->mm)
		kthread_use_mm(th->mm);
	th->fn(th);
	if (th->mm)
		kthread_unuse_mm(th->mm);
	WRITE_ONCE(th->finished, true);
	return 0;
}

static inline void prepare(struct kunit *test, struct mr_thread *th)
{
	init_completion(&th->reached);
	th->task = kthread_create(thread_fn, th, "mmap_revoke_kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(th->task));
	get_task_struct(th->task);
}

static inline void start(struct kunit *test, struct mr_thread *th)
{
	prepare(test, th);
	wake_up_process(th->task);
}

/*
 * Holds the gate, as a fault under way does, and starts it. Nothing is
 * allocated under the gate.
 */
static inline void start_gated(struct kunit *test, struct mr_thread *th)
{
	prepare(test, th);
	down_read(&th->mr->gate);
	wake_up_process(th->task);
}

static inline void join(struct mr_thread *th)
{
	kthread_stop_put(th->task);
}

/* Wait until the thread sleeps: true; or has come to its end: false. */
static inline bool blocks(struct mr_thread *th)
{
	while (!READ_ONCE(th->finished)) {
		if (wait_task_inactive(th->task, TASK_UNINTERRUPTIBLE))
			return !READ_ONCE(th->finished);
		cond_resched();
	}
	return false;
}

static inline void begin_fn(struct mr_thread *th)
{
	mmap_revoke_begin(th->mr);
}

static inline void kill_fn(struct mr_thread *th)
{
	mmap_revoke_kill(th->mr);
}

/* A real fork(): the child leaves its address space behind and exits. */
struct mr_fork {
	struct completion done;
	struct mm_struct *mm;
};

static inline int child_fn(void *arg)
{
	struct mr_fork *f = arg;

	mmget(current->mm);
	f->mm = current->mm;
	complete(&f->done);
	do_exit(0);
}

static inline struct mm_struct *fork_mm(void)
{
	struct mr_fork f = {
		.done = COMPLETION_INITIALIZER_ONSTACK(f.done),
	};
	struct kernel_clone_args args = {
		.flags = CLONE_UNTRACED,
		.exit_signal = SIGCHLD,
		.fn = child_fn,
		.fn_arg = &f,
	};
	pid_t pid;

	pid = kernel_clone(&args);
	if (pid < 0)
		return NULL;
	wait_for_completion(&f.done);
	/* SIGCHLD is ignored, so this only waits for the exit. */
	kernel_wait(pid, NULL);
	return f.mm;
}

/* They outlive the test function: maps end when its process does. */
static inline struct mr_cookie *cookies(struct kunit *test)
{
	struct mr_test *t = test->priv;

	return t->cookies;
}

static inline struct mmap_revoke *new_maps_of(struct kunit *test,
					      const struct mmap_revoke_ops *ops,
					      struct mr_cookie *cookie)
{
	struct mr_test *t = test->priv;

	t->dev.maps = true;
	t->dev.cookie = cookie;
	return new_bound(test, ops);
}

static inline struct mmap_revoke *new_maps(struct kunit *test,
					   struct mr_cookie *cookie)
{
	return new_maps_of(test, &mr_map_ops, cookie);
}

/* Constant data of a module, which goes and takes it away. */
static inline struct mmap_revoke_ops *
module_ops(struct kunit *test, const struct mmap_revoke_ops *ops)
{
	struct mmap_revoke_ops *copy = kmemdup(ops, sizeof(*ops), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, copy);
	copy->name = kstrdup("gone", GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, copy->name);
	return copy;
}

static inline void module_goes(struct mmap_revoke_ops *ops)
{
	kfree(ops->name);
	memset(ops, 0x6b, sizeof(*ops));
	kfree(ops);
}

#define MR_SUITE(suite_name, cases)			\
static struct kunit_suite mr_suite = {			\
	.name = suite_name,				\
	.init = mr_test_init,				\
	.exit = mr_test_exit,				\
	.test_cases = cases,				\
};							\
kunit_test_suite(mr_suite)

#endif /* _KUNIT_TESTS_MMAP_REVOKE_KUNIT_H */
