// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests that race with revocation. Nobody takes turns: threads fault,
 * map, fork, join and leave as they like. Both outcomes must have occurred
 * often.
 */
#include <linux/ktime.h>
#include <linux/random.h>

#include "mmap_revoke_kunit.h"

#define RACE_PAGES	16
/* Emulated and with KASAN, a round takes a good part of a second. */
#define RACE_ROUNDS	(IS_ENABLED(CONFIG_KASAN) && !IS_ENABLED(CONFIG_UML) ? \
			 100 : 1000)
#define FORK_ROUNDS	100

struct mr_race {
	/* Odd from the return of begin() or kill() until the next state. */
	unsigned int epoch;
	struct completion go, done;
	atomic_t ready;
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
		if (IS_ERR_VALUE(map(th->t->file[0], ADDR, 1, 0)))
			count_access(th, &th->refused);
		else if (write_word(ADDR, dev_word(0)))
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
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;
	struct mr_thread th = { .fn = race_remapper, .t = t, .mr = mr };
	unsigned int i, renewed = 0, refused = 0, bad = 0;
	unsigned long pfn;
	struct page *page;

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
			/* A map that was too slow has zeros, of the next one. */
			page = READ_ONCE(mr->zero_page);
			if (pfn && pfn != t->dev.pfn &&
			    !(page && pfn == page_to_pfn(page)))
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

/* Faults once in each round, at the same time as the others. */
static void race_zeros(struct mr_thread *th)
{
	struct mr_race *race = th->arg;

	for (;;) {
		wait_for_completion(&race->go);
		if (READ_ONCE(race->stop))
			return;
		atomic_inc(&race->ready);
		while (atomic_read(&race->ready) % 2)
			cond_resched();
		if (touch(current->mm, ADDR, FAULT_FLAG_WRITE))
			th->bad++;
		complete(&race->done);
	}
}

/* Of two faults that find no page of zeros, one makes it. */
static void race_zero_page(struct kunit *test)
{
	struct mmap_revoke *mr = new_maps(test, NULL);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;
	struct mr_race race = {};
	struct mr_thread th[2] = {
		{ .fn = race_zeros, .arg = &race },
		{ .fn = race_zeros, .arg = &race },
	};
	unsigned int i, n, bad = 0;
	unsigned long pfn[2];

	init_completion(&race.go);
	init_completion(&race.done);
	for (n = 0; n < 2; n++) {
		th[n].mm = new_mm(test);
		start(test, &th[n]);
	}
	for (i = 0; i < RACE_ROUNDS; i++) {
		for (n = 0; n < 2; n++) {
			use_mm(th[n].mm);
			map(t->file[0], ADDR, 1, 0);
			/* The page table is there, then. */
			if (!reads(ADDR, 1, 0))
				bad++;
		}
		use_mm(mm);
		mmap_revoke_kill(mr);
		complete(&race.go);
		complete(&race.go);
		wait_for_completion(&race.done);
		wait_for_completion(&race.done);
		for (n = 0; n < 2; n++) {
			pfn[n] = pte_at(th[n].mm, ADDR).pfn;
			use_mm(th[n].mm);
			vm_munmap(ADDR, PAGE_SIZE);
		}
		use_mm(mm);
		if (!pfn[0] || pfn[0] != pfn[1])
			bad++;
		mmap_revoke_renew(mr);
	}
	WRITE_ONCE(race.stop, true);
	complete_all(&race.go);
	for (n = 0; n < 2; n++) {
		join(&th[n]);
		KUNIT_EXPECT_EQ(test, th[n].bad, 0);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
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
			mmap_revoke_kill_all_maps(mr);
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

/* Maps, looks and unmaps; what has been killed reads as zeros. */
static void race_maps(struct mr_thread *th)
{
	u32 val;

	while (!kthread_should_stop()) {
		if (IS_ERR_VALUE(map(th->t->file[0], ADDR, RACE_PAGES, 0))) {
			count_access(th, &th->refused);
			cond_resched();
			continue;
		}
		if (read_word(ADDR + PAGE_SIZE, &val) ||
		    (val && val != dev_word(1)))
			th->bad++;
		count_access(th, &th->ok);
		vm_munmap(ADDR, RACE_PAGES * PAGE_SIZE);
		cond_resched();
	}
}

/* kill_maps() at any moment of mmap(), fault and munmap() of two mms. */
static void race_map_kill(struct kunit *test)
{
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr;
	struct mr_test *t = test->priv;
	struct mr_thread th[2] = {
		{ .fn = race_maps, .t = t },
		{ .fn = race_maps, .t = t },
	};
	unsigned int i, n, unmapped, bad = 0;

	skip_concurrent_zaps(test);
	mr = new_maps(test, cookie);
	sched_set_fifo_low(current);
	for (n = 0; n < 2; n++) {
		th[n].mm = new_mm(test);
		start(test, &th[n]);
	}
	for (i = 0; i < RACE_ROUNDS; i++) {
		let_run(&th[i % 2], get_random_u32_below(8));
		/* As a device that goes, it refuses what comes now. */
		WRITE_ONCE(cookie->refuse, -EIO);
		mmap_revoke_kill_all_maps(mr);
		unmapped = READ_ONCE(cookie->unmapped);
		if (READ_ONCE(cookie->mapped) != unmapped)
			bad++;
		let_run(&th[i % 2], 2);
		/* No release comes later, and no mapping. */
		if (READ_ONCE(cookie->unmapped) != unmapped ||
		    READ_ONCE(cookie->mapped) != unmapped)
			bad++;
		WRITE_ONCE(cookie->refuse, 0);
	}
	for (n = 0; n < 2; n++) {
		join(&th[n]);
		KUNIT_EXPECT_EQ(test, th[n].bad, 0);
		KUNIT_EXPECT_GT(test, th[n].ok, RACE_ROUNDS / 4);
		KUNIT_EXPECT_GT(test, th[n].refused, RACE_ROUNDS / 4);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_EQ(test, cookie->mapped, cookie->unmapped);
}

static struct kunit_case mr_race_cases[] = {
	KUNIT_CASE_SLOW(race_fault_begin),
	KUNIT_CASE_SLOW(race_mmap_begin),
	KUNIT_CASE_SLOW(race_fault_kill),
	KUNIT_CASE_SLOW(race_mmap_renew),
	KUNIT_CASE_SLOW(race_fork_begin),
	KUNIT_CASE_SLOW(race_fork_kill),
	KUNIT_CASE_SLOW(race_map_kill),
	KUNIT_CASE_SLOW(race_zero_page),
	{}
};

MR_SUITE("mmap_revoke_race", mr_race_cases);

MODULE_DESCRIPTION("Races of revocable mmap objects");
MODULE_LICENSE("GPL");
