// SPDX-License-Identifier: GPL-2.0-only
/*
 * A test RDMA device: it has no queues and transfers nothing, but it maps
 * device memory into processes through uverbs in every way that RDMA drivers
 * do. The hardware is QEMU's ivshmem-plain, whose BAR 2 is memory with contents
 * that can be checked.
 *
 * A protection domain stands for an mmap entry, see test_rdma_mmap_uapi.h.
 * Attributes of the PCI device: writing to "disassociate" calls
 * rdma_user_mmap_disassociate(), as drivers do before they reset a device;
 * after a process wrote an address and a number of pages to "ptes", it reads
 * there what its page tables have: the pgprot of the first page, which page of
 * the BAR that is, and how many pages follow each other from there. The module
 * parameters tell how many entries there were, how many were freed, and how
 * many mmap() calls wait.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>

#include "test_rdma_mmap_uapi.h"

#define TRM_BAR		2
#define TRM_TYPE_SHIFT	24

struct trm_dev {
	struct ib_device ibdev;
	unsigned long pfn;
	unsigned long nr_pages;
	/* What "ptes" reads as. */
	unsigned long pgprot, first_page, nr_mapped;
};

struct trm_ucontext {
	struct ib_ucontext ibucontext;
	struct page *page;
};

struct trm_entry {
	struct rdma_user_mmap_entry rdma_entry;
	unsigned long pfn;
	u32 type;
	u32 flags;
};

struct trm_pd {
	struct ib_pd ibpd;
	struct trm_entry *entry;
};

static unsigned int created, freed, waiting;
module_param(created, uint, 0444);
MODULE_PARM_DESC(created, "mmap entries that were created");
module_param(freed, uint, 0444);
MODULE_PARM_DESC(freed, "mmap entries that were freed");
module_param(waiting, uint, 0444);
MODULE_PARM_DESC(waiting, "mmap() calls that wait");
static DEFINE_SPINLOCK(trm_lock); /* of the counters */

static void trm_count(unsigned int *counter, int change)
{
	guard(spinlock)(&trm_lock);
	WRITE_ONCE(*counter, *counter + change);
}

static int trm_query_device(struct ib_device *ibdev,
			    struct ib_device_attr *attr,
			    struct ib_udata *udata)
{
	attr->max_pd = INT_MAX;
	return 0;
}

static int trm_query_port(struct ib_device *ibdev, u32 port,
			  struct ib_port_attr *attr)
{
	attr->state = IB_PORT_ACTIVE;
	attr->phys_state = IB_PORT_PHYS_STATE_LINK_UP;
	return 0;
}

static enum rdma_link_layer trm_get_link_layer(struct ib_device *ibdev,
					       u32 port)
{
	return IB_LINK_LAYER_UNSPECIFIED;
}

static int trm_get_port_immutable(struct ib_device *ibdev, u32 port,
				  struct ib_port_immutable *immutable)
{
	return 0;
}

static int trm_alloc_ucontext(struct ib_ucontext *ibucontext,
			      struct ib_udata *udata)
{
	struct trm_ucontext *ucontext =
		container_of(ibucontext, struct trm_ucontext, ibucontext);

	ucontext->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return ucontext->page ? 0 : -ENOMEM;
}

static void trm_dealloc_ucontext(struct ib_ucontext *ibucontext)
{
	struct trm_ucontext *ucontext =
		container_of(ibucontext, struct trm_ucontext, ibucontext);

	__free_page(ucontext->page);
}

/* Nothing to stop: the device transfers nothing. */
static void trm_disassociate_ucontext(struct ib_ucontext *ibucontext)
{
}

static int trm_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct trm_pd *pd = container_of(ibpd, struct trm_pd, ibpd);
	struct trm_dev *dev = container_of(ibpd->device, struct trm_dev, ibdev);
	struct trm_ucontext *ucontext;
	struct test_rdma_mmap_alloc_pd_resp resp = {};
	struct test_rdma_mmap_alloc_pd_req req;
	struct trm_entry *entry;
	int ret;

	if (!udata)
		return -EOPNOTSUPP;

	ucontext = rdma_udata_to_drv_context(udata, struct trm_ucontext,
					     ibucontext);
	ret = ib_copy_validate_udata_in(udata, req, flags);
	if (ret)
		return ret;
	if (!req.nr_pages || req.nr_pages > dev->nr_pages ||
	    req.page > dev->nr_pages - req.nr_pages ||
	    req.type > TEST_RDMA_MMAP_WB ||
	    req.flags >= TEST_RDMA_MMAP_UNMAP << 1)
		return -EINVAL;

	entry = kzalloc_obj(*entry);
	if (!entry)
		return -ENOMEM;
	entry->pfn = dev->pfn + req.page;
	entry->type = req.type;
	entry->flags = req.flags;
	ret = rdma_user_mmap_entry_insert_range(&ucontext->ibucontext,
						&entry->rdma_entry,
						req.nr_pages << PAGE_SHIFT, 0,
						(1U << TRM_TYPE_SHIFT) - 1);
	if (ret) {
		kfree(entry);
		return ret;
	}
	trm_count(&created, 1);

	resp.offset = rdma_user_mmap_get_offset(&entry->rdma_entry);
	ret = ib_respond_udata(udata, resp);
	if (ret) {
		rdma_user_mmap_entry_remove(&entry->rdma_entry);
		return ret;
	}
	pd->entry = entry;
	return 0;
}

static int trm_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct trm_pd *pd = container_of(ibpd, struct trm_pd, ibpd);

	if (pd->entry->flags & TEST_RDMA_MMAP_REVOKE)
		rdma_user_mmap_entry_revoke(&pd->entry->rdma_entry);
	else
		rdma_user_mmap_entry_remove(&pd->entry->rdma_entry);
	return 0;
}

static void trm_mmap_free(struct rdma_user_mmap_entry *rdma_entry)
{
	kfree(container_of(rdma_entry, struct trm_entry, rdma_entry));
	trm_count(&freed, 1);
}

static struct rdma_user_mmap_entry *
trm_pgoff_to_mmap_entry(struct ib_ucontext *ibucontext, off_t offset)
{
	return rdma_user_mmap_entry_get_pgoff(ibucontext, offset >> PAGE_SHIFT);
}

/* For a dma-buf of an entry. */
static int trm_mmap_get_pfns(struct rdma_user_mmap_entry *rdma_entry,
			     struct phys_vec *phys_vec,
			     struct p2pdma_provider **provider)
{
	struct trm_entry *entry =
		container_of(rdma_entry, struct trm_entry, rdma_entry);
	struct device *parent = rdma_entry->ucontext->device->dev.parent;

	phys_vec->paddr = PFN_PHYS(entry->pfn);
	phys_vec->len = rdma_entry->npages << PAGE_SHIFT;
	*provider = pcim_p2pdma_provider(to_pci_dev(parent), TRM_BAR);
	return *provider ? 0 : -EOPNOTSUPP;
}

static pgprot_t trm_prot(struct vm_area_struct *vma, u32 type)
{
	switch (type) {
	case TEST_RDMA_MMAP_UC:
		return pgprot_noncached(vma->vm_page_prot);
	case TEST_RDMA_MMAP_WC:
		return pgprot_writecombine(vma->vm_page_prot);
	default:
		return vma->vm_page_prot;
	}
}

/*
 * What happens between the end of mmap() in the kernel and the return to user
 * space. Task works run in the order last in, first out. The module must not go
 * while such an mmap() returns: nothing keeps its code.
 */
struct trm_work {
	struct callback_head head;
	struct ib_device *ibdev;
	unsigned long addr, size;
	u32 flags;
};

static void trm_work_fn(struct callback_head *head)
{
	struct trm_work *work = container_of(head, struct trm_work, head);

	if (work->flags & TEST_RDMA_MMAP_DISASSOCIATE)
		rdma_user_mmap_disassociate(work->ibdev);
	if (current->mm && work->flags & TEST_RDMA_MMAP_UNMAP)
		vm_munmap(work->addr, work->size);
	ib_device_put(work->ibdev);
	kfree(work);
}

static int trm_add_work(struct ib_device *ibdev, struct vm_area_struct *vma,
			u32 flags)
{
	struct trm_work *work = kzalloc_obj(*work);
	int ret = -ENODEV;

	if (!work)
		return -ENOMEM;
	work->ibdev = ibdev;
	work->addr = vma->vm_start;
	work->size = vma->vm_end - vma->vm_start;
	work->flags = flags;
	init_task_work(&work->head, trm_work_fn);
	if (!ib_device_try_get(ibdev))
		goto err_free;
	ret = task_work_add(current, &work->head, TWA_RESUME);
	if (ret)
		goto err_put;
	return 0;

err_put:
	ib_device_put(ibdev);
err_free:
	kfree(work);
	return ret;
}

static int trm_mmap_entry(struct ib_ucontext *ibucontext,
			  struct vm_area_struct *vma)
{
	struct rdma_user_mmap_entry *rdma_entry;
	struct trm_entry *entry;
	int ret;

	rdma_entry = rdma_user_mmap_entry_get(ibucontext, vma);
	if (!rdma_entry)
		return -EINVAL;
	entry = container_of(rdma_entry, struct trm_entry, rdma_entry);
	ret = rdma_user_mmap_io(ibucontext, vma, entry->pfn,
				rdma_entry->npages << PAGE_SHIFT,
				trm_prot(vma, entry->type), rdma_entry);
	if (!ret && entry->flags & (TEST_RDMA_MMAP_DISASSOCIATE |
				    TEST_RDMA_MMAP_UNMAP))
		ret = trm_add_work(ibucontext->device, vma, entry->flags);
	if (!ret && entry->flags & TEST_RDMA_MMAP_FAIL)
		ret = -EBADE;
	rdma_user_mmap_entry_put(rdma_entry);
	return ret;
}

static int trm_mmap(struct ib_ucontext *ibucontext, struct vm_area_struct *vma)
{
	struct trm_ucontext *ucontext =
		container_of(ibucontext, struct trm_ucontext, ibucontext);
	struct trm_dev *dev =
		container_of(ibucontext->device, struct trm_dev, ibdev);
	unsigned long page = vma->vm_pgoff & ((1UL << TRM_TYPE_SHIFT) - 1);
	unsigned long type = vma->vm_pgoff >> TRM_TYPE_SHIFT;

	if (!(vma->vm_flags & VM_WRITE))
		vm_flags_clear(vma, VM_MAYWRITE);

	if (!type)
		return trm_mmap_entry(ibucontext, vma);

	type--;
	if (type > TEST_RDMA_MMAP_WAIT)
		return -EINVAL;
	if (type == TEST_RDMA_MMAP_KERNEL)
		return vm_insert_page(vma, vma->vm_start, ucontext->page);
	if (type == TEST_RDMA_MMAP_WAIT) {
		trm_count(&waiting, 1);
		msleep_interruptible(page);
		trm_count(&waiting, -1);
		return -EINTR;
	}
	if (page >= dev->nr_pages)
		return -EINVAL;
	return rdma_user_mmap_io(ibucontext, vma, dev->pfn + page, PAGE_SIZE,
				 trm_prot(vma, type), NULL);
}

static const struct ib_device_ops trm_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,
	.uverbs_abi_ver = 1,
	.uverbs_no_driver_id_binding = 1,

	.alloc_pd = trm_alloc_pd,
	.alloc_ucontext = trm_alloc_ucontext,
	.dealloc_pd = trm_dealloc_pd,
	.dealloc_ucontext = trm_dealloc_ucontext,
	.disassociate_ucontext = trm_disassociate_ucontext,
	.get_link_layer = trm_get_link_layer,
	.get_port_immutable = trm_get_port_immutable,
	.mmap = trm_mmap,
	.mmap_free = trm_mmap_free,
	.mmap_get_pfns = trm_mmap_get_pfns,
	.pgoff_to_mmap_entry = trm_pgoff_to_mmap_entry,
	.query_device = trm_query_device,
	.query_port = trm_query_port,

	INIT_RDMA_OBJ_SIZE(ib_pd, trm_pd, ibpd),
	INIT_RDMA_OBJ_SIZE(ib_ucontext, trm_ucontext, ibucontext),
};

static ssize_t disassociate_store(struct device *device,
				  struct device_attribute *attr,
				  const char *buf, size_t count)
{
	struct trm_dev *dev = dev_get_drvdata(device);

	rdma_user_mmap_disassociate(&dev->ibdev);
	return count;
}
static DEVICE_ATTR_WO(disassociate);

/* Fills in what is known of a page; false where it is not mapped. */
static bool trm_look(struct follow_pfnmap_args *args, unsigned long addr)
{
	args->address = addr;
	args->vma = vma_lookup(current->mm, addr);
	if (!args->vma || follow_pfnmap_start(args))
		return false;
	follow_pfnmap_end(args);
	return true;
}

static ssize_t ptes_store(struct device *device, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	struct trm_dev *dev = dev_get_drvdata(device);
	struct follow_pfnmap_args args = {};
	unsigned long addr, nr, n;

	if (sscanf(buf, "%lx %lu", &addr, &nr) != 2)
		return -EINVAL;
	mmap_read_lock(current->mm);
	for (n = 0; n < nr && trm_look(&args, addr + n * PAGE_SIZE); n++) {
		if (!n) {
			dev->pgprot = pgprot_val(args.pgprot);
			dev->first_page = args.pfn - dev->pfn;
		} else if (args.pfn != dev->pfn + dev->first_page + n) {
			break;
		}
	}
	mmap_read_unlock(current->mm);
	dev->nr_mapped = n;
	return count;
}

static ssize_t ptes_show(struct device *device, struct device_attribute *attr,
			 char *buf)
{
	struct trm_dev *dev = dev_get_drvdata(device);

	return sysfs_emit(buf, "%#lx %lu %lu\n", dev->pgprot, dev->first_page,
			  dev->nr_mapped);
}
static DEVICE_ATTR_RW(ptes);

static struct attribute *trm_attrs[] = {
	&dev_attr_disassociate.attr,
	&dev_attr_ptes.attr,
	NULL
};
ATTRIBUTE_GROUPS(trm);

static int trm_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct trm_dev *dev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	if (!pci_resource_len(pdev, TRM_BAR))
		return -ENODEV;
	ret = pcim_request_region(pdev, TRM_BAR, KBUILD_MODNAME);
	if (ret)
		return ret;
	ret = pcim_p2pdma_init(pdev);
	if (ret && ret != -EOPNOTSUPP)
		return ret;

	dev = ib_alloc_device(trm_dev, ibdev);
	if (!dev)
		return -ENOMEM;
	dev->pfn = PHYS_PFN(pci_resource_start(pdev, TRM_BAR));
	dev->nr_pages = pci_resource_len(pdev, TRM_BAR) >> PAGE_SHIFT;
	dev->ibdev.node_type = RDMA_NODE_UNSPECIFIED;
	dev->ibdev.phys_port_cnt = 1;
	dev->ibdev.num_comp_vectors = 1;
	dev->ibdev.dev.parent = &pdev->dev;
	ib_set_device_ops(&dev->ibdev, &trm_ops);
	pci_set_drvdata(pdev, dev);
	ret = ib_register_device(&dev->ibdev, "test_rdma_mmap%d", &pdev->dev);
	if (ret)
		ib_dealloc_device(&dev->ibdev);
	return ret;
}

static void trm_remove(struct pci_dev *pdev)
{
	struct trm_dev *dev = pci_get_drvdata(pdev);

	ib_unregister_device(&dev->ibdev);
	ib_dealloc_device(&dev->ibdev);
}

static const struct pci_device_id trm_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1110) },
	{}
};

static struct pci_driver trm_driver = {
	.name = KBUILD_MODNAME,
	.id_table = trm_ids,
	.probe = trm_probe,
	.remove = trm_remove,
	.dev_groups = trm_groups,
};
module_pci_driver(trm_driver);

MODULE_DESCRIPTION("Test RDMA device with mappable memory");
MODULE_LICENSE("GPL");
