// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of maps: an owner takes back what one mmap() mapped.
 */
#include "mmap_revoke_kunit.h"

static const struct mmap_revoke_ops sigbus_ops = {
	.name = "sigbus",
	.map = cookie_map,
	.unmap = cookie_unmap,
};

static unsigned int count_mapped(unsigned long addr, unsigned int nr,
				 unsigned long pfn)
{
	unsigned int n, found = 0;

	for (n = 0; n < nr; n++)
		found += pte_at(current->mm, addr + n * PAGE_SIZE).pfn ==
			 pfn + n;
	return found;
}

static void map_populated(struct kunit *test)
{
	const unsigned long border = ALIGN(ADDR, PMD_SIZE) + PMD_SIZE;
	static const unsigned int sizes[] = { 1, 4, DEV_PAGES };
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;
	struct mm_struct *child;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		user_map(t->file[0], border, sizes[i], 0);
		KUNIT_EXPECT_EQ(test, count_mapped(border, 1, t->dev.pfn), 0);
		task_work_run();
		KUNIT_EXPECT_EQ(test, count_mapped(border, sizes[i],
						   t->dev.pfn), sizes[i]);
		KUNIT_EXPECT_TRUE(test, pte_at(current->mm, border).writable);
		vm_munmap(border, sizes[i] * PAGE_SIZE);
	}

	/* Two page tables, neighbours, and what is there already. */
	map(t->file[0], border - 3 * PAGE_SIZE, 1, 9);
	map(t->file[0], border + 2 * PAGE_SIZE, 1, 9);
	user_map(t->file[0], border - 2 * PAGE_SIZE, 4, 2);
	KUNIT_EXPECT_TRUE(test, reads(border - PAGE_SIZE, 1, 3));
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(current->mm, border - 3 * PAGE_SIZE, 6),
			0x1e);
	KUNIT_EXPECT_TRUE(test, reads(border - 2 * PAGE_SIZE, 4, 2));
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);
	KUNIT_EXPECT_EQ(test, mapped(child, border - 3 * PAGE_SIZE, 6), 0x1e);
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, border - 3 * PAGE_SIZE, 6),
			0);
	KUNIT_EXPECT_EQ(test, mapped(child, border - 3 * PAGE_SIZE, 6), 0);

	/* A kernel thread has nothing to run. */
	map(t->file[0], ADDR2, 4, 0);
	KUNIT_EXPECT_NULL(test, current->task_works);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR2, 4), 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, 0));
}

/* What happens before user space runs comes first. */
static void map_before_populated(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	user_map(t->file[0], ADDR, 4, 0);
	mmap_revoke_kill_maps(mr, cookie);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	vm_munmap(ADDR, 4 * PAGE_SIZE);

	user_map(t->file[0], ADDR, 4, 0);
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 2);
	task_work_run();

	/* Ordinary memory, or another map. */
	user_map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_EQ(test, vm_mmap(NULL, ADDR, 4 * PAGE_SIZE, RW,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				      0), ADDR);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
	user_map(t->file[0], ADDR, 4, 0);
	map(t->file[0], ADDR, 2, 8);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 8));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + 2 * PAGE_SIZE, 2, 2));
	vm_munmap(ADDR, 4 * PAGE_SIZE);

	/* The first part of one. */
	user_map(t->file[0], ADDR, 4, 0);
	vm_munmap(ADDR + 2 * PAGE_SIZE, 2 * PAGE_SIZE);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0x3);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	vm_munmap(ADDR, 4 * PAGE_SIZE);

	/* Not while it is suspended; no faults are lost by that. */
	user_map(t->file[0], ADDR, 4, 0);
	mmap_revoke_begin(mr);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));

	/* A task that has lost its memory meanwhile, or the object. */
	user_map(t->file[0], ADDR2, 4, 0);
	kthread_unuse_mm(mm);
	task_work_run();
	kthread_use_mm(mm);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0);
	user_map(t->file[0], ADDR2, 4, 0);
	mmap_revoke_kill(mr);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0);
	KUNIT_EXPECT_EQ(test, cookie->mapped, cookie->unmapped);
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
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_test *t = test->priv;
	struct mm_struct *parent = current->mm, *child;
	u32 val;

	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR, 4), 0xf);
	KUNIT_EXPECT_EQ(test, cookie->mapped, 1);

	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, mapped(parent, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(child, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
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
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);

	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, mapped(parent, ADDR2, 2), 0);
	KUNIT_EXPECT_EQ(test, cookie->mapped, 2);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 2);
	/* One page per object. */
	KUNIT_EXPECT_EQ(test, read_word(ADDR2, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 42);
}

static void map_forked_dead(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_test *t = test->priv;
	struct mm_struct *child;

	map(t->file[0], ADDR, 8, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, vm_munmap(ADDR + 3 * PAGE_SIZE, PAGE_SIZE), 0);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 3));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR + 4 * PAGE_SIZE, 4));
	child = fork_mm();
	KUNIT_ASSERT_NOT_NULL(test, child);
	keep_mm(test, child);
	use_mm(child);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 3));
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
}

static void map_one_killed(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
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
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0);
	KUNIT_EXPECT_EQ(test, cookie[0].unmapped, 2);
	KUNIT_EXPECT_EQ(test, cookie[1].unmapped, 1);
}

/* What is left of a VMA is found, wherever in the map it is. */
static void map_split_killed(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	map(t->file[0], ADDR, 8, 8);
	map(t->file[0], ADDR2, 8, 32);
	vm_munmap(ADDR + PAGE_SIZE, 6 * PAGE_SIZE);
	vm_munmap(ADDR2 + PAGE_SIZE, 6 * PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 8));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + 7 * PAGE_SIZE, 1, 15));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 1, 32));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2 + 7 * PAGE_SIZE, 1, 39));
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 8), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 8), 0);
}

/* An owner that did not ask for zeros. */
static void map_without_zeros(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps_of(test, &sigbus_ops, &cookie[0]);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 2, 0);
	t->dev.cookie = &cookie[1];
	map(t->file[0], ADDR2, 2, 2);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	mmap_revoke_kill_maps(mr, &cookie[0]);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 2));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 2));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR2, 2));
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

	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR2, 2), 1);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 1, 100));
}

/* Some pages go for good; the rest of their map stays, but gets nothing new. */
static void map_kill_pages(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps_of(test, &sigbus_ops, &cookie[0]);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	map(t->file[0], ADDR, 8, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
	user_map(t->file[0], ADDR + SZ_1M, 4, 4);	/* not populated yet */
	t->dev.cookie = &cookie[1];
	map(t->file[0], ADDR + SZ_2M, 1, 1);
	map(t->file[0], ADDR + SZ_2M + PAGE_SIZE, 1, 5);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_2M, 1, 1));
	/* Not of a map. */
	t->dev.maps = false;
	map(t->file[0], ADDR2, 8, 0);
	mmap_write_lock(mm);
	vma = vma_lookup(mm, ADDR2);
	vma->vm_ops = &page_vm_ops;
	mmap_write_unlock(mm);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 1, 100));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2 + 2 * PAGE_SIZE, 1, 100));

	mmap_revoke_kill_pages(mr, 2, 3);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 8), 0xe3);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_2M, 2), 0x1);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_2M + PAGE_SIZE, 1, 5));
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 8), 0x1);
	task_work_run();
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 4), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR + 2 * PAGE_SIZE, 3));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR + SZ_1M, 4));
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	user_mprotect(ADDR, 8 * PAGE_SIZE, PROT_READ);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 8), 0xe3);
	KUNIT_EXPECT_EQ(test, cookie[0].unmapped, 0);

	/* The rest stays when others are killed, and goes with its cookie. */
	mmap_revoke_kill_maps(mr, &cookie[1]);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_2M, 2), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 8), 0xe3);
	mmap_revoke_kill_maps(mr, &cookie[0]);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 8), 0);
	KUNIT_EXPECT_EQ(test, cookie[0].unmapped, 2);

	/* The object lives. */
	t->dev.maps = true;
	map(t->file[0], ADDR, 8, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
}

/* Whose owner allows it can be mapped privately, and revoked. */
static void map_private(struct kunit *test)
{
	u32 val = 0xbad;
	static const struct mmap_revoke_ops ops = { .name = "cow", .cow = true };
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps_of(test, &ops, cookie);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	KUNIT_ASSERT_EQ(test, vm_mmap(t->file[0], ADDR, 4 * PAGE_SIZE, RW,
				      MAP_PRIVATE | MAP_FIXED, 0), ADDR);
	/* vm_normal_page() wants that where a PTE has no special bit. */
	scoped_guard(mmap_read_lock, mm)
		KUNIT_EXPECT_EQ(test, vma_lookup(mm, ADDR)->vm_pgoff,
				t->dev.pfn);
	map(t->file[0], ADDR2, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	KUNIT_EXPECT_FALSE(test, pte_at(mm, ADDR).writable);
	KUNIT_EXPECT_EQ(test, write_word(ADDR, 42), 0);
	KUNIT_EXPECT_NE(test, pte_at(mm, ADDR).pfn, t->dev.pfn);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + PAGE_SIZE, 3, 1));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, 0));
	/* ptrace() reaches IO memory alone: see private_by_ptrace. */
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR + PAGE_SIZE, &val, 4,
					       FOLL_WRITE | FOLL_FORCE), 0);
	KUNIT_EXPECT_EQ(test, access_remote_vm(mm, ADDR, &val, 4, 0), 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, 0));

	mmap_revoke_kill_maps(mr, cookie);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
}

static void map_last_vma(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mr_test *t = test->priv;
	struct mm_struct *parent = current->mm, *child;

	new_maps(test, cookie);
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
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 0);
	vm_munmap(ADDR, 8 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie->mapped, 1);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
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
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_FALSE(test, pte_at(current->mm, ADDR).writable);
	KUNIT_EXPECT_NE(test, pte_at(current->mm, ADDR).pfn, zero_pfn(ADDR));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR2, 2));
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR2).pfn, zero_pfn(ADDR2));
}

static void map_refused(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_test *t = test->priv;

	cookie->refuse = -EBUSY;
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR, 1, 0), -EBUSY);
	cookie->refuse = 0;
	KUNIT_EXPECT_EQ(test, vm_mmap(t->file[0], ADDR, PAGE_SIZE, RW,
				      MAP_PRIVATE | MAP_FIXED, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, cookie->mapped, 0);
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR, 1, 0), ADDR);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, map(t->file[0], ADDR2, 1, 0), -ENODEV);
	KUNIT_EXPECT_EQ(test, cookie->mapped, 1);
	/* A kill releases what is there. */
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
	/* The object is dead, and so it looks. */
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 1));
	mmap_revoke_kill_all_maps(mr);
	vm_munmap(ADDR, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 1);
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

static void look_fn(struct mr_thread *th)
{
	th->bad = !zeros(ADDR, 2) || !zeros(ADDR2, 2);
	complete(&th->reached);
}

/* All are gone when the owner hears of the first one. */
static void map_looked_at(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct mr_thread look = { .fn = look_fn, .mm = current->mm };

		map(t->file[0], ADDR, 2, 0);
		map(t->file[0], ADDR2, 2, 0);
		prepare(test, &look);
		cookie->wakes = look.task;
		cookie->waits = &look.reached;
		if (i)
			mmap_revoke_kill(mr);
		else
			mmap_revoke_kill_all_maps(mr);
		join(&look);
		KUNIT_EXPECT_EQ(test, look.bad, 0);
		KUNIT_EXPECT_EQ(test, cookie->unmapped, 2 * i + 2);
	}
}

/* Another generation of the object begins before mmap() returns. */
static void map_overtaken(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_test *t = test->priv;

	t->dev.renews = mr;
	map(t->file[0], ADDR, 2, 0);
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 2));
	vm_munmap(ADDR, 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, user_map(t->file[0], ADDR, 2, 0), ADDR);
	task_work_run();
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 2), 0);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 2));
	KUNIT_EXPECT_EQ(test, cookie->mapped, 2);
	KUNIT_EXPECT_EQ(test, cookie->unmapped, 2);
}

#define FAILURES	30

/*
 * Fail each of the first allocations, and all of them again, a few times,
 * until @enough have their bit in @failed.  Some serve the slab allocator or a
 * debug option, which go on without: which ones is not the same each time.
 */
static bool fail_another(unsigned int n, unsigned long failed,
			 unsigned int enough)
{
	return n < FAILURES ||
	       (n < 10 * FAILURES && hweight_long(failed) < enough);
}

/* Whatever allocation fails: it is as if there had been no mmap(), no fault. */
static void map_without_memory(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, cookie);
	struct mr_test *t = test->priv;
	unsigned long addr, failed;
	unsigned int n;
	int ret;

	allow_failing(test);
	/* At least the VMA and the map. */
	for (n = 0, failed = 0; fail_another(n, failed, 2); n++) {
		fail_nth(n % FAILURES + 1);
		addr = map(t->file[0], ADDR, 2, 0);
		fail_left();
		if (addr == ADDR) {
			vm_munmap(ADDR, 2 * PAGE_SIZE);
		} else {
			KUNIT_EXPECT_EQ(test, addr, (unsigned long)-ENOMEM);
			failed |= BIT(n % FAILURES);
		}
		KUNIT_EXPECT_EQ(test, cookie->mapped, cookie->unmapped);
	}
	KUNIT_EXPECT_GT(test, cookie->mapped, 0);
	KUNIT_EXPECT_GE(test, hweight_long(failed), 2);

	/* Page tables, each time in a place that has none. */
	for (n = 0, failed = 0; fail_another(n, failed, 2); n++) {
		addr = ADDR + (1 + n) * PUD_SIZE;
		KUNIT_ASSERT_EQ(test, map(t->file[0], addr, 2, 0), addr);
		fail_nth(n % FAILURES + 1);
		ret = touch(current->mm, addr, FAULT_FLAG_WRITE);
		fail_left();
		if (ret) {
			KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
			KUNIT_EXPECT_EQ(test, mapped(current->mm, addr, 2), 0);
			failed |= BIT(n % FAILURES);
		}
		KUNIT_EXPECT_TRUE(test, reads(addr, 2, 0));
	}
	KUNIT_EXPECT_GE(test, hweight_long(failed), 2);
	vm_munmap(ADDR, (1 + n) * PUD_SIZE);

	/*
	 * A process: it is refused, or has all it needs for its pages.  At
	 * least the VMA, the map and a page table.
	 */
	for (n = 0, failed = 0; fail_another(n, failed, 3); n++) {
		unsigned long at = ADDR + (1 + n) * PUD_SIZE;

		fail_nth(n % FAILURES + 1);
		addr = user_map(t->file[0], at, 2, 0);
		fail_nth(1);
		task_work_run();
		fail_left();
		if (addr == at) {
			KUNIT_EXPECT_EQ(test, mapped(current->mm, at, 2), 0x3);
		} else {
			KUNIT_EXPECT_EQ(test, addr, (unsigned long)-ENOMEM);
			failed |= BIT(n % FAILURES);
		}
	}
	KUNIT_EXPECT_GE(test, hweight_long(failed), 3);

	/* And what reads as zeros, where there is a page table. */
	KUNIT_ASSERT_EQ(test, map(t->file[0], ADDR, 2, 0), ADDR);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	mmap_revoke_kill(mr);
	for (n = 1, failed = 0, ret = -ENOMEM; n < 100 && ret; n++) {
		fail_nth(n);
		ret = touch(current->mm, ADDR, FAULT_FLAG_WRITE);
		fail_left();
		failed += ret == -ENOMEM;
	}
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_GE(test, failed, 1);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 2));
}

static struct kunit_case mr_map_cases[] = {
	KUNIT_CASE(map_populated),
	KUNIT_CASE(map_before_populated),
	KUNIT_CASE(map_fault_around),
	KUNIT_CASE(map_killed),
	KUNIT_CASE(map_forked_dead),
	KUNIT_CASE(map_one_killed),
	KUNIT_CASE(map_split_killed),
	KUNIT_CASE(map_without_zeros),
	KUNIT_CASE(map_leaves_others),
	KUNIT_CASE(map_kill_pages),
	KUNIT_CASE(map_private),
	KUNIT_CASE(map_last_vma),
	KUNIT_CASE(map_protection),
	KUNIT_CASE(map_refused),
	KUNIT_CASE(map_suspended),
	KUNIT_CASE(map_looked_at),
	KUNIT_CASE(map_overtaken),
	KUNIT_CASE_SLOW(map_without_memory),
	{}
};

MR_SUITE("mmap_revoke_map", mr_map_cases);

MODULE_DESCRIPTION("KUnit tests of the maps of revocable mmap objects");
MODULE_LICENSE("GPL");
