// SPDX-License-Identifier: GPL-2.0-only
/*
 * fork copies a PMD that maps PFNs while its mapping is being removed.
 *
 * The page tables here belong to address spaces that never run, so that a test
 * can hold their locks and knows where copy_huge_pmd() is.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/pgalloc.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <asm/tlb.h>

#define ADDR	((unsigned long)SZ_1G)
/* Neither memory nor a device: nobody accesses it. */
#define PFN	PHYS_PFN(SZ_256G)

struct half {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	pmd_t *pmd;
};

struct fork {
	struct half parent, child;
	struct completion done;
	int ret;
};

static const struct vm_operations_struct no_ops;

static void half_free(void *data)
{
	struct half *half = data;
	struct mmu_gather tlb;

	if (half->pmd) {
		pmd_clear(half->pmd);
		tlb_gather_mmu(&tlb, half->mm);
		free_pgd_range(&tlb, ADDR, ADDR + PMD_SIZE, 0, 0);
		tlb_finish_mmu(&tlb);
	}
	if (half->vma)
		vm_area_free(half->vma);
	mmput(half->mm);
}

static void half_init(struct kunit *test, struct half *half)
{
	p4d_t *p4d;
	pud_t *pud = NULL;

	half->mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, half->mm);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, half_free, half));

	half->vma = vm_area_alloc(half->mm);
	KUNIT_ASSERT_NOT_NULL(test, half->vma);
	half->vma->vm_start = ADDR;
	half->vma->vm_end = ADDR + PMD_SIZE;
	half->vma->vm_ops = &no_ops;
	vm_flags_init(half->vma, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE |
		      VM_SHARED | VM_MAYSHARE | VM_IO | VM_PFNMAP |
		      VM_DONTEXPAND | VM_DONTDUMP);

	p4d = p4d_alloc(half->mm, pgd_offset(half->mm, ADDR), ADDR);
	if (p4d)
		pud = pud_alloc(half->mm, p4d, ADDR);
	if (pud)
		half->pmd = pmd_alloc(half->mm, pud, ADDR);
	KUNIT_ASSERT_NOT_NULL(test, half->pmd);
}

static struct fork *fork_prepare(struct kunit *test)
{
	struct fork *fork;
	pmd_t pmd;

	fork = kunit_kzalloc(test, sizeof(*fork), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fork);
	init_completion(&fork->done);
	half_init(test, &fork->parent);
	half_init(test, &fork->child);

	pmd = pmd_mkhuge(pfn_pmd(PFN, vm_get_page_prot(VM_READ | VM_SHARED)));
	set_pmd_at(fork->parent.mm, ADDR, fork->parent.pmd, pmd_mkspecial(pmd));
	return fork;
}

static int fork_copy(void *data)
{
	struct fork *fork = data;

	fork->ret = copy_huge_pmd(fork->child.mm, fork->parent.mm,
				  fork->child.pmd, fork->parent.pmd, ADDR,
				  fork->child.vma, fork->parent.vma);
	complete(&fork->done);
	return 0;
}

/* What is mapped and stays mapped goes to the child. */
static void copies(struct kunit *test)
{
	struct fork *fork = fork_prepare(test);

	fork_copy(fork);
	KUNIT_EXPECT_EQ(test, 0, fork->ret);
	KUNIT_EXPECT_TRUE(test, pmd_present(*fork->child.pmd));
	KUNIT_EXPECT_TRUE(test, pmd_special(*fork->child.pmd));
	KUNIT_EXPECT_EQ(test, PFN, pmd_pfn(*fork->child.pmd));
}

/*
 * The parent's PMD is zapped while copy_huge_pmd() waits for the first of its
 * locks. Whoever zaps has found nothing in the child and does not come back.
 */
static void zapped_meanwhile(struct kunit *test)
{
	struct fork *fork = fork_prepare(test);
	spinlock_t *child_ptl, *parent_ptl;
	struct task_struct *task;
	bool waits = false;
	unsigned int cpu;
	u64 end;

	migrate_disable();
	cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	if (cpu >= nr_cpu_ids) {
		migrate_enable();
		kunit_skip(test, "needs two processors");
	}
	task = kthread_create_on_cpu(fork_copy, fork, cpu, "copy_huge_pmd/%u");
	if (IS_ERR(task)) {
		migrate_enable();
		KUNIT_FAIL_AND_ABORT(test, "no thread: %pe", task);
	}

	child_ptl = pmd_lock(fork->child.mm, fork->child.pmd);
	wake_up_process(task);
	end = ktime_get_ns() + 10 * NSEC_PER_SEC;
	while (!waits && ktime_get_ns() < end) {
		waits = spin_is_contended(child_ptl);
		cpu_relax();
	}
	parent_ptl = pmd_lockptr(fork->parent.mm, fork->parent.pmd);
	spin_lock_nested(parent_ptl, SINGLE_DEPTH_NESTING);
	pmdp_huge_get_and_clear(fork->parent.mm, ADDR, fork->parent.pmd);
	spin_unlock(parent_ptl);
	spin_unlock(child_ptl);
	wait_for_completion(&fork->done);
	migrate_enable();

	KUNIT_EXPECT_TRUE_MSG(test, waits, "it never waited for the lock");
	KUNIT_EXPECT_TRUE(test, pmd_none(*fork->child.pmd));
	/* Its caller looks again, and goes on with the next one. */
	KUNIT_EXPECT_EQ(test, -EAGAIN, fork->ret);
}

static struct kunit_case copy_huge_pmd_test_cases[] = {
	KUNIT_CASE(copies),
	KUNIT_CASE(zapped_meanwhile),
	{}
};

static struct kunit_suite copy_huge_pmd_test_suite = {
	.name = "copy_huge_pmd",
	.test_cases = copy_huge_pmd_test_cases,
};

kunit_test_suite(copy_huge_pmd_test_suite);

MODULE_DESCRIPTION("Tests of copying a PMD that maps PFNs");
MODULE_LICENSE("GPL");
