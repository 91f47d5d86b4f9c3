// SPDX-License-Identifier: GPL-2.0
/*
 * What UIO devices map, while they are there and when they go: memory of each
 * type on the device of lib/test_uio_mmap.c, BARs under uio_pci_generic. What
 * is about a device that is there passes on kernels without mmap_revoke.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "uio_test.h"

FIXTURE_VARIANT_ADD(uio, all) { .phys = true };

/* 0, or what reading the memory by /proc gives: as a debugger does it. */
static int peek(const void *addr, __u32 *val)
{
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC), ret;

	ret = pread(fd, val, 4, (unsigned long)addr) == 4 ? 0 : -errno;
	close(fd);
	return ret;
}

static int poke(void *addr, __u32 val)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC), ret;

	ret = pwrite(fd, &val, 4, (unsigned long)addr) == 4 ? 0 : -errno;
	close(fd);
	return ret;
}

/* What is mapped is what it should be, for all who map it. */
TEST_F(uio, contents)
{
	char *addr, *other;
	__u32 val;
	int m;

	for (m = 0; m < UIO_MAPS; m++) {
		MAP(addr, m);
		MAP(other, m);
		EXPECT_MAP(addr, m, 0);
		EXPECT_EQ(0, mmio_write32(addr + PAGE + 4, 77 + m));
		EXPECT_EQ(0, mmio_read32(other + PAGE + 4, &val));
		EXPECT_EQ(77 + m, val);
		EXPECT_MAP(other, m, 0);
		ASSERT_EQ(0, munmap(addr, uio_pages(m) * PAGE));

		/* A part is fine, more than the map has is not. */
		addr = uio_map(self->fd, m, 2);
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_PAGES(addr, FIRST(m), 2, 0);
		EXPECT_EQ(MAP_FAILED,
			  uio_map(self->fd, m, uio_pages(m) + 1));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(MAP_FAILED, mremap(addr, 2 * PAGE, 4 * PAGE,
					     MREMAP_MAYMOVE));
	}
	EXPECT_EQ(MAP_FAILED, uio_map(self->fd, UIO_MAPS, 1));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(uio, read_only)
{
	int fd = open(self->path, O_RDONLY | O_CLOEXEC), m;
	char *addr;

	ASSERT_LE(0, fd);
	for (m = 0; m < UIO_MAPS; m++) {
		addr = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd,
			    m * PAGE);
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_PAGES(addr, FIRST(m), 4, 0);
		EXPECT_EQ(SIGSEGV, mmio_write32(addr, 0));
		EXPECT_EQ(-1, mprotect(addr, PAGE, PROT_READ | PROT_WRITE));
		EXPECT_EQ(EACCES, errno);
		addr = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd,
			    m * PAGE);
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_PAGES(addr, FIRST(m), 4, 0);
		EXPECT_EQ(SIGSEGV, mmio_write32(addr, 0));

		addr = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, self->fd,
			    m * PAGE);
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_EQ(SIGSEGV, mmio_write32(addr + 4, 1));
		/* Not in parts: see uio_split of fixes_test. */
		EXPECT_EQ(0, mprotect(addr, 4 * PAGE, PROT_READ | PROT_WRITE));
		EXPECT_EQ(0, mmio_write32(addr + 4, 1));
		EXPECT_PAGES(addr, FIRST(m), 4, 0);
	}
	close(fd);
}

/* A private mapping has its own copy of a page that was written. */
TEST_F(uio, private)
{
	char *addr, *other;
	int m;

	for (m = 0; m < UIO_MAPS; m++) {
		addr = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			    self->fd, m * PAGE);
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_PAGES(addr, FIRST(m), 4, 0);
		EXPECT_EQ(0, mmio_write32(addr + PAGE, WORD(0x1234)));
		EXPECT_EQ(0, touch(addr + PAGE, 0x1234));
		EXPECT_EQ(0, touch(addr + 2 * PAGE, FIRST(m) + 2));
		MAP(other, m);
		EXPECT_MAP(other, m, 0);
	}
}

/* Of PFNs all pages are there when mmap() returns, and no access faults. */
TEST_F(uio, populated)
{
	char *addr, *warm;
	unsigned long prot;
	long before = 0;
	__u32 val;
	int m, n;

	MAP(warm, UIO_IOVA);
	for (m = UIO_IOVA; m < UIO_MAPS; m++) {
		MAP(addr, m);
		EXPECT_EQ(4, uio_ptes(addr, 4, &prot));
		for (n = 0; n < 2; n++) {
			EXPECT_EQ(0, mmio_read32(warm, &val));
			before = faults(RUSAGE_THREAD);
		}
		for (n = 0; n < 4; n++)
			EXPECT_EQ(0, mmio_write32(addr + n * PAGE + 4, n));
		EXPECT_EQ(before, faults(RUSAGE_THREAD));
		EXPECT_MAP(addr, m, 0);
	}
}

TEST_F(uio, cache_types)
{
	static const char * const want[UIO_MAPS] = {
		[UIO_IOVA] = "WB", [UIO_COHERENT] = "WB", [UIO_PHYS] = "UC-",
	};
	static const char * const types[] = { "WB", "WC", "UC-", "UC" };
	const unsigned long pwt = 1 << 3, pat = 1 << 7;
	unsigned long prot;
	char *addr;
	int m;

#ifndef __x86_64__
	SKIP(return, "written for the page tables of x86-64");
#endif
	for (m = UIO_IOVA; m < UIO_MAPS; m++) {
		MAP(addr, m);
		ASSERT_LT(0, uio_ptes(addr, 1, &prot));
		EXPECT_EQ(0, prot & pat);
		EXPECT_STREQ(want[m], types[prot / pwt % 4]);
		ASSERT_EQ(0, mprotect(addr, PAGE, PROT_READ));
		ASSERT_LT(0, uio_ptes(addr, 1, &prot));
		EXPECT_STREQ(want[m], types[prot / pwt % 4]);
	}
}

/* A debugger reads pages and devices. Of RAM without pages it gets an error. */
TEST_F(uio, debugger)
{
	char *addr[UIO_MAPS];
	__u32 val;
	int m;

	for (m = 0; m < UIO_MAPS; m++) {
		MAP(addr[m], m);
		val = 0;
		if (m == UIO_IOVA || m == UIO_COHERENT) {
			EXPECT_EQ(-EIO, peek(addr[m] + PAGE, &val));
			continue;
		}
		EXPECT_EQ(0, peek(addr[m] + PAGE, &val));
		EXPECT_EQ(WORD(FIRST(m) + 1), val);
		EXPECT_EQ(0, poke(addr[m] + 4, 88));
		EXPECT_EQ(0, mmio_read32(addr[m] + 4, &val));
		EXPECT_EQ(88, val);
	}
	ASSERT_EQ(0, uio_unbind());
	if (access(OBJECTS, F_OK))
		SKIP(return, OUTLIVES);
	for (m = 0; m < UIO_MAPS; m++) {
		EXPECT_EQ(-EIO, peek(addr[m] + PAGE, &val));
		EXPECT_EQ(-EIO, poke(addr[m] + 4, 88));
	}
}

/* Coherent memory that an IOMMU put together from pages. */
TEST_F(uio, coherent_pages)
{
	char *addr;
	int m = UIO_COHERENT;

	close(self->fd);
	ASSERT_EQ(0, uio_bind(self->bdf, 0));
	ASSERT_EQ(0, uio_test_path(self->path));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	MAP(addr, m);
	EXPECT_MAP(addr, m, 0);
	EXPECT_EQ(0, mmio_write32(addr + 4, 1));
	ASSERT_EQ(0, uio_unbind());
	if (access(OBJECTS, F_OK))
		SKIP(return, OUTLIVES);
	EXPECT_MAP(addr, m, SIGBUS);
}

static void *read_event(void *fd)
{
	__s32 count;

	return (void *)(long)(read(*(int *)fd, &count, 4) < 0 ? errno : 0);
}

/*
 * The device goes under the mappings of a process, its children, and one that
 * got the descriptor.
 */
TEST_F_TIMEOUT(uio, gone, 120)
{
	struct pollfd poll_fd = { .fd = self->fd, .events = POLLIN };
	char *addr[UIO_MAPS], *theirs[UIO_MAPS], *moved[UIO_MAPS];
	struct proc child, late, stranger;
	__s32 count, one = 1;
	pthread_t reader;
	void *error;
	int fd, m;

	ASSERT_EQ(0, proc_start(&stranger));
	fd = proc_send_fd(&stranger, self->fd);
	ASSERT_LE(0, fd);
	for (m = 0; m < UIO_MAPS; m++) {
		MAP(addr[m], m);
		MAP(moved[m], m);
		theirs[m] = proc_map(&stranger, fd, m * PAGE,
				     uio_pages(m) * PAGE);
		ASSERT_NE(MAP_FAILED, theirs[m]);
		EXPECT_MAP(addr[m], m, 0);
		EXPECT_MAP(moved[m], m, 0);
		EXPECT_EQ(0, proc_touch(&stranger, theirs[m], FIRST(m)));
		/* Split, and moved. */
		ASSERT_EQ(0, munmap(addr[m] + PAGE, PAGE));
		moved[m] = mremap(moved[m], 4 * PAGE, 4 * PAGE,
				  MREMAP_MAYMOVE | MREMAP_FIXED,
				  moved[m] + MB(16));
		ASSERT_NE(MAP_FAILED, moved[m]);
	}
	ASSERT_EQ(0, proc_start(&child));
	for (m = 0; m < UIO_MAPS; m++)
		EXPECT_EQ(0, proc_touch(&child, moved[m], FIRST(m)));
	/* An event, and then none. */
	EXPECT_EQ(4, write(self->fd, &one, 4));
	EXPECT_EQ(1, poll(&poll_fd, 1, 0));
	EXPECT_EQ(POLLIN, poll_fd.revents);
	EXPECT_EQ(4, read(self->fd, &count, 4));
	ASSERT_EQ(0, pthread_create(&reader, NULL, read_event, &self->fd));
	usleep(20000);

	ASSERT_EQ(0, uio_unbind());

	ASSERT_EQ(0, pthread_join(reader, &error));
	EXPECT_EQ(EIO, (long)error);
	EXPECT_EQ(-1, read(self->fd, &count, 4));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, write(self->fd, &one, 4));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, poll(&poll_fd, 1, 0));
	EXPECT_EQ(POLLERR, poll_fd.revents);
	EXPECT_EQ(-1, open(self->path, O_RDWR | O_CLOEXEC));
	for (m = 0; m < UIO_MAPS; m++) {
		EXPECT_EQ(MAP_FAILED, uio_map(self->fd, m, 1));
		EXPECT_EQ(EINVAL, errno);
	}
	if (access(OBJECTS, F_OK) && uio_still_mapped() > 0)
		SKIP(goto out, OUTLIVES);

	EXPECT_EQ(0, uio_still_mapped());
	ASSERT_EQ(0, proc_start(&late));
	for (m = 0; m < UIO_MAPS; m++) {
		EXPECT_EQ(SIGBUS, touch(addr[m], 0));
		EXPECT_EQ(SIGBUS, touch(addr[m] + 2 * PAGE, 0));
		EXPECT_PAGES(moved[m], 0, 4, SIGBUS);
		EXPECT_EQ(SIGBUS, mmio_write32(moved[m], 0));
		EXPECT_EQ(SIGBUS, proc_touch(&child, addr[m], 0));
		EXPECT_EQ(SIGBUS, proc_touch(&child, moved[m] + PAGE, 0));
		EXPECT_EQ(SIGBUS, proc_touch(&late, moved[m], 0));
		EXPECT_EQ(SIGBUS, proc_touch(&stranger, theirs[m], 0));
	}
	EXPECT_EQ(0, proc_stop(&late));

	/* One that comes later is another one. */
	ASSERT_EQ(0, uio_bind(NULL, 0));
	EXPECT_EQ(SIGBUS, touch(addr[0], 0));
	EXPECT_EQ(MAP_FAILED, uio_map(self->fd, 0, 1));
	close(self->fd);
	ASSERT_EQ(0, uio_test_path(self->path));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	for (m = 0; m < UIO_PHYS; m++) {
		EXPECT_EQ(SIGBUS, touch(moved[m], 0));
		MAP(addr[m], m);
		EXPECT_MAP(addr[m], m, 0);
	}
out:
	EXPECT_EQ(0, proc_stop(&child));
	EXPECT_EQ(0, proc_stop(&stranger));
}

/* A driver whose device is open or mapped stays, as its device does. */
TEST_F(uio, module)
{
	const char *name = "test_uio_mmap";
	char *addr;

	MAP(addr, 0);
	EXPECT_EQ(-1, syscall(SYS_delete_module, name, O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	close(self->fd);
	EXPECT_EQ(-1, syscall(SYS_delete_module, name, O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	ASSERT_EQ(0, uio_unbind());
	EXPECT_EQ(-1, syscall(SYS_delete_module, name, O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	ASSERT_EQ(0, munmap(addr, 4 * PAGE));
	/* Nobody keeps the object of the device. */
	EXPECT_EQ(0, count_lines(OBJECTS, "uio uio"));
	EXPECT_EQ(0, syscall(SYS_delete_module, name, O_NONBLOCK));
	ASSERT_EQ(0, uio_bind(NULL, 0));
	ASSERT_EQ(0, uio_test_path(self->path));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	MAP(addr, 0);
	EXPECT_MAP(addr, 0, 0);
}

/* Whatever allocation of an mmap() fails: it is refused, or all is there. */
TEST_F_TIMEOUT(uio, mmap_without_memory, 120)
{
	int fd = fail_open(), n, m, mapped = 0, failed = 0;
	unsigned long prot;
	long left;
	char *addr;

	if (fd < 0)
		SKIP(return, "no failslab");
	for (m = UIO_IOVA; m < UIO_MAPS; m++) {
		for (n = 1, left = 0; !left; n++) {
			ASSERT_EQ(0, fail_nth(fd, n));
			addr = uio_map(self->fd, m, 4);
			left = fail_left(fd);
			ASSERT_LE(0, left);
			if (addr == MAP_FAILED) {
				failed++;
				continue;
			}
			mapped++;
			EXPECT_EQ(4, uio_ptes(addr, 4, &prot));
			EXPECT_MAP(addr, m, 0);
			ASSERT_EQ(0, munmap(addr, 4 * PAGE));
		}
	}
	close(fd);
	EXPECT_LT(0, failed);
	EXPECT_LT(0, mapped);
}

/* BARs under uio_pci_generic. */
struct bar {
	char bdf[16], path[32];
	int fd;
	__u32 *map;
};

FIXTURE(uio_pci) {
	struct bar bar;
};

enum gone { BY_UNBIND, BY_REMOVE, BY_UNPLUG };

FIXTURE_VARIANT(uio_pci) {
	__u32 id;
	enum gone how;
};

FIXTURE_VARIANT_ADD(uio_pci, edu_unbind) {
	.id = ID_EDU, .how = BY_UNBIND,
};

FIXTURE_VARIANT_ADD(uio_pci, edu_remove) {
	.id = ID_EDU, .how = BY_REMOVE,
};

FIXTURE_VARIANT_ADD(uio_pci, edu_unplug) {
	.id = ID_EDU, .how = BY_UNPLUG,
};

FIXTURE_VARIANT_ADD(uio_pci, ivshmem_unbind) {
	.id = ID_IVSHMEM, .how = BY_UNBIND,
};

#define DEVICES	"/sys/bus/pci/devices/"
#define DRIVER	"/sys/bus/pci/drivers/uio_pci_generic"

static int bar_open(struct bar *bar)
{
	char parent[64];
	int ret, n;

	snprintf(parent, sizeof(parent), DEVICES "%s", bar->bdf);
	/* A device that was just plugged in is not complete at first. */
	for (n = 0; n < 500; n++) {
		ret = pci_bind(bar->bdf, "uio_pci_generic");
		ret = ret ?: uio_path(parent, bar->path);
		if (!ret)
			break;
		usleep(10000);
	}
	if (ret)
		return ret;
	bar->fd = open(bar->path, O_RDWR | O_CLOEXEC);
	if (bar->fd < 0)
		return -errno;
	bar->map = uio_map(bar->fd, 0, 1);
	return bar->map == MAP_FAILED ? -errno : 0;
}

FIXTURE_SETUP(uio_pci)
{
	/* edu1 is behind a port of its own. */
	if (access(DRIVER, F_OK) || vfio_find(variant->id, 1, self->bar.bdf))
		SKIP(return, "no uio_pci_generic, or no device for it");
	ASSERT_EQ(0, bar_open(&self->bar));
}

FIXTURE_TEARDOWN(uio_pci)
{
	close(self->bar.fd);
	vfio_bind(self->bar.bdf);
}

static int wait_for(const char *path, bool there)
{
	int n;

	for (n = 0; !access(path, F_OK) != there; n++) {
		if (n == 3000)
			return -ETIME;
		usleep(10000);
	}
	return 0;
}

static int goes(const char *bdf, enum gone how)
{
	char path[128], name[64], request[128];
	int ret;

	snprintf(path, sizeof(path), DEVICES "%s", bdf);
	if (how == BY_UNBIND)
		return pci_write(bdf, "driver/unbind", bdf);
	if (how == BY_REMOVE)
		return pci_write(bdf, "remove", "1");
	ret = host_name(bdf, name);
	if (ret)
		return ret;
	snprintf(request, sizeof(request), "device_del %s\n", name);
	return host_request(request) ?: wait_for(path, false);
}

static int comes(const char *bdf, enum gone how)
{
	char path[128], name[64], request[128];
	int ret = 0, n;

	snprintf(path, sizeof(path), DEVICES "%s", bdf);
	if (how == BY_REMOVE)
		ret = write_file("/sys/bus/pci/rescan", "1");
	if (how == BY_UNPLUG) {
		host_name(bdf, name);
		snprintf(request, sizeof(request), "device_back %s\n", name);
		/* The slot is powered off some time after the device went. */
		for (n = 0; n < 100 && (ret = host_request(request)); n++)
			usleep(100000);
	}
	return ret ?: wait_for(path, true);
}

TEST_F_TIMEOUT(uio_pci, gone, 120)
{
	bool edu = variant->id == ID_EDU;
	struct bar *bar = &self->bar;
	struct proc child;
	__u32 id, val;
	int ret;

	ASSERT_EQ(0, mmio_read32(bar->map, &id));
	if (edu) {
		EXPECT_EQ(0x010000ed, id);
		ASSERT_EQ(0, mmio_write32(bar->map + 1, 0x1234));
		EXPECT_EQ(0, mmio_read32(bar->map + 1, &val));
		EXPECT_EQ(~0x1234, val);
		EXPECT_EQ(0, peek(bar->map, &val));
		EXPECT_EQ(id, val);
	}
	ASSERT_EQ(0, proc_start(&child));
	EXPECT_EQ(0, proc_read32(&child, bar->map, &val));

	ret = goes(bar->bdf, variant->how);
	if (ret == -EOPNOTSUPP)
		SKIP(goto out, "this machine cannot do it");
	ASSERT_EQ(0, ret);
	ret = mmio_read32(bar->map, &val);
	if (access(OBJECTS, F_OK) && !ret) {
		if (edu && variant->how == BY_UNBIND)
			EXPECT_EQ(id, val);
		ASSERT_EQ(0, proc_stop(&child));
		close(bar->fd);
		munmap(bar->map, PAGE);
		ASSERT_EQ(0, comes(bar->bdf, variant->how));
		SKIP(return, OUTLIVES);
	}
	EXPECT_EQ(SIGBUS, ret);
	EXPECT_EQ(SIGBUS, mmio_write32(bar->map, 0));
	EXPECT_EQ(SIGBUS, proc_read32(&child, bar->map, &val));
	EXPECT_EQ(-EIO, peek(bar->map, &val));
	EXPECT_EQ(MAP_FAILED, uio_map(bar->fd, 0, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, read(bar->fd, &val, 4));
	EXPECT_EQ(EIO, errno);

	ASSERT_EQ(0, comes(bar->bdf, variant->how));
	EXPECT_EQ(SIGBUS, mmio_read32(bar->map, &val));
	close(bar->fd);
	munmap(bar->map, PAGE);
	ASSERT_EQ(0, bar_open(bar));
	EXPECT_EQ(0, mmio_read32(bar->map, &val));
	EXPECT_EQ(id, val);
out:
	EXPECT_EQ(0, proc_stop(&child));
}

TEST_HARNESS_MAIN
