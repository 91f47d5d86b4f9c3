// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fail writes to PCI_COMMAND of one device, as a host bridge can: load it with
 * device=DDDD:BB:DD.F, and write 1 to its parameter "fail". The hardware does
 * not see such a write. With claim=START,SIZE it claims a region of memory, as
 * drivers do, or with idle=1 makes one that nobody claims.
 */
#include <linux/module.h>
#include <linux/pci.h>

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI address of the device");

static bool fail;
module_param(fail, bool, 0644);
MODULE_PARM_DESC(fail, "Fail writes to PCI_COMMAND");

static unsigned long long claim[2];
module_param_array(claim, ullong, NULL, 0444);
MODULE_PARM_DESC(claim, "Physical address and size of a region to claim");

static bool idle;
module_param(idle, bool, 0444);
MODULE_PARM_DESC(idle, "The region is there, but not claimed");

static struct resource region;
static struct pci_dev *pdev;
static struct pci_ops *bus_ops;
static struct pci_ops test_ops;

static int test_pci_config_write(struct pci_bus *bus, unsigned int devfn,
				 int where, int size, u32 val)
{
	if (READ_ONCE(fail) && devfn == pdev->devfn && where == PCI_COMMAND)
		return PCIBIOS_SET_FAILED;
	return bus_ops->write(bus, devfn, where, size, val);
}

static int __init test_pci_config_claim(void)
{
	if (!claim[1])
		return 0;
	region = DEFINE_RES_MEM_NAMED(claim[0], claim[1], KBUILD_MODNAME);
	if (idle)
		return insert_resource(&iomem_resource, &region);
	return request_mem_region(claim[0], claim[1], KBUILD_MODNAME) ? 0 :
	       -EBUSY;
}

static int __init test_pci_config_init(void)
{
	unsigned int domain, bus, slot, func;
	int ret;

	if (!device || sscanf(device, "%x:%x:%x.%x", &domain, &bus, &slot, &func) != 4)
		return -EINVAL;
	pdev = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, func));
	if (!pdev)
		return -ENODEV;
	ret = test_pci_config_claim();
	if (ret) {
		pci_dev_put(pdev);
		return ret;
	}
	bus_ops = pdev->bus->ops;
	test_ops = *bus_ops;
	test_ops.write = test_pci_config_write;
	pci_bus_set_ops(pdev->bus, &test_ops);
	return 0;
}
module_init(test_pci_config_init);

static void __exit test_pci_config_exit(void)
{
	pci_bus_set_ops(pdev->bus, bus_ops);
	if (claim[1] && idle)
		remove_resource(&region);
	else if (claim[1])
		release_mem_region(claim[0], claim[1]);
	pci_dev_put(pdev);
}
module_exit(test_pci_config_exit);

MODULE_DESCRIPTION("Fail PCI configuration space writes");
MODULE_LICENSE("GPL");
