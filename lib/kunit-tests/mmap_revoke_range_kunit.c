// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of ranges, without any device: what a backend is told, when, and
 * what joining and leaving at any moment comes to.
 */
#include "mmap_revoke_kunit.h"

struct rk_sub {
	struct mmap_revoke_range range;
	struct mutex own_lock;	/* where range.lock is not shared */
	char id;
	/* Each call appends the subscriber and "m" or "u". */
	char *log;
	bool mapped;
	/* What it must never see. */
	unsigned int bad;
	/* It has no memory for so many calls of map(). */
	unsigned int fail;
	/* Blocks the callback once: */
	bool block;
	struct completion entered, leave;
	/* What its callback finds at this address. */
	struct follow_pfnmap_args *peek;
	bool pte_found;
};

static int rk_pfn(struct mmap_revoke *mr, struct vm_area_struct *vma,
		  unsigned long addr, unsigned long *pfn)
{
	struct mr_test *t = mmap_revoke_priv(mr);
	pgoff_t pgoff = vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);

	if (pgoff == DEV_PAGES - 1)
		return -ENXIO;
	*pfn = t->dev.pfn + pgoff;
	return 0;
}

static const struct mmap_revoke_ops rk_ops = { .name = "range", .pfn = rk_pfn };

static void rk_call(struct rk_sub *sub, char event)
{
	char entry[] = { sub->id, event, '\0' };
	struct follow_pfnmap_args *peek = sub->peek;

	if (IS_ENABLED(CONFIG_LOCKDEP) && debug_locks &&
	    !lockdep_is_held(sub->range.lock))
		sub->bad++;
	if (sub->range.live != (event == 'm'))
		sub->bad++;
	if (sub->log)
		strlcat(sub->log, entry, LOG_SIZE);
	if (peek) {
		struct address_space *mapping = peek->vma->vm_file->f_mapping;

		/* A subscriber must not take mmap_lock; this one need not. */
		i_mmap_lock_read(mapping);
		sub->pte_found = !follow_pfnmap_start(peek);
		if (sub->pte_found)
			follow_pfnmap_end(peek);
		i_mmap_unlock_read(mapping);
	}
	if (sub->block) {
		sub->block = false;
		complete(&sub->entered);
		wait_for_completion(&sub->leave);
	}
}

static void rk_map(struct mmap_revoke_range *range)
{
	struct rk_sub *sub = container_of(range, struct rk_sub, range);

	rk_call(sub, 'm');
	if (sub->fail) {
		sub->fail--;
		return;
	}
	if (sub->mapped)
		sub->bad++;
	sub->mapped = true;
}

static void rk_unmap(struct mmap_revoke_range *range)
{
	struct rk_sub *sub = container_of(range, struct rk_sub, range);

	rk_call(sub, 'u');
	sub->mapped = false;
}

static const struct mmap_revoke_range_ops rk_range_ops = {
	.map = rk_map,
	.unmap = rk_unmap,
};

static struct rk_sub *new_sub(struct kunit *test, char id, char *log)
{
	struct rk_sub *sub = kunit_kzalloc(test, sizeof(*sub), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sub);
	mutex_init(&sub->own_lock);
	sub->range.ops = &rk_range_ops;
	sub->range.lock = &sub->own_lock;
	sub->id = id;
	sub->log = log;
	init_completion(&sub->entered);
	init_completion(&sub->leave);
	return sub;
}

static int add_size(struct rk_sub *sub, unsigned long addr, size_t size,
		    bool write)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	guard(mmap_read_lock)(mm);
	vma = vma_lookup(mm, addr);
	if (!vma || !mmap_revoke_vma(vma))
		return -ENOENT;
	return mmap_revoke_range_add(&sub->range, vma, addr, size, write);
}

/* As a backend does: register, then look, then map. */
static int add(struct rk_sub *sub, unsigned long addr)
{
	int ret = add_size(sub, addr, PAGE_SIZE, true);

	if (ret)
		return ret;
	guard(mutex)(sub->range.lock);
	if (sub->range.live)
		sub->mapped = true;
	return 0;
}

static void del(struct rk_sub *sub)
{
	mmap_revoke_range_del(&sub->range);
}

/* An object, with page 0 to 7 of the device mapped at ADDR. */
static struct mmap_revoke *new_target(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &rk_ops);
	struct mr_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, map(t->file[0], ADDR, 8, 0), ADDR);
	return mr;
}

static void range_order(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	char log[LOG_SIZE] = "";
	struct rk_sub *a = new_sub(test, 'a', log);
	struct rk_sub *b = new_sub(test, 'b', log);
	struct rk_sub *c = new_sub(test, 'c', log);

	KUNIT_ASSERT_EQ(test, add(b, ADDR), 0);
	KUNIT_ASSERT_EQ(test, add(a, ADDR + PAGE_SIZE), 0);
	KUNIT_ASSERT_EQ(test, add(c, ADDR), 0);
	KUNIT_EXPECT_TRUE(test, a->mapped && b->mapped && c->mapped);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "");
	mmap_revoke_begin(mr);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "buaucu");
	del(a);
	mmap_revoke_end(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "buaucubmcm");
	KUNIT_EXPECT_TRUE(test, b->mapped);

	log[0] = '\0';
	mmap_revoke_kill(mr);
	mmap_revoke_kill(mr);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "bucu");
	del(b);
	del(c);
	KUNIT_EXPECT_STREQ(test, log, "bucu");
	KUNIT_EXPECT_EQ(test, a->bad + b->bad + c->bad, 0);
}

static void range_refused(struct kunit *test)
{
	static const struct mmap_revoke_ops silent_ops = {
		.name = "silent", .no_ranges = true,
	};
	struct mmap_revoke *mr = new_target(test), *none;
	struct rk_sub *sub = new_sub(test, 'a', NULL);
	struct mr_test *t = test->priv;

	none = new_bound(test, &mr_ops);
	/* Nothing, anonymous memory, a file of nobody. */
	KUNIT_EXPECT_EQ(test, add(sub, ADDR2), -ENOENT);
	KUNIT_EXPECT_EQ(test, vm_mmap(NULL, ADDR2, PAGE_SIZE, RW,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				      0), ADDR2);
	KUNIT_EXPECT_EQ(test, add(sub, ADDR2), -ENOENT);
	t->dev.foreign = true;
	map(new_file(test, NULL), ADDR2, 1, 0);
	t->dev.foreign = false;
	KUNIT_EXPECT_EQ(test, add(sub, ADDR2), -ENOENT);

	/* An object that is not for backends. */
	map(t->file[1], ADDR2, 1, 0);
	KUNIT_EXPECT_PTR_EQ(test, mmap_revoke_mapping(none),
			    t->file[1]->f_mapping);
	KUNIT_EXPECT_EQ(test, add(sub, ADDR2), -EPERM);
	/* One of which backends hear nothing. */
	new_bound(test, &silent_ops);
	map(t->file[3], ADDR2, 1, 0);
	KUNIT_EXPECT_EQ(test, add(sub, ADDR2), -ENOENT);

	/* More than there is; an owner that refuses. */
	KUNIT_EXPECT_EQ(test, add_size(sub, ADDR, 9 * PAGE_SIZE, true),
			-EFAULT);
	KUNIT_EXPECT_EQ(test, add_size(sub, ADDR + 7 * PAGE_SIZE,
				       2 * PAGE_SIZE, true), -EFAULT);
	map(t->file[0], ADDR2, 1, DEV_PAGES - 1);
	KUNIT_EXPECT_EQ(test, add(sub, ADDR2), -ENXIO);

	/* Access rights, whatever page tables allow. */
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
	user_mprotect(ADDR, 8 * PAGE_SIZE, PROT_NONE);
	KUNIT_EXPECT_EQ(test, add_size(sub, ADDR, PAGE_SIZE, false), -EFAULT);
	user_mprotect(ADDR, 8 * PAGE_SIZE, PROT_READ);
	KUNIT_EXPECT_EQ(test, add_size(sub, ADDR, PAGE_SIZE, true), -EFAULT);
	KUNIT_EXPECT_EQ(test, add_size(sub, ADDR + PAGE_SIZE, 7 * PAGE_SIZE,
				       false), 0);
	KUNIT_EXPECT_EQ(test, sub->range.pfn, t->dev.pfn + 1);
	KUNIT_EXPECT_STREQ(test, sub->range.device, test->name);
	del(sub);

	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, add_size(sub, ADDR, PAGE_SIZE, false), -ENODEV);
}

/* What is not cached on this machine, and what is, if it makes a difference. */
static void range_cached(struct kunit *test)
{
	pgprot_t prots[] = {
		PAGE_SHARED, pgprot_noncached(PAGE_SHARED),
		pgprot_writecombine(PAGE_SHARED), pgprot_device(PAGE_SHARED),
	};
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	struct rk_sub *sub;
	int i;

	new_target(test);
	for (i = 0; i < ARRAY_SIZE(prots); i++) {
		sub = new_sub(test, 'a', NULL);
		scoped_guard(mmap_write_lock, mm) {
			vma = vma_lookup(mm, ADDR);
			vma->vm_page_prot = prots[i];
		}
		KUNIT_ASSERT_EQ(test, add(sub, ADDR), 0);
		KUNIT_EXPECT_EQ(test, sub->range.cached,
				i == 0 && pgprot_val(prots[0]) !=
					  pgprot_val(prots[1]));
		del(sub);
	}
}

/* In every state, and in the next generation. */
static void range_states(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	char log[LOG_SIZE] = "";
	struct rk_sub *live = new_sub(test, 'l', log);
	struct rk_sub *suspended = new_sub(test, 's', log);
	struct rk_sub *late = new_sub(test, 'd', log);
	struct rk_sub *next = new_sub(test, 'n', log);
	struct mr_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, add(live, ADDR), 0);
	KUNIT_EXPECT_TRUE(test, live->mapped);
	mmap_revoke_begin(mr);
	KUNIT_ASSERT_EQ(test, add(suspended, ADDR), 0);
	KUNIT_EXPECT_FALSE(test, suspended->range.live);
	/* It comes with the others, and goes with them. */
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "lulmsm");
	KUNIT_EXPECT_TRUE(test, suspended->mapped);
	mmap_revoke_begin(mr);
	log[0] = '\0';
	mmap_revoke_kill(mr);
	/* Nothing was left to drop. */
	KUNIT_EXPECT_STREQ(test, log, "");
	KUNIT_EXPECT_EQ(test, add(late, ADDR), -ENODEV);

	/* No generation hears the next, whether it has left or not. */
	vm_munmap(ADDR, 8 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, mmap_revoke_renew(mr), 0);
	map(t->file[0], ADDR, 8, 0);
	KUNIT_ASSERT_EQ(test, add(next, ADDR), 0);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "nunm");
	KUNIT_EXPECT_FALSE(test, live->mapped || suspended->mapped);
	KUNIT_EXPECT_FALSE(test, live->range.live || suspended->range.live);
	del(live);
	del(suspended);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "nunmnu");
	del(next);
	KUNIT_EXPECT_EQ(test, live->bad + suspended->bad + next->bad, 0);
}

static void range_deleted(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	char log[LOG_SIZE] = "";
	struct rk_sub *a = new_sub(test, 'a', log);

	/* What is live is dropped, once. */
	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	del(a);
	KUNIT_EXPECT_STREQ(test, log, "au");
	KUNIT_EXPECT_FALSE(test, a->mapped);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "au");

	/* The same memory again; while suspended there is nothing to drop. */
	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	mmap_revoke_begin(mr);
	del(a);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "auau");
	KUNIT_EXPECT_EQ(test, a->bad, 0);
}

/* A restore that fails leaves it unmapped, and the next one tries again. */
static void range_failed_restore(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	char log[LOG_SIZE] = "";
	struct rk_sub *a = new_sub(test, 'a', log);
	struct rk_sub *b = new_sub(test, 'b', log);

	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	KUNIT_ASSERT_EQ(test, add(b, ADDR), 0);
	mmap_revoke_begin(mr);
	a->fail = 1;
	mmap_revoke_end(mr);
	KUNIT_EXPECT_FALSE(test, a->mapped);
	KUNIT_EXPECT_TRUE(test, b->mapped);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, a->mapped);
	KUNIT_EXPECT_STREQ(test, log, "aubuambmaubuambm");
	del(a);
	del(b);
	KUNIT_EXPECT_EQ(test, a->bad + b->bad, 0);
}

/* Two subscribers that share their lock are told one after the other. */
static void range_shared_lock(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	struct mr_thread th = { .mr = mr, .fn = begin_fn };
	char log[LOG_SIZE] = "";
	struct rk_sub *a = new_sub(test, 'a', log);
	struct rk_sub *b = new_sub(test, 'b', log);

	b->range.lock = a->range.lock;
	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	KUNIT_ASSERT_EQ(test, add(b, ADDR + PAGE_SIZE), 0);
	mutex_lock(a->range.lock);
	start(test, &th);
	KUNIT_EXPECT_TRUE(test, blocks(&th));
	KUNIT_EXPECT_TRUE(test, a->range.live && b->range.live);
	KUNIT_EXPECT_STREQ(test, log, "");
	mutex_unlock(a->range.lock);
	join(&th);
	KUNIT_EXPECT_STREQ(test, log, "aubu");
	mmap_revoke_end(mr);
	del(a);
	KUNIT_EXPECT_TRUE(test, b->mapped);
	mmap_revoke_kill(mr);
	del(b);
	KUNIT_EXPECT_STREQ(test, log, "aubuambmaubu");
	KUNIT_EXPECT_EQ(test, a->bad + b->bad, 0);
}

/* Of two objects, too: what revokes one waits for callbacks of the other. */
static void range_lock_of_two_objects(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	struct mmap_revoke *other = new_bound(test, &rk_ops);
	struct mr_thread first = { .mr = mr, .fn = begin_fn };
	struct mr_thread second = { .mr = other, .fn = begin_fn };
	char log[LOG_SIZE] = "";
	struct rk_sub *a = new_sub(test, 'a', log);
	struct rk_sub *b = new_sub(test, 'b', log);
	struct mr_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, map(t->file[1], ADDR2, 8, 0), ADDR2);
	b->range.lock = a->range.lock;
	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	KUNIT_ASSERT_EQ(test, add(b, ADDR2), 0);
	a->block = true;
	start(test, &first);
	wait_for_completion(&a->entered);
	start(test, &second);
	KUNIT_EXPECT_TRUE(test, blocks(&second));
	KUNIT_EXPECT_TRUE(test, b->range.live);
	KUNIT_EXPECT_STREQ(test, log, "au");
	complete_all(&a->leave);
	join(&first);
	join(&second);
	KUNIT_EXPECT_STREQ(test, log, "aubu");
	mmap_revoke_end(other);
	KUNIT_EXPECT_TRUE(test, b->mapped && !a->mapped);
	mmap_revoke_kill(mr);
	del(a);
	del(b);
	KUNIT_EXPECT_STREQ(test, log, "aububmbu");
	KUNIT_EXPECT_EQ(test, a->bad + b->bad, 0);
}

/* After the state has changed, before the page tables have. */
static void range_moment(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	struct follow_pfnmap_args args = { .address = ADDR };
	struct rk_sub *a = new_sub(test, 'a', NULL);

	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	mmap_read_lock(current->mm);
	args.vma = vma_lookup(current->mm, ADDR);
	mmap_read_unlock(current->mm);
	a->peek = &args;

	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, a->pte_found);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 1), 0);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_FALSE(test, a->pte_found);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_TRUE(test, a->pte_found);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 1), 0);
	a->peek = NULL;
	del(a);
	KUNIT_EXPECT_EQ(test, a->bad, 0);
}

static void add_fn(struct mr_thread *th)
{
	th->bad = add(th->arg, ADDR);
}

static void del_fn(struct mr_thread *th)
{
	del(th->arg);
}

static void end_fn(struct mr_thread *th)
{
	mmap_revoke_end(th->mr);
}

/*
 * Others join and leave while @fn calls back: they wait for its end, and see
 * the state that it leaves. What leaves live is dropped.
 */
static void in_flight(struct kunit *test, void (*fn)(struct mr_thread *th),
		      bool suspended, bool live, int ret, const char *calls)
{
	struct mmap_revoke *mr = new_target(test);
	char log[LOG_SIZE] = "";
	struct rk_sub *a = new_sub(test, 'a', log);
	struct rk_sub *b = new_sub(test, 'b', log);
	struct rk_sub *gone = new_sub(test, 'g', log);
	struct mr_thread revoker = { .mr = mr, .fn = fn };
	struct mr_thread adder = { .fn = add_fn, .mm = current->mm };
	struct mr_thread leaver = { .fn = del_fn };
	struct mr_thread self = { .fn = del_fn };

	adder.arg = b;
	leaver.arg = gone;
	self.arg = a;
	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	KUNIT_ASSERT_EQ(test, add(gone, ADDR), 0);
	if (suspended)
		mmap_revoke_begin(mr);
	log[0] = '\0';
	a->block = true;
	start(test, &revoker);
	wait_for_completion(&a->entered);
	KUNIT_EXPECT_TRUE(test, blocks(&revoker));
	start(test, &adder);
	KUNIT_EXPECT_TRUE(test, blocks(&adder));
	start(test, &leaver);
	KUNIT_EXPECT_TRUE(test, blocks(&leaver));
	start(test, &self);
	KUNIT_EXPECT_TRUE(test, blocks(&self));
	complete_all(&a->leave);
	join(&revoker);
	join(&adder);
	join(&leaver);
	join(&self);
	KUNIT_EXPECT_EQ(test, (int)adder.bad, ret);
	/* Who leaves comes after the calls, in any order. */
	KUNIT_EXPECT_TRUE(test, strstarts(log, calls));
	KUNIT_EXPECT_EQ(test, strlen(log), strlen(calls) + (live ? 4 : 0));
	if (!ret) {
		KUNIT_EXPECT_EQ(test, b->range.live, live);
		KUNIT_EXPECT_EQ(test, b->mapped, live);
		del(b);
	}
	KUNIT_EXPECT_FALSE(test, a->mapped || gone->mapped || b->mapped);
	KUNIT_EXPECT_EQ(test, a->bad + b->bad + gone->bad, 0);
}

static void range_against_begin(struct kunit *test)
{
	in_flight(test, begin_fn, false, false, 0, "augu");
}

static void range_against_end(struct kunit *test)
{
	in_flight(test, end_fn, true, true, 0, "amgm");
}

static void range_against_kill(struct kunit *test)
{
	in_flight(test, kill_fn, false, false, -ENODEV, "augu");
}

/* A second revocation waits for the subscribers of the first. */
static void range_is_waited_for(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	char log[LOG_SIZE] = "";
	struct rk_sub *a = new_sub(test, 'a', log);
	struct mr_thread first = { .mr = mr, .fn = begin_fn };
	struct mr_thread second = { .mr = mr, .fn = begin_fn };
	struct mr_thread third = { .mr = mr, .fn = kill_fn };

	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	a->block = true;
	start(test, &first);
	wait_for_completion(&a->entered);
	start(test, &second);
	KUNIT_EXPECT_TRUE(test, blocks(&second));
	start(test, &third);
	KUNIT_EXPECT_TRUE(test, blocks(&third));
	KUNIT_EXPECT_TRUE(test, blocks(&first));
	complete_all(&a->leave);
	join(&first);
	join(&second);
	join(&third);
	KUNIT_EXPECT_STREQ(test, log, "au");
	del(a);
}

/* A range holds the object, whatever becomes of the VMA and the owner. */
static void range_holds_object(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	struct rk_sub *a = new_sub(test, 'a', NULL);
	struct mr_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	vm_munmap(ADDR, 8 * PAGE_SIZE);
	put_file(t, 0);
	/* The VMA is gone, the memory is not. */
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_FALSE(test, a->mapped);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, a->mapped);
	put_object(t, 0);
	KUNIT_EXPECT_EQ(test, nr_refs(t, 0), 2);
	KUNIT_EXPECT_STREQ(test, a->range.device, test->name);
	del(a);
	KUNIT_EXPECT_EQ(test, nr_refs(t, 0), 1);
}

/* The owner's module is gone, and a backend still has the dead object. */
static void range_without_module(struct kunit *test)
{
	struct mmap_revoke_ops *ops = module_ops(test, &rk_ops);
	struct mmap_revoke *mr = new_bound(test, ops);
	struct rk_sub *a = new_sub(test, 'a', NULL);
	struct rk_sub *b = new_sub(test, 'b', NULL);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 8, 0);
	KUNIT_ASSERT_EQ(test, add(a, ADDR), 0);
	mmap_revoke_kill(mr);
	module_goes(ops);
	/* As a VMA of another module's file: nobody asks the owner. */
	KUNIT_EXPECT_EQ(test, add(b, ADDR), -ENODEV);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 8));
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	vm_munmap(ADDR, 8 * PAGE_SIZE);
	put_file(t, 0);
	put_object(t, 0);
	KUNIT_EXPECT_EQ(test, nr_refs(t, 0), 2);
	del(a);
	KUNIT_EXPECT_EQ(test, nr_refs(t, 0), 1);
}

/* Joining, leaving and telling allocate nothing that could be missing. */
static void range_without_memory(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	struct rk_sub *a = new_sub(test, 'a', NULL);
	int ret;

	allow_failing(test);
	fail_nth(1);
	ret = add(a, ADDR);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	mmap_revoke_kill(mr);
	del(a);
	KUNIT_EXPECT_EQ(test, fail_left(), 1);
	KUNIT_EXPECT_EQ(test, ret, 0);
}

/* Shared by all threads of a race. */
struct rk_race {
	atomic_t mapped, inside;
	bool stop;
};

struct rk_racer {
	struct mmap_revoke_range range;
	struct rk_race *race;
	bool mapped, joined;
	unsigned int calls, bad;
};

static void racer_map(struct mmap_revoke_range *range)
{
	struct rk_racer *r = container_of(range, struct rk_racer, range);

	r->calls++;
	if (r->mapped || !READ_ONCE(r->joined))
		r->bad++;
	r->mapped = true;
	atomic_inc(&r->race->mapped);
}

static void racer_unmap(struct mmap_revoke_range *range)
{
	struct rk_racer *r = container_of(range, struct rk_racer, range);

	r->calls++;
	if (!READ_ONCE(r->joined) || atomic_read(&r->race->inside))
		r->bad++;
	cond_resched();
	if (atomic_read(&r->race->inside))
		r->bad++;
	if (r->mapped)
		atomic_dec(&r->race->mapped);
	r->mapped = false;
}

static const struct mmap_revoke_range_ops racer_ops = {
	.map = racer_map,
	.unmap = racer_unmap,
};

static DEFINE_MUTEX(racer_lock);

static int racer_add(struct rk_racer *r)
{
	struct vm_area_struct *vma;
	int ret;

	r->range.ops = &racer_ops;
	r->range.lock = &racer_lock;
	WRITE_ONCE(r->joined, true);
	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, ADDR);
	ret = vma ? mmap_revoke_range_add(&r->range, vma, ADDR, PAGE_SIZE,
					  true) : -ENOENT;
	mmap_read_unlock(current->mm);
	if (ret)
		return ret;
	guard(mutex)(&racer_lock);
	if (r->range.live && !r->mapped) {
		r->mapped = true;
		atomic_inc(&r->race->mapped);
	}
	return 0;
}

static void race_joiner(struct mr_thread *th)
{
	struct rk_racer *r;

	while (!kthread_should_stop()) {
		r = kzalloc_obj(*r);
		if (!r)
			break;
		r->race = th->arg;
		if (racer_add(r))
			th->bad++;
		cond_resched();
		mmap_revoke_range_del(&r->range);
		WRITE_ONCE(r->joined, false);
		if (r->calls > 1)
			th->ok++;
		else
			th->refused++;
		th->bad += r->bad + r->mapped;
		kfree(r);
	}
}

static bool race_lacks(struct mr_thread *th)
{
	return READ_ONCE(th->ok) <= 10 || READ_ONCE(th->refused) <= 10;
}

/* Ranges come and go at any moment; after begin() none is mapped. */
static void race_range(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	struct rk_race race = {};
	struct mr_thread th[2] = {
		{ .fn = race_joiner, .mm = current->mm, .arg = &race },
		{ .fn = race_joiner, .mm = current->mm, .arg = &race },
	};
	unsigned int i, bad = 0;

	start(test, &th[0]);
	start(test, &th[1]);
	for (i = 0; i < 5000 || (i < 500000 && (race_lacks(&th[0]) ||
						race_lacks(&th[1]))); i++) {
		mmap_revoke_begin(mr);
		if (atomic_read(&race.mapped))
			bad++;
		cond_resched();
		if (atomic_read(&race.mapped))
			bad++;
		mmap_revoke_end(mr);
		cond_resched();
	}
	for (i = 0; i < 2; i++) {
		join(&th[i]);
		KUNIT_EXPECT_EQ(test, th[i].bad, 0);
		KUNIT_EXPECT_GT(test, th[i].ok, 10);
		KUNIT_EXPECT_GT(test, th[i].refused, 10);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&race.mapped), 0);
}

/* As a fault does. */
static void race_fault(struct mr_thread *th)
{
	struct rk_race *race = th->arg;

	while (!kthread_should_stop()) {
		down_read(&th->mr->gate);
		if (th->mr->state == MMAP_REVOKE_LIVE) {
			atomic_inc(&race->inside);
			th->ok++;
			atomic_dec(&race->inside);
		} else {
			th->refused++;
		}
		up_read(&th->mr->gate);
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

/* No fault inserts a page when a range is told to drop. */
static void race_gate(struct kunit *test)
{
	struct mmap_revoke *mr = new_target(test);
	struct rk_race race = {};
	struct rk_racer watch = { .race = &race };
	struct mr_thread reader = {
		.fn = race_fault, .mr = mr, .arg = &race,
	};
	struct mr_thread toggler = { .fn = race_toggler, .mr = mr };
	unsigned int i;

	KUNIT_ASSERT_EQ(test, racer_add(&watch), 0);
	start(test, &reader);
	start(test, &toggler);
	for (i = 0; i < 5000 ||
	     (i < 500000 && (READ_ONCE(reader.ok) <= 100 ||
			     READ_ONCE(reader.refused) <= 100)); i++) {
		mmap_revoke_begin(mr);
		cond_resched();
		mmap_revoke_end(mr);
		cond_resched();
	}
	join(&toggler);
	join(&reader);
	mmap_revoke_begin(mr);
	mmap_revoke_range_del(&watch.range);
	KUNIT_EXPECT_EQ(test, watch.bad, 0);
	KUNIT_EXPECT_GT(test, watch.calls, 5000);
	KUNIT_EXPECT_GT(test, reader.ok, 100);
	KUNIT_EXPECT_GT(test, reader.refused, 100);
}

static struct kunit_case mr_range_cases[] = {
	KUNIT_CASE(range_order),
	KUNIT_CASE(range_refused),
	KUNIT_CASE(range_cached),
	KUNIT_CASE(range_states),
	KUNIT_CASE(range_deleted),
	KUNIT_CASE(range_failed_restore),
	KUNIT_CASE(range_shared_lock),
	KUNIT_CASE(range_lock_of_two_objects),
	KUNIT_CASE(range_moment),
	KUNIT_CASE(range_against_begin),
	KUNIT_CASE(range_against_end),
	KUNIT_CASE(range_against_kill),
	KUNIT_CASE(range_is_waited_for),
	KUNIT_CASE(range_holds_object),
	KUNIT_CASE(range_without_module),
	KUNIT_CASE(range_without_memory),
	KUNIT_CASE_SLOW(race_range),
	KUNIT_CASE_SLOW(race_gate),
	{}
};

MR_SUITE("mmap_revoke_range", mr_range_cases);

MODULE_DESCRIPTION("KUnit tests of ranges of revocable mmap objects");
MODULE_LICENSE("GPL");
