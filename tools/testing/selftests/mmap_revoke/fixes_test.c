// SPDX-License-Identifier: GPL-2.0
/*
 * Bugs of mappings of device memory, and of dma-bufs of it, that were fixed
 * before anything used mmap_revoke. Each of these tests fails without its fix.
 */
#include <linux/iommufd.h>
#include <linux/pci.h>
#include <linux/pci_regs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"
#include "dmabuf_util.h"
#include "mr_test.h"
#include "uio_util.h"

#define SYSFS_PCI	"/sys/bus/pci/"
#define MODULE		"/sys/module/test_pci_config/parameters/"
#define SD_TAG		" sd"

FIXTURE_VARIANT_ADD(mr, group) { .cdev = false };
FIXTURE_VARIANT_ADD(mr, cdev) { .cdev = true };

/* Does the kernel track who writes to the mapping at @addr? */
static bool has_soft_dirty(const void *addr)
{
	char line[512], start[32];
	bool here = false, found = false;
	FILE *f = fopen("/proc/self/smaps", "r");

	snprintf(start, sizeof(start), "%lx-", (unsigned long)addr);
	while (f && fgets(line, sizeof(line), f)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			here = !strncmp(line, start, strlen(start));
		if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, SD_TAG);
	}
	if (f)
		fclose(f);
	return found;
}

/* A store to a huge page whose VMA was write-protected comes to an end. */
TEST_F_TIMEOUT(mr, soft_dirty, 60)
{
	int status;
	pid_t pid;

	if (!has_soft_dirty(self->map))
		SKIP(return, "no CONFIG_MEM_SOFT_DIRTY");
	ASSERT_EQ(0, write_file("/proc/self/clear_refs", "4"));
	/* What is mapped stays writable until it is mapped again. */
	ASSERT_EQ(0, vfio_revoke(&self->dev, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&self->dev, BY_COMMAND));

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGALRM, SIG_DFL);
		alarm(20);
		_exit(mmio_write32(self->map, WORD(1)));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, touch(self->map, 1));
}

/* dma-bufs are revoked and restored as mappings are. */
TEST_F(mr, dmabuf_command)
{
	int fd = dmabuf_export(&self->dev, BAR2, MB(2));

	if (fd == -ENOTTY)
		SKIP(return, "no dma-bufs of vfio-pci");
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, dmabuf_import(fd, MB(2)));
	ASSERT_EQ(0, vfio_revoke(&self->dev, BY_COMMAND));
	EXPECT_EQ(-ENODEV, dmabuf_import(fd, MB(2)));
	ASSERT_EQ(0, vfio_restore(&self->dev, BY_COMMAND));
	EXPECT_EQ(0, dmabuf_import(fd, MB(2)));
	close(fd);
}

/* A device that wakes up by itself has its dma-bufs back, too. */
TEST_F(mr, dmabuf_wakeup)
{
	int fd = dmabuf_export(&self->dev, BAR2, MB(2)), ret;

	if (fd == -ENOTTY)
		SKIP(return, "no dma-bufs of vfio-pci");
	ASSERT_LE(0, fd);
	ret = vfio_sleep_and_wake(&self->dev);
	if (ret == -ENOTTY || ret == -ETIME)
		SKIP(return, "the device does not sleep");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(0, touch(self->map, 0));
	EXPECT_EQ(0, dmabuf_import(fd, MB(2)));
	close(fd);
}

/* Nothing but the end of low power restores them, nor are new ones usable. */
TEST_F(mr, dmabuf_low_power)
{
	int fd = dmabuf_export(&self->dev, BAR2, MB(2)), young;
	__u32 cmd;

	if (fd == -ENOTTY)
		SKIP(return, "no dma-bufs of vfio-pci");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, vfio_config_read(&self->dev, PCI_COMMAND, 2, &cmd));
	ASSERT_EQ(0, vfio_revoke(&self->dev, BY_LOW_POWER));
	EXPECT_EQ(-ENODEV, dmabuf_import(fd, MB(2)));

	ASSERT_EQ(0, vfio_config_write(&self->dev, PCI_COMMAND, 2, cmd));
	EXPECT_EQ(SIGBUS, touch(self->map, 0));
	EXPECT_EQ(-ENODEV, dmabuf_import(fd, MB(2)));

	young = dmabuf_export(&self->dev, BAR2, MB(2));
	ASSERT_LE(0, young);
	EXPECT_EQ(-ENODEV, dmabuf_import(young, MB(2)));

	ASSERT_EQ(0, vfio_restore(&self->dev, BY_LOW_POWER));
	EXPECT_EQ(0, touch(self->map, 0));
	EXPECT_EQ(0, dmabuf_import(fd, MB(2)));
	EXPECT_EQ(0, dmabuf_import(young, MB(2)));
	close(young);
	close(fd);
}

/* A write that fails has disabled nothing. */
TEST_F(mr, dmabuf_failed_command)
{
	int fd = dmabuf_export(&self->dev, BAR2, MB(2)), failed, ret;
	char device[32];

	if (fd == -ENOTTY)
		SKIP(return, "no dma-bufs of vfio-pci");
	ASSERT_LE(0, fd);
	snprintf(device, sizeof(device), "device=%s", self->dev.bdf);
	ret = module_load("test_pci_config", "MR_PCI_MODULE", device);
	if (ret == -ENOENT)
		SKIP(return, "no module test_pci_config");
	ASSERT_EQ(0, ret);
	ret = write_file(MODULE "fail", "1");
	failed = vfio_revoke(&self->dev, BY_COMMAND);
	syscall(SYS_delete_module, "test_pci_config", O_NONBLOCK);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(-EIO, failed);

	EXPECT_EQ(0, touch(self->map, 0));
	EXPECT_EQ(0, dmabuf_import(fd, MB(2)));
	close(fd);
}

/* The memory of a VF stays enabled, whatever its PCI_COMMAND says. */
TEST(vf_command)
{
	struct vfio_device_attach_iommufd_pt pt = { .argsz = sizeof(pt) };
	struct vfio_region_info bar;
	struct vfio_dev dev;
	char pf[16], vf[16];
	__u32 ioas;
	int fd;

	if (vf_make(pf, vf))
		SKIP(return, "QEMU's nvme makes no VF, or no pci-pf-stub");
	ASSERT_EQ(0, vfio_bind(vf));
	ASSERT_EQ(0, vfio_open(&dev, vf, true));
	ASSERT_EQ(0, vfio_region(&dev, 0, &bar));
	fd = dmabuf_export(&dev, 0, bar.size);
	if (fd == -ENOTTY)
		SKIP(return, "no dma-bufs of vfio-pci");
	ASSERT_LE(0, fd);
	ioas = ioas_alloc(dev.iommu);
	pt.pt_id = ioas;
	ASSERT_EQ(0, ioctl(dev.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &pt));
	ASSERT_EQ(0, ioas_map_file(dev.iommu, ioas, fd, MB(16), bar.size));

	/* iommufd does not map again what was revoked once. */
	ASSERT_EQ(0, write_file(TRACING "trace", ""));
	ASSERT_EQ(0, write_file(TRACING "events/iommu/unmap/enable", "1"));
	EXPECT_EQ(0, vfio_revoke(&dev, BY_COMMAND));
	write_file(TRACING "events/iommu/unmap/enable", "0");
	EXPECT_EQ(0, count_lines(TRACING "trace", " unmap: "));
	EXPECT_EQ(0, dmabuf_import(fd, bar.size));

	close(fd);
	vfio_close(&dev);
	EXPECT_EQ(0, pci_write(pf, "sriov_numvfs", "0"));
}

static void *map_resource(const char *bdf)
{
	char path[96];
	void *map;
	int fd;

	snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/resource2", bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	map = mmap(NULL, MB(4), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return map;
}

static void *map_procfs(const char *bdf)
{
	unsigned long long start = 0;
	char path[96];
	FILE *f;
	void *map;
	int fd;

	snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/resource", bdf);
	f = fopen(path, "r");
	if (!f)
		return MAP_FAILED;
	if (fscanf(f, "%*x %*x %*x %*x %*x %*x %llx", &start) != 1)
		start = 0;
	fclose(f);
	snprintf(path, sizeof(path), "/proc/bus/pci/%.2s/%.4s", bdf + 5, bdf + 8);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ioctl(fd, PCIIOC_MMAP_IS_MEM);
	map = mmap(NULL, MB(4), PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
	close(fd);
	return map;
}

/* BARs in sysfs and procfs go with the device; those of others stay. */
TEST(pci_remove)
{
	char bdf[16], other[16];
	__u32 *map, *proc, *stays, val;

	if (vfio_find(ID_IVSHMEM, 1, bdf) || vfio_find(ID_IVSHMEM, 0, other))
		SKIP(return, "no two ivshmem-plain devices");
	pci_write(bdf, "driver/unbind", bdf);
	ASSERT_EQ(0, pci_write(bdf, "enable", "1"));
	map = map_resource(bdf);
	ASSERT_NE(MAP_FAILED, map);
	proc = map_procfs(bdf);
	ASSERT_NE(MAP_FAILED, proc);
	stays = map_resource(other);
	ASSERT_NE(MAP_FAILED, stays);
	ASSERT_EQ(0, mmio_write32(map, WORD(1)));
	EXPECT_EQ(0, touch(map, 1));
	EXPECT_EQ(0, touch(proc, 1));
	EXPECT_EQ(0, mmio_read32(stays, &val));

	ASSERT_EQ(0, pci_write(bdf, "remove", "1"));
	EXPECT_EQ(SIGBUS, mmio_read32(map, &val));
	EXPECT_EQ(SIGBUS, mmio_write32(map, WORD(2)));
	EXPECT_EQ(SIGBUS, mmio_read32(proc, &val));
	EXPECT_EQ(0, mmio_read32(stays, &val));

	ASSERT_EQ(0, write_file(SYSFS_PCI "rescan", "1"));
	EXPECT_EQ(SIGBUS, mmio_read32(map, &val));
	EXPECT_EQ(0, vfio_bind(bdf));
}

/* A page of a UIO device is the same after its VMA was split. */
TEST(uio_split)
{
	int ret = uio_bind(NULL, 0), fd, m;
	char path[32], *addr, *rest;

	if (ret == -ENOENT)
		SKIP(return, "no module test_uio_mmap");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, uio_test_path(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	for (m = 0; m < UIO_PHYS; m++) {
		addr = uio_map(fd, m, 4);
		ASSERT_NE(MAP_FAILED, addr);
		ASSERT_EQ(0, mprotect(addr + PAGE, PAGE, PROT_READ));
		/* From here on a kernel with the bug crashes: stop there. */
		ASSERT_EQ(0, touch(addr + PAGE, 16 * m + 1));
		EXPECT_PAGES(addr, 16 * m, 4, 0);
		ASSERT_EQ(0, munmap(addr, 4 * PAGE));

		/* Without its first page, and elsewhere. */
		addr = uio_map(fd, m, 4);
		ASSERT_NE(MAP_FAILED, addr);
		ASSERT_EQ(0, munmap(addr, PAGE));
		rest = mremap(addr + 2 * PAGE, 2 * PAGE, 2 * PAGE,
			      MREMAP_MAYMOVE | MREMAP_FIXED, addr + MB(16));
		ASSERT_NE(MAP_FAILED, rest);
		EXPECT_EQ(0, touch(addr + PAGE, 16 * m + 1));
		EXPECT_PAGES(rest, 16 * m + 2, 2, 0);
		ASSERT_EQ(0, munmap(addr + PAGE, PAGE));
		ASSERT_EQ(0, munmap(rest, 2 * PAGE));
	}
	close(fd);
}

/* Dirty pages of memory are reported, not those of a dma-buf next to it. */
TEST(dirty_dmabuf)
{
	enum { PAGES = 4 };
	const __u64 iova = MB(16), size = PAGES * PAGE;
	struct iommu_test_cmd cmd = { .size = sizeof(cmd) };
	struct iommu_hwpt_alloc hwpt = {
		.size = sizeof(hwpt), .flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
	};
	struct iommu_hwpt_set_dirty_tracking track = {
		.size = sizeof(track),
		.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE,
	};
	__u64 bitmap = (1 << 2 * PAGES) - 1;
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get), .iova = iova, .length = 2 * size,
		.page_size = PAGE, .data = (unsigned long)&bitmap,
	};
	struct iommu_ioas_map map = {
		.size = sizeof(map), .iova = iova, .length = size,
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
	};
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC), dmabuf, next;
	void *mem;

	ASSERT_LE(0, fd);
	map.ioas_id = ioas_alloc(fd);
	cmd.op = IOMMU_TEST_OP_MOCK_DOMAIN;
	cmd.id = map.ioas_id;
	if (ioctl(fd, IOMMU_TEST_CMD, &cmd))
		SKIP(return, "no CONFIG_IOMMUFD_TEST");
	hwpt.dev_id = cmd.mock_domain.out_idev_id;
	hwpt.pt_id = map.ioas_id;
	ASSERT_EQ(0, ioctl(fd, IOMMU_HWPT_ALLOC, &hwpt));

	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	map.user_va = (unsigned long)mem;
	ASSERT_EQ(0, ioctl(fd, IOMMU_IOAS_MAP, &map));
	memset(&cmd, 0, sizeof(cmd));
	cmd.size = sizeof(cmd);
	cmd.op = IOMMU_TEST_OP_DMABUF_GET;
	cmd.dmabuf_get.length = size;
	cmd.dmabuf_get.open_flags = O_CLOEXEC;
	/* Linux 7.3 returns 0, and not the descriptor that it has installed. */
	next = dup(fd);
	close(next);
	dmabuf = ioctl(fd, IOMMU_TEST_CMD, &cmd);
	ASSERT_LE(0, dmabuf);
	dmabuf = dmabuf ?: next;
	ASSERT_EQ(0, ioas_map_file(fd, map.ioas_id, dmabuf, iova + size, size));

	track.hwpt_id = hwpt.out_hwpt_id;
	ASSERT_EQ(0, ioctl(fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &track));
	memset(&cmd, 0, sizeof(cmd));
	cmd.size = sizeof(cmd);
	cmd.op = IOMMU_TEST_OP_DIRTY;
	cmd.id = hwpt.out_hwpt_id;
	cmd.dirty.iova = iova;
	cmd.dirty.length = 2 * size;
	cmd.dirty.page_size = PAGE;
	cmd.dirty.uptr = (unsigned long)&bitmap;
	ASSERT_EQ(0, ioctl(fd, IOMMU_TEST_CMD, &cmd));

	bitmap = 0;
	get.hwpt_id = hwpt.out_hwpt_id;
	ASSERT_EQ(0, ioctl(fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get));
	EXPECT_EQ((1 << PAGES) - 1, bitmap);

	/* A hole in the domain is none in the bitmap. */
	memset(&cmd, 0, sizeof(cmd));
	cmd.size = sizeof(cmd);
	cmd.op = IOMMU_TEST_OP_DMABUF_REVOKE;
	cmd.dmabuf_revoke.dmabuf_fd = dmabuf;
	cmd.dmabuf_revoke.revoked = 1;
	ASSERT_EQ(0, ioctl(fd, IOMMU_TEST_CMD, &cmd));
	EXPECT_EQ(0, ioctl(fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get));
	track.flags = 0;
	EXPECT_EQ(0, ioctl(fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &track));
	track.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
	EXPECT_EQ(0, ioctl(fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &track));
	close(dmabuf);
	close(fd);
}

TEST_HARNESS_MAIN
