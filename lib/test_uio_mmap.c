// SPDX-License-Identifier: GPL-2.0-only
/*
 * A test UIO device, with a map of each kind of memory that UIO drivers map.
 * Page n of map m begins with the word TUM_WORD + 16 * m + n. When the device
 * is unbound, the memory is overwritten and freed.
 *
 * Module parameters: "phys" is the address of device memory for the last map,
 * which has no words; "dma" the name of a PCI device for which coherent memory
 * is allocated, in place of the platform device. They are looked at when the
 * device is bound. "mapped" tells how many pages were in page tables after the
 * last time it was unregistered.
 *
 * Writing 1 to the UIO device makes an event. After a process wrote an address
 * and a number of pages to the attribute "ptes" of the platform device, it reads
 * there the pgprot of the first page, and how many pages its page tables have.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/uio_driver.h>
#include <linux/vmalloc.h>

#define TUM_WORD	0x5eed0000
#define TUM_ORDER	2
#define TUM_PAGES	BIT(TUM_ORDER)
#define TUM_SIZE	(TUM_PAGES * PAGE_SIZE)
/* More than the others: a map that is taken for another does not end early. */
#define TUM_VIRTUAL	(2 * TUM_PAGES)

struct tum_dev {
	struct uio_info info;
	struct page *logical;
	void *virtual;
	struct page *iova;
	void *coherent;
	struct device *dma_device;
	dma_addr_t dma_addr;
	/* What "ptes" reads as. */
	unsigned long pgprot, nr_mapped;
};

static unsigned long phys;
module_param(phys, ulong, 0644);
MODULE_PARM_DESC(phys, "physical address for a map of device memory");
static char *dma;
module_param(dma, charp, 0644);
MODULE_PARM_DESC(dma, "PCI device that coherent memory is for");
static unsigned int mapped;
module_param(mapped, uint, 0444);
MODULE_PARM_DESC(mapped, "pages that were mapped after the device was unregistered");

static struct platform_device *tum_platform_device;

static void tum_fill(void *mem, unsigned int nr_pages, u32 word)
{
	unsigned int n;

	for (n = 0; n < nr_pages; n++)
		WRITE_ONCE(*(u32 *)(mem + n * PAGE_SIZE), word + n);
}

static void tum_map(struct tum_dev *dev, unsigned int m, const char *name,
		    int memtype, phys_addr_t addr, unsigned int nr_pages)
{
	struct uio_mem *mem = &dev->info.mem[m];

	mem->name = name;
	mem->memtype = memtype;
	mem->addr = addr;
	mem->size = nr_pages * PAGE_SIZE;
}

static void tum_free(struct tum_dev *dev)
{
	if (dev->coherent)
		dma_free_coherent(dev->dma_device, TUM_SIZE, dev->coherent,
				  dev->dma_addr);
	put_device(dev->dma_device);
	if (dev->iova)
		__free_pages(dev->iova, TUM_ORDER);
	vfree(dev->virtual);
	if (dev->logical)
		__free_pages(dev->logical, TUM_ORDER);
}

static int tum_alloc(struct tum_dev *dev, struct device *self)
{
	dev->dma_device = dma && *dma ?
		bus_find_device_by_name(&pci_bus_type, NULL, dma) :
		get_device(self);
	if (!dev->dma_device)
		return -ENODEV;

	dev->logical = alloc_pages(GFP_KERNEL | __GFP_COMP, TUM_ORDER);
	dev->virtual = vmalloc(TUM_VIRTUAL * PAGE_SIZE);
	dev->iova = alloc_pages(GFP_KERNEL | __GFP_COMP, TUM_ORDER);
	dev->coherent = dma_alloc_coherent(dev->dma_device, TUM_SIZE,
					   &dev->dma_addr, GFP_KERNEL);
	if (!dev->logical || !dev->virtual || !dev->iova || !dev->coherent)
		return -ENOMEM;

	tum_fill(page_address(dev->logical), TUM_PAGES, TUM_WORD);
	tum_fill(dev->virtual, TUM_VIRTUAL, TUM_WORD + 16);
	tum_fill(page_address(dev->iova), TUM_PAGES, TUM_WORD + 32);
	tum_fill(dev->coherent, TUM_PAGES, TUM_WORD + 48);
	return 0;
}

static int tum_irqcontrol(struct uio_info *info, s32 irq_on)
{
	if (irq_on)
		uio_event_notify(info);
	return 0;
}

static int tum_probe(struct platform_device *pdev)
{
	struct tum_dev *dev;
	int ret;

	dev = devm_kzalloc(&pdev->dev, sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return -ENOMEM;
	platform_set_drvdata(pdev, dev);

	ret = tum_alloc(dev, &pdev->dev);
	if (ret)
		goto err_free;

	tum_map(dev, 0, "logical", UIO_MEM_LOGICAL,
		(uintptr_t)page_address(dev->logical), TUM_PAGES);
	tum_map(dev, 1, "virtual", UIO_MEM_VIRTUAL, (uintptr_t)dev->virtual,
		TUM_VIRTUAL);
	tum_map(dev, 2, "iova", UIO_MEM_IOVA, page_to_phys(dev->iova),
		TUM_PAGES);
	tum_map(dev, 3, "coherent", UIO_MEM_DMA_COHERENT,
		(uintptr_t)dev->coherent, TUM_PAGES);
	dev->info.mem[3].dma_addr = dev->dma_addr;
	dev->info.mem[3].dma_device = dev->dma_device;
	if (phys)
		tum_map(dev, 4, "phys", UIO_MEM_PHYS, phys, TUM_PAGES);

	dev->info.name = KBUILD_MODNAME;
	dev->info.version = "1";
	dev->info.irq = UIO_IRQ_CUSTOM;
	dev->info.irqcontrol = tum_irqcontrol;
	ret = uio_register_device(&pdev->dev, &dev->info);
	if (ret)
		goto err_free;
	return 0;

err_free:
	tum_free(dev);
	return ret;
}

static void tum_remove(struct platform_device *pdev)
{
	struct tum_dev *dev = platform_get_drvdata(pdev);
	unsigned int n;

	uio_unregister_device(&dev->info);

	mapped = folio_mapcount(page_folio(dev->logical));
	for (n = 0; n < TUM_VIRTUAL; n++)
		mapped += folio_mapcount(page_folio(vmalloc_to_page(dev->virtual + n * PAGE_SIZE)));

	tum_fill(page_address(dev->logical), TUM_PAGES, ~TUM_WORD);
	tum_fill(dev->virtual, TUM_VIRTUAL, ~TUM_WORD);
	tum_fill(page_address(dev->iova), TUM_PAGES, ~TUM_WORD);
	tum_fill(dev->coherent, TUM_PAGES, ~TUM_WORD);
	tum_free(dev);
}

/* Fills in what is known of a page; false where it is not mapped. */
static bool tum_look(struct follow_pfnmap_args *args, unsigned long addr)
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
	struct tum_dev *dev = dev_get_drvdata(device);
	struct follow_pfnmap_args args = {};
	unsigned long addr, nr, n;

	if (sscanf(buf, "%lx %lu", &addr, &nr) != 2)
		return -EINVAL;
	mmap_read_lock(current->mm);
	for (n = 0; n < nr && tum_look(&args, addr + n * PAGE_SIZE); n++)
		if (!n)
			dev->pgprot = pgprot_val(args.pgprot);
	mmap_read_unlock(current->mm);
	dev->nr_mapped = n;
	return count;
}

static ssize_t ptes_show(struct device *device, struct device_attribute *attr,
			 char *buf)
{
	struct tum_dev *dev = dev_get_drvdata(device);

	return sysfs_emit(buf, "%#lx %lu\n", dev->pgprot, dev->nr_mapped);
}
static DEVICE_ATTR_RW(ptes);

static struct attribute *tum_attrs[] = {
	&dev_attr_ptes.attr,
	NULL
};
ATTRIBUTE_GROUPS(tum);

static struct platform_driver tum_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.dev_groups = tum_groups,
	.probe = tum_probe,
	.remove = tum_remove,
};

static int __init tum_init(void)
{
	int ret = platform_driver_register(&tum_driver);

	if (ret)
		return ret;
	tum_platform_device =
		platform_device_register_simple(KBUILD_MODNAME,
						PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(tum_platform_device)) {
		platform_driver_unregister(&tum_driver);
		return PTR_ERR(tum_platform_device);
	}
	return 0;
}
module_init(tum_init);

static void __exit tum_exit(void)
{
	platform_device_unregister(tum_platform_device);
	platform_driver_unregister(&tum_driver);
}
module_exit(tum_exit);

MODULE_DESCRIPTION("Test UIO device with maps of every kind");
MODULE_LICENSE("GPL");
