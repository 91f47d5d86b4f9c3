// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of revocable mmap objects, on real address spaces and page
 * tables. "Device memory" is ordinary pages with a distinct word in each.
 *
 * User accesses on UML walk page tables in software and without a lock, so
 * they must not race with a revocation: there the tests call the fault handler
 * and look at what it inserted. On other architectures they access user memory
 * and so see stale TLB entries too.
 */
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/completion.h>
#include <linux/debug_locks.h>
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_revoke.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/panic.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <trace/events/mmap_revoke.h>
#ifdef CONFIG_ARCH_HAS_SYSCALL_WRAPPER
#include <asm/syscall.h>
#endif

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
};

/* The owner of the objects under test. */
struct mr_dev {
	unsigned long pfn;
	/* For its next mmap() calls: */
	pgoff_t add_pgoff;	/* rewrites vm_pgoff, as vfio-platform does */
	bool no_maywrite;	/* read-only for ever */
	bool foreign;		/* knows nothing of mmap_revoke */
	bool maps;		/* uses the map layer, with @cookie */
	struct mr_cookie *cookie;
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
	struct inode *inode[3];
	unsigned long taint;
	int debug_locks;
};

static const struct mmap_revoke_ops mr_ops = { .name = "kunit" };
static const struct mmap_revoke_ops mr_other_ops = { .name = "other" };
static const struct mmap_revoke_ops mr_zero_ops = {
	.name = "zero",
	.zero_page = true,
};

/* The helper serializes the calls for one object. */
static int cookie_map(void *data)
{
	struct mr_cookie *cookie = data;

	if (!cookie->refuse)
		cookie->mapped++;
	return cookie->refuse;
}

static void cookie_unmap(void *data)
{
	struct mr_cookie *cookie = data;

	cookie->unmapped++;
}

static const struct mmap_revoke_ops mr_map_ops = {
	.name = "maps",
	.zero_page = true,
	.map = cookie_map,
	.unmap = cookie_unmap,
};

static u32 dev_word(unsigned long page)
{
	return 0xd0000000 | (page % DEV_PAGES);
}

static vm_fault_t dev_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct mr_dev *dev = vmf->vma->vm_file->private_data;
	unsigned long first = ALIGN_DOWN(vmf->address, PAGE_SIZE << order);
	unsigned long pfn = dev->pfn + vmf->pgoff % DEV_PAGES -
			    ((vmf->address - first) >> PAGE_SHIFT);

	if (dev->own_lock)
		return mmap_revoke_insert_pfn(vmf, pfn, order);
	return mmap_revoke_fault(vmf, pfn, order);
}

static vm_fault_t dev_fault(struct vm_fault *vmf)
{
	return dev_huge_fault(vmf, 0);
}

static const struct vm_operations_struct dev_vm_ops = {
	.fault = dev_fault,
	.huge_fault = dev_huge_fault,
};

static int dev_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mr_dev *dev = file->private_data;
	int ret;

	vma->vm_ops = &dev_vm_ops;
	vma->vm_pgoff += dev->add_pgoff;
	if (dev->foreign)
		return 0;

	if (dev->maps)
		ret = mmap_revoke_map_io(vma, dev->pfn + vma->vm_pgoff %
					 DEV_PAGES, dev->cookie);
	else
		ret = mmap_revoke_mmap(vma);
	if (!ret && dev->no_maywrite)
		vm_flags_clear(vma, VM_MAYWRITE);
	return ret;
}

static int dev_release(struct inode *inode, struct file *file)
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

static int first_free(struct kunit *test, void *slots, int nr)
{
	void **slot = slots;
	int i;

	for (i = 0; i < nr && slot[i]; i++)
		;
	KUNIT_ASSERT_LT(test, i, nr);
	return i;
}

/* The inode reference lets the exit handler see that the object let go. */
static struct mmap_revoke *new_object(struct kunit *test,
				      const struct mmap_revoke_ops *ops)
{
	struct mr_test *t = test->priv;
	int i = first_free(test, t->inode, ARRAY_SIZE(t->inode));

	t->mr[i] = mmap_revoke_alloc(ops, test->name, t);
	KUNIT_ASSERT_NOT_NULL(test, t->mr[i]);
	t->inode[i] = mmap_revoke_mapping(t->mr[i])->host;
	ihold(t->inode[i]);
	return t->mr[i];
}

static void put_object(struct mr_test *t, int i)
{
	struct mmap_revoke *mr = t->mr[i];

	t->mr[i] = NULL;
	mmap_revoke_put(mr);
}

static struct file *new_file(struct kunit *test, struct mmap_revoke *mr)
{
	struct mr_test *t = test->priv;
	int i = first_free(test, t->file, ARRAY_SIZE(t->file));
	struct file *file;

	file = anon_inode_getfile("mmap_revoke_kunit", &dev_fops, &t->dev,
				  O_RDWR);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	t->file[i] = file;
	if (mr)
		mmap_revoke_bind_file(mr, file);
	return file;
}

/* From a kthread the last fput() is deferred. */
static void put_file(struct mr_test *t, int i)
{
	struct file *file = t->file[i];

	t->file[i] = NULL;
	fput(file);
	flush_delayed_fput();
}

static struct mmap_revoke *new_bound(struct kunit *test,
				     const struct mmap_revoke_ops *ops)
{
	struct mmap_revoke *mr = new_object(test, ops);

	new_file(test, mr);
	return mr;
}

/* Each task that uses an mm has a reference to it, and so has the test. */
static struct mm_struct *keep_mm(struct kunit *test, struct mm_struct *mm)
{
	struct mr_test *t = test->priv;

	t->mm[first_free(test, t->mm, ARRAY_SIZE(t->mm))] = mm;
	return mm;
}

static struct mm_struct *new_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	return keep_mm(test, mm);
}

static void use_mm(struct mm_struct *mm)
{
	struct mm_struct *old = current->mm;

	mmget(mm);
	if (old) {
		kthread_unuse_mm(old);
		mmput(old);
	}
	kthread_use_mm(mm);
}

static void drop_mm(struct mr_test *t, int i)
{
	struct mm_struct *mm = t->mm[i];

	t->mm[i] = NULL;
	kthread_use_mm(mm);
	vm_munmap(0, TASK_SIZE);
	kthread_unuse_mm(mm);
	mmput(mm);
}

static int mr_test_init(struct kunit *test)
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

static void mr_test_exit(struct kunit *test)
{
	struct mr_test *t = test->priv;
	int i;

	if (!t)
		return;
	for (i = 0; i < ARRAY_SIZE(t->mm); i++)
		if (t->mm[i])
			drop_mm(t, i);
	for (i = 0; i < ARRAY_SIZE(t->file); i++)
		if (t->file[i])
			put_file(t, i);
	flush_delayed_fput();
	for (i = 0; i < ARRAY_SIZE(t->inode); i++) {
		if (t->mr[i])
			put_object(t, i);
		if (!t->inode[i])
			continue;
		/* Nobody else has one: all references have been dropped. */
		KUNIT_EXPECT_EQ(test, icount_read_once(t->inode[i]), 1);
		iput(t->inode[i]);
	}
	if (t->pages)
		__free_pages(t->pages, DEV_ORDER);
	/* A report in the log does not fail a test by itself. */
	KUNIT_EXPECT_EQ(test, get_taint() & ~t->taint, 0);
	KUNIT_EXPECT_EQ(test, debug_locks, t->debug_locks);
}

static unsigned long map_prot(struct file *file, unsigned long addr,
			      unsigned long nr, pgoff_t pgoff,
			      unsigned long prot)
{
	return vm_mmap(file, addr, nr << PAGE_SHIFT, prot,
		       MAP_SHARED | MAP_FIXED, pgoff << PAGE_SHIFT);
}

static unsigned long map(struct file *file, unsigned long addr,
			 unsigned long nr, pgoff_t pgoff)
{
	return map_prot(file, addr, nr, pgoff, RW);
}

/* Looks at the page tables without a fault; ends with the page table lock. */
static bool find_pte(struct mm_struct *mm, unsigned long addr,
		     struct follow_pfnmap_args *args)
{
	args->address = addr;
	args->vma = vma_lookup(mm, addr);
	return args->vma && !follow_pfnmap_start(args);
}

static struct follow_pfnmap_args pte_at(struct mm_struct *mm,
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
static u64 mapped(struct mm_struct *mm, unsigned long addr, unsigned int nr)
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

static int touch(struct mm_struct *mm, unsigned long addr, unsigned int flags)
{
	bool unlocked;
	int ret;

	mmap_read_lock(mm);
	ret = fixup_user_fault(mm, addr, flags, &unlocked);
	mmap_read_unlock(mm);
	return ret;
}

#ifdef CONFIG_UML
static int user_access(unsigned long addr, u32 *val, bool write)
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
static int user_access(unsigned long addr, u32 *val, bool write)
{
	u32 __user *p = (u32 __user *)addr;

	return write ? put_user(*val, p) : get_user(*val, p);
}
#endif

static int read_word(unsigned long addr, u32 *val)
{
	return user_access(addr, val, false);
}

static int write_word(unsigned long addr, u32 val)
{
	return user_access(addr, &val, true);
}

/* Is page @pgoff of the device and what follows readable at @addr? */
static bool reads(unsigned long addr, unsigned long nr, pgoff_t pgoff)
{
	u32 val;

	for (; nr; nr--, addr += PAGE_SIZE, pgoff++)
		if (read_word(addr, &val) || val != dev_word(pgoff))
			return false;
	return true;
}

/* Does every access fail, and leave nothing behind in the page tables? */
static bool sigbus(unsigned long addr, unsigned int nr)
{
	unsigned int i;
	u32 val;

	for (i = 0; i < nr; i++)
		if (read_word(addr + i * PAGE_SIZE, &val) != -EFAULT)
			return false;
	return !mapped(current->mm, addr, nr);
}

static bool is_live(struct mmap_revoke *mr)
{
	CLASS(mmap_revoke_access, access)(mr);

	return access;
}

#ifdef CONFIG_ARCH_HAS_SYSCALL_WRAPPER
static long do_syscall(unsigned int nr, struct pt_regs regs)
{
	return sys_call_table[nr](&regs);
}

#define user_mremap(addr, old_len, new_len, flags, to)			\
	do_syscall(__NR_mremap, (struct pt_regs) { .di = addr,		\
		   .si = old_len, .dx = new_len, .r10 = flags, .r8 = to })
#define user_mprotect(addr, len, prot)					\
	do_syscall(__NR_mprotect, (struct pt_regs) { .di = addr,	\
		   .si = len, .dx = prot })
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

static int thread_fn(void *data)
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

static void start(struct kunit *test, struct mr_thread *th)
{
	init_completion(&th->reached);
	th->task = kthread_create(thread_fn, th, "mmap_revoke_kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(th->task));
	get_task_struct(th->task);
	wake_up_process(th->task);
}

static void join(struct mr_thread *th)
{
	kthread_stop_put(th->task);
}

/* Wait until the thread sleeps: true; or has come to its end: false. */
static bool blocks(struct mr_thread *th)
{
	while (!READ_ONCE(th->finished)) {
		if (wait_task_inactive(th->task, TASK_UNINTERRUPTIBLE))
			return !READ_ONCE(th->finished);
		cond_resched();
	}
	return false;
}

static void begin_fn(struct mr_thread *th)
{
	mmap_revoke_begin(th->mr);
}

static void kill_fn(struct mr_thread *th)
{
	mmap_revoke_kill(th->mr);
}

static void unregister_fn(struct mr_thread *th)
{
	mmap_revoke_unregister_notifier(th->mr, th->arg);
}

/* A real fork(): the child leaves its address space behind and exits. */
struct mr_fork {
	struct completion done;
	struct mm_struct *mm;
};

static int child_fn(void *arg)
{
	struct mr_fork *f = arg;

	mmget(current->mm);
	f->mm = current->mm;
	complete(&f->done);
	do_exit(0);
}

static struct mm_struct *fork_mm(void)
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

/*
 * Zap
 */
static void zap_range(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mmap_revoke *other = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;
	struct file *second = new_file(test, mr);

	/* Two VMAs of one file, one of another file, one of another object. */
	map(t->file[0], ADDR, 8, 0);
	map(t->file[0], ADDR2, 8, 8);
	map(second, ADDR + SZ_1M, 16, 0);
	map(t->file[1], ADDR2 + SZ_1M, 16, 0);
	KUNIT_EXPECT_PTR_EQ(test, mmap_revoke_mapping(other),
			    t->file[1]->f_mapping);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 8, 8));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 16, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2 + SZ_1M, 16, 0));

	mmap_revoke_zap(mr, 0, 0);
	mmap_revoke_zap(mr, 3, 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 8), 0xff);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 8), 0xff);

	mmap_revoke_zap(mr, 6, 4);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 8), 0x3f);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 8), 0xfc);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 16), 0xfc3f);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2 + SZ_1M, 16), 0xffff);

	mmap_revoke_zap(mr, 0, 1);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 8), 0x3e);
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
}

static void zap_large_offsets(struct kunit *test)
{
	const pgoff_t top = ULONG_MAX - 3;
	const pgoff_t half = 1UL << (BITS_PER_LONG - PAGE_SHIFT - 1);
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	map(t->file[0], ADDR, 4, 0);
	t->dev.add_pgoff = top;
	map(t->file[0], ADDR + SZ_1M, 4, 0);
	/* A byte offset that loff_t has no room for, by way of mmap(). */
	t->dev.add_pgoff = 0;
	KUNIT_ASSERT_EQ(test, map(t->file[0], ADDR2, 4, half), ADDR2);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 4, top));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, half));

	mmap_revoke_zap(mr, half + 1, 2);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0x9);
	mmap_revoke_zap(mr, top + 2, 1);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 4), 0xb);
	/* Cut off, not wrapped around. */
	mmap_revoke_zap(mr, top + 1, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 4), 0x1);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0xf);
	mmap_revoke_zap(mr, top, 4);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 4), 0);
	mmap_revoke_zap(mr, 1, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0x1);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 4, top));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 4), 0);
}

/*
 * States
 */
static void begin_end(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 4, 8);
	/* Nothing to end yet. */
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 8));

	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 4), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
	KUNIT_EXPECT_FALSE(test, is_live(mr));
	/* Does not nest. */
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));

	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 4), 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 8));
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR).pfn, t->dev.pfn + 8);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, 1), 0);
	KUNIT_EXPECT_EQ(test, *(u32 *)page_address(t->pages + 8), 1);
	KUNIT_EXPECT_PTR_EQ(test, mmap_revoke_priv(mr), (void *)t);
}

/* Owners with a lock of their own may have let faults in since. */
static void begin_again_zaps_again(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;

	t->dev.own_lock = true;
	map(t->file[0], ADDR, 4, 0);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 4), 0);
}

static void kill_is_for_ever(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mmap_revoke *suspended = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 4), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
	KUNIT_EXPECT_FALSE(test, is_live(mr));

	mmap_revoke_end(mr);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_FALSE(test, is_live(mr));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
	/* Also for who comes later. */
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR2, 4, 0), ADDR2);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR2, 4));

	mmap_revoke_begin(suspended);
	mmap_revoke_kill(suspended);
	mmap_revoke_end(suspended);
	KUNIT_EXPECT_FALSE(test, is_live(suspended));
}

static void renew(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;

	/* Only the dead. */
	mmap_revoke_begin(mr);
	mmap_revoke_renew(mr);
	KUNIT_EXPECT_FALSE(test, is_live(mr));

	map(t->file[0], ADDR, 4, 0);
	mmap_revoke_kill(mr);
	kunit_warning_suppress(test) {
		mmap_revoke_renew(mr);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_FALSE(test, is_live(mr));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));

	vm_munmap(ADDR, 4 * PAGE_SIZE);
	mmap_revoke_renew(mr);
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
}

/*
 * Address spaces and VMAs
 */
static void second_mm(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *first = current->mm, *second;

	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	second = new_mm(test);
	use_mm(second);
	map(t->file[0], ADDR, 4, 4);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 4));

	mmap_revoke_zap(mr, 4, 4);
	KUNIT_EXPECT_EQ(test, mapped(first, ADDR, 4), 0xf);
	KUNIT_EXPECT_EQ(test, mapped(second, ADDR, 4), 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 4));

	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(first, ADDR, 4), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
	use_mm(first);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	use_mm(second);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 4));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, mapped(first, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(second, ADDR, 4), 0);
}

static void forked(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *parent = current->mm, *child, *grandchild;

	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);
	KUNIT_EXPECT_PTR_NE(test, child, parent);
	/* fork() copied the page tables. */
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR, 4), 0xf);

	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(parent, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR, 4), 0);
	use_mm(child);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));

	grandchild = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, grandchild);
	keep_mm(test, grandchild);
	use_mm(grandchild);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	use_mm(child);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(grandchild, ADDR, 4), 0);
}

static void split_and_moved(struct kunit *test)
{
	const unsigned long len = 8 * PAGE_SIZE;
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	map(t->file[0], ADDR, 8, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
	KUNIT_EXPECT_EQ(test, user_mremap(ADDR, len, len,
					  MREMAP_MAYMOVE | MREMAP_FIXED,
					  ADDR2), ADDR2);
	/* The entries moved along. */
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 8), 0xff);
	KUNIT_EXPECT_EQ(test, vm_munmap(ADDR2 + 3 * PAGE_SIZE, PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 8), 0xf7);

	mmap_revoke_zap(mr, 2, 3);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 8), 0xe3);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 8), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR2, 3));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR2 + 4 * PAGE_SIZE, 4));
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 3, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2 + 4 * PAGE_SIZE, 4, 4));

	KUNIT_EXPECT_EQ(test, user_mremap(ADDR2, 3 * PAGE_SIZE, len,
					  MREMAP_MAYMOVE, 0), -EFAULT);
}

static void protection_changes(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 2, 0);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, dev_word(0)), 0);
	KUNIT_EXPECT_TRUE(test, pte_at(current->mm, ADDR).writable);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR, PAGE_SIZE, PROT_READ), 0);
	KUNIT_EXPECT_FALSE(test, pte_at(current->mm, ADDR).writable);

	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 2));
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	KUNIT_EXPECT_FALSE(test, pte_at(current->mm, ADDR).writable);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, 0), -EFAULT);
	KUNIT_EXPECT_TRUE(test,
			  pte_at(current->mm, ADDR + PAGE_SIZE).writable);

	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR, PAGE_SIZE, RW), 0);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, dev_word(0)), 0);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR, PAGE_SIZE, PROT_READ), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 2));
}

static void mmap_flags(struct kunit *test)
{
	const unsigned long set = VM_IO | VM_PFNMAP | VM_DONTEXPAND |
				  VM_DONTDUMP | VM_SHARED;
	struct mr_test *t = test->priv;
	unsigned long flags = MAP_PRIVATE | MAP_FIXED;
	struct vm_area_struct *vma;

	new_bound(test, &mr_ops);
	map(t->file[0], ADDR, 2, 0);
	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, ADDR);
	KUNIT_EXPECT_EQ(test, vma ? vma->vm_flags & set : 0, set);
	mmap_read_unlock(current->mm);

	KUNIT_EXPECT_EQ(test, vm_mmap(t->file[0], ADDR2, PAGE_SIZE, RW, flags,
				      0), (unsigned long)-EINVAL);
	KUNIT_EXPECT_EQ(test, vm_mmap(t->file[0], ADDR2, PAGE_SIZE, PROT_READ,
				      flags, 0), (unsigned long)-EINVAL);

	/* A file that nobody bound is a bug of the owner. */
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, map(new_file(test, NULL), ADDR2, 2, 0),
				(unsigned long)-EINVAL);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
}

/*
 * Zero pages
 */
static void zero_page_read_only(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_zero_ops);
	struct mr_test *t = test->priv;
	u32 val = 1;

	t->dev.no_maywrite = true;
	map_prot(t->file[0], ADDR, 2, 0, PROT_READ);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 2));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0);
	KUNIT_EXPECT_EQ(test, read_word(ADDR, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 0);
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR).pfn, zero_pfn(ADDR));
	KUNIT_EXPECT_FALSE(test, pte_at(current->mm, ADDR).writable);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR, PAGE_SIZE, RW), -EACCES);
}

static void zero_page_shared(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_zero_ops);
	struct mmap_revoke *other = new_bound(test, &mr_zero_ops);
	struct mr_test *t = test->priv;
	unsigned long pfn;
	u32 val = 1;

	map(t->file[0], ADDR, 2, 0);
	map(t->file[1], ADDR2, 1, 0);
	/* Read-only today, but mprotect() may change that. */
	map_prot(t->file[0], ADDR + SZ_1M, 1, 7, PROT_READ);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	mmap_revoke_kill(mr);
	mmap_revoke_kill(other);

	KUNIT_EXPECT_EQ(test, read_word(ADDR + SZ_1M, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 0);
	pfn = pte_at(current->mm, ADDR + SZ_1M).pfn;
	KUNIT_EXPECT_NE(test, pfn, zero_pfn(ADDR + SZ_1M));
	KUNIT_EXPECT_FALSE(test, pte_at(current->mm, ADDR + SZ_1M).writable);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR + SZ_1M, PAGE_SIZE, RW), 0);
	KUNIT_EXPECT_EQ(test, write_word(ADDR + SZ_1M, 42), 0);
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR + SZ_1M).pfn, pfn);
	KUNIT_EXPECT_EQ(test, *(u32 *)page_address(ZERO_PAGE(ADDR)), 0);

	KUNIT_EXPECT_EQ(test, read_word(ADDR + PAGE_SIZE, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 42);
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR + PAGE_SIZE).pfn, pfn);
	/* Not of the device. */
	KUNIT_EXPECT_FALSE(test, pfn - t->dev.pfn < DEV_PAGES);
	KUNIT_EXPECT_EQ(test, read_word(ADDR2, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 0);
	KUNIT_EXPECT_NE(test, pte_at(current->mm, ADDR2).pfn, pfn);

	use_mm(new_mm(test));
	map(t->file[0], ADDR, 1, 3);
	KUNIT_EXPECT_EQ(test, read_word(ADDR, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 42);
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR).pfn, pfn);
}

static void zero_page_next_generation(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_zero_ops);
	struct mr_test *t = test->priv;
	u32 val = 1;

	map(t->file[0], ADDR, 1, 0);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, 42), 0);
	vm_munmap(ADDR, PAGE_SIZE);
	mmap_revoke_renew(mr);
	map(t->file[0], ADDR, 1, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, read_word(ADDR, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 0);
}

/*
 * Huge pages
 */
static void order_fits(struct kunit *test)
{
	const unsigned long a = 16 * (PAGE_SIZE << DEV_ORDER);
	static const struct {
		/* From a and, where negative, from the end of all addresses. */
		long start, end, addr;
		unsigned long pfn;
		unsigned int order;
		bool fits;
	} table[] = {
#define SZ (PAGE_SIZE << DEV_ORDER)
		{ 0, SZ, 0, 0, DEV_ORDER, true },
		{ 0, SZ, 0, 3 << DEV_ORDER, DEV_ORDER, true },
		{ 0, SZ, 0, 1, DEV_ORDER, false },
		{ 0, SZ, 0, 1 << (DEV_ORDER - 1), DEV_ORDER, false },
		{ 0, SZ, 0, 1, 0, true },
		{ 0, SZ - PAGE_SIZE, 0, 0, DEV_ORDER, false },
		{ PAGE_SIZE, 2 * SZ, 0, 0, DEV_ORDER, false },
		{ PAGE_SIZE, 2 * SZ, SZ, 0, DEV_ORDER, true },
		{ PAGE_SIZE, 2 * SZ - PAGE_SIZE, SZ, 0, DEV_ORDER, false },
		{ 0, SZ, SZ, 0, DEV_ORDER, false },
		{ 0, SZ, 2 * SZ, 0, DEV_ORDER, false },
		{ 0, 4 * SZ, 3 * SZ, 0, DEV_ORDER, true },
		/* addr + size wraps around to 0. */
		{ -2 * (long)SZ, -(long)PAGE_SIZE, -(long)SZ, 0, DEV_ORDER,
		  false },
		{ -2 * (long)SZ, -(long)PAGE_SIZE, -2 * (long)SZ, 0, DEV_ORDER,
		  true },
#undef SZ
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		unsigned long base = table[i].start < 0 ? 0 : a;
		struct vm_area_struct vma = {
			.vm_start = base + table[i].start,
			.vm_end = base + table[i].end,
		};

		KUNIT_EXPECT_EQ_MSG(test,
				    mmap_revoke_order_fits(&vma,
							   base + table[i].addr,
							   table[i].pfn,
							   table[i].order),
				    table[i].fits, "entry %d", i);
	}
}

static void pmd_mapping(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm, *child;

	if (!IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) ||
	    (PMD_SHIFT - PAGE_SHIFT) != DEV_ORDER)
		kunit_skip(test, "no PMD pfnmaps of order 9 here");

	map(t->file[0], ADDR, DEV_PAGES, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + 5 * PAGE_SIZE, 1, 5));
	KUNIT_EXPECT_EQ(test, pte_at(mm, ADDR).addr_mask, PMD_MASK);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, DEV_PAGES, 0));
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);

	/* May take neighbours along, but never leave the range mapped. */
	mmap_revoke_zap(mr, 5, 1);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + 5 * PAGE_SIZE, 1), 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, DEV_PAGES, 0));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 64), 0);
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR, 64), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 64));
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, DEV_PAGES, 0));
	use_mm(child);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, DEV_PAGES, 0));
	KUNIT_EXPECT_EQ(test, pte_at(child, ADDR).addr_mask, PMD_MASK);

	/* What is left of a split VMA does not fit a PMD any more. */
	vm_munmap(ADDR, 16 * PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + 16 * PAGE_SIZE, DEV_PAGES - 16,
				      16));
	KUNIT_EXPECT_EQ(test, pte_at(child, ADDR + 16 * PAGE_SIZE).addr_mask,
			PAGE_MASK);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR + 16 * PAGE_SIZE, 64), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR + 16 * PAGE_SIZE, 64));
}

static void pmd_fallback(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;
	const unsigned long len = DEV_PAGES * PAGE_SIZE;

	if (!IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP))
		kunit_skip(test, "no PMD pfnmaps here");

	/* Address and PFN are not aligned to each other. */
	map(t->file[0], ADDR, DEV_PAGES, 1);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 3, 1));
	KUNIT_EXPECT_EQ(test, pte_at(mm, ADDR).addr_mask, PAGE_MASK);
	/* The VMA ends before, and begins after, the huge page. */
	map(t->file[0], ADDR2, DEV_PAGES - 1, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 3, 0));
	KUNIT_EXPECT_EQ(test, pte_at(mm, ADDR2).addr_mask, PAGE_MASK);
	map(t->file[0], ADDR2 + len + PAGE_SIZE, DEV_PAGES - 1, 1);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2 + len + PAGE_SIZE, 3, 1));
	KUNIT_EXPECT_EQ(test, pte_at(mm, ADDR2 + len + PAGE_SIZE).addr_mask,
			PAGE_MASK);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 3), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 3), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2 + len + PAGE_SIZE, 3), 0);
}

static void pud_mapping(struct kunit *test)
{
	const unsigned long len = 2 * PUD_SIZE;
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	if (!IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP))
		kunit_skip(test, "no PUD pfnmaps here");

	/* Above all memory, and so never accessed here. */
	t->dev.pfn = PHYS_PFN(BIT_ULL(38));
	KUNIT_ASSERT_FALSE(test, pfn_valid(t->dev.pfn));
	map(t->file[0], 4 * PUD_SIZE, len >> PAGE_SHIFT, 0);
	KUNIT_EXPECT_EQ(test, touch(mm, 4 * PUD_SIZE + PAGE_SIZE, 0), 0);
	KUNIT_EXPECT_EQ(test, pte_at(mm, 4 * PUD_SIZE).addr_mask, PUD_MASK);
	KUNIT_EXPECT_EQ(test, pte_at(mm, 4 * PUD_SIZE).pfn, t->dev.pfn);
	mmap_revoke_zap(mr, 7, 1);
	KUNIT_EXPECT_EQ(test, mapped(mm, 4 * PUD_SIZE + 7 * PAGE_SIZE, 1), 0);
	KUNIT_EXPECT_EQ(test, touch(mm, 4 * PUD_SIZE, 0), 0);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, 4 * PUD_SIZE, 64), 0);
	KUNIT_EXPECT_EQ(test, touch(mm, 4 * PUD_SIZE, 0), -EFAULT);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_EQ(test, touch(mm, 4 * PUD_SIZE, 0), 0);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, 4 * PUD_SIZE, 64), 0);
}

/*
 * Guard
 */
static void guard_states(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);

	KUNIT_ASSERT_TRUE(test, mmap_revoke_enter(mr));
	mmap_revoke_exit(mr);
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_FALSE(test, mmap_revoke_enter(mr));
	KUNIT_EXPECT_FALSE(test, is_live(mr));
	mmap_revoke_end(mr);
	/* What failed to enter has nothing to exit. */
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_FALSE(test, mmap_revoke_enter(mr));
	KUNIT_EXPECT_FALSE(test, is_live(mr));
}

static void guard_is_waited_for(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mr_thread th = { .mr = mr, .fn = begin_fn };

	KUNIT_EXPECT_TRUE(test, mmap_revoke_enter(mr));
	start(test, &th);
	KUNIT_EXPECT_TRUE(test, blocks(&th));
	mmap_revoke_exit(mr);
	join(&th);
	KUNIT_EXPECT_FALSE(test, is_live(mr));

	mmap_revoke_end(mr);
	th = (struct mr_thread) { .mr = mr, .fn = kill_fn };
	KUNIT_EXPECT_TRUE(test, mmap_revoke_enter(mr));
	start(test, &th);
	KUNIT_EXPECT_TRUE(test, blocks(&th));
	mmap_revoke_exit(mr);
	join(&th);
	KUNIT_EXPECT_FALSE(test, is_live(mr));
}

/*
 * Lookup
 */
static struct mmap_revoke *lookup(unsigned long addr,
				  const struct mmap_revoke_ops *ops)
{
	struct mmap_revoke *mr;

	mmap_read_lock(current->mm);
	mr = mmap_revoke_from_vma(vma_lookup(current->mm, addr), ops);
	mmap_read_unlock(current->mm);
	return mr;
}

static void lookup_types(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;

	t->dev.foreign = true;
	map(new_file(test, NULL), ADDR2, 1, 0);
	t->dev.foreign = false;
	KUNIT_EXPECT_EQ(test, vm_mmap(NULL, ADDR2 + SZ_1M, PAGE_SIZE, RW,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				      0), ADDR2 + SZ_1M);
	map(t->file[0], ADDR, 1, 0);

	KUNIT_EXPECT_NULL(test, lookup(ADDR2, &mr_ops));
	KUNIT_EXPECT_NULL(test, lookup(ADDR2 + SZ_1M, &mr_ops));
	KUNIT_EXPECT_NULL(test, lookup(ADDR, &mr_other_ops));
	KUNIT_EXPECT_PTR_EQ(test, lookup(ADDR, &mr_ops), mr);
	mmap_revoke_put(mr);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_PTR_EQ(test, lookup(ADDR, &mr_ops), mr);
	mmap_revoke_put(mr);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_NULL(test, lookup(ADDR, &mr_ops));
}

static void lookup_holds(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops), *found;
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 1, 0);
	found = lookup(ADDR, &mr_ops);
	KUNIT_ASSERT_PTR_EQ(test, found, mr);
	vm_munmap(ADDR, PAGE_SIZE);
	put_file(t, 0);
	put_object(t, 0);
	KUNIT_EXPECT_EQ(test, icount_read_once(t->inode[0]), 2);
	if (icount_read_once(t->inode[0]) == 2) {
		KUNIT_EXPECT_TRUE(test, is_live(found));
		mmap_revoke_put(found);
	}
	KUNIT_EXPECT_EQ(test, icount_read_once(t->inode[0]), 1);
}

/*
 * References
 */

/* The debugfs list, as a reader sees it. */
static char *list_objects(struct kunit *test)
{
	struct file_system_type *type = get_fs_type("debugfs");
	char *buf = kunit_kzalloc(test, SZ_64K, GFP_KERNEL);
	struct kvec vec = { .iov_base = buf, .iov_len = SZ_64K - 1 };
	struct vfsmount *mnt;
	struct kiocb kiocb;
	struct iov_iter to;
	struct file *file;

	KUNIT_ASSERT_NOT_NULL(test, buf);
	if (!type)
		kunit_skip(test, "no debugfs");
	mnt = kern_mount(type);
	put_filesystem(type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(mnt));
	file = file_open_root_mnt(mnt, "mmap_revoke/objects", O_RDONLY, 0);
	KUNIT_EXPECT_FALSE(test, IS_ERR(file));
	if (!IS_ERR(file)) {
		iov_iter_kvec(&to, ITER_DEST, &vec, 1, vec.iov_len);
		do {
			init_sync_kiocb(&kiocb, file);
			kiocb.ki_pos = SZ_64K - 1 - iov_iter_count(&to);
		} while (seq_read_iter(&kiocb, &to) > 0);
		fput(file);
		flush_delayed_fput();
	}
	kern_unmount(mnt);
	return buf;
}

/* Does the list have a line that says this about an object of the test? */
static bool listed(struct kunit *test, const char *owner, const char *rest)
{
	char line[LOG_SIZE];

	snprintf(line, sizeof(line), "%s %s%s", owner, test->name, rest);
	return strstr(list_objects(test), line);
}

static void freed_at_last_put(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct file *file = new_file(test, mr);

	KUNIT_EXPECT_PTR_EQ(test, file->f_mapping, mmap_revoke_mapping(mr));
	mmap_revoke_get(mr);
	mmap_revoke_put(mr);
	KUNIT_EXPECT_EQ(test, icount_read_once(t->inode[0]), 2);
	put_object(t, 0);
	/* The file holds it, and the VMA holds the file. */
	map(file, ADDR, 1, 0);
	put_file(t, 0);
	KUNIT_EXPECT_EQ(test, icount_read_once(t->inode[0]), 2);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", " live"));
	vm_munmap(ADDR, PAGE_SIZE);
	flush_delayed_fput();
	KUNIT_EXPECT_EQ(test, icount_read_once(t->inode[0]), 1);
	KUNIT_EXPECT_FALSE(test, listed(test, "kunit", ""));
}

static void binding_errors(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mmap_revoke *other = new_object(test, &mr_ops);
	struct file *file = new_file(test, NULL);

	kunit_warning_suppress(test) {
		mmap_revoke_unbind_file(file);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
		mmap_revoke_bind_file(mr, file);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
		mmap_revoke_bind_file(other, file);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 2);
	}
	KUNIT_EXPECT_PTR_EQ(test, file->f_mapping, mmap_revoke_mapping(mr));
	/* That the references are right is seen when all are dropped. */
	mmap_revoke_unbind_file(file);
	KUNIT_EXPECT_PTR_EQ(test, file->f_mapping,
			    file_inode(file)->i_mapping);
}

static void no_notify(struct mmap_revoke_notifier *nb, struct mmap_revoke *mr,
		      enum mmap_revoke_event event)
{
}

/* What is freed while in use stays allocated, so each of these leaks one. */
static void put_while_in_use(struct kunit *test)
{
	static struct mmap_revoke_notifier nb = { .notify = no_notify };
	struct mmap_revoke *mapped_mr = new_bound(test, &mr_ops);
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mr_test *t = test->priv;
	int i;

	map(t->file[0], ADDR, 1, 0);
	mmap_revoke_register_notifier(mr, &nb);
	kunit_warning_suppress(test) {
		mmap_revoke_put(mapped_mr);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
		put_object(t, 0);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
		put_object(t, 1);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 2);
	}
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, icount_read_once(t->inode[i]), 2);
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", " live"));
	/* The VMA still works, and so does the subscriber. */
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	mmap_revoke_unregister_notifier(mr, &nb);

	/* There is no reference left that the release of the file could put. */
	vm_munmap(ADDR, PAGE_SIZE);
	flush_delayed_fput();
	t->file[0]->f_mapping = file_inode(t->file[0])->i_mapping;
	for (i = 0; i < 2; i++) {
		iput(t->inode[i]);
		t->inode[i] = NULL;
	}
}

static struct mmap_revoke_ops *module_ops(struct kunit *test,
					  const struct mmap_revoke_ops *ops)
{
	struct mmap_revoke_ops *copy = kunit_kmalloc(test, sizeof(*copy),
						     GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, copy);
	*copy = *ops;
	copy->name = "gone";
	return copy;
}

static void module_goes(struct kunit *test, struct mmap_revoke_ops *ops)
{
#ifdef CONFIG_MODULES
	struct module *mod = kunit_kzalloc(test, sizeof(*mod), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, mod);
	mod->mem[MOD_RODATA].base = ops;
	mod->mem[MOD_RODATA].size = sizeof(*ops);

	kunit_warning_suppress(test) {
		mmap_revoke_module_event(NULL, MODULE_STATE_LIVE, mod);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
		mmap_revoke_module_event(NULL, MODULE_STATE_GOING, mod);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	memset(ops, 0x6b, sizeof(*ops));
#else
	kunit_skip(test, "no modules");
#endif
}

static void leaked_by_module(struct kunit *test)
{
	struct mmap_revoke_ops *ops = module_ops(test, &mr_ops);
	struct mr_test *t = test->priv;

	new_bound(test, ops);
	new_bound(test, &mr_ops);
	map(t->file[0], ADDR, 1, 0);
	module_goes(test, ops);
	KUNIT_EXPECT_NULL(test, lookup(ADDR, ops));
	KUNIT_EXPECT_FALSE(test, listed(test, "gone", ""));
	KUNIT_EXPECT_TRUE(test, listed(test, "leaked", ""));
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", ""));
}

static void debugfs_list(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	char *vmas;

	map(t->file[0], ADDR, 4, 2);
	map(t->file[0], ADDR2, 1, 0);
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", " live 2 0\n"));
	vmas = list_objects(test);
	KUNIT_EXPECT_NOT_NULL(test, strstr(vmas,
					   " 0x40000000-0x40004000 0x2\n"));
	KUNIT_EXPECT_NOT_NULL(test, strstr(vmas, " 0x50000000-0x50001000 0x0\n"));
	mmap_revoke_begin(mr);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", " suspended 2 1\n"));
	mmap_revoke_end(mr);
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", " dead 1 2\n"));
}

struct mr_trace {
	unsigned int nr;
	pgoff_t first, last;
};

static void trace_probe(void *data, const char *owner, const char *device,
			pgoff_t first, pgoff_t last, u64 ns)
{
	struct mr_trace *tr = data;

	tr->nr++;
	tr->first = first;
	tr->last = last;
}

static void trace_events(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mr_trace zap = {}, begin = {}, end = {}, kill = {};

	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		kunit_skip(test, "no tracepoints");
	register_trace_mmap_revoke_zap(trace_probe, &zap);
	register_trace_mmap_revoke_begin(trace_probe, &begin);
	register_trace_mmap_revoke_end(trace_probe, &end);
	register_trace_mmap_revoke_kill(trace_probe, &kill);

	mmap_revoke_zap(mr, 1, 0);
	KUNIT_EXPECT_EQ(test, zap.nr, 0);
	mmap_revoke_zap(mr, 1, 2);
	KUNIT_EXPECT_EQ(test, zap.first, 1);
	KUNIT_EXPECT_EQ(test, zap.last, 2);
	mmap_revoke_zap(mr, 5, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, zap.first, 5);
	KUNIT_EXPECT_EQ(test, zap.last, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, zap.nr, 2);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	mmap_revoke_end(mr);
	mmap_revoke_kill(mr);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, begin.nr, 1);
	KUNIT_EXPECT_EQ(test, end.nr, 1);
	KUNIT_EXPECT_EQ(test, kill.nr, 1);
	KUNIT_EXPECT_EQ(test, zap.nr, 4);
	KUNIT_EXPECT_EQ(test, zap.first, 0);
	KUNIT_EXPECT_EQ(test, zap.last, ULONG_MAX);

	unregister_trace_mmap_revoke_zap(trace_probe, &zap);
	unregister_trace_mmap_revoke_begin(trace_probe, &begin);
	unregister_trace_mmap_revoke_end(trace_probe, &end);
	unregister_trace_mmap_revoke_kill(trace_probe, &kill);
	tracepoint_synchronize_unregister();
}

static void alloc_without_memory(struct kunit *test)
{
#ifdef CONFIG_FAULT_INJECTION
	struct dentry *dir = debugfs_lookup("failslab", NULL);
	struct dentry *wait = debugfs_lookup("ignore-gfp-wait", dir);
	struct dentry *verbose = debugfs_lookup("verbose", dir);
	struct mmap_revoke *mr = NULL;
	unsigned int n, failed = 0, left = 0;

	if (!wait || !verbose)
		kunit_skip(test, "no failslab");
	*(unsigned long *)d_inode(verbose)->i_private = 0;
	*(bool *)d_inode(wait)->i_private = false;
	/* Until it needs no more than n - 1 allocations, of others included. */
	for (n = 1; n < 50 && !left; n++) {
		current->fail_nth = n;
		mr = mmap_revoke_alloc(&mr_ops, test->name, NULL);
		left = current->fail_nth;
		current->fail_nth = 0;
		if (mr)
			mmap_revoke_put(mr);
		else
			failed++;
	}
	*(bool *)d_inode(wait)->i_private = true;
	KUNIT_EXPECT_NOT_NULL(test, mr);
	/* At least the name and the inode. */
	KUNIT_EXPECT_GE(test, failed, 2);
	KUNIT_EXPECT_FALSE(test, listed(test, "kunit", ""));
	dput(verbose);
	dput(wait);
	dput(dir);
#else
	kunit_skip(test, "no fault injection");
#endif
}

/*
 * Notifiers
 */
struct mr_sub {
	struct mmap_revoke_notifier nb;
	char id;
	/* Each call appends the subscriber and the event. */
	char *log;
	void (*act)(struct mr_sub *sub, struct mmap_revoke *mr,
		    enum mmap_revoke_event event);
	struct mr_sub *other;
	struct completion entered, leave;
};

static void sub_notify(struct mmap_revoke_notifier *nb,
		       struct mmap_revoke *mr, enum mmap_revoke_event event)
{
	struct mr_sub *sub = container_of(nb, struct mr_sub, nb);
	char entry[] = { sub->id, "BEK"[event], '\0' };

	strlcat(sub->log, entry, LOG_SIZE);
	if (sub->act)
		sub->act(sub, mr, event);
}

static struct mr_sub *new_sub(struct kunit *test, char id, char *log)
{
	struct mr_sub *sub = kunit_kzalloc(test, sizeof(*sub), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sub);
	sub->nb.notify = sub_notify;
	sub->id = id;
	sub->log = log;
	init_completion(&sub->entered);
	init_completion(&sub->leave);
	return sub;
}

static void act_block(struct mr_sub *sub, struct mmap_revoke *mr,
		      enum mmap_revoke_event event)
{
	complete(&sub->entered);
	wait_for_completion(&sub->leave);
}

static void act_leave_and_free(struct mr_sub *sub, struct mmap_revoke *mr,
			       enum mmap_revoke_event event)
{
	mmap_revoke_unregister_notifier(mr, &sub->nb);
	kfree(sub);
}

static void act_remove_other(struct mr_sub *sub, struct mmap_revoke *mr,
			     enum mmap_revoke_event event)
{
	mmap_revoke_unregister_notifier(mr, &sub->other->nb);
	sub->act = NULL;
}

static void act_add_other(struct mr_sub *sub, struct mmap_revoke *mr,
			  enum mmap_revoke_event event)
{
	mmap_revoke_register_notifier(mr, &sub->other->nb);
	sub->act = NULL;
}

static void notify_order(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);
	struct mr_sub *c = new_sub(test, 'c', log);

	mmap_revoke_register_notifier(mr, &b->nb);
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &c->nb);
	mmap_revoke_end(mr);
	mmap_revoke_zap(mr, 0, 1);
	KUNIT_EXPECT_STREQ(test, log, "");
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBaBcB");
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBaBcB");
	mmap_revoke_unregister_notifier(mr, &a->nb);
	mmap_revoke_end(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBaBcBbEcE");

	log[0] = '\0';
	mmap_revoke_begin(mr);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBcBbKcK");
	mmap_revoke_kill(mr);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	mmap_revoke_renew(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBcBbKcK");
	log[0] = '\0';
	mmap_revoke_unregister_notifier(mr, &b->nb);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "cK");
	mmap_revoke_unregister_notifier(mr, &c->nb);
}

struct mr_peek {
	struct mmap_revoke_notifier nb;
	struct follow_pfnmap_args args;
	bool live, mapped;
};

static void peek_notify(struct mmap_revoke_notifier *nb,
			struct mmap_revoke *mr, enum mmap_revoke_event event)
{
	struct mr_peek *peek = container_of(nb, struct mr_peek, nb);

	peek->live = is_live(mr);
	/* A subscriber must not take mmap_lock; this one need not. */
	i_mmap_lock_read(mmap_revoke_mapping(mr));
	peek->mapped = !follow_pfnmap_start(&peek->args);
	if (peek->mapped)
		follow_pfnmap_end(&peek->args);
	i_mmap_unlock_read(mmap_revoke_mapping(mr));
}

/* After the state has changed, before the page tables have. */
static void notify_moment(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mr_peek peek = { .nb.notify = peek_notify };

	map(t->file[0], ADDR, 1, 0);
	mmap_read_lock(current->mm);
	peek.args.vma = vma_lookup(current->mm, ADDR);
	mmap_read_unlock(current->mm);
	peek.args.address = ADDR;
	mmap_revoke_register_notifier(mr, &peek.nb);

	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_FALSE(test, peek.live);
	KUNIT_EXPECT_TRUE(test, peek.mapped);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 1), 0);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, peek.live);
	KUNIT_EXPECT_FALSE(test, peek.mapped);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_FALSE(test, peek.live);
	KUNIT_EXPECT_TRUE(test, peek.mapped);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 1), 0);
	mmap_revoke_unregister_notifier(mr, &peek.nb);
}

static void notify_join_in_callback(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);

	a->act = act_add_other;
	a->other = b;
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_begin(mr);
	/* It may miss this one, but sees the next. */
	log[0] = '\0';
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "aEbE");
	mmap_revoke_unregister_notifier(mr, &a->nb);
	mmap_revoke_unregister_notifier(mr, &b->nb);
}

static void act_leave_at_kill(struct mr_sub *sub, struct mmap_revoke *mr,
			      enum mmap_revoke_event event)
{
	if (event == MMAP_REVOKE_KILL)
		mmap_revoke_unregister_notifier(mr, &sub->nb);
}

/* Who leaves with its generation is not told of the next, and may leave twice. */
static void notify_generations(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);

	a->act = act_leave_at_kill;
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &b->nb);
	mmap_revoke_begin(mr);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBbBaKbK");
	mmap_revoke_renew(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBbBaKbK");
	log[0] = '\0';
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBbE");
	mmap_revoke_unregister_notifier(mr, &a->nb);
	mmap_revoke_unregister_notifier(mr, &b->nb);
}

static void notify_leave_in_callback(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);
	struct mr_sub *c = new_sub(test, 'c', log);
	struct mr_sub *gone;

	/* It removes itself, and nobody after it is missed. */
	gone = kmemdup(a, sizeof(*a), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, gone);
	gone->id = 'g';
	gone->act = act_leave_and_free;
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &gone->nb);
	mmap_revoke_register_notifier(mr, &b->nb);
	mmap_revoke_register_notifier(mr, &c->nb);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBgBbBcB");
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBgBbBcBaEbEcE");

	/* The next one is removed before its turn. */
	log[0] = '\0';
	a->act = act_remove_other;
	a->other = b;
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBcB");

	/* One that has had its turn. */
	log[0] = '\0';
	c->act = act_remove_other;
	c->other = a;
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "aEcE");
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "aEcEcK");
	mmap_revoke_unregister_notifier(mr, &c->nb);
}

static void notify_is_waited_for(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);
	struct mr_sub *c = new_sub(test, 'c', log);
	struct mr_thread first = { .mr = mr, .fn = begin_fn };
	struct mr_thread second = { .mr = mr, .fn = begin_fn };
	struct mr_thread third = { .mr = mr, .fn = kill_fn };
	struct mr_thread leaver = { .mr = mr, .fn = unregister_fn };

	leaver.arg = &b->nb;
	b->act = act_block;
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &b->nb);
	start(test, &first);
	wait_for_completion(&b->entered);

	/* Neither does begin() return, nor does another, nor kill(). */
	KUNIT_EXPECT_TRUE(test, blocks(&first));
	start(test, &second);
	KUNIT_EXPECT_TRUE(test, blocks(&second));
	start(test, &third);
	KUNIT_EXPECT_TRUE(test, blocks(&third));
	/* The others may join and leave at any time. */
	mmap_revoke_unregister_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &c->nb);
	start(test, &leaver);
	KUNIT_EXPECT_TRUE(test, blocks(&leaver));
	KUNIT_EXPECT_STREQ(test, log, "aBbB");

	complete_all(&b->leave);
	join(&leaver);
	join(&first);
	join(&second);
	join(&third);
	/* kill() came last, and found only the one who joined. */
	KUNIT_EXPECT_STREQ(test, log, "aBbBcBcK");
	mmap_revoke_unregister_notifier(mr, &c->nb);
}

/*
 * Maps
 */
static struct mmap_revoke *new_maps_of(struct kunit *test,
				       const struct mmap_revoke_ops *ops,
				       struct mr_cookie *cookie)
{
	struct mr_test *t = test->priv;

	t->dev.maps = true;
	t->dev.cookie = cookie;
	return new_bound(test, ops);
}

static struct mmap_revoke *new_maps(struct kunit *test,
				    struct mr_cookie *cookie)
{
	return new_maps_of(test, &mr_map_ops, cookie);
}

static bool zeros(unsigned long addr, unsigned long nr)
{
	u32 val;

	for (; nr; nr--, addr += PAGE_SIZE)
		if (read_word(addr, &val) || val)
			return false;
	return true;
}

static void map_fault_around(struct kunit *test)
{
	const unsigned long border = ALIGN(ADDR, PMD_SIZE) + PMD_SIZE;
	struct mr_test *t = test->priv;
	u32 val;

	new_maps(test, NULL);
	/* One page table: all of the VMA, nothing before and after it. */
	map(t->file[0], ADDR + PAGE_SIZE, 6, 3);
	map(t->file[0], ADDR, 1, 1);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 8), 0);
	KUNIT_EXPECT_EQ(test, read_word(ADDR + 4 * PAGE_SIZE, &val), 0);
	KUNIT_EXPECT_EQ(test, val, dev_word(6));
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 8), 0x7e);
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR + PAGE_SIZE).pfn,
			t->dev.pfn + 3);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + PAGE_SIZE, 6, 3));

	/* Two page tables, one after the other. */
	map(t->file[0], border - 2 * PAGE_SIZE, 4, 8);
	KUNIT_EXPECT_EQ(test, read_word(border - PAGE_SIZE, &val), 0);
	KUNIT_EXPECT_EQ(test, val, dev_word(9));
	KUNIT_EXPECT_EQ(test, mapped(current->mm, border - 2 * PAGE_SIZE, 4),
			0x3);
	KUNIT_EXPECT_EQ(test, read_word(border, &val), 0);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, border - 2 * PAGE_SIZE, 4),
			0xf);
	KUNIT_EXPECT_TRUE(test, reads(border - 2 * PAGE_SIZE, 4, 8));
}

static void map_killed(struct kunit *test)
{
	struct mr_cookie cookie = {};
	struct mmap_revoke *mr = new_maps(test, &cookie);
	struct mr_test *t = test->priv;
	struct mm_struct *parent = current->mm, *child;
	u32 val;

	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR, 4), 0xf);
	KUNIT_EXPECT_EQ(test, cookie.mapped, 1);

	mmap_revoke_kill_maps(mr, NULL);
	KUNIT_EXPECT_EQ(test, mapped(parent, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 1);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_EQ(test, write_word(ADDR, 42), 0);

	/* The object lives: what is mapped from now on is the device. */
	map(t->file[0], ADDR2, 2, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 0));
	use_mm(child);
	KUNIT_EXPECT_EQ(test, read_word(ADDR + 3 * PAGE_SIZE, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 42);
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	use_mm(parent);
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 1);

	mmap_revoke_kill_maps(mr, NULL);
	KUNIT_EXPECT_EQ(test, mapped(parent, ADDR2, 2), 0);
	KUNIT_EXPECT_EQ(test, cookie.mapped, 2);
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 2);
	/* One page per object. */
	KUNIT_EXPECT_EQ(test, read_word(ADDR2, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 42);
}

static void map_forked_dead(struct kunit *test)
{
	struct mr_cookie cookie = {};
	struct mmap_revoke *mr = new_maps(test, &cookie);
	struct mr_test *t = test->priv;
	struct mm_struct *child;

	map(t->file[0], ADDR, 8, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
	mmap_revoke_kill_maps(mr, NULL);
	KUNIT_EXPECT_EQ(test, vm_munmap(ADDR + 3 * PAGE_SIZE, PAGE_SIZE), 0);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 3));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR + 4 * PAGE_SIZE, 4));
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);
	use_mm(child);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 3));
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 1);
}

static void map_one_killed(struct kunit *test)
{
	struct mr_cookie cookie[2] = {};
	struct mmap_revoke *mr = new_maps(test, &cookie[0]);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	/* Page offsets are reused, and overlap. */
	map(t->file[0], ADDR, 4, 0);
	map(t->file[0], ADDR + SZ_1M, 2, 8);
	t->dev.cookie = &cookie[1];
	map(t->file[0], ADDR2, 4, 2);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 2, 8));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, 2));

	mmap_revoke_kill_maps(mr, &cookie[0]);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 2), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0xf);
	KUNIT_EXPECT_EQ(test, cookie[0].mapped, 2);
	KUNIT_EXPECT_EQ(test, cookie[0].unmapped, 2);
	KUNIT_EXPECT_EQ(test, cookie[1].unmapped, 0);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, 2));

	mmap_revoke_kill_maps(mr, &cookie[0]);
	KUNIT_EXPECT_EQ(test, cookie[0].unmapped, 2);
	mmap_revoke_kill_maps(mr, NULL);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0);
	KUNIT_EXPECT_EQ(test, cookie[0].unmapped, 2);
	KUNIT_EXPECT_EQ(test, cookie[1].unmapped, 1);
}

static vm_fault_t page_fault(struct vm_fault *vmf)
{
	struct mr_dev *dev = vmf->vma->vm_file->private_data;

	return vmf_insert_pfn(vmf->vma, vmf->address, dev->pfn + 100);
}

static const struct vm_operations_struct page_vm_ops = {
	.fault = page_fault,
};

/* As the queues that drivers map next to their doorbells. */
static void map_leaves_others(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;
	struct vm_area_struct *vma;

	map(t->file[0], ADDR, 4, 0);
	t->dev.maps = false;
	map(t->file[0], ADDR2, 2, 1);
	mmap_write_lock(current->mm);
	vma = vma_lookup(current->mm, ADDR2);
	vma->vm_ops = &page_vm_ops;
	mmap_write_unlock(current->mm);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 1, 100));

	mmap_revoke_kill_maps(mr, NULL);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR2, 2), 1);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 1, 100));
}

static void map_last_vma(struct kunit *test)
{
	struct mr_cookie cookie = {};
	struct mr_test *t = test->priv;
	struct mm_struct *parent = current->mm, *child;

	new_maps(test, &cookie);
	map(t->file[0], ADDR, 8, 0);
	KUNIT_EXPECT_EQ(test, vm_munmap(ADDR + 3 * PAGE_SIZE, PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, user_mremap(ADDR, 3 * PAGE_SIZE, 3 * PAGE_SIZE,
					  MREMAP_MAYMOVE | MREMAP_FIXED,
					  ADDR2), ADDR2);
	/* The PFNs go by the map, wherever its VMAs are. */
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 3, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + 4 * PAGE_SIZE, 4, 4));
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);

	vm_munmap(ADDR, 8 * PAGE_SIZE);
	vm_munmap(ADDR2, 3 * PAGE_SIZE);
	use_mm(child);
	vm_munmap(ADDR2, 3 * PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + 4 * PAGE_SIZE, 4, 4));
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 0);
	vm_munmap(ADDR, 8 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie.mapped, 1);
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 1);
	use_mm(parent);
}

static void map_protection(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR, PAGE_SIZE, PROT_READ), 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	KUNIT_EXPECT_FALSE(test, pte_at(current->mm, ADDR).writable);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, 0), -EFAULT);
	KUNIT_EXPECT_EQ(test, write_word(ADDR + PAGE_SIZE, dev_word(1)), 0);

	t->dev.no_maywrite = true;
	map_prot(t->file[0], ADDR2, 2, 4, PROT_READ);
	mmap_revoke_kill_maps(mr, NULL);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_FALSE(test, pte_at(current->mm, ADDR).writable);
	KUNIT_EXPECT_NE(test, pte_at(current->mm, ADDR).pfn, zero_pfn(ADDR));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR2, 2));
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR2).pfn, zero_pfn(ADDR2));
}

static void map_refused(struct kunit *test)
{
	struct mr_cookie cookie = { .refuse = -EBUSY };
	struct mmap_revoke *mr = new_maps(test, &cookie);
	struct mr_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR, 1, 0), -EBUSY);
	cookie.refuse = 0;
	KUNIT_EXPECT_EQ(test, vm_mmap(t->file[0], ADDR, PAGE_SIZE, RW,
				      MAP_PRIVATE | MAP_FIXED, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, cookie.mapped, 0);
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR, 1, 0), ADDR);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR2, 1, 0), -ENODEV);
	KUNIT_EXPECT_EQ(test, cookie.mapped, 1);
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 0);
	/* The object is dead, and so it looks. */
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 1));
	mmap_revoke_kill_maps(mr, NULL);
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 1);
}

static void map_leaked(struct kunit *test)
{
	struct mmap_revoke_ops *ops = module_ops(test, &mr_map_ops);
	struct mr_cookie cookie = {};
	struct mr_test *t = test->priv;

	new_maps_of(test, ops, &cookie);
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR, 1, 0), ADDR);
	module_goes(test, ops);
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR2, 1, 0), -ENODEV);
	vm_munmap(ADDR, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie.mapped, 1);
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 0);
}

static void map_suspended(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 2, 0);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 2));
	map(t->file[0], ADDR2, 2, 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR2, 2));
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 0));
}

/*
 * Races. Revoke takes turns with nobody: threads fault, map, fork, join and
 * leave as they like. Both outcomes must have occurred often.
 */
#define RACE_PAGES	16
/* Emulated and with KASAN, a round takes a good part of a second. */
#define RACE_ROUNDS	(IS_ENABLED(CONFIG_KASAN) && !IS_ENABLED(CONFIG_UML) ? \
			 100 : 1000)
#define FORK_ROUNDS	100

struct mr_race {
	/* Odd from the return of begin() or kill() until the next state. */
	unsigned int epoch;
	struct completion go, done;
	struct mm_struct *child;
	bool stop;
};

static void count_access(struct mr_thread *th, unsigned long *counter)
{
	unsigned long more = READ_ONCE(th->more);

	(*counter)++;
	if (!more)
		return;
	WRITE_ONCE(th->more, more - 1);
	if (more == 1)
		complete(&th->reached);
}

/* An access that begins and ends in the same odd epoch must fail. */
static int race_access(struct mr_thread *th, unsigned long page)
{
	struct mr_race *race = th->arg;
	unsigned int epoch;
	u32 val;
	int ret;

	/* Pairs with next_epoch(): begin() has returned. */
	epoch = smp_load_acquire(&race->epoch);
	ret = read_word(ADDR + page * PAGE_SIZE, &val);
	smp_rmb(); /* the access is over before the epoch is read again */
	if (ret == -EFAULT)
		count_access(th, &th->refused);
	else if (ret || val != dev_word(page) ||
		 (epoch % 2 && epoch == READ_ONCE(race->epoch)))
		count_access(th, &th->bad);
	else
		count_access(th, &th->ok);
	return ret;
}

static void next_epoch(struct mr_race *race)
{
	/* Pairs with race_access() and race_victim(). */
	smp_store_release(&race->epoch, race->epoch + 1);
}

/* Let it come to @nr more accesses, the first of which may be under way. */
static void let_run(struct mr_thread *th, unsigned int nr)
{
	if (!nr)
		return;
	WRITE_ONCE(th->more, nr);
	wait_for_completion(&th->reached);
}

/* Faults in what has been revoked; elsewhere it may have stale TLB entries. */
static void race_reader(struct mr_thread *th)
{
	unsigned long page = 0;

	while (!kthread_should_stop()) {
		race_access(th, page);
		page = (page + 1) % RACE_PAGES;
		cond_resched();
	}
}

static void race_mapper(struct mr_thread *th)
{
	unsigned long page;

	while (!kthread_should_stop()) {
		if (IS_ERR_VALUE(map(th->t->file[0], ADDR, RACE_PAGES, 0)))
			th->bad++;
		for (page = 0; page < 3; page++)
			race_access(th, page);
		vm_munmap(ADDR, RACE_PAGES * PAGE_SIZE);
		cond_resched();
	}
}

/*
 * Where two zaps of one mm meet, UML flushes all of it and walks the VMAs,
 * for which zaps of a mapping have no lock.
 */
static void skip_concurrent_zaps(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_UML))
		kunit_skip(test, "flush_tlb_mm() of UML needs mmap_lock");
}

/* Begin and end at any moment of what @fn does in two address spaces. */
static void race_begin_end(struct kunit *test, void (*fn)(struct mr_thread *),
			   void (*fn2)(struct mr_thread *))
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mr_race race = {};
	struct mr_thread th[2] = {
		{ .fn = fn, .t = t, .mr = mr, .arg = &race },
		{ .fn = fn2, .t = t, .mr = mr, .arg = &race },
	};
	unsigned int i, n, bad = 0;

	/* The threads never sleep: run when woken up. */
	sched_set_fifo_low(current);
	for (n = 0; n < 2; n++) {
		th[n].mm = new_mm(test);
		use_mm(th[n].mm);
		map(t->file[0], ADDR, RACE_PAGES, 0);
		start(test, &th[n]);
	}
	for (i = 0; i < RACE_ROUNDS; i++) {
		let_run(&th[i % 2], get_random_u32_below(8));
		mmap_revoke_begin(mr);
		next_epoch(&race);
		for (n = 0; n < 2; n++)
			if (mapped(th[n].mm, ADDR, RACE_PAGES))
				bad++;
		/* At least one of two began after begin() returned. */
		let_run(&th[i % 2], 2);
		for (n = 0; n < 2; n++)
			if (mapped(th[n].mm, ADDR, RACE_PAGES))
				bad++;
		next_epoch(&race);
		mmap_revoke_end(mr);
	}
	for (n = 0; n < 2; n++) {
		join(&th[n]);
		KUNIT_EXPECT_EQ(test, th[n].bad, 0);
		KUNIT_EXPECT_GT(test, th[n].ok, RACE_ROUNDS / 4);
		KUNIT_EXPECT_GT(test, th[n].refused, RACE_ROUNDS / 4);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
}

static void race_fault_begin(struct kunit *test)
{
	race_begin_end(test, race_reader, race_reader);
}

static void race_mmap_begin(struct kunit *test)
{
	skip_concurrent_zaps(test);
	race_begin_end(test, race_mapper, race_reader);
}

static void race_victim(struct mr_thread *th)
{
	struct mr_race *race = th->arg;
	unsigned long page;
	bool killed;

	/* What begins after kill() has returned must fail, and ends a round. */
	for (;;) {
		wait_for_completion(&race->go);
		if (READ_ONCE(race->stop))
			return;
		map(th->t->file[0], ADDR, RACE_PAGES, 0);
		for (page = 0, killed = false; !killed; page++) {
			/* Pairs with next_epoch(). */
			killed = smp_load_acquire(&race->epoch) % 2;
			race_access(th, page % RACE_PAGES);
			cond_resched();
		}
		vm_munmap(ADDR, RACE_PAGES * PAGE_SIZE);
		complete(&race->done);
	}
}

static void race_fault_kill(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mr_race race = {};
	struct mr_thread th = {
		.fn = race_victim, .t = t, .mr = mr, .arg = &race,
	};
	unsigned int i, bad = 0;

	init_completion(&race.go);
	init_completion(&race.done);
	th.mm = new_mm(test);
	start(test, &th);
	for (i = 0; i < RACE_ROUNDS; i++) {
		complete(&race.go);
		/* Kill while it maps, or later. */
		let_run(&th, get_random_u32_below(4));
		mmap_revoke_kill(mr);
		next_epoch(&race);
		if (mapped(th.mm, ADDR, RACE_PAGES))
			bad++;
		wait_for_completion(&race.done);
		next_epoch(&race);
		mmap_revoke_renew(mr);
	}
	WRITE_ONCE(race.stop, true);
	complete(&race.go);
	join(&th);
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_EQ(test, th.bad, 0);
	KUNIT_EXPECT_GE(test, th.refused, RACE_ROUNDS);
	KUNIT_EXPECT_GT(test, th.ok, RACE_ROUNDS / 4);
}

static void race_remapper(struct mr_thread *th)
{
	while (!kthread_should_stop()) {
		if (IS_ERR_VALUE(map(th->t->file[0], ADDR, 1, 0)) ||
		    write_word(ADDR, dev_word(0)))
			count_access(th, &th->bad);
		else
			count_access(th, &th->ok);
		vm_munmap(ADDR, PAGE_SIZE);
		cond_resched();
	}
}

/* No mapping of the last generation's zero page gets into the next. */
static void race_mmap_renew(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_zero_ops);
	struct mr_test *t = test->priv;
	struct mr_thread th = { .fn = race_remapper, .t = t, .mr = mr };
	unsigned int i, renewed = 0, refused = 0, bad = 0;
	unsigned long pfn;

	skip_concurrent_zaps(test);
	th.mm = new_mm(test);
	start(test, &th);
	kunit_warning_suppress(test) {
		for (i = 0; i < RACE_ROUNDS ||
		     (i < 100 * RACE_ROUNDS &&
		      (renewed <= 10 || refused <= 10)); i++) {
			mmap_revoke_kill(mr);
			if (i % 2)
				let_run(&th, 1);
			mmap_revoke_renew(mr);
			if (!is_live(mr)) {
				refused++;
				continue;
			}
			renewed++;
			pfn = pte_at(th.mm, ADDR).pfn;
			if (pfn && pfn != t->dev.pfn)
				bad++;
		}
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, refused);
	}
	join(&th);
	KUNIT_EXPECT_GT(test, renewed, 10);
	KUNIT_EXPECT_GT(test, refused, 10);
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_EQ(test, th.bad, 0);
}

/* In two page tables, which fork() copies one after the other. */
#define FORK_PAGES	DEV_PAGES
#define FORK_ADDR	(ADDR + FORK_PAGES * PAGE_SIZE / 2)

static bool any_mapped(struct mm_struct *mm)
{
	unsigned long i;

	for (i = 0; i < FORK_PAGES; i += 64)
		if (mapped(mm, FORK_ADDR + i * PAGE_SIZE, 64))
			return true;
	return false;
}

static void race_forker(struct mr_thread *th)
{
	struct mr_race *race = th->arg;

	for (;;) {
		wait_for_completion(&race->go);
		if (READ_ONCE(race->stop))
			return;
		race->child = fork_mm();
		complete(&race->done);
	}
}

static void race_fork(struct kunit *test, struct mmap_revoke *mr, bool maps)
{
	struct mr_test *t = test->priv;
	struct mr_race race = {};
	struct mr_thread th = {
		.fn = race_forker, .t = t, .mr = mr, .arg = &race,
		.mm = current->mm,
	};
	/* Not aligned for huge pages, which maps do not have. */
	unsigned long first = !maps;
	unsigned int i, during = 0, bad = 0;
	u64 start_ns, max_ns, delay;

	init_completion(&race.go);
	init_completion(&race.done);
	map(t->file[0], FORK_ADDR, FORK_PAGES, first);
	KUNIT_EXPECT_TRUE(test, reads(FORK_ADDR, FORK_PAGES, first));
	start_ns = ktime_get_ns();
	race.child = fork_mm();
	max_ns = ktime_get_ns() - start_ns;
	start(test, &th);
	for (i = 0; race.child && i < 10 * FORK_ROUNDS &&
	     (i < FORK_ROUNDS || during < 2 || i - during < 2); i++) {
		mmput(race.child);
		if (maps)	/* those that were killed do not come back */
			map(t->file[0], FORK_ADDR, FORK_PAGES, first);
		if (!reads(FORK_ADDR, FORK_PAGES, first))
			bad++;
		complete(&race.go);
		/* At any moment of a fork that takes as long as most, or after it. */
		start_ns = ktime_get_ns();
		delay = get_random_u32() * max_ns >> 31;
		while (ktime_get_ns() - start_ns < delay)
			cpu_relax();
		if (completion_done(&race.done)) {
			max_ns -= max_ns / 8;
		} else {
			max_ns += max_ns / 8 + 1;
			during++;
		}
		if (maps)
			mmap_revoke_kill_maps(mr, NULL);
		else
			mmap_revoke_begin(mr);
		if (any_mapped(current->mm))
			bad++;
		wait_for_completion(&race.done);
		if (!race.child || any_mapped(race.child) ||
		    any_mapped(current->mm))
			bad++;
		if (!maps)
			mmap_revoke_end(mr);
	}
	if (race.child)
		mmput(race.child);
	WRITE_ONCE(race.stop, true);
	complete(&race.go);
	join(&th);
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_GT(test, during, 1);
	KUNIT_EXPECT_GT(test, i - during, 1);
}

static void race_fork_begin(struct kunit *test)
{
	race_fork(test, new_bound(test, &mr_ops), false);
}

static void race_fork_kill(struct kunit *test)
{
	race_fork(test, new_maps(test, NULL), true);
}

struct mr_joiner {
	struct mmap_revoke_notifier nb;
	bool joined;
	unsigned int calls, misplaced;
};

static void joiner_notify(struct mmap_revoke_notifier *nb,
			  struct mmap_revoke *mr, enum mmap_revoke_event event)
{
	struct mr_joiner *joiner = container_of(nb, struct mr_joiner, nb);

	joiner->calls++;
	if (!READ_ONCE(joiner->joined))
		joiner->misplaced++;
}

static void race_joiner(struct mr_thread *th)
{
	struct mr_joiner *joiner;

	while (!kthread_should_stop()) {
		joiner = kzalloc_obj(*joiner);
		if (!joiner)
			break;
		joiner->nb.notify = joiner_notify;
		WRITE_ONCE(joiner->joined, true);
		mmap_revoke_register_notifier(th->mr, &joiner->nb);
		cond_resched();
		mmap_revoke_unregister_notifier(th->mr, &joiner->nb);
		WRITE_ONCE(joiner->joined, false);
		if (joiner->calls)
			th->ok++;
		else
			th->refused++;
		th->bad += joiner->misplaced;
		kfree(joiner);
	}
}

static bool race_lacks(struct mr_thread *th)
{
	return READ_ONCE(th->ok) <= 10 || READ_ONCE(th->refused) <= 10;
}

static void race_notifier(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mr_thread th[2] = {
		{ .fn = race_joiner, .mr = mr },
		{ .fn = race_joiner, .mr = mr },
	};
	unsigned int i;

	start(test, &th[0]);
	start(test, &th[1]);
	for (i = 0; i < 10 * RACE_ROUNDS ||
	     (i < 1000 * RACE_ROUNDS &&
	      (race_lacks(&th[0]) || race_lacks(&th[1]))); i++) {
		mmap_revoke_begin(mr);
		mmap_revoke_end(mr);
		cond_resched();
	}
	for (i = 0; i < 2; i++) {
		join(&th[i]);
		KUNIT_EXPECT_EQ(test, th[i].bad, 0);
		KUNIT_EXPECT_GT(test, th[i].ok, 10);
		KUNIT_EXPECT_GT(test, th[i].refused, 10);
	}
}

struct mr_watch {
	struct mmap_revoke_notifier nb;
	atomic_t inside, notifying;
	enum mmap_revoke_event last;
	unsigned int calls, bad;
};

static void watch_notify(struct mmap_revoke_notifier *nb,
			 struct mmap_revoke *mr, enum mmap_revoke_event event)
{
	struct mr_watch *watch = container_of(nb, struct mr_watch, nb);

	if (atomic_inc_return(&watch->notifying) != 1 || event == watch->last)
		watch->bad++;
	if (event == MMAP_REVOKE_BEGIN && atomic_read(&watch->inside))
		watch->bad++;
	cond_resched();
	if (event == MMAP_REVOKE_BEGIN && atomic_read(&watch->inside))
		watch->bad++;
	watch->last = event;
	watch->calls++;
	atomic_dec(&watch->notifying);
}

static void race_guarded(struct mr_thread *th)
{
	struct mr_watch *watch = th->arg;

	while (!kthread_should_stop()) {
		if (mmap_revoke_enter(th->mr)) {
			atomic_inc(&watch->inside);
			th->ok++;
			atomic_dec(&watch->inside);
			mmap_revoke_exit(th->mr);
		} else {
			th->refused++;
		}
		cond_resched();
	}
}

static void race_toggler(struct mr_thread *th)
{
	while (!kthread_should_stop()) {
		mmap_revoke_begin(th->mr);
		cond_resched();
		mmap_revoke_end(th->mr);
		cond_resched();
	}
}

static void race_guard(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mr_watch watch = {
		.nb.notify = watch_notify,
		.last = MMAP_REVOKE_END,
	};
	struct mr_thread reader = {
		.fn = race_guarded, .mr = mr, .arg = &watch,
	};
	struct mr_thread toggler = { .fn = race_toggler, .mr = mr };
	unsigned int i;

	mmap_revoke_register_notifier(mr, &watch.nb);
	start(test, &reader);
	start(test, &toggler);
	for (i = 0; i < 10 * RACE_ROUNDS ||
	     (i < 1000 * RACE_ROUNDS && (READ_ONCE(reader.ok) <= 100 ||
					 READ_ONCE(reader.refused) <= 100)); i++) {
		mmap_revoke_begin(mr);
		cond_resched();
		mmap_revoke_end(mr);
		cond_resched();
	}
	join(&toggler);
	join(&reader);
	mmap_revoke_unregister_notifier(mr, &watch.nb);
	KUNIT_EXPECT_EQ(test, watch.bad, 0);
	KUNIT_EXPECT_GT(test, watch.calls, 10 * RACE_ROUNDS);
	KUNIT_EXPECT_GT(test, reader.ok, 100);
	KUNIT_EXPECT_GT(test, reader.refused, 100);
}

/* Maps, looks and unmaps; what has been killed reads as zeros. */
static void race_maps(struct mr_thread *th)
{
	struct mr_race *race = th->arg;
	unsigned int epoch;
	u32 val;

	while (!kthread_should_stop()) {
		/* Pairs with next_epoch(): kill_maps() has returned. */
		epoch = smp_load_acquire(&race->epoch);
		if (IS_ERR_VALUE(map(th->t->file[0], ADDR, RACE_PAGES, 0))) {
			count_access(th, &th->refused);
			cond_resched();
			continue;
		}
		if (read_word(ADDR + PAGE_SIZE, &val))
			th->bad++;
		smp_rmb(); /* the access is over before the epoch is read */
		if (val && (val != dev_word(1) ||
			    (epoch % 2 && epoch == READ_ONCE(race->epoch))))
			th->bad++;
		count_access(th, &th->ok);
		vm_munmap(ADDR, RACE_PAGES * PAGE_SIZE);
		cond_resched();
	}
}

/* kill_maps() at any moment of mmap(), fault and munmap() of two mms. */
static void race_map_kill(struct kunit *test)
{
	struct mr_cookie cookie = {};
	struct mmap_revoke *mr;
	struct mr_test *t = test->priv;
	struct mr_race race = {};
	struct mr_thread th[2] = {
		{ .fn = race_maps, .t = t, .arg = &race },
		{ .fn = race_maps, .t = t, .arg = &race },
	};
	unsigned int i, n, unmapped, bad = 0;

	skip_concurrent_zaps(test);
	mr = new_maps(test, &cookie);
	sched_set_fifo_low(current);
	for (n = 0; n < 2; n++) {
		th[n].mm = new_mm(test);
		start(test, &th[n]);
	}
	for (i = 0; i < RACE_ROUNDS; i++) {
		let_run(&th[i % 2], get_random_u32_below(8));
		/* As a device that goes, it refuses what comes now. */
		WRITE_ONCE(cookie.refuse, -EIO);
		mmap_revoke_kill_maps(mr, NULL);
		unmapped = READ_ONCE(cookie.unmapped);
		if (READ_ONCE(cookie.mapped) != unmapped)
			bad++;
		next_epoch(&race);
		let_run(&th[i % 2], 2);
		/* No release comes later, and no mapping. */
		if (READ_ONCE(cookie.unmapped) != unmapped ||
		    READ_ONCE(cookie.mapped) != unmapped)
			bad++;
		next_epoch(&race);
		WRITE_ONCE(cookie.refuse, 0);
	}
	for (n = 0; n < 2; n++) {
		join(&th[n]);
		KUNIT_EXPECT_EQ(test, th[n].bad, 0);
		KUNIT_EXPECT_GT(test, th[n].ok, RACE_ROUNDS / 4);
		KUNIT_EXPECT_GT(test, th[n].refused, RACE_ROUNDS / 4);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_EQ(test, cookie.mapped, cookie.unmapped);
}

static struct kunit_case mr_cases[] = {
	KUNIT_CASE(zap_range),
	KUNIT_CASE(zap_large_offsets),
	KUNIT_CASE(begin_end),
	KUNIT_CASE(begin_again_zaps_again),
	KUNIT_CASE(kill_is_for_ever),
	KUNIT_CASE(renew),
	KUNIT_CASE(guard_states),
	KUNIT_CASE(guard_is_waited_for),
	KUNIT_CASE(lookup_types),
	KUNIT_CASE(lookup_holds),
	KUNIT_CASE(freed_at_last_put),
	KUNIT_CASE(binding_errors),
	KUNIT_CASE(put_while_in_use),
	KUNIT_CASE(leaked_by_module),
	KUNIT_CASE(alloc_without_memory),
	KUNIT_CASE(debugfs_list),
	KUNIT_CASE(trace_events),
	{}
};

static struct kunit_case mr_vma_cases[] = {
	KUNIT_CASE(second_mm),
	KUNIT_CASE(forked),
	KUNIT_CASE(split_and_moved),
	KUNIT_CASE(protection_changes),
	KUNIT_CASE(mmap_flags),
	KUNIT_CASE(zero_page_read_only),
	KUNIT_CASE(zero_page_shared),
	KUNIT_CASE(zero_page_next_generation),
	KUNIT_CASE(order_fits),
	KUNIT_CASE(pmd_mapping),
	KUNIT_CASE(pmd_fallback),
	KUNIT_CASE(pud_mapping),
	{}
};

static struct kunit_case mr_notifier_cases[] = {
	KUNIT_CASE(notify_order),
	KUNIT_CASE(notify_moment),
	KUNIT_CASE(notify_join_in_callback),
	KUNIT_CASE(notify_generations),
	KUNIT_CASE(notify_leave_in_callback),
	KUNIT_CASE(notify_is_waited_for),
	{}
};

static struct kunit_case mr_map_cases[] = {
	KUNIT_CASE(map_fault_around),
	KUNIT_CASE(map_killed),
	KUNIT_CASE(map_forked_dead),
	KUNIT_CASE(map_one_killed),
	KUNIT_CASE(map_leaves_others),
	KUNIT_CASE(map_last_vma),
	KUNIT_CASE(map_protection),
	KUNIT_CASE(map_refused),
	KUNIT_CASE(map_leaked),
	KUNIT_CASE(map_suspended),
	{}
};

static struct kunit_case mr_race_cases[] = {
	KUNIT_CASE_SLOW(race_fault_begin),
	KUNIT_CASE_SLOW(race_mmap_begin),
	KUNIT_CASE_SLOW(race_fault_kill),
	KUNIT_CASE_SLOW(race_mmap_renew),
	KUNIT_CASE_SLOW(race_fork_begin),
	KUNIT_CASE_SLOW(race_fork_kill),
	KUNIT_CASE_SLOW(race_notifier),
	KUNIT_CASE_SLOW(race_guard),
	KUNIT_CASE_SLOW(race_map_kill),
	{}
};

#define MR_SUITE(var, suite_name, cases)	\
static struct kunit_suite var = {		\
	.name = suite_name,			\
	.init = mr_test_init,			\
	.exit = mr_test_exit,			\
	.test_cases = cases,			\
}

MR_SUITE(mr_suite, "mmap_revoke", mr_cases);
MR_SUITE(mr_vma_suite, "mmap_revoke_vma", mr_vma_cases);
MR_SUITE(mr_notifier_suite, "mmap_revoke_notifier", mr_notifier_cases);
MR_SUITE(mr_map_suite, "mmap_revoke_map", mr_map_cases);
MR_SUITE(mr_race_suite, "mmap_revoke_race", mr_race_cases);
kunit_test_suites(&mr_suite, &mr_vma_suite, &mr_notifier_suite,
		  &mr_map_suite, &mr_race_suite);

MODULE_DESCRIPTION("KUnit tests of revocable mmap objects");
MODULE_LICENSE("GPL");
