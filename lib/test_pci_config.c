// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fail writes to PCI_COMMAND of one device, as a host bridge can: load it with
 * device=DDDD:BB:DD.F, and write 1 to its parameter "fail". The hardware does
 * not see such a write.
 */
#include <linux/module.h>
#include <linux/pci.h>

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI address of the device");

static bool fail;
module_param(fail, bool, 0644);
MODULE_PARM_DESC(fail, "Fail writes to PCI_COMMAND");

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

static int __init test_pci_config_init(void)
{
	unsigned int domain, bus, slot, func;

	if (!device || sscanf(device, "%x:%x:%x.%x", &domain, &bus, &slot, &func) != 4)
		return -EINVAL;
	pdev = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, func));
	if (!pdev)
		return -ENODEV;
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
	pci_dev_put(pdev);
}
module_exit(test_pci_config_exit);

MODULE_DESCRIPTION("Fail PCI configuration space writes");
MODULE_LICENSE("GPL");
