// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what vfio-core tells IOMMU backends: the PFNs behind a VMA,
 * and when their device is closed. On mock devices, opened through their real
 * character devices and a real iommufd.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/iommufd.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_revoke.h>
#include <linux/pagemap.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>

#include "../../drivers/vfio/vfio.h"
#include "../mmap_revoke_internal.h"
#include "devtmpfs.h"

#define ADDR		0x40000000UL
#define PAGES		4
#define DEVICES		4
#define PFN		0x12345UL

enum vk_event { VK_OPENED = 1, VK_KILLED, VK_CLOSED };

struct vk_dev {
	struct vfio_device vdev;
	int open_error;
	/* What happened, in order; of the object, what the driver saw. */
	enum vk_event events[8];
	unsigned int nr_events;
	bool live_at_open, live_at_close;
};

struct vk_watch {
	struct mmap_revoke_range range;
	struct mutex lock;	/* for range.lock */
	struct vk_dev *dev;
	unsigned int maps, unmaps;
};

struct vk_test {
	struct vk_dev *dev[DEVICES];
	struct file *file[DEVICES];
	bool registered[DEVICES];
};

static bool live(struct mmap_revoke *mr)
{
	guard(rwsem_read)(&mr->gate);
	return mr->state == MMAP_REVOKE_LIVE;
}

static void add_event(struct vk_dev *dev, enum vk_event event)
{
	if (dev->nr_events < ARRAY_SIZE(dev->events))
		dev->events[dev->nr_events++] = event;
}

static int vk_open_device(struct vfio_device *vdev)
{
	struct vk_dev *dev = container_of(vdev, struct vk_dev, vdev);

	dev->live_at_open = live(vdev->mmap_revoke);
	if (!dev->open_error)
		add_event(dev, VK_OPENED);
	return dev->open_error;
}

static void vk_close_device(struct vfio_device *vdev)
{
	struct vk_dev *dev = container_of(vdev, struct vk_dev, vdev);

	dev->live_at_close = live(vdev->mmap_revoke);
	add_event(dev, VK_CLOSED);
}

static vm_fault_t vk_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct vk_vm_ops = {
	.fault = vk_fault,
};

static int vk_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	vma->vm_ops = &vk_vm_ops;
	return mmap_revoke_mmap(vma);
}

/* As platform, fsl-mc and cdx do; cdx takes private mappings. */
static int vk_mmap_pgoff(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	vma->vm_pgoff += PFN;
	vma->vm_ops = &vk_vm_ops;
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}

static int vk_vma_to_pfn(struct vfio_device *vdev, struct vm_area_struct *vma,
			 unsigned long addr, unsigned long *pfn)
{
	*pfn = PFN + linear_page_index(vma, addr);
	return 0;
}

static int vk_no_pfn(struct vfio_device *vdev, struct vm_area_struct *vma,
		     unsigned long addr, unsigned long *pfn)
{
	return -EACCES;
}

#define VK_OPS						\
	.name = "kunit",				\
	.open_device = vk_open_device,			\
	.close_device = vk_close_device,		\
	.bind_iommufd = vfio_iommufd_emulated_bind,	\
	.unbind_iommufd = vfio_iommufd_emulated_unbind,	\
	.attach_ioas = vfio_iommufd_emulated_attach_ioas, \
	.detach_ioas = vfio_iommufd_emulated_detach_ioas

enum { VK_PFN, VK_NONE, VK_PGOFF, VK_REFUSED };

static const struct vfio_device_ops vk_ops[DEVICES] = {
	[VK_PFN] = { VK_OPS, .mmap = vk_mmap, .vma_to_pfn = vk_vma_to_pfn },
	[VK_NONE] = { VK_OPS, .mmap = vk_mmap },
	[VK_PGOFF] = {
		VK_OPS, .mmap = vk_mmap_pgoff, .vma_to_pfn = vfio_pgoff_to_pfn
	},
	[VK_REFUSED] = { VK_OPS, .mmap = vk_mmap, .vma_to_pfn = vk_no_pfn },
};

static void vk_map(struct mmap_revoke_range *range)
{
	container_of(range, struct vk_watch, range)->maps++;
}

static void vk_unmap(struct mmap_revoke_range *range)
{
	struct vk_watch *watch = container_of(range, struct vk_watch, range);

	watch->unmaps++;
	add_event(watch->dev, VK_KILLED);
}

static const struct mmap_revoke_range_ops vk_range_ops = {
	.map = vk_map,
	.unmap = vk_unmap,
};

/* Subscribes to what is mapped at @addr, as a backend does. */
static int add(struct vk_watch *watch, struct vk_dev *dev, unsigned long addr)
{
	struct vm_area_struct *vma;

	*watch = (struct vk_watch) {
		.range.ops = &vk_range_ops,
		.range.lock = &watch->lock,
		.dev = dev,
	};
	mutex_init(&watch->lock);
	guard(mmap_read_lock)(current->mm);
	vma = vma_lookup(current->mm, addr);
	if (!vma || !mmap_revoke_vma(vma))
		return -ENOENT;
	return mmap_revoke_range_add(&watch->range, vma, addr, PAGE_SIZE, true);
}

static int bind(struct file *file)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	unsigned long buf;
	int fd, ret;

	fd = FD_ADD(0, open_device("iommu"));
	if (fd < 0)
		return fd;
	bind.iommufd = fd;
	buf = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (copy_to_user((void __user *)buf, &bind, sizeof(bind)))
		ret = -EFAULT;
	else
		ret = file->f_op->unlocked_ioctl(file,
						 VFIO_DEVICE_BIND_IOMMUFD, buf);
	vm_munmap(buf, PAGE_SIZE);
	close_fd(fd);
	return ret;
}

/* Returns the file of a device that is ready for mmap(). */
static struct file *open_vfio(struct vk_dev *dev)
{
	struct file *file;
	char name[32];
	int ret;

	snprintf(name, sizeof(name), "vfio/devices/%s",
		 dev_name(&dev->vdev.device));
	file = open_device(name);
	if (IS_ERR(file))
		return file;
	ret = bind(file);
	if (!ret)
		return file;
	__fput_sync(file);
	return ERR_PTR(ret);
}

static int vk_init(struct kunit *test)
{
	struct vk_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	struct device *parent;
	char name[8] = "vfio0";
	int i, ret;

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	for (i = 0; i < DEVICES; i++) {
		name[4] = '0' + i;
		parent = kunit_device_register(test, name);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, parent);
		t->dev[i] = vfio_alloc_device(vk_dev, vdev, parent,
					      &vk_ops[i]);
		if (IS_ERR(t->dev[i]))
			t->dev[i] = NULL;
		KUNIT_ASSERT_NOT_NULL(test, t->dev[i]);
		ret = vfio_register_emulated_iommu_dev(&t->dev[i]->vdev);
		KUNIT_ASSERT_EQ(test, ret, 0);
		t->registered[i] = true;
		t->file[i] = open_vfio(t->dev[i]);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->file[i]);
	}
	return 0;
}

static void vk_close(struct vk_test *t, int i)
{
	if (!IS_ERR_OR_NULL(t->file[i]))
		__fput_sync(t->file[i]);
	t->file[i] = NULL;
}

static void vk_unregister(struct vk_test *t, int i)
{
	if (t->registered[i])
		vfio_unregister_group_dev(&t->dev[i]->vdev);
	t->registered[i] = false;
}

static void vk_exit(struct kunit *test)
{
	struct vk_test *t = test->priv;
	int i;

	if (!t)
		return;
	if (current->mm)
		vm_munmap(0, TASK_SIZE);
	flush_delayed_fput();
	for (i = 0; i < DEVICES; i++) {
		vk_close(t, i);
		if (!t->dev[i])
			continue;
		vk_unregister(t, i);
		vfio_put_device(&t->dev[i]->vdev);
	}
}

static unsigned long map(struct file *file, unsigned long addr,
			 unsigned int nr)
{
	return vm_mmap(file, addr, nr * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, 0);
}

static void unmap(unsigned long addr, unsigned int nr)
{
	vm_munmap(addr, nr * PAGE_SIZE);
	flush_delayed_fput();
}

static int foreign_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &vk_vm_ops;
	return 0;
}

static void found(struct kunit *test)
{
	static const struct mmap_revoke_ops foreign_ops = { .name = "foreign" };
	static const struct file_operations foreign_fops = {
		.mmap = foreign_mmap,
	};
	struct vk_test *t = test->priv;
	struct vk_watch watch;
	struct mmap_revoke *mr;
	struct file *file;
	int i;

	for (i = 0; i < DEVICES; i++)
		KUNIT_ASSERT_EQ(test, map(t->file[i], ADDR + i * SZ_1M, PAGES),
				ADDR + i * SZ_1M);
	KUNIT_ASSERT_EQ(test, add(&watch, t->dev[0], ADDR + 2 * PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, watch.range.pfn, PFN + 2);
	KUNIT_EXPECT_STREQ(test, watch.range.device,
			   dev_name(t->dev[0]->vdev.dev));
	mmap_revoke_range_del(&watch.range);
	/* Memory of vfio whose driver gives no PFNs is for no backend. */
	KUNIT_EXPECT_EQ(test, add(&watch, t->dev[VK_NONE],
				  ADDR + VK_NONE * SZ_1M), -EPERM);
	KUNIT_EXPECT_EQ(test, add(&watch, t->dev[VK_REFUSED],
				  ADDR + VK_REFUSED * SZ_1M), -EACCES);

	/* What is seen there may be a copy of it. */
	KUNIT_ASSERT_EQ(test, vm_mmap(t->file[VK_PGOFF], ADDR + SZ_4M,
				      PAGE_SIZE, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_FIXED, 0),
			ADDR + SZ_4M);
	KUNIT_EXPECT_EQ(test, add(&watch, t->dev[VK_PGOFF], ADDR + SZ_4M),
			-EPERM);

	/* Memory without a file; an object that is not of vfio. */
	KUNIT_ASSERT_EQ(test, vm_mmap(NULL, ADDR + SZ_4M, PAGE_SIZE, PROT_READ,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				      0), ADDR + SZ_4M);
	KUNIT_EXPECT_EQ(test, add(&watch, t->dev[0], ADDR + SZ_4M), -ENOENT);
	file = anon_inode_getfile("[foreign]", &foreign_fops, NULL, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	mr = mmap_revoke_alloc(&foreign_ops, "foreign", t->dev[0]);
	if (mr) {
		mmap_revoke_bind_file(mr, file);
		KUNIT_EXPECT_EQ(test, map(file, ADDR + SZ_4M, 1),
				ADDR + SZ_4M);
		KUNIT_EXPECT_EQ(test, add(&watch, t->dev[0], ADDR + SZ_4M),
				-EPERM);
		unmap(ADDR + SZ_4M, 1);
		mmap_revoke_unbind_file(file);
		mmap_revoke_put(mr);
	}
	KUNIT_EXPECT_NOT_NULL(test, mr);
	__fput_sync(file);
}

/* The PFN of each page, whatever is left of the VMA. */
static void split_vma_pfn(struct kunit *test)
{
	static const int devices[] = { VK_PFN, VK_PGOFF };
	struct vk_test *t = test->priv;
	struct vk_watch watch;
	unsigned long page;
	int i, n;

	for (i = 0; i < ARRAY_SIZE(devices); i++) {
		KUNIT_ASSERT_EQ(test, map(t->file[devices[i]], ADDR, PAGES),
				ADDR);
		for (n = 0; n < PAGES; n++) {
			page = ADDR + n * PAGE_SIZE;
			KUNIT_ASSERT_EQ(test, add(&watch, t->dev[devices[i]],
						  page), 0);
			KUNIT_EXPECT_EQ(test, watch.range.pfn, PFN + n);
			mmap_revoke_range_del(&watch.range);
			unmap(page, 1);
		}
	}
}

struct vk_unregister {
	struct vk_test *t;
	struct completion done;
};

static int vk_unregister_fn(void *arg)
{
	struct vk_unregister *u = arg;

	vk_unregister(u->t, 0);
	complete(&u->done);
	return 0;
}

/* Neither close nor removal waits for who has a range. */
static void reference(struct kunit *test)
{
	struct vk_test *t = test->priv;
	struct vk_unregister u = { .t = t };
	struct vfio_device *vdev = &t->dev[0]->vdev;
	struct task_struct *task;
	struct vk_watch watch;
	bool mapped;

	KUNIT_ASSERT_EQ(test, map(t->file[0], ADDR, PAGES), ADDR);
	KUNIT_ASSERT_EQ(test, add(&watch, t->dev[0], ADDR), 0);
	vk_close(t, 0);
	KUNIT_EXPECT_EQ(test, t->dev[0]->nr_events, 1); /* the VMA has it open */
	KUNIT_EXPECT_TRUE(test, watch.range.live);

	init_completion(&u.done);
	task = kthread_run(vk_unregister_fn, &u, "vfio_mmap_kunit");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	mapped = !wait_for_completion_timeout(&u.done, HZ / 10);
	KUNIT_EXPECT_TRUE(test, mapped);
	unmap(ADDR, PAGES);
	KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&u.done, 60 * HZ), 0);
	KUNIT_EXPECT_EQ(test, t->dev[0]->nr_events, 3);
	vfio_put_device(vdev);
	t->dev[0] = NULL;
	/* Of all this the object is left, dead. */
	KUNIT_EXPECT_FALSE(test, watch.range.live);
	KUNIT_EXPECT_EQ(test, watch.unmaps, 1);
	mmap_revoke_range_del(&watch.range);
	KUNIT_EXPECT_EQ(test, watch.unmaps, 1);
}

/* Maps the first device for a backend, and leaves only the files open. */
static int watch_first(struct vk_test *t, struct vk_watch *watch)
{
	int ret;

	if (map(t->file[0], ADDR, PAGES) != ADDR)
		return -ENOMEM;
	ret = add(watch, t->dev[0], ADDR);
	unmap(ADDR, PAGES);
	return ret;
}

/* Ranges know of a close before the driver does. */
static void closed(struct kunit *test)
{
	struct vk_test *t = test->priv;
	struct mmap_revoke *mr = t->dev[0]->vdev.mmap_revoke;
	struct vk_watch watch, late;

	KUNIT_EXPECT_TRUE(test, t->dev[0]->live_at_open);
	KUNIT_ASSERT_EQ(test, watch_first(t, &watch), 0);
	vk_close(t, 0);
	KUNIT_EXPECT_EQ(test, t->dev[0]->nr_events, 3);
	KUNIT_EXPECT_EQ(test, t->dev[0]->events[0], VK_OPENED);
	KUNIT_EXPECT_EQ(test, t->dev[0]->events[1], VK_KILLED);
	KUNIT_EXPECT_EQ(test, t->dev[0]->events[2], VK_CLOSED);
	KUNIT_EXPECT_FALSE(test, t->dev[0]->live_at_close);

	t->file[0] = open_vfio(t->dev[0]);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->file[0]);
	KUNIT_EXPECT_TRUE(test, live(mr));
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_EQ(test, watch.maps, 0);
	KUNIT_EXPECT_EQ(test, watch.unmaps, 1);
	mmap_revoke_range_del(&watch.range);

	/* A driver that cannot be opened leaves nothing alive. */
	vk_close(t, 0);
	t->dev[0]->open_error = -EIO;
	KUNIT_EXPECT_PTR_EQ(test, open_vfio(t->dev[0]), ERR_PTR(-EIO));
	KUNIT_EXPECT_TRUE(test, t->dev[0]->live_at_open);
	KUNIT_EXPECT_FALSE(test, live(mr));
	t->dev[0]->open_error = 0;
	t->file[0] = open_vfio(t->dev[0]);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->file[0]);
	KUNIT_ASSERT_EQ(test, watch_first(t, &late), 0);
	vk_close(t, 0);
	KUNIT_EXPECT_EQ(test, late.unmaps, 1);
	mmap_revoke_range_del(&late.range);
}

static int stray_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &vk_vm_ops;
	return mmap_revoke_mmap(vma);
}

/* A device with mappings of its last user is not opened for the next. */
static void still_mapped(struct kunit *test)
{
	static const struct file_operations fops = { .mmap = stray_mmap };
	struct vk_test *t = test->priv;
	struct mmap_revoke *mr = t->dev[0]->vdev.mmap_revoke;
	unsigned int events;
	struct file *file;

	file = anon_inode_getfile("[stray]", &fops, NULL, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	mmap_revoke_bind_file(mr, file);
	KUNIT_EXPECT_EQ(test, map(file, ADDR, 1), ADDR);
	vk_close(t, 0);
	events = t->dev[0]->nr_events;
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_PTR_EQ(test, open_vfio(t->dev[0]),
				    ERR_PTR(-EBUSY));
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_EQ(test, t->dev[0]->nr_events, events);
	unmap(ADDR, 1);
	mmap_revoke_unbind_file(file);
	__fput_sync(file);
	t->file[0] = open_vfio(t->dev[0]);
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, t->file[0]);
}

struct vk_race {
	struct vk_dev *dev;
	unsigned int ok, refused, bad;
	bool stop;
	struct completion done;
};

static bool watch_live(struct vk_watch *watch)
{
	guard(mutex)(&watch->lock);
	return watch->range.live;
}

static int vk_race_fn(void *arg)
{
	struct vk_race *race = arg;
	struct vk_watch watch;
	struct file *file;

	if (kunit_attach_mm())
		race->bad++;
	while (!race->bad && !READ_ONCE(race->stop)) {
		file = open_vfio(race->dev);
		if (IS_ERR(file)) {
			if (file != ERR_PTR(-ENODEV) &&
			    file != ERR_PTR(-ENXIO) &&
			    file != ERR_PTR(-ENOENT))
				race->bad++;
			WRITE_ONCE(race->refused, race->refused + 1);
			continue;
		}
		if (map(file, ADDR, PAGES) != ADDR)
			race->bad++;
		__fput_sync(file);
		if (add(&watch, race->dev, ADDR)) {
			race->bad++;
			break;
		}
		unmap(ADDR, PAGES);
		/* fput() of a kthread is delayed. */
		while (watch_live(&watch))
			msleep(20);
		if (watch.unmaps != 1)
			race->bad++;
		mmap_revoke_range_del(&watch.range);
		WRITE_ONCE(race->ok, race->ok + 1);
	}
	if (current->mm) {
		struct mm_struct *mm = current->mm;

		vm_munmap(0, TASK_SIZE);
		kthread_unuse_mm(mm);
		mmput(mm);
	}
	complete(&race->done);
	return 0;
}

/* Removal against opening, mapping and subscribing. */
static void removed_under_load(struct kunit *test)
{
	struct vk_test *t = test->priv;
	struct vk_race race = { .dev = t->dev[0] };
	struct task_struct *task;
	unsigned int tries;

	vk_close(t, 0);
	init_completion(&race.done);
	task = kthread_run(vk_race_fn, &race, "vfio_mmap_kunit");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	for (tries = 0; READ_ONCE(race.ok) < 20 && tries < 3000; tries++)
		msleep(20);
	vk_unregister(t, 0);
	for (tries = 0; !READ_ONCE(race.refused) && tries < 3000; tries++)
		msleep(20);
	WRITE_ONCE(race.stop, true);
	wait_for_completion(&race.done);
	KUNIT_EXPECT_EQ(test, race.bad, 0);
	KUNIT_EXPECT_GE(test, race.ok, 20);
	KUNIT_EXPECT_GT(test, race.refused, 0);
}

static struct kunit_case vk_cases[] = {
	KUNIT_CASE(found),
	KUNIT_CASE(split_vma_pfn),
	KUNIT_CASE(reference),
	KUNIT_CASE(closed),
	KUNIT_CASE(still_mapped),
	KUNIT_CASE(removed_under_load),
	{}
};

static struct kunit_suite vk_suite = {
	.name = "vfio_mmap",
	.init = vk_init,
	.exit = vk_exit,
	.test_cases = vk_cases,
};

kunit_test_suite(vk_suite);

MODULE_DESCRIPTION("KUnit tests of what vfio tells IOMMU backends");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("IOMMUFD");
