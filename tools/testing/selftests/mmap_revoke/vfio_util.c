// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <linux/iommufd.h>
#include <linux/pci_regs.h>

#include "vfio_util.h"

#define SYSFS_PCI "/sys/bus/pci/"

/* Files of the kernel */

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int count_lines(const char *path, const char *text)
{
	char line[1024];
	int n = 0;
	FILE *f;

	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		n += !!strstr(line, text);
	if (f)
		fclose(f);
	return n;
}

int fail_open(void)
{
	static const char dir[] = "/sys/kernel/debug/failslab/";
	char path[64];
	int ret;

	/* Allocations that may sleep, too; not a word of them in the log. */
	snprintf(path, sizeof(path), "%signore-gfp-wait", dir);
	ret = write_file(path, "N");
	snprintf(path, sizeof(path), "%sverbose", dir);
	ret = ret ?: write_file(path, "0");
	if (ret)
		return ret;
	/* Pages are not counted: how many caches take is different each time. */
	write_file("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "Y");
	write_file("/sys/kernel/debug/fail_page_alloc/verbose", "0");
	ret = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}

int fail_nth(int fd, long nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%ld", nth);

	return pwrite(fd, text, n, 0) == n ? 0 : -errno;
}

long fail_left(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) < 0 || fail_nth(fd, 0))
		return -errno;
	return atol(text);
}

/* Devices in sysfs */

static __u32 sysfs_hex(const char *bdf, const char *name)
{
	char path[128];
	unsigned int val = 0;
	FILE *f;

	snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/%s", bdf, name);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, "%x", &val) != 1)
		val = 0;
	fclose(f);
	return val;
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

int vfio_bind(const char *bdf)
{
	char path[128], link[256];
	ssize_t n;

	snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/driver", bdf);
	n = readlink(path, link, sizeof(link) - 1);
	if (n > 0) {
		link[n] = '\0';
		if (!strcmp(strrchr(link, '/') + 1, "vfio-pci"))
			return 0;
	}
	snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/driver_override",
		 bdf);
	write_file(path, "vfio-pci");
	if (n > 0) {
		snprintf(path, sizeof(path),
			 SYSFS_PCI "devices/%s/driver/unbind", bdf);
		write_file(path, bdf);
	}
	return write_file(SYSFS_PCI "drivers_probe", bdf);
}

int vfio_path(const char *bdf, bool cdev, char path[64])
{
	char sys[128], link[256];
	struct dirent *entry;
	ssize_t n;
	DIR *dir;

	if (!cdev) {
		snprintf(sys, sizeof(sys), SYSFS_PCI "devices/%s/iommu_group",
			 bdf);
		n = readlink(sys, link, sizeof(link) - 1);
		if (n < 0)
			return -errno;
		link[n] = '\0';
		snprintf(path, 64, "/dev/vfio/%.20s", strrchr(link, '/') + 1);
		return 0;
	}

	snprintf(sys, sizeof(sys), SYSFS_PCI "devices/%s/vfio-dev", bdf);
	dir = opendir(sys);
	if (!dir)
		return -errno;
	path[0] = '\0';
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			snprintf(path, 64, "/dev/vfio/devices/%.20s",
				 entry->d_name);
	closedir(dir);
	return path[0] ? 0 : -ENODEV;
}

/* Open and close */

/* In a new container, or in that of another device. */
static int open_group(struct vfio_dev *dev, int container)
{
	dev->group = open(dev->path, O_RDWR | O_CLOEXEC);
	if (dev->group < 0)
		return -errno;
	if (container < 0)
		dev->iommu = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
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
	return vfio_open_where(dev, bdf, cdev, -1);
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

/*
 * Low power until something wakes the device: enter it, wait until the device
 * sleeps, and wake it. Returns 0 if the eventfd told of that, -ETIME if the
 * device does not go to sleep.
 */
int vfio_sleep_and_wake(struct vfio_dev *dev)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_low_power_entry_with_wakeup entry;
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_SET |
			VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
	};
	int efd = eventfd(0, EFD_NONBLOCK), i, ret;
	char path[96], status[16];
	__u64 events;
	__u32 val;
	FILE *f;

	arg.entry.wakeup_eventfd = efd;
	ret = ioctl(dev->fd, VFIO_DEVICE_FEATURE, &arg) ? -errno : -ETIME;
	snprintf(path, sizeof(path),
		 "/sys/bus/pci/devices/%s/power/runtime_status", dev->bdf);
	for (i = 0; i < 100 && ret == -ETIME; i++) {
		f = fopen(path, "r");
		if (f && fscanf(f, "%15s", status) == 1 &&
		    !strcmp(status, "suspended"))
			ret = 0;
		if (f)
			fclose(f);
		usleep(20000);
	}
	if (ret == -ETIME)
		set_low_power(dev, false);
	if (!ret && read(efd, &events, sizeof(events)) >= 0)
		ret = -EALREADY;
	if (!ret)
		ret = vfio_config_read(dev, PCI_VENDOR_ID, 4, &val);
	if (!ret && read(efd, &events, sizeof(events)) != sizeof(events))
		ret = -ENOMSG;
	close(efd);
	return ret;
}

static int set_d3hot(struct vfio_dev *dev, bool on)
{
	__u32 pos, id, ctrl;
	int ret;

	ret = vfio_config_read(dev, PCI_CAPABILITY_LIST, 1, &pos);
	while (!ret && pos) {
		ret = vfio_config_read(dev, pos, 1, &id);
		if (ret || id == PCI_CAP_ID_PM)
			break;
		ret = vfio_config_read(dev, pos + PCI_CAP_LIST_NEXT, 1, &pos);
	}
	if (ret || !pos)
		return ret ?: -EOPNOTSUPP;

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

/* DMA */

int dma_map(int container, const void *vaddr, __u64 iova, size_t size,
	    __u32 flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = flags,
		.vaddr = (unsigned long)vaddr, .iova = iova, .size = size,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

ssize_t dma_unmap(int container, __u64 iova, size_t size, __u32 flags)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .flags = flags,
		.iova = iova, .size = size,
	};

	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) ? -errno :
	       (ssize_t)unmap.size;
}

/* Registers of edu's DMA engine in BAR 0, and the buffer that it sees. */
#define EDU_DMA_SRC		0x80
#define EDU_DMA_DST		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_CMD		0x98
#define EDU_DMA_RUN		1
#define EDU_DMA_TO_MEMORY	2
#define EDU_BUFFER		0x40000

int edu_open(struct edu *edu, const char *bdf, int container)
{
	return vfio_open_in(&edu->dev, bdf, container) ?: edu_start(edu);
}

int edu_start(struct edu *edu)
{
	struct vfio_region_info bar;
	__u32 cmd;
	int ret;

	ret = vfio_region(&edu->dev, 0, &bar) ?:
	      vfio_config_read(&edu->dev, PCI_COMMAND, 2, &cmd) ?:
	      vfio_config_write(&edu->dev, PCI_COMMAND, 2,
				cmd | PCI_COMMAND_MASTER);
	if (!ret) {
		edu->size = bar.size;
		edu->regs = vfio_map(edu->dev.fd, bar.offset, bar.size,
				     getpagesize());
		ret = edu->regs == MAP_FAILED ? -errno : 0;
	}
	if (ret)
		vfio_close(&edu->dev);
	return ret;
}

void edu_close(struct edu *edu)
{
	munmap(edu->regs, edu->size);
	vfio_close(&edu->dev);
}

static int edu_transfer(struct edu *edu, __u32 src, __u32 dst, __u32 cmd)
{
	__u32 val = 0;
	int ret, i;

	ret = mmio_write32(edu->regs + EDU_DMA_SRC, src) ?:
	      mmio_write32(edu->regs + EDU_DMA_DST, dst) ?:
	      mmio_write32(edu->regs + EDU_DMA_COUNT, sizeof(val)) ?:
	      mmio_write32(edu->regs + EDU_DMA_CMD, cmd | EDU_DMA_RUN);
	/* It takes a tenth of a second. */
	for (i = 0; !ret && i < 10000; i++) {
		ret = mmio_read32(edu->regs + EDU_DMA_CMD, &val);
		if (ret || !(val & EDU_DMA_RUN))
			break;
		usleep(1000);
	}
	return ret ? -EFAULT : val & EDU_DMA_RUN ? -ETIMEDOUT : 0;
}

/* To see what the engine read it has to write it to @bounce, which is mapped. */
int edu_read32(struct edu *edu, __u64 iova, __u64 bounce_iova)
{
	return edu_transfer(edu, iova, EDU_BUFFER, 0) ?:
	       edu_transfer(edu, EDU_BUFFER, bounce_iova, EDU_DMA_TO_MEMORY);
}

int edu_write32(struct edu *edu, __u64 iova, __u64 bounce_iova)
{
	return edu_transfer(edu, bounce_iova, EDU_BUFFER, 0) ?:
	       edu_transfer(edu, EDU_BUFFER, iova, EDU_DMA_TO_MEMORY);
}

int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	lseek(fd, 0, SEEK_END);
	return fd;
}

bool kmsg_has(int fd, const char *text)
{
	char line[1024];
	ssize_t n;
	int i;

	for (i = 0; i < 50; i++) {
		while ((n = read(fd, line, sizeof(line) - 1)) > 0 ||
		       (n < 0 && errno == EPIPE)) {
			line[n < 0 ? 0 : n] = '\0';
			if (strstr(line, text))
				return true;
		}
		usleep(10000);
	}
	return false;
}

/*
 * Whether the IOMMU reports that it blocked an access of the device to @iova.
 * The kernel reports at most 10 faults in 5 seconds: try longer than that.
 */
bool edu_is_blocked(struct edu *edu, __u64 iova, __u64 bounce_iova, bool write)
{
	int fd = kmsg_open(), i;
	char text[64];
	bool seen = false;

	snprintf(text, sizeof(text), "[%s] fault addr 0x%llx ",
		 edu->dev.bdf, (unsigned long long)iova & ~0xfffULL);
	for (i = 0; fd >= 0 && !seen && i < 20; i++) {
		if (write ? edu_write32(edu, iova, bounce_iova) :
			    edu_transfer(edu, iova, EDU_BUFFER, 0))
			break;
		seen = kmsg_has(fd, text);
	}
	close(fd);
	return seen;
}

/* Mapped memory */

void *vfio_map(int fd, __u64 offset, size_t size, size_t align)
{
	size_t room = size + align;
	char *base, *addr;

	base = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return MAP_FAILED;
	addr = (char *)(((unsigned long)base + align - 1) & ~(align - 1));
	if (mmap(addr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 offset) == MAP_FAILED) {
		munmap(base, room);
		return MAP_FAILED;
	}
	if (addr > base)
		munmap(base, addr - base);
	if (base + room > addr + size)
		munmap(addr + size, base + room - addr - size);
	return addr;
}

static __thread sigjmp_buf fault_env;
static __thread sig_atomic_t fault_armed;

static void fault_handler(int sig)
{
	if (!fault_armed) {
		signal(sig, SIG_DFL);
		return;
	}
	fault_armed = 0;
	siglongjmp(fault_env, sig);
}

static __attribute__((constructor)) void fault_init(void)
{
	/* SA_NODEFER: no signal mask to save and restore on every access. */
	struct sigaction sa = {
		.sa_handler = fault_handler,
		.sa_flags = SA_NODEFER,
	};

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

static void fault_arm(bool armed)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&fault_armed, armed, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

int mmio_read32(const void *addr, __u32 *val)
{
	int sig = sigsetjmp(fault_env, 0);

	if (!sig) {
		fault_arm(true);
		*val = __atomic_load_n((const __u32 *)addr, __ATOMIC_RELAXED);
		fault_arm(false);
	}
	return sig;
}

int mmio_write32(void *addr, __u32 val)
{
	int sig = sigsetjmp(fault_env, 0);

	if (!sig) {
		fault_arm(true);
		__atomic_store_n((__u32 *)addr, val, __ATOMIC_RELAXED);
		fault_arm(false);
	}
	return sig;
}

int mmio_populate(const void *addr, size_t size)
{
	const char *p = addr;
	__u32 val;
	int sig = 0;

	for (; size && !sig; size -= getpagesize(), p += getpagesize())
		sig = mmio_read32(p, &val);
	return sig;
}

/* Races */

struct race *race_alloc(void)
{
	struct race *race;

	race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return race == MAP_FAILED ? NULL : race;
}

void race_reset(struct race *race)
{
	memset(race, 0, sizeof(*race));
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static __u32 race_phase(struct race *race)
{
	return __atomic_load_n(&race->phase, __ATOMIC_SEQ_CST);
}

static void bump(__u64 *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

void race_count(struct race *race, int who, __u32 phase, bool ok, bool good)
{
	struct race_seen *seen = &race->seen[who];
	bool off = (phase & 1) && phase == race_phase(race);

	if (ok && off)
		bump(&seen->ok_off);
	if (ok && !good)
		bump(&seen->bad);
	if (!ok && off)
		bump(&seen->fault_off);
	bump(ok ? &seen->ok : &seen->fault);
}

int race_probe(struct race *race, int who, const void *addr, __u32 want)
{
	__u32 phase = race_phase(race);
	__u64 start = now_ns(), took;
	__u32 val = 0;
	int sig;

	sig = mmio_read32(addr, &val);
	took = now_ns() - start;
	if (sig && sig != SIGBUS)
		__atomic_store_n(&race->broken, 1, __ATOMIC_SEQ_CST);
	race_count(race, who, phase, !sig, val == want);
	if (took > race->seen[who].slowest)
		race->seen[who].slowest = took;
	return sig;
}

/* Wait until every worker has had one more of the outcome at @offset. */
static bool race_wait(struct race *race, int workers, size_t offset)
{
	__u64 before[RACE_WORKERS];
	int i;

#define OUTCOME(i) __atomic_load_n((__u64 *)((char *)&race->seen[i] + offset), \
				   __ATOMIC_SEQ_CST)
	for (i = 0; i < workers; i++)
		before[i] = OUTCOME(i);
	for (i = 0; i < workers; i++)
		while (OUTCOME(i) == before[i]) {
			if (__atomic_load_n(&race->broken, __ATOMIC_SEQ_CST))
				return false;
			usleep(100);
		}
#undef OUTCOME
	return true;
}

bool race_wait_ok(struct race *race, int workers)
{
	return race_wait(race, workers, offsetof(struct race_seen, ok));
}

int race_toggle(struct race *race, struct vfio_dev *dev, enum vfio_how how,
		int rounds, int workers)
{
	int ret, i;

	for (i = 0; i < rounds; i++) {
		/*
		 * Most rounds are as tight as can be. Every eighth waits until
		 * each worker has seen both states, so that none of them can
		 * sleep through the race.
		 */
		bool wait = !(i % 8);

		ret = vfio_revoke(dev, how);
		if (ret)
			return ret;
		__atomic_add_fetch(&race->phase, 1, __ATOMIC_SEQ_CST);
		if (wait && !race_wait(race, workers,
				       offsetof(struct race_seen, fault_off)))
			return -ECANCELED;
		__atomic_add_fetch(&race->phase, 1, __ATOMIC_SEQ_CST);
		ret = vfio_restore(dev, how);
		if (ret)
			return ret;
		if (wait && !race_wait_ok(race, workers))
			return -ECANCELED;
	}
	return 0;
}

/* Helper processes */

enum proc_op {
	PROC_TAKE_FD, PROC_CLOSE_FD, PROC_MAP, PROC_UNMAP, PROC_POPULATE,
	PROC_READ, PROC_WRITE, PROC_FORK, PROC_HAMMER, PROC_CALM,
};

struct proc_msg {
	enum proc_op op;
	int ret;		/* 0, a signal, or a negative errno */
	int fd;			/* a descriptor of the process */
	int who;
	__u32 val;
	__u64 addr;
	__u64 offset;
	__u64 size;
	struct race *race;
};

static int msg_send(int sock, struct proc_msg *msg, int fd)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { .iov_base = msg, .iov_len = sizeof(*msg) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(int));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL) == sizeof(*msg) ? 0 : -EPIPE;
}

static int msg_recv(int sock, struct proc_msg *msg, int *fd)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { .iov_base = msg, .iov_len = sizeof(*msg) };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	if (recvmsg(sock, &mh, MSG_CMSG_CLOEXEC) != sizeof(*msg))
		return -EPIPE;
	if (fd && CMSG_FIRSTHDR(&mh))
		memcpy(fd, CMSG_DATA(&control.hdr), sizeof(int));
	return 0;
}

static void *hammer(void *arg)
{
	struct proc_msg *msg = arg;

	while (!race_over(msg->race))
		race_probe(msg->race, msg->who, (void *)msg->addr, msg->val);
	return NULL;
}

static void proc_serve(int sock)
{
	struct proc_msg msg, job;
	int got, spare;
	pthread_t thread;
	void *map;
	pid_t pid;

	/* Never outlive the test: that would keep the device open. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		got = -1;
		if (msg_recv(sock, &msg, &got))
			_exit(0);
		msg.ret = 0;
		spare = -1;
		switch (msg.op) {
		case PROC_TAKE_FD:
			msg.fd = got;
			break;
		case PROC_CLOSE_FD:
			msg.ret = close(msg.fd) ? -errno : 0;
			break;
		case PROC_MAP:
			map = mmap(NULL, msg.size, PROT_READ | PROT_WRITE,
				   MAP_SHARED, msg.fd, msg.offset);
			msg.ret = map == MAP_FAILED ? -errno : 0;
			msg.addr = (unsigned long)map;
			break;
		case PROC_UNMAP:
			msg.ret = munmap((void *)msg.addr, msg.size) ?
				  -errno : 0;
			break;
		case PROC_POPULATE:
			msg.ret = mmio_populate((void *)msg.addr, msg.size);
			break;
		case PROC_READ:
			msg.ret = mmio_read32((void *)msg.addr, &msg.val);
			break;
		case PROC_WRITE:
			msg.ret = mmio_write32((void *)msg.addr, msg.val);
			break;
		case PROC_FORK:
			/* The new process answers on the socket that came. */
			signal(SIGCHLD, SIG_IGN);
			pid = fork();
			if (!pid) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				close(sock);
				sock = got;
				continue;
			}
			spare = got;
			msg.ret = pid < 0 ? -errno : 0;
			msg.who = pid;
			break;
		case PROC_HAMMER:
			job = msg;
			msg.ret = -pthread_create(&thread, NULL, hammer, &job);
			break;
		case PROC_CALM:
			race_stop(job.race);
			msg.ret = -pthread_join(thread, NULL);
			break;
		}
		if (spare >= 0)
			close(spare);
		if (msg_send(sock, &msg, -1))
			_exit(0);
	}
}

static int proc_call(struct proc *p, struct proc_msg *msg, int fd)
{
	int ret = msg_send(p->sock, msg, fd);

	return ret ?: msg_recv(p->sock, msg, NULL) ?: msg->ret;
}

int proc_start(struct proc *p)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (!p->pid) {
		close(sv[0]);
		proc_serve(sv[1]);
	}
	close(sv[1]);
	p->sock = sv[0];
	return 0;
}

int proc_fork(struct proc *parent, struct proc *child)
{
	struct proc_msg msg = { .op = PROC_FORK };
	int sv[2], ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	ret = proc_call(parent, &msg, sv[1]);
	close(sv[1]);
	child->pid = msg.who;
	child->sock = sv[0];
	return ret;
}

/*
 * Returns the wait status. Once it does, everything that the process mapped or
 * had open has been released.
 */
int proc_stop(struct proc *p)
{
	int status = 0;

	shutdown(p->sock, SHUT_RDWR);
	if (waitpid(p->pid, &status, 0) < 0)
		/* A grandchild: its parent reaps it as soon as it exits. */
		while (!kill(p->pid, 0))
			usleep(1000);
	close(p->sock);
	p->sock = -1;
	return status;
}

/* Returns the number that the descriptor has over there. */
int proc_send_fd(struct proc *p, int fd)
{
	struct proc_msg msg = { .op = PROC_TAKE_FD };

	return proc_call(p, &msg, fd) ?: msg.fd;
}

int proc_close_fd(struct proc *p, int fd)
{
	struct proc_msg msg = { .op = PROC_CLOSE_FD, .fd = fd };

	return proc_call(p, &msg, -1);
}

void *proc_map(struct proc *p, int fd, __u64 offset, size_t size)
{
	struct proc_msg msg = {
		.op = PROC_MAP, .fd = fd, .offset = offset, .size = size,
	};

	return proc_call(p, &msg, -1) ? MAP_FAILED : (void *)msg.addr;
}

int proc_unmap(struct proc *p, void *addr, size_t size)
{
	struct proc_msg msg = {
		.op = PROC_UNMAP, .addr = (unsigned long)addr, .size = size,
	};

	return proc_call(p, &msg, -1);
}

int proc_populate(struct proc *p, void *addr, size_t size)
{
	struct proc_msg msg = {
		.op = PROC_POPULATE, .addr = (unsigned long)addr, .size = size,
	};

	return proc_call(p, &msg, -1);
}

int proc_read32(struct proc *p, void *addr, __u32 *val)
{
	struct proc_msg msg = { .op = PROC_READ, .addr = (unsigned long)addr };
	int ret = proc_call(p, &msg, -1);

	*val = msg.val;
	return ret;
}

int proc_write32(struct proc *p, void *addr, __u32 val)
{
	struct proc_msg msg = {
		.op = PROC_WRITE, .addr = (unsigned long)addr, .val = val,
	};

	return proc_call(p, &msg, -1);
}

int proc_hammer(struct proc *p, struct race *race, int who, void *addr,
		__u32 want)
{
	struct proc_msg msg = {
		.op = PROC_HAMMER, .race = race, .who = who,
		.addr = (unsigned long)addr, .val = want,
	};

	return proc_call(p, &msg, -1);
}

int proc_calm(struct proc *p)
{
	struct proc_msg msg = { .op = PROC_CALM };

	return proc_call(p, &msg, -1);
}
