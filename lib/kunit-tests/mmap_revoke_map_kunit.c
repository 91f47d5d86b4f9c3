// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of maps: an owner takes back what one mmap() mapped.
 */
#include "mmap_revoke_kunit.h"

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

	mmap_revoke_kill_all_maps(mr);
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

	mmap_revoke_kill_all_maps(mr);
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
	mmap_revoke_kill_all_maps(mr);
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
	mmap_revoke_kill_all_maps(mr);
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

	mmap_revoke_kill_all_maps(mr);
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
	mmap_revoke_kill_all_maps(mr);
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
	/* A kill releases what is there. */
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 1);
	/* The object is dead, and so it looks. */
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 1));
	mmap_revoke_kill_all_maps(mr);
	vm_munmap(ADDR, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, cookie.unmapped, 1);
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

static struct kunit_case mr_map_cases[] = {
	KUNIT_CASE(map_fault_around),
	KUNIT_CASE(map_killed),
	KUNIT_CASE(map_forked_dead),
	KUNIT_CASE(map_one_killed),
	KUNIT_CASE(map_leaves_others),
	KUNIT_CASE(map_last_vma),
	KUNIT_CASE(map_protection),
	KUNIT_CASE(map_refused),
	KUNIT_CASE(map_suspended),
	{}
};

MR_SUITE("mmap_revoke_map", mr_map_cases);

MODULE_DESCRIPTION("KUnit tests of the maps of revocable mmap objects");
MODULE_LICENSE("GPL");
