// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of device memory that RDMA drivers map through uverbs, on a mock
 * ib_device whose "device memory" is ordinary pages with a distinct word in
 * each. A real file of the uverbs device, a real context, one thread.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_revoke.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/ib_verbs.h>
#include <rdma/uverbs_types.h>

#include "../../drivers/infiniband/core/core_priv.h"
#include "../mmap_revoke_internal.h"
#include "devtmpfs.h"

#define DEV_ORDER	4
#define DEV_PAGES	BIT(DEV_ORDER)
#define ADDR		0x40000000UL
#define ADDR2		0x48000000UL
#define BUF		0x50000000UL
#define KERNEL_PGOFF	0x1000000UL	/* the page of kernel memory */
#define PLAIN_PGOFF	0x2000000UL	/* device pages without an entry */

struct um_dev {
	struct ib_device ibdev;
	unsigned long pfn;
	struct page *kernel_page;
	unsigned int freed;
	bool remove_in_mmap;
	bool fail_in_mmap;
	bool disassociate_in_mmap;
	struct completion disassociated;
};

struct um_ucontext {
	struct ib_ucontext ibucontext;
};

struct um_entry {
	struct rdma_user_mmap_entry rdma_entry;
	unsigned long page;
};

struct um_test {
	struct um_dev *dev;
	struct page *pages;
	struct file *file;
	bool registered;
};

static u32 dev_word(unsigned long page)
{
	return 0xd0000000 | page;
}

static int um_query_device(struct ib_device *ibdev,
			   struct ib_device_attr *attr, struct ib_udata *udata)
{
	return 0;
}

static int um_query_port(struct ib_device *ibdev, u32 port,
			 struct ib_port_attr *attr)
{
	return 0;
}

static enum rdma_link_layer um_get_link_layer(struct ib_device *ibdev,
					      u32 port)
{
	return IB_LINK_LAYER_UNSPECIFIED;
}

static int um_get_port_immutable(struct ib_device *ibdev, u32 port,
				 struct ib_port_immutable *immutable)
{
	return 0;
}

static int um_alloc_ucontext(struct ib_ucontext *ucontext,
			     struct ib_udata *udata)
{
	return 0;
}

/* uverbs has ended all maps: what is left of the entries is the driver's. */
static void um_dealloc_ucontext(struct ib_ucontext *ucontext)
{
	struct rdma_user_mmap_entry *entry;
	unsigned long pgoff;

	while (!xa_empty(&ucontext->mmap_xa)) {
		pgoff = 0;
		entry = xa_find(&ucontext->mmap_xa, &pgoff, ULONG_MAX,
				XA_PRESENT);
		rdma_user_mmap_entry_remove(entry);
	}
}

static void um_disassociate_ucontext(struct ib_ucontext *ucontext)
{
}

static int um_disassociate_fn(void *arg)
{
	struct um_dev *dev = arg;

	rdma_user_mmap_disassociate(&dev->ibdev);
	complete(&dev->disassociated);
	return 0;
}

/* Another task is in the middle of it, or has done it. */
static int um_start_disassociate(struct um_dev *dev,
				 struct ib_uverbs_file *ufile)
{
	struct task_struct *task = kthread_run(um_disassociate_fn, dev,
					       "uverbs_mmap_kunit");

	if (IS_ERR(task))
		return PTR_ERR(task);
	while (!rwsem_is_contended(&ufile->hw_destroy_rwsem) &&
	       !completion_done(&dev->disassociated))
		msleep(20);
	return 0;
}

static int um_mmap(struct ib_ucontext *ucontext, struct vm_area_struct *vma)
{
	struct um_dev *dev =
		container_of(ucontext->device, struct um_dev, ibdev);
	struct rdma_user_mmap_entry *rdma_entry;
	struct um_entry *entry;
	int ret;

	if (vma->vm_pgoff == KERNEL_PGOFF)
		return vm_insert_page(vma, vma->vm_start, dev->kernel_page);
	if (vma->vm_pgoff >= PLAIN_PGOFF)
		return rdma_user_mmap_io(ucontext, vma, dev->pfn +
					 vma->vm_pgoff - PLAIN_PGOFF,
					 2 * PAGE_SIZE, vma->vm_page_prot,
					 NULL);

	rdma_entry = rdma_user_mmap_entry_get(ucontext, vma);
	if (!rdma_entry)
		return -EINVAL;
	entry = container_of(rdma_entry, struct um_entry, rdma_entry);
	if (dev->remove_in_mmap)
		rdma_user_mmap_entry_remove(rdma_entry);
	if (dev->disassociate_in_mmap) {
		ret = um_start_disassociate(dev, ucontext->ufile);
		if (ret)
			goto put;
	}
	ret = rdma_user_mmap_io(ucontext, vma, dev->pfn + entry->page,
				rdma_entry->npages << PAGE_SHIFT,
				vma->vm_page_prot, rdma_entry);
put:
	rdma_user_mmap_entry_put(rdma_entry);
	return ret ?: dev->fail_in_mmap ? -EBADE : 0;
}

static void um_mmap_free(struct rdma_user_mmap_entry *entry)
{
	struct um_dev *dev =
		container_of(entry->ucontext->device, struct um_dev, ibdev);

	dev->freed++;
	kfree(container_of(entry, struct um_entry, rdma_entry));
}

static const struct ib_device_ops um_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,
	.uverbs_abi_ver = 1,
	.uverbs_no_driver_id_binding = 1,

	.alloc_ucontext = um_alloc_ucontext,
	.dealloc_ucontext = um_dealloc_ucontext,
	.disassociate_ucontext = um_disassociate_ucontext,
	.get_link_layer = um_get_link_layer,
	.get_port_immutable = um_get_port_immutable,
	.mmap = um_mmap,
	.mmap_free = um_mmap_free,
	.query_device = um_query_device,
	.query_port = um_query_port,

	INIT_RDMA_OBJ_SIZE(ib_ucontext, um_ucontext, ibucontext),
};

static int get_context(struct file *file)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_get_context cmd;
	} in = {
		.hdr = {
			.command = IB_USER_VERBS_CMD_GET_CONTEXT,
			.in_words = sizeof(in) / 4,
			.out_words =
				sizeof(struct ib_uverbs_get_context_resp) / 4,
		},
		.cmd.response = BUF + PAGE_SIZE / 2,
	};
	struct ib_uverbs_get_context_resp resp;
	loff_t pos = 0;
	ssize_t ret;

	if (vm_mmap(NULL, BUF, PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0) != BUF)
		return -ENOMEM;
	if (copy_to_user((void __user *)BUF, &in, sizeof(in)))
		return -EFAULT;
	ret = vfs_write(file, (void __user *)BUF, sizeof(in), &pos);
	if (ret < 0)
		return ret;
	if (copy_from_user(&resp, (void __user *)(BUF + PAGE_SIZE / 2),
			   sizeof(resp)))
		return -EFAULT;
	return close_fd(resp.async_fd);
}

static struct ib_ucontext *ucontext(struct um_test *t)
{
	struct ib_uverbs_file *ufile = t->file->private_data;

	return ufile->ucontext;
}

/* The minor depends on what other devices the machine has. */
static struct file *open_uverbs(struct um_test *t)
{
	struct ib_client_nl_info info = { .port = -1 };
	char name[32];
	int ret;

	ret = ib_get_client_nl_info(&t->dev->ibdev, "uverbs", &info);
	if (ret)
		return ERR_PTR(ret);
	snprintf(name, sizeof(name), "infiniband/%s", dev_name(info.cdev));
	put_device(info.cdev);
	return open_device(name);
}

static int um_init(struct kunit *test)
{
	struct um_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	t->pages = alloc_pages(GFP_KERNEL, DEV_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, t->pages);
	for (i = 0; i < DEV_PAGES; i++)
		*(u32 *)page_address(t->pages + i) = dev_word(i);

	t->dev = ib_alloc_device(um_dev, ibdev);
	KUNIT_ASSERT_NOT_NULL(test, t->dev);
	t->dev->pfn = page_to_pfn(t->pages);
	t->dev->kernel_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, t->dev->kernel_page);
	*(u32 *)page_address(t->dev->kernel_page) = 0x1234;
	t->dev->ibdev.phys_port_cnt = 1;
	t->dev->ibdev.num_comp_vectors = 1;
	ib_set_device_ops(&t->dev->ibdev, &um_ops);
	KUNIT_ASSERT_EQ(test, ib_register_device(&t->dev->ibdev, "kunit%d",
						 NULL), 0);
	t->registered = true;
	t->file = open_uverbs(t);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->file);
	KUNIT_ASSERT_EQ(test, get_context(t->file), 0);
	KUNIT_ASSERT_PTR_EQ(test, ucontext(t)->device, &t->dev->ibdev);
	return 0;
}

static void um_unregister(struct um_test *t)
{
	if (t->registered)
		ib_unregister_device(&t->dev->ibdev);
	t->registered = false;
}

static void um_exit(struct kunit *test)
{
	struct um_test *t = test->priv;

	if (!t)
		return;
	if (current->mm)
		vm_munmap(0, TASK_SIZE);
	if (!IS_ERR_OR_NULL(t->file)) {
		fput(t->file);
		flush_delayed_fput();
	}
	if (t->dev) {
		um_unregister(t);
		if (t->dev->kernel_page)
			__free_page(t->dev->kernel_page);
		ib_dealloc_device(&t->dev->ibdev);
	}
	if (t->pages)
		__free_pages(t->pages, DEV_ORDER);
}

static struct um_entry *new_entry(struct kunit *test, unsigned long page,
				  unsigned int nr)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = kzalloc_obj(*entry);

	KUNIT_ASSERT_NOT_NULL(test, entry);
	entry->page = page;
	KUNIT_ASSERT_EQ(test, rdma_user_mmap_entry_insert(ucontext(t),
							  &entry->rdma_entry,
							  nr * PAGE_SIZE), 0);
	return entry;
}

static unsigned long map_flags(struct um_test *t, unsigned long addr,
			       pgoff_t pgoff, unsigned int nr,
			       unsigned long flags)
{
	return vm_mmap(t->file, addr, nr * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       flags | MAP_FIXED, pgoff << PAGE_SHIFT);
}

static unsigned long map(struct um_test *t, unsigned long addr, pgoff_t pgoff,
			 unsigned int nr)
{
	return map_flags(t, addr, pgoff, nr, MAP_SHARED);
}

static unsigned long map_entry(struct um_test *t, unsigned long addr,
			       struct um_entry *entry)
{
	return map(t, addr, entry->rdma_entry.start_pgoff,
		   entry->rdma_entry.npages);
}

/* What is there; no word of ours is all ones. */
static u32 word(unsigned long addr)
{
	u32 val;

	return get_user(val, (u32 __user *)addr) ? U32_MAX : val;
}

static bool reads(unsigned long addr, unsigned long page, unsigned int nr)
{
	for (; nr; nr--, addr += PAGE_SIZE, page++)
		if (word(addr) != dev_word(page))
			return false;
	return true;
}

static bool zeros(unsigned long addr, unsigned int nr)
{
	for (; nr; nr--, addr += PAGE_SIZE)
		if (word(addr))
			return false;
	return true;
}

static void refusals(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = new_entry(test, 2, 4);
	pgoff_t pgoff = entry->rdma_entry.start_pgoff;

	KUNIT_EXPECT_EQ(test, map_flags(t, ADDR, pgoff, 4, MAP_PRIVATE),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, map_flags(t, ADDR, PLAIN_PGOFF, 2, MAP_PRIVATE),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, map(t, ADDR, PLAIN_PGOFF, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, map(t, ADDR, PLAIN_PGOFF, 3), -EINVAL);
	KUNIT_EXPECT_EQ(test, map(t, ADDR, pgoff, 3), -EINVAL);
	KUNIT_EXPECT_EQ(test, map(t, ADDR, pgoff + 1, 3), -EINVAL);
	KUNIT_EXPECT_EQ(test, map_entry(t, ADDR, entry), ADDR);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 4));

	/* Removed: no new mappings, and what is mapped stays. */
	rdma_user_mmap_entry_remove(&entry->rdma_entry);
	KUNIT_EXPECT_EQ(test, map(t, ADDR2, pgoff, 4), -EINVAL);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 2, 4));
	vm_munmap(ADDR, 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 0);
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

static void disassociated(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = new_entry(test, 0, 4);

	map_entry(t, ADDR, entry);
	map(t, ADDR + SZ_1M, PLAIN_PGOFF + 8, 2);
	map(t, ADDR + SZ_2M, KERNEL_PGOFF, 1);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 0, 4));
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 8, 2));
	rdma_user_mmap_disassociate(&t->dev->ibdev);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR + SZ_1M, 2));
	KUNIT_EXPECT_EQ(test, word(ADDR + SZ_2M), 0x1234);
	/* One page for all of the file. */
	KUNIT_EXPECT_EQ(test, put_user(7, (u32 __user *)ADDR), 0);
	KUNIT_EXPECT_EQ(test, word(ADDR + SZ_1M), 7);

	/* New mappings work, and the old ones do not come back. */
	map_entry(t, ADDR2, entry);
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 0, 4));
	KUNIT_EXPECT_EQ(test, word(ADDR + PAGE_SIZE), 7);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 0);
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	vm_munmap(ADDR2, 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 0);
	rdma_user_mmap_entry_remove(&entry->rdma_entry);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

static void unregistered(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = new_entry(test, 0, 4);

	map_entry(t, ADDR, entry);
	map_entry(t, ADDR2, entry);
	map(t, ADDR + SZ_2M, KERNEL_PGOFF, 1);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 0, 4));
	vm_munmap(ADDR + PAGE_SIZE, PAGE_SIZE);
	um_unregister(t);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 1));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR + 2 * PAGE_SIZE, 2));
	/* Never touched before. */
	KUNIT_EXPECT_TRUE(test, zeros(ADDR2, 4));
	KUNIT_EXPECT_EQ(test, word(ADDR + SZ_2M), 0x1234);
	KUNIT_EXPECT_EQ(test, map(t, ADDR + SZ_4M, 0, 4), -EIO);
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	vm_munmap(ADDR2, 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

static void entry_revoked(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = new_entry(test, 0, 4);
	struct um_entry *other = new_entry(test, 2, 4);
	pgoff_t pgoff = entry->rdma_entry.start_pgoff;

	rdma_user_mmap_entry_revoke(NULL);
	map_entry(t, ADDR, entry);
	map_entry(t, ADDR2, other);
	map_entry(t, ADDR2 + SZ_1M, entry);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 0, 4));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 4));
	rdma_user_mmap_entry_revoke(&entry->rdma_entry);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR2 + SZ_1M, 4));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 2, 4));
	KUNIT_EXPECT_EQ(test, map(t, ADDR + SZ_1M, pgoff, 4), -EINVAL);

	/* Whoever gets the offset next has nothing to do with the old VMAs. */
	entry = new_entry(test, 8, 4);
	KUNIT_EXPECT_EQ(test, entry->rdma_entry.start_pgoff, pgoff);
	map_entry(t, ADDR + SZ_1M, entry);
	KUNIT_EXPECT_TRUE(test, reads(ADDR + SZ_1M, 8, 4));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	rdma_user_mmap_entry_remove(&entry->rdma_entry);
	vm_munmap(ADDR, SZ_2M);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 2);
}

static bool mapped(unsigned long addr)
{
	struct follow_pfnmap_args args = { .address = addr };

	guard(mmap_read_lock)(current->mm);
	args.vma = vma_lookup(current->mm, addr);
	if (!args.vma || follow_pfnmap_start(&args))
		return false;
	follow_pfnmap_end(&args);
	return true;
}

struct um_revoke {
	struct rdma_user_mmap_entry *entry;
	struct completion done;
};

static int um_revoke_fn(void *arg)
{
	struct um_revoke *revoke = arg;

	rdma_user_mmap_entry_revoke(revoke->entry);
	complete(&revoke->done);
	return 0;
}

/* Whoever makes the dma-bufs of an entry wait does not keep its mappings. */
static void dmabufs_come_last(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = new_entry(test, 0, 4);
	struct um_revoke revoke = { .entry = &entry->rdma_entry };
	struct task_struct *task;
	unsigned int n;

	init_completion(&revoke.done);
	map_entry(t, ADDR, entry);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 0, 4));
	KUNIT_EXPECT_TRUE(test, mapped(ADDR));
	/* As the removal of a dma-buf holds it while it waits. */
	mutex_lock(&entry->rdma_entry.dmabufs_lock);
	task = kthread_run(um_revoke_fn, &revoke, "uverbs_mmap_kunit");
	if (!IS_ERR(task)) {
		for (n = 0; mapped(ADDR) && n < 500; n++)
			msleep(20);
		KUNIT_EXPECT_FALSE(test, mapped(ADDR));
		KUNIT_EXPECT_FALSE(test, completion_done(&revoke.done));
		KUNIT_EXPECT_EQ(test, map_entry(t, ADDR2, entry), -EINVAL);
		KUNIT_EXPECT_EQ(test, t->dev->freed, 0);
	}
	mutex_unlock(&entry->rdma_entry.dmabufs_lock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	wait_for_completion(&revoke.done);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

/* It does not look for maps where there are none: a file can have many. */
static void revoked_unmapped(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct ib_uverbs_file *ufile = t->file->private_data;
	struct um_entry *entry = new_entry(test, 0, 4);
	struct um_revoke revoke = { .entry = &entry->rdma_entry };
	struct task_struct *task;
	bool done = false;

	init_completion(&revoke.done);
	map_entry(t, ADDR, entry);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 0, 4));
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	mutex_lock(&ufile->mmap_revoke->lock);
	task = kthread_run(um_revoke_fn, &revoke, "uverbs_mmap_kunit");
	if (!IS_ERR(task))
		done = wait_for_completion_timeout(&revoke.done, 10 * HZ);
	mutex_unlock(&ufile->mmap_revoke->lock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	KUNIT_EXPECT_TRUE(test, done);
	if (!done)
		wait_for_completion(&revoke.done);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

/* All files of a device, and each with zeros of its own. */
static void two_files(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct file *first = t->file;
	struct file *second = open_uverbs(t);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, second);
	KUNIT_EXPECT_EQ(test, get_context(second), 0);
	map(t, ADDR, PLAIN_PGOFF, 2);
	t->file = second;
	map(t, ADDR2, PLAIN_PGOFF + 4, 2);
	t->file = first;
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 0, 2));
	KUNIT_EXPECT_TRUE(test, reads(ADDR2, 4, 2));
	rdma_user_mmap_disassociate(&t->dev->ibdev);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 2));
	KUNIT_EXPECT_TRUE(test, zeros(ADDR2, 2));
	KUNIT_EXPECT_EQ(test, put_user(77, (u32 __user *)ADDR), 0);
	KUNIT_EXPECT_EQ(test, word(ADDR + PAGE_SIZE), 77);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR2, 2));
	vm_munmap(ADDR2, 2 * PAGE_SIZE);
	__fput_sync(second);
}

/* An mmap() that found the entry, and is late. */
static void removed_in_mmap(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = new_entry(test, 0, 4);

	t->dev->remove_in_mmap = true;
	KUNIT_EXPECT_EQ(test, map_entry(t, ADDR, entry), -EINVAL);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

/* A driver that fails after it has mapped. */
static void failed_in_mmap(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = new_entry(test, 0, 4);

	t->dev->fail_in_mmap = true;
	KUNIT_EXPECT_EQ(test, map_entry(t, ADDR, entry), -EBADE);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 0);
	rdma_user_mmap_entry_remove(&entry->rdma_entry);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
	/* Not a trace of it. */
	rdma_user_mmap_disassociate(&t->dev->ibdev);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

/* An mmap() that the driver has let in belongs to what is taken back. */
static void disassociated_in_mmap(struct kunit *test)
{
	struct um_test *t = test->priv;
	struct um_entry *entry = new_entry(test, 0, 4);

	init_completion(&t->dev->disassociated);
	t->dev->disassociate_in_mmap = true;
	KUNIT_ASSERT_EQ(test, map_entry(t, ADDR, entry), ADDR);
	wait_for_completion(&t->dev->disassociated);
	KUNIT_EXPECT_TRUE(test, zeros(ADDR, 4));
	KUNIT_EXPECT_EQ(test, t->dev->freed, 0);
	rdma_user_mmap_entry_remove(&entry->rdma_entry);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

/* The file goes with everything still in place. */
static void closed(struct kunit *test)
{
	struct um_test *t = test->priv;

	map_entry(t, ADDR, new_entry(test, 0, 4));
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 0, 4));
	vm_munmap(ADDR, 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, t->dev->freed, 0);
	fput(t->file);
	flush_delayed_fput();
	t->file = NULL;
	KUNIT_EXPECT_EQ(test, t->dev->freed, 1);
}

static struct kunit_case um_cases[] = {
	KUNIT_CASE(refusals),
	KUNIT_CASE(disassociated),
	KUNIT_CASE(unregistered),
	KUNIT_CASE(entry_revoked),
	KUNIT_CASE(dmabufs_come_last),
	KUNIT_CASE(revoked_unmapped),
	KUNIT_CASE(two_files),
	KUNIT_CASE(removed_in_mmap),
	KUNIT_CASE(failed_in_mmap),
	KUNIT_CASE(disassociated_in_mmap),
	KUNIT_CASE(closed),
	{}
};

static struct kunit_suite um_suite = {
	.name = "uverbs_mmap",
	.init = um_init,
	.exit = um_exit,
	.test_cases = um_cases,
};

kunit_test_suite(um_suite);

MODULE_DESCRIPTION("KUnit tests of device memory in uverbs");
MODULE_LICENSE("GPL");
