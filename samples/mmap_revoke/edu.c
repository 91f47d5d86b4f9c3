// SPDX-License-Identifier: GPL-2.0-only
/*
 * A driver for QEMU's edu device (-device edu) that lets user space map its
 * registers, and takes the mappings back when the device is reset or removed.
 *
 * Each device is /dev/eduN. mmap() maps BAR 0, a write() resets the device.
 * Documentation/core-api/mmap_revoke.rst quotes the parts between markers.
 */
#include <linux/cdev.h>
#include <linux/cleanup.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/mmap_revoke.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>

#define EDU_MINORS	16
#define EDU_BAR		0

static dev_t edu_devt;
static DEFINE_IDA(edu_ida);
static const struct class edu_class = { .name = "edu" };

/* begin: object */
struct edu {
	struct device dev;	/* its release frees all of this */
	struct cdev cdev;	/* every open file holds it, and it holds dev */
	struct mmap_revoke *mr;
	unsigned long pfn;
	unsigned long nr_pages;

	struct mutex lock;	/* keeps write() away from a device that went */
	struct pci_dev *pdev;	/* NULL from edu_remove() on */
};

static const struct mmap_revoke_ops edu_revoke_ops = { .name = "edu" };

/* The last reference: no open() is under way, no file and no VMA is left. */
static void edu_release(struct device *dev)
{
	struct edu *edu = container_of(dev, struct edu, dev);

	mmap_revoke_put(edu->mr);
	ida_free(&edu_ida, MINOR(dev->devt));
	kfree(edu);
}

/* end: object */

/* begin: files */
static int edu_open(struct inode *inode, struct file *file)
{
	struct edu *edu = container_of(inode->i_cdev, struct edu, cdev);

	file->private_data = edu;
	mmap_revoke_bind_file(edu->mr, file);	/* last: it must not fail after */
	return 0;
}

static int edu_close(struct inode *inode, struct file *file)
{
	mmap_revoke_unbind_file(file);
	return 0;
}

static vm_fault_t edu_fault(struct vm_fault *vmf)
{
	struct edu *edu = vmf->vma->vm_file->private_data;

	return mmap_revoke_fault(vmf, edu->pfn + vmf->pgoff, 0);
}

static const struct vm_operations_struct edu_vm_ops = {
	.fault = edu_fault,
};

static int edu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct edu *edu = file->private_data;

	if (vma->vm_pgoff + vma_pages(vma) > edu->nr_pages)
		return -EINVAL;
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vma->vm_ops = &edu_vm_ops;
	return mmap_revoke_mmap(vma);
}

/* end: files */

/* begin: reset */
/* The PCI core calls these around every reset, also one through sysfs. */
static void edu_reset_prepare(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	mmap_revoke_begin(edu->mr);
}

static void edu_reset_done(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	mmap_revoke_end(edu->mr);
}

static const struct pci_error_handlers edu_err_handler = {
	.reset_prepare = edu_reset_prepare,
	.reset_done = edu_reset_done,
};

static ssize_t edu_write(struct file *file, const char __user *buf,
			 size_t count, loff_t *ppos)
{
	struct edu *edu = file->private_data;
	int ret;

	/* try: edu_remove() takes edu->lock with the device locked. */
	guard(mutex)(&edu->lock);
	ret = edu->pdev ? pci_try_reset_function(edu->pdev) : -ENODEV;
	return ret ?: count;
}

/* end: reset */

static const struct file_operations edu_fops = {
	.owner = THIS_MODULE,
	.open = edu_open,
	.release = edu_close,
	.write = edu_write,
	.mmap = edu_mmap,
};

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu;
	int ret, minor;

	ret = pcim_enable_device(pdev);
	if (!ret)
		ret = pcim_request_region(pdev, EDU_BAR, "edu");
	if (ret)
		return ret;

	edu = kzalloc_obj(*edu);
	if (!edu)
		return -ENOMEM;
	edu->mr = mmap_revoke_alloc(&edu_revoke_ops, pci_name(pdev), edu);
	if (!edu->mr) {
		kfree(edu);
		return -ENOMEM;
	}
	minor = ida_alloc_max(&edu_ida, EDU_MINORS - 1, GFP_KERNEL);
	if (minor < 0) {
		mmap_revoke_put(edu->mr);
		kfree(edu);
		return minor;
	}

	/* From here on put_device() undoes all of it, in edu_release(). */
	device_initialize(&edu->dev);
	edu->dev.class = &edu_class;
	edu->dev.parent = &pdev->dev;
	edu->dev.release = edu_release;
	edu->dev.devt = MKDEV(MAJOR(edu_devt), minor);
	edu->pfn = PHYS_PFN(pci_resource_start(pdev, EDU_BAR));
	edu->nr_pages = pci_resource_len(pdev, EDU_BAR) >> PAGE_SHIFT;
	mutex_init(&edu->lock);
	edu->pdev = pdev;
	pci_set_drvdata(pdev, edu);

	cdev_init(&edu->cdev, &edu_fops);
	edu->cdev.owner = THIS_MODULE;
	ret = dev_set_name(&edu->dev, "edu%d", minor);
	if (!ret)
		ret = cdev_device_add(&edu->cdev, &edu->dev);
	if (ret)
		put_device(&edu->dev);
	return ret;
}

/* begin: remove */
static void edu_remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	/* No new open() begins, but one that has begun may end after this. */
	cdev_device_del(&edu->cdev, &edu->dev);
	scoped_guard(mutex, &edu->lock)
		edu->pdev = NULL;
	/* No process reaches the device any more, or ever will. */
	mmap_revoke_kill(edu->mr);
	put_device(&edu->dev);
}

/* end: remove */

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
	.err_handler = &edu_err_handler,
};

static int __init edu_init(void)
{
	int ret;

	ret = class_register(&edu_class);
	if (ret)
		return ret;
	ret = alloc_chrdev_region(&edu_devt, 0, EDU_MINORS, "edu");
	if (ret)
		goto err_class;
	ret = pci_register_driver(&edu_driver);
	if (ret)
		goto err_region;
	return 0;

err_region:
	unregister_chrdev_region(edu_devt, EDU_MINORS);
err_class:
	class_unregister(&edu_class);
	return ret;
}
module_init(edu_init);

static void __exit edu_exit(void)
{
	pci_unregister_driver(&edu_driver);
	unregister_chrdev_region(edu_devt, EDU_MINORS);
	class_unregister(&edu_class);
}
module_exit(edu_exit);

MODULE_DESCRIPTION("Revocable mappings of QEMU's edu device");
MODULE_LICENSE("GPL");
