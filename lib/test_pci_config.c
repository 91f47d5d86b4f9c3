// SPDX-License-Identifier: GPL-2.0-only
/*
 * Have one device do what emulated ones do not. Load it with
 * device=DDDD:BB:DD.F, and with what the device is to do:
 *
 * fail=1, which can be written later, fails writes to PCI_COMMAND, as a host
 * bridge can. The hardware does not see them.
 *
 * forget=1 clears PCI_COMMAND when the device leaves D3hot, as those do that
 * do not have No_Soft_Reset.
 *
 * af=OFFSET adds an Advanced Features capability to the end of the list, at an
 * offset where nothing is. "flrs" has how many resets it was asked for. There
 * is none.
 *
 * suspend=1 suspends the device and resumes it, as the system would.
 *
 * claim=START,SIZE claims a region of memory, as drivers do, or with idle=1
 * makes one that nobody claims.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pm.h>

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI address of the device");

static bool fail;
module_param(fail, bool, 0644);
MODULE_PARM_DESC(fail, "Fail writes to PCI_COMMAND");

static bool forget;
module_param(forget, bool, 0444);
MODULE_PARM_DESC(forget, "The device loses PCI_COMMAND when it leaves D3hot");

static u8 af;
module_param(af, byte, 0444);
MODULE_PARM_DESC(af, "Offset of an Advanced Features capability");

static unsigned int flrs;
module_param(flrs, uint, 0444);
MODULE_PARM_DESC(flrs, "Resets that this capability was asked for");

static bool suspend;
module_param(suspend, bool, 0444);
MODULE_PARM_DESC(suspend, "Suspend and resume the device");

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
static u8 last_cap;		/* before the one at @af */

static u8 test_pci_config_byte(int where, u8 byte)
{
	static const u8 cap[PCI_CAP_AF_SIZEOF] = {
		[PCI_CAP_LIST_ID] = PCI_CAP_ID_AF,
		[PCI_AF_LENGTH] = PCI_CAP_AF_SIZEOF,
		[PCI_AF_CAP] = PCI_AF_CAP_TP | PCI_AF_CAP_FLR,
	};

	if (where == last_cap + PCI_CAP_LIST_NEXT)
		return af;
	if (where >= af && where < af + PCI_CAP_AF_SIZEOF)
		return cap[where - af];
	return byte;
}

static int test_pci_config_read(struct pci_bus *bus, unsigned int devfn,
				int where, int size, u32 *val)
{
	int ret, i;
	u8 byte;

	ret = bus_ops->read(bus, devfn, where, size, val);
	if (ret || !af || devfn != pdev->devfn)
		return ret;
	for (i = 0; i < size; i++) {
		byte = test_pci_config_byte(where + i, *val >> (8 * i));
		*val = (*val & ~(0xffU << (8 * i))) | (u32)byte << (8 * i);
	}
	return 0;
}

/* Does a write of @val to the power state end D3hot? */
static bool test_pci_config_wakes(struct pci_bus *bus, int where, u32 val)
{
	u32 state;

	return pdev->pm_cap && where == pdev->pm_cap + PCI_PM_CTRL &&
	       !(val & PCI_PM_CTRL_STATE_MASK) &&
	       !bus_ops->read(bus, pdev->devfn, where, 2, &state) &&
	       (state & PCI_PM_CTRL_STATE_MASK) == PCI_PM_CTRL_STATE_MASK;
}

static int test_pci_config_write(struct pci_bus *bus, unsigned int devfn,
				 int where, int size, u32 val)
{
	bool forgets;
	int ret;

	if (devfn != pdev->devfn)
		return bus_ops->write(bus, devfn, where, size, val);
	if (READ_ONCE(fail) && where == PCI_COMMAND)
		return PCIBIOS_SET_FAILED;
	if (af && where == af + PCI_AF_CTRL) {
		if (val & PCI_AF_CTRL_FLR)
			flrs++;
		return PCIBIOS_SUCCESSFUL;
	}
	forgets = forget && test_pci_config_wakes(bus, where, val);
	ret = bus_ops->write(bus, devfn, where, size, val);
	if (!ret && forgets)
		ret = bus_ops->write(bus, devfn, PCI_COMMAND, 2, 0);
	return ret;
}

/* Where the list of capabilities ends, if nothing is at @af. */
static int test_pci_config_af(void)
{
	int loops = PCI_CFG_SPACE_SIZE / PCI_CAP_SIZEOF;
	u32 first, second;
	u8 next;

	pci_read_config_dword(pdev, af, &first);
	pci_read_config_dword(pdev, af + 4, &second);
	if (af % 4 || first || second)
		return -EBUSY;
	pci_read_config_byte(pdev, PCI_CAPABILITY_LIST, &next);
	while (next && loops--) {
		last_cap = next;
		pci_read_config_byte(pdev, last_cap + PCI_CAP_LIST_NEXT, &next);
	}
	return last_cap ? 0 : -ENODEV;
}

/*
 * As the PM core does, but for the phases without interrupts. In the first of
 * these the state is saved; without the last, resume() powers the device up.
 */
static int test_pci_config_suspend(void)
{
	const struct dev_pm_ops *pm = pdev->dev.bus->pm;
	int ret;

	if (!pm || !pm->suspend || !pm->resume)
		return -EOPNOTSUPP;
	guard(device)(&pdev->dev);
	ret = pm->suspend(&pdev->dev) ?: pci_save_state(pdev);
	return ret ?: pm->resume(&pdev->dev);
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
	ret = af ? test_pci_config_af() : 0;
	if (!ret && suspend)
		ret = test_pci_config_suspend();
	ret = ret ?: test_pci_config_claim();
	if (ret) {
		pci_dev_put(pdev);
		return ret;
	}
	bus_ops = pdev->bus->ops;
	test_ops = *bus_ops;
	test_ops.read = test_pci_config_read;
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

MODULE_DESCRIPTION("PCI devices that do what emulated ones do not");
MODULE_LICENSE("GPL");
