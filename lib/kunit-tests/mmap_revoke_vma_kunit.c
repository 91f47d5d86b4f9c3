// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of revocable mmap objects on VMAs and page tables: several
 * address spaces, fork, split and moved VMAs, zero pages, huge pages.
 */
#include "mmap_revoke_kunit.h"

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

static const struct mmap_revoke_ops contiguous_ops = {
	.name = "contiguous",
	.contiguous = true,
};

/* With the gate, and with a lock of the owner. */
static void fault_around(struct kunit *test)
{
	const unsigned long border = ALIGN(ADDR, PMD_SIZE) + PMD_SIZE;
	const unsigned long start = border - 6 * PAGE_SIZE;
	struct mmap_revoke *mr = new_bound(test, &contiguous_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;
	int i;

	/* In one page table: all of the VMA, nothing before and after it. */
	map(t->file[0], start, 1, 20);
	map(t->file[0], start + PAGE_SIZE, 8, 3);
	map(t->file[0], start + 9 * PAGE_SIZE, 1, 30);
	for (i = 0; i < 2; i++) {
		t->dev.own_lock = i;
		KUNIT_EXPECT_TRUE(test, reads(start + 3 * PAGE_SIZE, 1, 5));
		KUNIT_EXPECT_EQ(test, mapped(mm, start, 10), 0x3e);
		KUNIT_EXPECT_TRUE(test, reads(border + PAGE_SIZE, 1, 9));
		KUNIT_EXPECT_EQ(test, mapped(mm, start, 10), 0x1fe);
		KUNIT_EXPECT_TRUE(test, reads(start + PAGE_SIZE, 8, 3));
		KUNIT_EXPECT_TRUE(test, pte_at(mm, border).writable);
		mmap_revoke_begin(mr);
		KUNIT_EXPECT_EQ(test, mapped(mm, start, 10), 0);
		t->dev.own_lock = false;
		KUNIT_EXPECT_TRUE(test, sigbus(start + PAGE_SIZE, 8));
		mmap_revoke_end(mr);
	}

	/* The rights of the VMA. */
	map_prot(t->file[0], ADDR2, 4, 0, PROT_READ);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2 + PAGE_SIZE, 1, 1));
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0xf);
	KUNIT_EXPECT_FALSE(test, pte_at(mm, ADDR2).writable);
}

static void fault_around_others(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	/* Not if the owner does not say so. */
	map(t->file[0], ADDR, 4, 1);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + PAGE_SIZE, 1, 2));
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0x2);

	/* What is there stays. */
	mr->contiguous = true;
	t->dev.pfn++;
	KUNIT_EXPECT_EQ(test, touch(mm, ADDR + 3 * PAGE_SIZE, 0), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0xf);
	t->dev.pfn--;
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 2));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + PAGE_SIZE, 1, 2));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + 2 * PAGE_SIZE, 2, 4));
}

/*
 * Zero pages
 */
static void zero_page_read_only(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
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
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mmap_revoke *other = new_maps(test, NULL);
	struct mm_struct *first = current->mm, *second = new_mm(test);
	struct mr_test *t = test->priv;
	unsigned long pfn;
	u32 val = 1;

	map(t->file[0], ADDR, 2, 0);
	map(t->file[1], ADDR2, 1, 0);
	/* Read-only today, but mprotect() may change that. */
	map_prot(t->file[0], ADDR + SZ_1M, 1, 7, PROT_READ);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 0));
	use_mm(second);
	map(t->file[0], ADDR, 1, 3);
	use_mm(first);
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

	use_mm(second);
	KUNIT_EXPECT_EQ(test, read_word(ADDR, &val), 0);
	KUNIT_EXPECT_EQ(test, val, 42);
	KUNIT_EXPECT_EQ(test, pte_at(current->mm, ADDR).pfn, pfn);
}

static void zero_page_next_generation(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
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
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, 4 * PUD_SIZE, 64), 0);
	KUNIT_EXPECT_EQ(test, touch(mm, 4 * PUD_SIZE, 0), -EFAULT);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_EQ(test, touch(mm, 4 * PUD_SIZE, 0), 0);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, 4 * PUD_SIZE, 64), 0);
}

static struct kunit_case mr_vma_cases[] = {
	KUNIT_CASE(second_mm),
	KUNIT_CASE(forked),
	KUNIT_CASE(split_and_moved),
	KUNIT_CASE(protection_changes),
	KUNIT_CASE(mmap_flags),
	KUNIT_CASE(fault_around),
	KUNIT_CASE(fault_around_others),
	KUNIT_CASE(zero_page_read_only),
	KUNIT_CASE(zero_page_shared),
	KUNIT_CASE(zero_page_next_generation),
	KUNIT_CASE(order_fits),
	KUNIT_CASE(pmd_mapping),
	KUNIT_CASE(pmd_fallback),
	KUNIT_CASE(pud_mapping),
	{}
};

MR_SUITE("mmap_revoke_vma", mr_vma_cases);

MODULE_DESCRIPTION("KUnit tests of the VMAs of revocable mmap objects");
MODULE_LICENSE("GPL");
