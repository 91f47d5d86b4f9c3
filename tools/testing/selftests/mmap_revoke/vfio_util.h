/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the vfio uAPI that the mmap_revoke tests and demo need: find and
 * open a PCI device, revoke and restore its mappings in every way a user can.
 *
 * Functions return 0 (or a descriptor) or a negative errno unless noted.
 */
#ifndef MMAP_REVOKE_VFIO_UTIL_H
#define MMAP_REVOKE_VFIO_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include "mmio_util.h"
#include "sys_util.h"

#define PCI_ID(vendor, device)	((__u32)(vendor) << 16 | (device))
#define ID_EDU			PCI_ID(0x1234, 0x11e8)
#define ID_IVSHMEM		PCI_ID(0x1af4, 0x1110)
#define ID_E1000E		PCI_ID(0x8086, 0x10d3)
#define ID_TESTDEV		PCI_ID(0x1b36, 0x0005)
#define ID_NVME			PCI_ID(0x1b36, 0x0010)

#define EDU_LIVENESS		4	/* BAR0: reads back ~written */

struct vfio_dev {
	char bdf[16];
	char path[64];		/* what was opened: the cdev or the group */
	bool cdev;
	int fd;
	int group;		/* -1 when opened through the cdev */
	int iommu;		/* container or iommufd */
};

int vfio_find(__u32 id, int nth, char bdf[16]);
/* From whatever driver it has to @driver. */
int pci_bind(const char *bdf, const char *driver);
int vfio_bind(const char *bdf);
/* Have QEMU's nvme make a VF; its driver need not know what it is for. */
int vf_make(char pf[16], char vf[16]);
/* The VF goes, when its user lets go. */
int vf_drop(const char *pf);
int vfio_path(const char *bdf, bool cdev, char path[64]);
int vfio_open(struct vfio_dev *dev, const char *bdf, bool cdev);

/* In that container, or in a new one: of vfio, or /dev/iommu in its place. */
#define VFIO_NEW_TYPE1		(-1)
#define VFIO_NEW_IOMMUFD	(-2)

int vfio_open_in(struct vfio_dev *dev, const char *bdf, int container);
int vfio_open_id(struct vfio_dev *dev, __u32 id, int nth, bool cdev);
void vfio_close(struct vfio_dev *dev);

int vfio_region(struct vfio_dev *dev, int index, struct vfio_region_info *info);
bool vfio_can_reset(struct vfio_dev *dev);
int vfio_reset(struct vfio_dev *dev);
int vfio_hot_reset(struct vfio_dev *dev);
int vfio_config_read(struct vfio_dev *dev, int off, int size, __u32 *val);
int vfio_config_write(struct vfio_dev *dev, int off, int size, __u32 val);
/* Where a capability is in config space, or -EOPNOTSUPP. */
int vfio_capability(struct vfio_dev *dev, __u8 id);
/* Function level reset, asked for in config space. */
int vfio_flr(struct vfio_dev *dev);
/* The same by the Advanced Features capability. */
int vfio_af_flr(struct vfio_dev *dev);
int vfio_request_eventfd(struct vfio_dev *dev, int efd);

/* Ways in which a user can have the mappings of a device revoked. */
enum vfio_how { BY_COMMAND, BY_LOW_POWER, BY_D3HOT };

int vfio_revoke(struct vfio_dev *dev, enum vfio_how how);
int vfio_restore(struct vfio_dev *dev, enum vfio_how how);
/*
 * Low power until something wakes the device. vfio_sleep() returns an eventfd
 * once the device sleeps, or -ETIME if it does not; vfio_wake() wakes it,
 * returns 0 if the eventfd told of that, and closes it.
 */
int vfio_sleep(struct vfio_dev *dev);
int vfio_wake(struct vfio_dev *dev, int efd);
int vfio_sleep_and_wake(struct vfio_dev *dev);

#endif
