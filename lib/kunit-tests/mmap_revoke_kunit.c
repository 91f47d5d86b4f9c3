// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of revocable mmap objects: states, zap, the gate,
 * references, and what debugfs and tracepoints tell.
 */
#include <linux/mount.h>
#include <linux/seq_file.h>
#include <linux/uio.h>
#include <trace/events/mmap_revoke.h>

#include "mmap_revoke_kunit.h"

/*
 * What is zapped
 */
static void all_of_one_object(struct kunit *test)
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

	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 8));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR2, 8));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR + SZ_1M, 16));
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2 + SZ_1M, 16), 0xffff);
	KUNIT_EXPECT_TRUE(test, is_live(other));
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 8, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 16, 0));
}

/* Also those that loff_t has no room for in bytes. */
static void large_offsets(struct kunit *test)
{
	const pgoff_t top = ULONG_MAX - 3;
	const pgoff_t half = 1UL << (BITS_PER_LONG - PAGE_SHIFT - 1);
	struct mr_cookie *cookie = cookies(test);
	struct mmap_revoke *mr = new_maps(test, &cookie[0]);
	struct mr_test *t = test->priv;
	struct mm_struct *mm = current->mm;

	map(t->file[0], ADDR, 4, 0);
	t->dev.add_pgoff = top;
	map(t->file[0], ADDR + SZ_1M, 4, 0);
	t->dev.add_pgoff = 0;
	t->dev.cookie = &cookie[1];
	/* By way of mmap(). */
	KUNIT_ASSERT_EQ(test, map(t->file[0], ADDR2, 4, half), ADDR2);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 4, top));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, half));

	mmap_revoke_kill_maps(mr, &cookie[1]);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR2, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0xf);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 4), 0xf);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR + SZ_1M, 4), 0);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 4, top));
	mmap_revoke_kill_maps(mr, &cookie[0]);
	KUNIT_EXPECT_EQ(test, mapped(mm, ADDR, 4), 0);
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
	KUNIT_EXPECT_FALSE(test, is_live(mr));
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
	KUNIT_EXPECT_EQ(test, mmap_revoke_renew(mr), 0);
	KUNIT_EXPECT_FALSE(test, is_live(mr));

	map(t->file[0], ADDR, 4, 0);
	mmap_revoke_kill(mr);
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, mmap_revoke_renew(mr), -EBUSY);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_FALSE(test, is_live(mr));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));

	vm_munmap(ADDR, 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mmap_revoke_renew(mr), 0);
	KUNIT_EXPECT_TRUE(test, is_live(mr));
	map(t->file[0], ADDR, 4, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 4, 0));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 4));
}

/*
 * Gate
 */
static void gate_is_waited_for(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mr_thread th = { .mr = mr, .fn = begin_fn };

	start_gated(test, &th);
	KUNIT_EXPECT_TRUE(test, blocks(&th));
	KUNIT_EXPECT_EQ(test, mr->state, MMAP_REVOKE_LIVE);
	up_read(&mr->gate);
	join(&th);
	KUNIT_EXPECT_FALSE(test, is_live(mr));

	mmap_revoke_end(mr);
	th = (struct mr_thread) { .mr = mr, .fn = kill_fn };
	start_gated(test, &th);
	KUNIT_EXPECT_TRUE(test, blocks(&th));
	KUNIT_EXPECT_EQ(test, mr->state, MMAP_REVOKE_LIVE);
	up_read(&mr->gate);
	join(&th);
	KUNIT_EXPECT_FALSE(test, is_live(mr));
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
	drop_held(t, 0);
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", " live"));
	put_object(t, 0);
	/* The file holds it, and the VMA holds the file. */
	map(file, ADDR, 1, 0);
	put_file(t, 0);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", " live"));
	vm_munmap(ADDR, PAGE_SIZE);
	flush_delayed_fput();
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

/* What is freed while in use stays allocated, so this leaks one. */
static void put_while_in_use(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 1, 0);
	drop_held(t, 0);
	kunit_warning_suppress(test) {
		mmap_revoke_put(mr);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
		put_object(t, 0);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_TRUE(test, listed(test, "kunit", " live"));
	/* The VMA still works. */
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));

	/* There is no reference left that the release of the file could put. */
	vm_munmap(ADDR, PAGE_SIZE);
	flush_delayed_fput();
	t->file[0]->f_mapping = file_inode(t->file[0])->i_mapping;
}

/* What is read of a dead object is not its owner's. */
static void outlives_module(struct kunit *test)
{
	struct mmap_revoke_ops *ops = module_ops(test, &mr_ops);
	struct mmap_revoke *mr = new_bound(test, ops);
	struct mr_test *t = test->priv;

	map(t->file[0], ADDR, 1, 0);
	mmap_revoke_kill(mr);
	module_goes(ops);
	KUNIT_EXPECT_TRUE(test, listed(test, "gone", " dead 1 1\n"));
	KUNIT_EXPECT_TRUE(test, sigbus(ADDR, 1));
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

	/* Of maps, what killed some. */
	mr = new_maps(test, NULL);
	map(t->file[1], ADDR, 1, 0);
	mmap_revoke_kill_all_maps(mr);
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_TRUE(test, listed(test, "maps", " live 1 1\n"));
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

static void trace_bind_probe(void *data, const char *owner, const char *device)
{
	unsigned int *nr = data;

	(*nr)++;
}

static void trace_events(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	struct mr_trace zap = {}, begin = {}, end = {}, kill = {};
	struct mr_test *t = test->priv;
	unsigned int bound = 0;

	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		kunit_skip(test, "no tracepoints");
	register_trace_mmap_revoke_zap(trace_probe, &zap);
	register_trace_mmap_revoke_begin(trace_probe, &begin);
	register_trace_mmap_revoke_end(trace_probe, &end);
	register_trace_mmap_revoke_kill(trace_probe, &kill);
	register_trace_mmap_revoke_bind(trace_bind_probe, &bound);

	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	mmap_revoke_end(mr);
	mmap_revoke_kill(mr);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_EQ(test, begin.nr, 1);
	KUNIT_EXPECT_EQ(test, end.nr, 1);
	KUNIT_EXPECT_EQ(test, kill.nr, 1);
	KUNIT_EXPECT_EQ(test, zap.nr, 2);
	KUNIT_EXPECT_EQ(test, zap.first, 0);
	KUNIT_EXPECT_EQ(test, zap.last, ULONG_MAX);

	KUNIT_EXPECT_EQ(test, bound, 0);
	mr = new_maps(test, NULL);
	KUNIT_EXPECT_EQ(test, bound, 1);
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, kill.nr, 1);
	map(t->file[0], ADDR, 2, 3);
	mmap_revoke_kill_all_maps(mr);
	KUNIT_EXPECT_EQ(test, kill.nr, 2);
	KUNIT_EXPECT_EQ(test, kill.first, 3);
	KUNIT_EXPECT_EQ(test, kill.last, 4);

	unregister_trace_mmap_revoke_zap(trace_probe, &zap);
	unregister_trace_mmap_revoke_begin(trace_probe, &begin);
	unregister_trace_mmap_revoke_end(trace_probe, &end);
	unregister_trace_mmap_revoke_kill(trace_probe, &kill);
	unregister_trace_mmap_revoke_bind(trace_bind_probe, &bound);
	tracepoint_synchronize_unregister();
}

/* Whatever allocation fails: there is no object, and nothing is left of it. */
static void alloc_without_memory(struct kunit *test)
{
	struct mmap_revoke *mr = NULL;
	unsigned int nth, failed = 0;

	/* Some of the allocations are of others, at times. */
	allow_failing(test);
	for (nth = 1; nth <= 30; nth++) {
		fail_nth(nth);
		mr = mmap_revoke_alloc(&mr_ops, test->name, NULL);
		fail_left();
		if (mr)
			mmap_revoke_put(mr);
		else
			failed++;
	}
	KUNIT_EXPECT_NOT_NULL(test, mr);
	KUNIT_EXPECT_GE(test, failed, 1);
	KUNIT_EXPECT_FALSE(test, listed(test, "kunit", ""));
}

static struct kunit_case mr_cases[] = {
	KUNIT_CASE(all_of_one_object),
	KUNIT_CASE(large_offsets),
	KUNIT_CASE(begin_end),
	KUNIT_CASE(begin_again_zaps_again),
	KUNIT_CASE(kill_is_for_ever),
	KUNIT_CASE(renew),
	KUNIT_CASE(gate_is_waited_for),
	KUNIT_CASE(freed_at_last_put),
	KUNIT_CASE(binding_errors),
	KUNIT_CASE(put_while_in_use),
	KUNIT_CASE(outlives_module),
	KUNIT_CASE(alloc_without_memory),
	KUNIT_CASE(debugfs_list),
	KUNIT_CASE(trace_events),
	{}
};

MR_SUITE("mmap_revoke", mr_cases);

MODULE_DESCRIPTION("KUnit tests of revocable mmap objects");
MODULE_LICENSE("GPL");
