// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <linux/iommufd.h>
#include <linux/pci_regs.h>

#include "vfio_util.h"

#define SYSFS_PCI "/sys/bus/pci/"

/* Devices in sysfs */

static __u32 sysfs_hex(const char *bdf, const char *name)
{
	char path[320];
	unsigned int val;

	snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/%s", bdf, name);
	return scan_file(path, "%x", &val) ? 0 : val;
}

int vfio_find(__u32 id, int nth, char bdf[16])
{
	struct dirent **list;
	int ret = -ENODEV;
	int n, i;

	n = scandir(SYSFS_PCI "devices", &list, NULL, alphasort);
	if (n < 0)
		return -errno;
	for (i = 0; i < n; i++) {
		const char *name = list[i]->d_name;

		if (ret && name[0] != '.' &&
		    PCI_ID(sysfs_hex(name, "vendor"),
			   sysfs_hex(name, "device")) == id && !nth--) {
			snprintf(bdf, 16, "%.15s", name);
			ret = 0;
		}
		free(list[i]);
	}
	free(list);
	return ret;
}

int pci_bind(const char *bdf, const char *driver)
{
	char path[128], link[256];
	ssize_t n;

	snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/driver", bdf);
	n = readlink(path, link, sizeof(link) - 1);
	if (n > 0) {
		link[n] = '\0';
		if (!strcmp(strrchr(link, '/') + 1, driver))
			return 0;
	}
	pci_write(bdf, "driver_override", driver);
	if (n > 0)
		pci_write(bdf, "driver/unbind", bdf);
	return write_file(SYSFS_PCI "drivers_probe", bdf);
}

int vfio_bind(const char *bdf)
{
	return pci_bind(bdf, "vfio-pci");
}

/* The last part of what the symbolic link @path names. */
static int link_name(const char *path, char *name, size_t size)
{
	char link[256];
	ssize_t n = readlink(path, link, sizeof(link) - 1);

	if (n < 0)
		return -errno;
	link[n] = '\0';
	snprintf(name, size, "%s", strrchr(link, '/') + 1);
	return 0;
}

int vf_make(char pf[16], char vf[16])
{
	char path[96];
	int ret;

	ret = vfio_find(ID_NVME, 0, pf);
	ret = ret ?: pci_bind(pf, "pci-pf-stub");
	ret = ret ?: pci_write(pf, "sriov_numvfs", "1");
	if (ret)
		return ret;
	snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/virtfn0", pf);
	return link_name(path, vf, 16);
}

int vf_drop(const char *pf)
{
	return pci_write(pf, "sriov_numvfs", "0");
}

int vfio_path(const char *bdf, bool cdev, char path[64])
{
	char sys[128], name[21];
	int ret;

	if (!cdev) {
		snprintf(sys, sizeof(sys), SYSFS_PCI "devices/%s/iommu_group",
			 bdf);
		ret = link_name(sys, name, sizeof(name));
		if (!ret)
			snprintf(path, 64, "/dev/vfio/%s", name);
		return ret;
	}

	snprintf(sys, sizeof(sys), SYSFS_PCI "devices/%s/vfio-dev", bdf);
	ret = dir_entry(sys, "vfio", name, sizeof(name));
	if (!ret)
		snprintf(path, 64, "/dev/vfio/devices/%s", name);
	return ret;
}

/* Open and close */

/* In a new container, or in that of another device. */
static int open_group(struct vfio_dev *dev, int container)
{
	dev->group = open(dev->path, O_RDWR | O_CLOEXEC);
	if (dev->group < 0)
		return -errno;
	if (container < 0)
		dev->iommu = open(container == VFIO_NEW_IOMMUFD ?
				  "/dev/iommu" : "/dev/vfio/vfio",
				  O_RDWR | O_CLOEXEC);
	else
		dev->iommu = fcntl(container, F_DUPFD_CLOEXEC, 0);
	if (dev->iommu < 0 ||
	    ioctl(dev->group, VFIO_GROUP_SET_CONTAINER, &dev->iommu) ||
	    (container < 0 &&
	     ioctl(dev->iommu, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)))
		return -errno;
	dev->fd = ioctl(dev->group, VFIO_GROUP_GET_DEVICE_FD, dev->bdf);
	return dev->fd < 0 ? -errno : 0;
}

static int open_cdev(struct vfio_dev *dev)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vfio_device_attach_iommufd_pt pt = { .argsz = sizeof(pt) };

	dev->iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (dev->iommu < 0)
		return -errno;
	dev->fd = open(dev->path, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0)
		return -errno;
	bind.iommufd = dev->iommu;
	if (ioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) ||
	    ioctl(dev->iommu, IOMMU_IOAS_ALLOC, &ioas))
		return -errno;
	pt.pt_id = ioas.out_ioas_id;
	return ioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &pt) ? -errno : 0;
}

static int vfio_open_where(struct vfio_dev *dev, const char *bdf, bool cdev,
			   int container)
{
	int ret;

	memset(dev, 0, sizeof(*dev));
	snprintf(dev->bdf, sizeof(dev->bdf), "%.15s", bdf);
	dev->cdev = cdev;
	dev->fd = -1;
	dev->group = -1;
	dev->iommu = -1;
	ret = vfio_path(bdf, cdev, dev->path);
	if (!ret)
		ret = cdev ? open_cdev(dev) : open_group(dev, container);
	if (ret)
		vfio_close(dev);
	return ret;
}

int vfio_open(struct vfio_dev *dev, const char *bdf, bool cdev)
{
	return vfio_open_where(dev, bdf, cdev, VFIO_NEW_TYPE1);
}

int vfio_open_in(struct vfio_dev *dev, const char *bdf, int container)
{
	return vfio_open_where(dev, bdf, false, container);
}

int vfio_open_id(struct vfio_dev *dev, __u32 id, int nth, bool cdev)
{
	char bdf[16];
	int ret;

	memset(dev, 0, sizeof(*dev));
	dev->fd = -1;
	dev->group = -1;
	dev->iommu = -1;
	ret = vfio_find(id, nth, bdf);
	if (!ret)
		ret = vfio_bind(bdf);
	return ret ?: vfio_open(dev, bdf, cdev);
}

void vfio_close(struct vfio_dev *dev)
{
	if (dev->fd >= 0)
		close(dev->fd);
	if (dev->group >= 0)
		close(dev->group);
	if (dev->iommu >= 0)
		close(dev->iommu);
	dev->fd = -1;
	dev->group = -1;
	dev->iommu = -1;
}

/* Device operations */

int vfio_region(struct vfio_dev *dev, int index, struct vfio_region_info *info)
{
	memset(info, 0, sizeof(*info));
	info->argsz = sizeof(*info);
	info->index = index;
	return ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, info) ? -errno : 0;
}

bool vfio_can_reset(struct vfio_dev *dev)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	return !ioctl(dev->fd, VFIO_DEVICE_GET_INFO, &info) &&
	       (info.flags & VFIO_DEVICE_FLAGS_RESET);
}

int vfio_reset(struct vfio_dev *dev)
{
	return ioctl(dev->fd, VFIO_DEVICE_RESET) ? -errno : 0;
}

int vfio_hot_reset(struct vfio_dev *dev)
{
	struct {
		struct vfio_pci_hot_reset hdr;
		__s32 fd;
	} reset = { .hdr.argsz = sizeof(reset), .fd = dev->group };

	/* A cdev is reset on the authority of its iommufd: no group. */
	reset.hdr.count = dev->cdev ? 0 : 1;
	return ioctl(dev->fd, VFIO_DEVICE_PCI_HOT_RESET, &reset) ? -errno : 0;
}

static int config_rw(struct vfio_dev *dev, int off, int size, __u32 *val,
		     bool write)
{
	struct vfio_region_info info;
	ssize_t n;
	int ret;

	ret = vfio_region(dev, VFIO_PCI_CONFIG_REGION_INDEX, &info);
	if (ret)
		return ret;
	if (write) {
		n = pwrite(dev->fd, val, size, info.offset + off);
	} else {
		*val = 0;
		n = pread(dev->fd, val, size, info.offset + off);
	}
	if (n < 0)
		return -errno;
	return n == size ? 0 : -EIO;
}

int vfio_config_read(struct vfio_dev *dev, int off, int size, __u32 *val)
{
	return config_rw(dev, off, size, val, false);
}

int vfio_config_write(struct vfio_dev *dev, int off, int size, __u32 val)
{
	return config_rw(dev, off, size, &val, true);
}

int vfio_capability(struct vfio_dev *dev, __u8 id)
{
	__u32 pos, found;
	int ret;

	ret = vfio_config_read(dev, PCI_CAPABILITY_LIST, 1, &pos);
	while (!ret && pos) {
		ret = vfio_config_read(dev, pos, 1, &found);
		if (!ret && found == id)
			return pos;
		ret = ret ?: vfio_config_read(dev, pos + PCI_CAP_LIST_NEXT, 1,
					      &pos);
	}
	return ret ?: -EOPNOTSUPP;
}

int vfio_flr(struct vfio_dev *dev)
{
	int pos = vfio_capability(dev, PCI_CAP_ID_EXP), ret;
	__u32 val;

	if (pos < 0)
		return pos;
	ret = vfio_config_read(dev, pos + PCI_EXP_DEVCAP, 4, &val);
	if (!ret && !(val & PCI_EXP_DEVCAP_FLR))
		ret = -EOPNOTSUPP;
	ret = ret ?: vfio_config_read(dev, pos + PCI_EXP_DEVCTL, 2, &val);
	return ret ?: vfio_config_write(dev, pos + PCI_EXP_DEVCTL, 2,
					val | PCI_EXP_DEVCTL_BCR_FLR);
}

int vfio_af_flr(struct vfio_dev *dev)
{
	int pos = vfio_capability(dev, PCI_CAP_ID_AF);

	return pos < 0 ? pos : vfio_config_write(dev, pos + PCI_AF_CTRL, 1,
						 PCI_AF_CTRL_FLR);
}

int vfio_request_eventfd(struct vfio_dev *dev, int efd)
{
	struct {
		struct vfio_irq_set hdr;
		__s32 fd;
	} set = {
		.hdr.argsz = sizeof(set),
		.hdr.flags = VFIO_IRQ_SET_DATA_EVENTFD |
			     VFIO_IRQ_SET_ACTION_TRIGGER,
		.hdr.index = VFIO_PCI_REQ_IRQ_INDEX,
		.hdr.count = 1,
		.fd = efd,
	};

	return ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &set) ? -errno : 0;
}

static int set_memory(struct vfio_dev *dev, bool on)
{
	__u32 cmd;
	int ret;

	ret = vfio_config_read(dev, PCI_COMMAND, 2, &cmd);
	if (ret)
		return ret;
	cmd = on ? cmd | PCI_COMMAND_MEMORY : cmd & ~PCI_COMMAND_MEMORY;
	return vfio_config_write(dev, PCI_COMMAND, 2, cmd);
}

static int set_low_power(struct vfio_dev *dev, bool on)
{
	struct vfio_device_feature feature = {
		.argsz = sizeof(feature),
		.flags = VFIO_DEVICE_FEATURE_SET,
	};

	feature.flags |= on ? VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY :
			      VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
	return ioctl(dev->fd, VFIO_DEVICE_FEATURE, &feature) ? -errno : 0;
}

int vfio_sleep(struct vfio_dev *dev)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_low_power_entry_with_wakeup entry;
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_SET |
			VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
	};
	int efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), i, ret;
	char path[96], status[16];
	__u64 events;

	arg.entry.wakeup_eventfd = efd;
	ret = ioctl(dev->fd, VFIO_DEVICE_FEATURE, &arg) ? -errno : -ETIME;
	snprintf(path, sizeof(path),
		 "/sys/bus/pci/devices/%s/power/runtime_status", dev->bdf);
	for (i = 0; i < 100 && ret == -ETIME; i++) {
		if (!scan_file(path, "%15s", status) &&
		    !strcmp(status, "suspended"))
			ret = 0;
		usleep(20000);
	}
	if (ret == -ETIME)
		set_low_power(dev, false);
	if (!ret && read(efd, &events, sizeof(events)) >= 0)
		ret = -EALREADY;
	if (ret)
		close(efd);
	return ret ?: efd;
}

int vfio_wake(struct vfio_dev *dev, int efd)
{
	__u64 events;
	__u32 val;
	int ret;

	ret = vfio_config_read(dev, PCI_VENDOR_ID, 4, &val);
	if (!ret && read(efd, &events, sizeof(events)) != sizeof(events))
		ret = -ENOMSG;
	close(efd);
	return ret;
}

int vfio_sleep_and_wake(struct vfio_dev *dev)
{
	int efd = vfio_sleep(dev);

	return efd < 0 ? efd : vfio_wake(dev, efd);
}

static int set_d3hot(struct vfio_dev *dev, bool on)
{
	int pos = vfio_capability(dev, PCI_CAP_ID_PM), ret;
	__u32 ctrl;

	if (pos < 0)
		return pos;
	ret = vfio_config_read(dev, pos + PCI_PM_CTRL, 2, &ctrl);
	if (ret)
		return ret;
	ctrl &= ~PCI_PM_CTRL_STATE_MASK;
	/* The power state is decoded from a write that starts at PM_CTRL. */
	return vfio_config_write(dev, pos + PCI_PM_CTRL, 2, ctrl | (on ? 3 : 0));
}

static int set_revoked(struct vfio_dev *dev, enum vfio_how how, bool revoked)
{
	switch (how) {
	case BY_LOW_POWER:
		return set_low_power(dev, revoked);
	case BY_D3HOT:
		return set_d3hot(dev, revoked);
	default:
		return set_memory(dev, !revoked);
	}
}

int vfio_revoke(struct vfio_dev *dev, enum vfio_how how)
{
	return set_revoked(dev, how, true);
}

int vfio_restore(struct vfio_dev *dev, enum vfio_how how)
{
	return set_revoked(dev, how, false);
}
