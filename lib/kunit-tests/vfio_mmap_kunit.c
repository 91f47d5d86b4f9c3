// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what vfio-core tells IOMMU backends: whose memory a VMA maps,
 * and when that device is closed. On mock devices, opened through their real
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
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>

#include "../../drivers/vfio/vfio.h"
#include "devtmpfs.h"

#define ADDR		0x40000000UL
#define PAGES		4
#define DEVICES		2

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
	struct mmap_revoke_notifier nb;
	struct vk_dev *dev;
	enum mmap_revoke_event last;
	unsigned int calls;
};

struct vk_test {
	struct vk_dev *dev[DEVICES];
	struct file *file[DEVICES];
	bool registered[DEVICES];
};

static bool live(struct mmap_revoke *mr)
{
	CLASS(mmap_revoke_access, access)(mr);

	return access;
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

static const struct vfio_device_ops vk_ops = {
	.name = "kunit",
	.open_device = vk_open_device,
	.close_device = vk_close_device,
	.mmap = vk_mmap,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
};

static void vk_notify(struct mmap_revoke_notifier *nb, struct mmap_revoke *mr,
		      enum mmap_revoke_event event)
{
	struct vk_watch *watch = container_of(nb, struct vk_watch, nb);

	watch->last = event;
	watch->calls++;
	add_event(watch->dev, VK_KILLED);
	/* As type1 does: the next user of the device is nothing to it. */
	if (event == MMAP_REVOKE_KILL)
		mmap_revoke_unregister_notifier(mr, nb);
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
		t->dev[i] = vfio_alloc_device(vk_dev, vdev, parent, &vk_ops);
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

/* The device, with a reference to its object; NULL where there is no VMA. */
static struct vfio_device *lookup(unsigned long addr)
{
	struct vm_area_struct *vma;

	guard(mmap_read_lock)(current->mm);
	vma = vma_lookup(current->mm, addr);
	return vma ? vfio_device_from_vma(vma) : NULL;
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
	struct vfio_device *vdev;
	struct mmap_revoke *mr;
	struct file *file;
	int i;

	for (i = 0; i < DEVICES; i++)
		KUNIT_ASSERT_EQ(test, map(t->file[i], ADDR + i * SZ_1M, PAGES),
				ADDR + i * SZ_1M);
	unmap(ADDR + PAGE_SIZE, 1);	/* now two VMAs */
	for (i = 0; i < DEVICES; i++) {
		vdev = lookup(ADDR + i * SZ_1M);
		KUNIT_EXPECT_PTR_EQ(test, vdev, &t->dev[i]->vdev);
		if (vdev)
			mmap_revoke_put(vdev->mmap_revoke);
		vdev = lookup(ADDR + i * SZ_1M + 2 * PAGE_SIZE);
		KUNIT_EXPECT_PTR_EQ(test, vdev, &t->dev[i]->vdev);
		if (vdev)
			mmap_revoke_put(vdev->mmap_revoke);
	}

	/* Memory without a file; an object that is not of vfio. */
	KUNIT_ASSERT_EQ(test, vm_mmap(NULL, ADDR + SZ_4M, PAGE_SIZE, PROT_READ,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				      0), ADDR + SZ_4M);
	KUNIT_EXPECT_NULL(test, lookup(ADDR + SZ_4M));
	file = anon_inode_getfile("[foreign]", &foreign_fops, NULL, O_RDWR);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	mr = mmap_revoke_alloc(&foreign_ops, "foreign", t->dev[0]);
	if (mr) {
		mmap_revoke_bind_file(mr, file);
		KUNIT_EXPECT_EQ(test, map(file, ADDR + SZ_4M, 1),
				ADDR + SZ_4M);
		KUNIT_EXPECT_NULL(test, lookup(ADDR + SZ_4M));
		unmap(ADDR + SZ_4M, 1);
		mmap_revoke_unbind_file(file);
		mmap_revoke_put(mr);
	}
	KUNIT_EXPECT_NOT_NULL(test, mr);
	__fput_sync(file);
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

/* Neither close nor removal waits for who has looked up the device. */
static void reference(struct kunit *test)
{
	struct vk_test *t = test->priv;
	struct vk_unregister u = { .t = t };
	struct vfio_device *vdev;
	struct task_struct *task;
	struct mmap_revoke *mr;
	bool mapped;

	KUNIT_ASSERT_EQ(test, map(t->file[0], ADDR, PAGES), ADDR);
	vdev = lookup(ADDR);
	KUNIT_ASSERT_PTR_EQ(test, vdev, &t->dev[0]->vdev);
	mr = vdev->mmap_revoke;
	vk_close(t, 0);
	KUNIT_EXPECT_EQ(test, t->dev[0]->nr_events, 1); /* the VMA has it open */
	KUNIT_EXPECT_TRUE(test, live(mr));

	init_completion(&u.done);
	task = kthread_run(vk_unregister_fn, &u, "vfio_mmap_kunit");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	mapped = !wait_for_completion_timeout(&u.done, HZ / 10);
	KUNIT_EXPECT_TRUE(test, mapped);
	unmap(ADDR, PAGES);
	KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&u.done, 60 * HZ), 0);
	KUNIT_EXPECT_EQ(test, t->dev[0]->nr_events, 2);
	vfio_put_device(vdev);
	t->dev[0] = NULL;
	/* Of all this the object is left, and tells nobody it is alive. */
	KUNIT_EXPECT_FALSE(test, live(mr));
	mmap_revoke_put(mr);
}

/* Subscribers know of a close before the driver does. */
static void closed(struct kunit *test)
{
	struct vk_test *t = test->priv;
	struct vk_watch watch = { .nb.notify = vk_notify, .dev = t->dev[0] };
	struct vk_watch late = { .nb.notify = vk_notify, .dev = t->dev[0] };
	struct mmap_revoke *mr = t->dev[0]->vdev.mmap_revoke;

	KUNIT_EXPECT_TRUE(test, t->dev[0]->live_at_open);
	mmap_revoke_register_notifier(mr, &watch.nb);
	vk_close(t, 0);
	KUNIT_EXPECT_EQ(test, t->dev[0]->nr_events, 3);
	KUNIT_EXPECT_EQ(test, t->dev[0]->events[0], VK_OPENED);
	KUNIT_EXPECT_EQ(test, t->dev[0]->events[1], VK_KILLED);
	KUNIT_EXPECT_EQ(test, t->dev[0]->events[2], VK_CLOSED);
	KUNIT_EXPECT_EQ(test, watch.last, MMAP_REVOKE_KILL);
	KUNIT_EXPECT_FALSE(test, t->dev[0]->live_at_close);

	t->file[0] = open_vfio(t->dev[0]);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->file[0]);
	KUNIT_EXPECT_TRUE(test, live(mr));
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_EQ(test, watch.calls, 1);

	/* A driver that cannot be opened leaves nothing alive. */
	vk_close(t, 0);
	t->dev[0]->open_error = -EIO;
	KUNIT_EXPECT_PTR_EQ(test, open_vfio(t->dev[0]), ERR_PTR(-EIO));
	KUNIT_EXPECT_TRUE(test, t->dev[0]->live_at_open);
	KUNIT_EXPECT_FALSE(test, live(mr));
	t->dev[0]->open_error = 0;
	t->file[0] = open_vfio(t->dev[0]);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->file[0]);
	mmap_revoke_register_notifier(mr, &late.nb);
	vk_close(t, 0);
	KUNIT_EXPECT_EQ(test, late.calls, 1);
}

struct vk_race {
	struct vk_dev *dev;
	unsigned int ok, refused, bad;
	bool stop;
	struct completion done;
};

static int vk_race_fn(void *arg)
{
	struct vk_race *race = arg;
	struct vfio_device *vdev;
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
		vdev = lookup(ADDR);
		if (vdev != &race->dev->vdev)
			race->bad++;
		unmap(ADDR, PAGES);
		if (vdev) {
			struct mmap_revoke *mr = race->dev->vdev.mmap_revoke;

			/* fput() of a kthread is delayed. */
			while (live(mr))
				msleep(20);
			mmap_revoke_put(mr);
		}
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

/* Removal against opening, mapping and looking up. */
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
	KUNIT_CASE(reference),
	KUNIT_CASE(closed),
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

MODULE_DESCRIPTION("KUnit tests of the lookup of vfio devices");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("IOMMUFD");
