// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of single promises of revocable mmap objects, each of which was
 * broken once: reclaim, read-only files, the order of a release, what a kill
 * costs, drivers that fail, mprotect() of what is dead, ptrace().
 */
#include "mmap_revoke_kunit.h"

static const struct mmap_revoke_ops plain_zero_ops = {
	.name = "plain",
	.zero_page = true,
};

static void alloc_map(struct mmap_revoke_range *range)
{
	kfree(kmalloc(1, GFP_KERNEL));
}

static void no_unmap(struct mmap_revoke_range *range)
{
}

static int any_pfn(struct mmap_revoke *mr, struct vm_area_struct *vma,
		   unsigned long addr, unsigned long *pfn)
{
	*pfn = 0;
	return 0;
}

/*
 * No fault allocates under what a revocation waits for, and no backend that
 * allocates is in the way of objects that have none. Lockdep remembers.
 */
static void revoked_from_reclaim(struct kunit *test)
{
	static const struct mmap_revoke_ops backend_ops = {
		.name = "backend",
		.pfn = any_pfn,
	};
	static const struct mmap_revoke_range_ops range_ops = {
		.map = alloc_map,
		.unmap = no_unmap,
	};
	static DEFINE_MUTEX(range_lock);
	struct mmap_revoke_range range = {
		.ops = &range_ops,
		.lock = &range_lock,
	};
	struct mmap_revoke *plain = new_bound(test, &mr_ops);
	struct mmap_revoke *zero, *backend;
	struct mr_test *t = test->priv;
	int ret;

	backend = new_bound(test, &backend_ops);
	map(t->file[0], ADDR, 2, 0);
	map(t->file[1], ADDR + SZ_1M, 1, 0);
	mmap_read_lock(current->mm);
	ret = mmap_revoke_range_add(&range,
				    vma_lookup(current->mm, ADDR + SZ_1M),
				    ADDR + SZ_1M, PAGE_SIZE, true);
	mmap_read_unlock(current->mm);
	KUNIT_ASSERT_EQ(test, ret, 0);
	mmap_revoke_begin(backend);
	mmap_revoke_end(backend);
	mmap_revoke_range_del(&range);

	/* Faults that need page tables and a zero page. */
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	zero = new_maps_of(test, &plain_zero_ops, NULL);
	map(t->file[2], ADDR2, 2, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 0));
	mmap_revoke_kill_all_maps(zero);
	KUNIT_EXPECT_EQ(test, write_word(ADDR2, 1), 0);
	use_mm(new_mm(test));
	map(t->file[2], ADDR2, 2, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 0));
	/* And what inserts pages when mmap() returns, after all was moved. */
	use_mm(new_mm(test));
	user_map(t->file[2], ADDR2, 2, 0);
	KUNIT_ASSERT_EQ(test, user_mremap(ADDR2, 2 * PAGE_SIZE, 2 * PAGE_SIZE,
					  MREMAP_MAYMOVE | MREMAP_FIXED, ADDR),
			ADDR);
	KUNIT_ASSERT_EQ(test, user_mremap(ADDR, 2 * PAGE_SIZE, 2 * PAGE_SIZE,
					  MREMAP_MAYMOVE | MREMAP_FIXED, ADDR2),
			ADDR2);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR2, 2), 0x3);

	fs_reclaim_acquire(GFP_KERNEL);
	mmap_revoke_begin(plain);
	mmap_revoke_end(plain);
	mmap_revoke_kill_all_maps(zero);
	mmap_revoke_kill(zero);
	mmap_revoke_kill(plain);
	fs_reclaim_release(GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR2, 2), 0);
}

/* As do_mmap() has it: shared, but not for writing, and not VM_SHARED. */
static void read_only_file(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps_of(test, &plain_zero_ops, NULL);
	struct mr_test *t = test->priv;
	struct vm_area_struct *vma;
	struct file *file;
	u32 val = 1;

	t->file[1] = anon_inode_getfile("mmap_revoke_kunit", &dev_fops, &t->dev,
					O_RDONLY);
	file = t->file[1];
	if (IS_ERR(file))
		t->file[1] = NULL;
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mmap_revoke_bind_file(mr, file);

	KUNIT_ASSERT_EQ(test, map_prot(file, ADDR, 2, 3, PROT_READ), ADDR);
	t->dev.maps = false;
	KUNIT_ASSERT_EQ(test, map_prot(file, ADDR2, 2, 5, PROT_READ), ADDR2);
	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, ADDR);
	KUNIT_EXPECT_FALSE(test, vma->vm_flags & (VM_SHARED | VM_MAYWRITE));
	mmap_read_unlock(current->mm);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 3));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 5));
	KUNIT_EXPECT_FALSE(test, pte_at(current->mm, ADDR).writable);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR, PAGE_SIZE, RW), -EACCES);
	KUNIT_EXPECT_EQ(test, vm_mmap(file, ADDR + SZ_1M, PAGE_SIZE, PROT_READ,
				      MAP_PRIVATE | MAP_FIXED, 0),
			(unsigned long)-EINVAL);

	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 2));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR2, 2));
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 3));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, read_word(ADDR, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 0);
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR).pfn, zero_pfn(ADDR));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR2, 2));
}

/* What died before is not touched again, also at the same page offset. */
static void kill_costs_its_own(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, &cookie[0]);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	map(t->file[0], ADDR, 4, 0);
	t->dev.cookie = &cookie[1];
	map(t->file[0], ADDR2, 4, 0);
	t->dev.cookie = &cookie[2];
	map(t->file[0], ADDR + SZ_1M, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, 0));
	mmap_revoke_kill_maps(mr, &cookie[0]);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0xf);

	mmap_revoke_kill_maps(mr, &cookie[1]);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0xf);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR2, 4));
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0xf);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0xf);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR + SZ_1M, 4));
	/* The object is another matter. */
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
}

/* No cookie is not any cookie. */
static void kill_without_cookie(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 2, 0);
	t->dev.cookie = NULL;
	map(t->file[0], ADDR2, 2, 2);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 2));
	mmap_revoke_kill_maps(mr, NULL);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR2, 2), 0);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0x3);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 0);
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
}

/* A cookie that looks at a page table when it is given back. */
struct peek {
	struct follow_pfnmap_args args;
	unsigned int unmapped;
	bool found;
};

static int peek_map(struct mmap_revoke *mr, void *cookie)
{
	return 0;
}

static void peek_unmap(struct mmap_revoke *mr, void *cookie)
{
	struct address_space *mapping = mmap_revoke_mapping(mr);
	struct peek *peek = cookie;

	peek->unmapped++;
	i_mmap_lock_read(mapping);
	if (!follow_pfnmap_start(&peek->args)) {
		follow_pfnmap_end(&peek->args);
		peek->found = true;
	}
	i_mmap_unlock_read(mapping);
}

static const struct mmap_revoke_ops peek_ops = {
	.name = "peek",
	.map = peek_map,
	.unmap = peek_unmap,
};

static void released_after_zap(struct kunit *test)
{
	struct peek peek[2] = {};
	struct mmap_revoke *mr = new_maps_of(test, &peek_ops, (void *)&peek[0]);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 1, 0);
	t->dev.cookie = (void *)&peek[1];
	map(t->file[0], ADDR2, 1, 0);
	mmap_read_lock(current->mm);
	peek[0].args.vma = vma_lookup(current->mm, ADDR);
	peek[1].args.vma = vma_lookup(current->mm, ADDR2);
	mmap_read_unlock(current->mm);
	peek[0].args.address = ADDR;
	peek[1].args.address = ADDR2;
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 1, 0));

	mmap_revoke_kill_maps(mr, &peek[0]);
	KUNIT_EXPECT_EQ(test, peek[0].unmapped, 1);
	KUNIT_EXPECT_FALSE(test, peek[0].found);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, peek[1].unmapped, 1);
	KUNIT_EXPECT_FALSE(test, peek[1].found);
	KUNIT_EXPECT_EQ(test, peek[0].unmapped, 1);
}

static void kill_maps_fn(struct mr_thread *th)
{
	mmap_revoke_kill_all_maps(th->mr);
}

/* A fault under way holds the gate, as this does. */
static void kill_waits_for_faults(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_thread th = { .mr = mr, .fn = kill_maps_fn };
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 2, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	start_gated(test, &th);
	KUNIT_EXPECT_TRUE(test, blocks(&th));
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 0);
	up_read(&mr->gate);
	join(&th);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0);
}

static void late_fn(struct mr_thread *th)
{
	th->bad = -read_word(ADDR, th->arg);
}

/* @late was prepared before @fn, and comes to the gate after it. */
static void comes_late(struct kunit *test, struct mmap_revoke *mr,
		       void (*fn)(struct mr_thread *th), struct mr_thread *late)
{
	struct mr_thread revoker = { .mr = mr, .fn = fn };

	prepare(test, late);
	start_gated(test, &revoker);
	KUNIT_EXPECT_TRUE(test, blocks(&revoker));
	wake_up_process(late->task);
	KUNIT_EXPECT_TRUE(test, blocks(late));
	up_read(&mr->gate);
	join(&revoker);
	join(late);
}

static int late_fault(struct kunit *test, struct mmap_revoke *mr,
		      void (*fn)(struct mr_thread *th), u32 *val)
{
	struct mr_thread late = {
		.fn = late_fn, .mm = current->mm, .arg = val,
	};

	comes_late(test, mr, fn, &late);
	return -(int)late.bad;
}

static void fault_meets_begin(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	u32 val;

	map(t->file[0], ADDR, 2, 0);
	KUNIT_EXPECT_EQ(test, late_fault(test, mr, begin_fn, &val), -EFAULT);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_EQ(test, late_fault(test, mr, kill_fn, &val), -EFAULT);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0);
}

/* It needs a page of zeros that it did not see coming. */
static void fault_meets_kill(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;
	u32 val = 1;

	map(t->file[0], ADDR, 2, 0);
	KUNIT_EXPECT_EQ(test, late_fault(test, mr, kill_maps_fn, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 0);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 2));
}

static void late_map_fn(struct mr_thread *th)
{
	map(th->t->file[0], ADDR, 2, 0);
	complete(&th->reached);
}

static void renew_fn(struct mr_thread *th)
{
	struct kunit *test = th->arg;

	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, mmap_revoke_renew(th->mr), -EBUSY);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
}

/* Whoever can be under the gate has a VMA that counts. */
static void mmap_meets_renew(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mr_thread late = { .fn = late_map_fn, .mm = current->mm, .t = t };
	struct mr_thread renewer = { .fn = renew_fn, .mr = mr, .arg = test };

	mmap_revoke_kill(mr);
	prepare(test, &late);
	start_gated(test, &renewer);
	KUNIT_EXPECT_TRUE(test, blocks(&renewer));
	wake_up_process(late.task);
	wait_for_completion(&late.reached);
	up_read(&mr->gate);
	join(&renewer);
	join(&late);
	KUNIT_EXPECT_FALSE(test, is_live(mr));
}

static void late_populate_fn(struct mr_thread *th)
{
	user_map(th->t->file[0], ADDR, 2, 0);
	complete(&th->reached);
	wait_for_completion(th->arg);
	task_work_run();
}

/* mmap() in a process inserts its pages after all that as well. */
static void populate_meets_kill(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;
	struct mr_thread revoker = { .mr = mr, .fn = kill_maps_fn };
	DECLARE_COMPLETION_ONSTACK(go);
	struct mr_thread late = {
		.fn = late_populate_fn, .t = t, .mm = current->mm, .arg = &go,
	};

	start(test, &late);
	wait_for_completion(&late.reached);
	start_gated(test, &revoker);
	KUNIT_EXPECT_TRUE(test, blocks(&revoker));
	complete(&go);
	KUNIT_EXPECT_TRUE(test, blocks(&late));
	up_read(&mr->gate);
	join(&revoker);
	join(&late);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 2));
}

/* The VMA cannot go meanwhile. */
static void populate_under_mmap_lock(struct kunit *test)
{
	struct mr_test *t = test->priv;
	DECLARE_COMPLETION_ONSTACK(go);
	struct mr_thread late = {
		.fn = late_populate_fn, .t = t, .mm = current->mm, .arg = &go,
	};

	new_maps(test, NULL);
	start(test, &late);
	wait_for_completion(&late.reached);
	mmap_write_lock(current->mm);
	complete(&go);
	KUNIT_EXPECT_TRUE(test, blocks(&late));
	mmap_write_unlock(current->mm);
	join(&late);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0x3);
}

/* The owner's module goes after the kill; its VMAs stay. */
static void maps_without_module(struct kunit *test)
{
	struct mmap_revoke_ops *ops = module_ops(test, &mr_map_ops);
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps_of(test, ops, cookie);
	struct mr_test *t = test->priv;
	struct mm_struct *child;

	map(t->file[0], ADDR, 3, 0);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
	module_goes(ops);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 3));
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR2, 1, 0), -ENODEV);
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);
	vm_munmap(ADDR + PAGE_SIZE, PAGE_SIZE);
	vm_munmap(ADDR, 3 * PAGE_SIZE);
	use_mm(child);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 3));
	vm_munmap(ADDR, 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie->mapped, 1);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
}

static int failing_mmap(struct file *file, struct vm_area_struct *vma)
{
	int ret = dev_mmap(file, vma);

	if (ret)
		return ret;
	mmap_revoke_unmap_io(vma);
	/* An owner's own undoing does not have to know of another's. */
	mmap_revoke_unmap_io(vma);
	return -EIO;
}

/* A driver that fails after its memory was mapped. */
static void driver_fails(struct kunit *test)
{
	static const struct file_operations fops = {
		.mmap = failing_mmap,
		.release = dev_release,
	};
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct file *file = new_file_of(test, mr, &fops);
	struct mr_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, map(file, ADDR, 2, 0), (unsigned long)-EIO);
	KUNIT_EXPECT_EQ(test, cookie->mapped, 1);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
	/* Of another kind of mapping there is nothing to undo. */
	t->dev.maps = false;
	KUNIT_EXPECT_EQ(test, map(file, ADDR, 2, 0), (unsigned long)-EIO);
	t->dev.maps = true;
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR, 2, 0), ADDR);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	vm_munmap(ADDR, 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 2);
}

/*
 * Are these pages mapped as memory is? UML has no other way, and on x86 it goes
 * by the PFN alone.
 */
static bool as_memory(unsigned long addr, unsigned int nr)
{
#ifdef CONFIG_ARM64
	u64 prot;

	for (; nr; nr--, addr += PAGE_SIZE) {
		prot = pgprot_val(pte_at(current->mm, addr).pgprot);
		if ((prot & PTE_ATTRINDX_MASK) != PTE_ATTRINDX(MT_NORMAL))
			return false;
	}
#endif
	return true;
}

/*
 * The entries of dead maps go, since some architectures would make them device
 * memory; those of live ones stay, since stock takes no fault there.
 */
static void mprotect_of_the_dead(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	t->dev.uncached = IS_ENABLED(CONFIG_ARM64);
	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	KUNIT_EXPECT_EQ(test, as_memory(ADDR, 1), !t->dev.uncached);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR, 2 * PAGE_SIZE, PROT_READ), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0xf);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR, 2 * PAGE_SIZE, RW), 0);

	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0xf);
	KUNIT_EXPECT_TRUE(test, as_memory(ADDR, 4));
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR + PAGE_SIZE, 2 * PAGE_SIZE,
					    PROT_READ), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0x9);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_TRUE(test, as_memory(ADDR, 4));
	KUNIT_EXPECT_FALSE(test, pte_at(mm, ADDR + PAGE_SIZE).writable);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, 1), 0);

	/* So it is where the object is dead. */
	map(t->file[0], ADDR2, 2, 0);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, write_word(ADDR2, 2), 0);
	KUNIT_EXPECT_EQ(test, user_mprotect(ADDR2, PAGE_SIZE, PROT_READ), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 1), 0);
}

static void mprotect_fn(struct mr_thread *th)
{
	th->bad = user_mprotect(ADDR, PAGE_SIZE, PROT_READ);
}

/* What a fault under way inserts has to be there when the entries are zapped. */
static void mprotect_waits_for_faults(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct address_space *mapping = mmap_revoke_mapping(mr);
	struct mr_thread th = { .fn = mprotect_fn, .mm = current->mm };
	struct follow_pfnmap_args args = { .address = ADDR };
	struct mr_test *t = test->priv;
	bool found;

	if (!IS_ENABLED(CONFIG_PER_VMA_LOCK))
		kunit_skip(test, "a VMA has no lock of its own");
	map(t->file[0], ADDR, 1, 0);
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 1));
	/* As the fault has it. */
	args.vma = lock_vma_under_rcu(current->mm, ADDR);
	KUNIT_ASSERT_NOT_NULL(test, args.vma);
	start(test, &th);
	KUNIT_EXPECT_TRUE(test, blocks(&th));
	i_mmap_lock_read(mapping);
	found = !follow_pfnmap_start(&args);
	if (found)
		follow_pfnmap_end(&args);
	i_mmap_unlock_read(mapping);
	vma_end_read(args.vma);
	join(&th);
	KUNIT_EXPECT_TRUE(test, found);
	KUNIT_EXPECT_EQ(test, th.bad, 0);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 1), 0);
}

/* As soft-dirty tracking leaves it: vm_page_prot does not allow to write. */
static void huge_write_fault(struct kunit *test)
{
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;
	unsigned long addr = ALIGN(ADDR, PMD_SIZE);
	struct follow_pfnmap_args pte;
	struct vm_area_struct *vma;

	if (!IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) ||
	    PAGE_SIZE << DEV_ORDER < PMD_SIZE)
		kunit_skip(test, "no huge mappings of PFNs");
	new_bound(test, &mr_ops);
	KUNIT_ASSERT_EQ(test, map(t->file[0], addr, PMD_SIZE / PAGE_SIZE, 0),
			addr);
	mmap_write_lock(mm);
	vma = vma_lookup(mm, addr);
	vma->vm_page_prot = vm_get_page_prot(vma->vm_flags & ~VM_SHARED);
	mmap_write_unlock(mm);
	KUNIT_EXPECT_EQ(test, touch(mm, addr, FAULT_FLAG_WRITE), 0);
	pte = pte_at(mm, addr);
	if (pte.addr_mask == PAGE_MASK)
		kunit_skip(test, "no huge mapping was made");
	/* Otherwise the store would fault for ever. */
	KUNIT_EXPECT_TRUE(test, pte.writable);
}

#ifdef CONFIG_X86_IO_APIC
#define ACCESS_PFN	PHYS_PFN(0xfec00000)	/* the I/O APIC's registers */
#endif

#if defined(CONFIG_HAVE_IOREMAP_PROT) && defined(ACCESS_PFN)
static int access_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	return mmap_revoke_map_io(vma, ACCESS_PFN, NULL);
}

static const struct file_operations access_fops = {
	.mmap = access_mmap,
	.release = dev_release,
};

static void access_fn(struct mr_thread *th)
{
	u32 val;

	th->ok = access_remote_vm(th->arg, ADDR, &val, 4, 0);
}

/* ptrace() reads what is live, touched or not, and nothing else. */
static void access_by_ptrace(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &plain_zero_ops);
	struct mm_struct *mm = current->mm;
	struct mr_thread th = { .fn = access_fn, .arg = mm };
	struct mr_thread late = { .fn = access_fn, .arg = mm };
	struct file *file;
	u32 val = 0;

	file = new_file_of(test, mr, &access_fops);
	KUNIT_ASSERT_EQ(test, map(file, ADDR, 1, 0), ADDR);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR + 16, &val, 4, 0), 4);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 1), 0);
	/* Up to the end of the page. */
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR + PAGE_SIZE - 2, &val,
					       4, 0), 2);
	user_mprotect(ADDR, PAGE_SIZE, PROT_NONE);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, FOLL_FORCE),
			0);
	user_mprotect(ADDR, PAGE_SIZE, PROT_READ);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4,
					       FOLL_FORCE | FOLL_WRITE), 0);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, 0), 4);

	/* While the state changes it waits. */
	prepare(test, &th);
	down_write(&mr->gate);
	wake_up_process(th.task);
	KUNIT_EXPECT_TRUE(test, blocks(&th));
	up_write(&mr->gate);
	join(&th);
	KUNIT_EXPECT_EQ(test, th.ok, 4);

	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, 0), 0);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, 0), 4);

	/* Not either if the kill comes while it waits. */
	comes_late(test, mr, kill_maps_fn, &late);
	KUNIT_EXPECT_EQ(test, late.ok, 0);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, 0), 0);
	/* Not the zero page either. */
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 1));
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, 0), 0);
}

/*
 * Through a private mapping it writes nothing to the device, and it does not read
 * the device where the process may have a copy.
 */
static void private_by_ptrace(struct kunit *test)
{
	static const struct mmap_revoke_ops ops = { .name = "cow", .cow = true };
	struct file *file = new_file_of(test, new_object(test, &ops),
					&access_fops);
	struct mm_struct *mm = current->mm;
	u32 val = 0;

	KUNIT_ASSERT_EQ(test, vm_mmap(file, ADDR, PAGE_SIZE, RW,
				      MAP_PRIVATE | MAP_FIXED, 0), ADDR);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, 0), 4);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4,
					       FOLL_FORCE | FOLL_WRITE), 0);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, 42), 0);
	KUNIT_EXPECT_NE(test, pte_at(mm, ADDR).pfn, ACCESS_PFN);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, 0), 0);
}

static int combining_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mr_dev *dev = file->private_data;

	vma->vm_page_prot = dev->uncached ?
			    pgprot_noncached(vma->vm_page_prot) :
			    pgprot_writecombine(vma->vm_page_prot);
	return mmap_revoke_map_io(vma, ACCESS_PFN, dev->cookie);
}

/* Whoever maps the page after a refusal gets the memory type that he wants. */
static void refused_reserves_nothing(struct kunit *test)
{
	static const struct file_operations fops = {
		.mmap = combining_mmap,
		.release = dev_release,
	};
	struct mr_cookie *cookie = cookies(test);
	struct file *file = new_file_of(test, new_object(test, &mr_map_ops),
					&fops);
	struct mr_test *t = test->priv;
	struct vm_area_struct *vma;
	pgprot_t prot = {};

	cookie->refuse = -EBUSY;
	t->dev.cookie = cookie;
	KUNIT_EXPECT_EQ(test, map(file, ADDR, 1, 0), -EBUSY);
	cookie->refuse = 0;
	t->dev.uncached = true;
	KUNIT_ASSERT_EQ(test, map(file, ADDR, 1, 0), ADDR);
	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, ADDR);
	if (vma)
		prot = vma->vm_page_prot;
	mmap_read_unlock(current->mm);
	KUNIT_EXPECT_EQ(test, pgprot_val(prot),
			pgprot_val(pgprot_noncached(prot)));
}
#else
static void access_by_ptrace(struct kunit *test)
{
	kunit_skip(test, "no IO memory to read");
}

static void private_by_ptrace(struct kunit *test)
{
	kunit_skip(test, "no IO memory to read");
}

static void refused_reserves_nothing(struct kunit *test)
{
	kunit_skip(test, "no IO memory to map");
}
#endif

static struct kunit_case mr_promise_cases[] = {
	KUNIT_CASE(revoked_from_reclaim),
	KUNIT_CASE(read_only_file),
	KUNIT_CASE(kill_costs_its_own),
	KUNIT_CASE(kill_without_cookie),
	KUNIT_CASE(released_after_zap),
	KUNIT_CASE(kill_waits_for_faults),
	KUNIT_CASE(fault_meets_begin),
	KUNIT_CASE(fault_meets_kill),
	KUNIT_CASE(mmap_meets_renew),
	KUNIT_CASE(populate_meets_kill),
	KUNIT_CASE(populate_under_mmap_lock),
	KUNIT_CASE(maps_without_module),
	KUNIT_CASE(driver_fails),
	KUNIT_CASE(mprotect_of_the_dead),
	KUNIT_CASE(mprotect_waits_for_faults),
	KUNIT_CASE(huge_write_fault),
	KUNIT_CASE(access_by_ptrace),
	KUNIT_CASE(private_by_ptrace),
	KUNIT_CASE(refused_reserves_nothing),
	{}
};

MR_SUITE("mmap_revoke_promise", mr_promise_cases);

MODULE_DESCRIPTION("KUnit tests of promises of revocable mmap objects");
MODULE_LICENSE("GPL");
