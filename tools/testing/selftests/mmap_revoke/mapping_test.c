// SPDX-License-Identifier: GPL-2.0
/*
 * What user space sees of device mappings that are revoked and restored, one
 * step at a time. Nothing here depends on who implements the revocation.
 */
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "mr_test.h"

FIXTURE_VARIANT_ADD(mr, group) { .cdev = false };
FIXTURE_VARIANT_ADD(mr, cdev) { .cdev = true };

#define ASSERT_REVOKE()	ASSERT_EQ(0, vfio_revoke(&self->dev, BY_COMMAND))
#define ASSERT_RESTORE() ASSERT_EQ(0, vfio_restore(&self->dev, BY_COMMAND))

/* Parent, child and grandchild lose the mapping and get it back. */
TEST_F(mr, fork)
{
	char *addr = self->map + 3 * PAGE;
	struct proc p[4];
	int i;

	ASSERT_EQ(0, proc_start(&p[0]));
	ASSERT_EQ(0, proc_fork(&p[0], &p[1]));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, proc_touch(&p[i], addr, 3));

	ASSERT_REVOKE();
	EXPECT_EQ(SIGBUS, touch(addr, 3));
	/* Two more that are born while memory is off, on either level. */
	ASSERT_EQ(0, proc_start(&p[2]));
	ASSERT_EQ(0, proc_fork(&p[1], &p[3]));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(SIGBUS, proc_touch(&p[i], addr, 3));

	ASSERT_RESTORE();
	EXPECT_EQ(0, touch(addr, 3));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, proc_touch(&p[i], addr, 3));

	/* It is the same memory for all of them. */
	EXPECT_EQ(0, proc_write32(&p[3], addr, WORD(4)));
	EXPECT_EQ(0, touch(addr, 4));
	EXPECT_EQ(0, proc_touch(&p[0], addr, 4));

	for (i = 3; i >= 0; i--)
		EXPECT_EQ(0, proc_stop(&p[i]));
}

/* A process that only got the descriptor is reached like any other. */
TEST_F(mr, fd_passing)
{
	struct proc p;
	char *addr;
	int fd;

	/* It shares nothing with us but what comes over the socket. */
	ASSERT_EQ(0, munmap(self->map, self->bar.size));
	vfio_close(&self->dev);
	ASSERT_EQ(0, proc_start(&p));
	ASSERT_EQ(0, vfio_open_id(&self->dev, ID_IVSHMEM, 0, variant->cdev));
	fd = proc_send_fd(&p, self->dev.fd);
	ASSERT_LE(0, fd);
	addr = proc_map(&p, fd, self->bar.offset, self->bar.size);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, proc_touch(&p, addr + 7 * PAGE, 7));

	ASSERT_REVOKE();
	EXPECT_EQ(SIGBUS, proc_touch(&p, addr + 7 * PAGE, 7));
	ASSERT_RESTORE();
	EXPECT_EQ(0, proc_touch(&p, addr + 7 * PAGE, 7));

	/* The receiver's mapping outlives both descriptors of ours and its. */
	ASSERT_EQ(0, proc_close_fd(&p, fd));
	ASSERT_REVOKE();
	EXPECT_EQ(SIGBUS, proc_touch(&p, addr, 0));
	ASSERT_RESTORE();
	vfio_close(&self->dev);
	EXPECT_EQ(0, proc_touch(&p, addr + 8 * PAGE, 8));
	EXPECT_EQ(0, proc_unmap(&p, addr, self->bar.size));
	EXPECT_EQ(SIGSEGV, proc_touch(&p, addr, 0));
	EXPECT_EQ(0, proc_stop(&p));
}

/* A hole in the middle: both sides keep their content through a revoke. */
TEST_F(mr, split)
{
	char *hole = self->map + 5 * PAGE;
	int round;

	ASSERT_EQ(0, munmap(hole, 3 * PAGE));
	for (round = 0; round < 2; round++) {
		EXPECT_PAGES(self->map, 0, 5, 0);
		EXPECT_PAGES(hole, 5, 3, SIGSEGV);
		EXPECT_PAGES(self->map + 8 * PAGE, 8, 8, 0);
		ASSERT_REVOKE();
		EXPECT_PAGES(self->map, 0, 5, SIGBUS);
		EXPECT_PAGES(hole, 5, 3, SIGSEGV);
		EXPECT_PAGES(self->map + 8 * PAGE, 8, 8, SIGBUS);
		/* The second round has more holes, made while memory is off. */
		ASSERT_EQ(0, munmap(self->map + 1 * PAGE, PAGE));
		ASSERT_EQ(0, munmap(self->map + 9 * PAGE, PAGE));
		ASSERT_EQ(self->map + PAGE,
			  mmap(self->map + PAGE, PAGE, PROT_READ,
			       MAP_SHARED | MAP_FIXED, self->dev.fd,
			       self->bar.offset + PAGE));
		ASSERT_EQ(self->map + 9 * PAGE,
			  mmap(self->map + 9 * PAGE, PAGE, PROT_READ,
			       MAP_SHARED | MAP_FIXED, self->dev.fd,
			       self->bar.offset + 9 * PAGE));
		ASSERT_RESTORE();
	}
}

TEST_F(mr, mprotect)
{
	char *part = self->map + 4 * PAGE;
	size_t len = 2 * PAGE;

	ASSERT_EQ(0, mprotect(part, len, PROT_NONE));
	EXPECT_PAGES(part, 4, 2, SIGSEGV);
	ASSERT_REVOKE();
	EXPECT_EQ(SIGBUS, touch(self->map, 0));
	EXPECT_PAGES(part, 4, 2, SIGSEGV);
	ASSERT_EQ(0, mprotect(part, len, PROT_READ));
	EXPECT_PAGES(part, 4, 2, SIGBUS);
	ASSERT_RESTORE();

	/* Access rights are those of the last mprotect(), not of the mmap(). */
	EXPECT_EQ(SIGSEGV, mmio_write32(part, 0));
	EXPECT_PAGES(part, 4, 2, 0);
	EXPECT_EQ(SIGSEGV, mmio_write32(part, 0));
	EXPECT_EQ(0, mmio_write32(self->map, WORD(0)));
	ASSERT_EQ(0, mprotect(part, len, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, mmio_write32(part, WORD(4)));
	EXPECT_PAGES(self->map, 0, 16, 0);
	ASSERT_REVOKE();
	EXPECT_PAGES(self->map, 0, 16, SIGBUS);
	EXPECT_EQ(SIGBUS, mmio_write32(part, 0));
	ASSERT_RESTORE();
	EXPECT_PAGES(self->map, 0, 16, 0);
}

TEST_F(mr, mremap)
{
	char *from = self->map + 6 * PAGE, *to;
	size_t len = 2 * PAGE;

	/* Neither in place nor elsewhere, and no second mapping of it. */
	EXPECT_EQ(MAP_FAILED, mremap(from, len, 4 * PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(from, len, 4 * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(from, 0, len, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);

	to = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, to);
	ASSERT_EQ(to, mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	EXPECT_PAGES(to, 6, 2, 0);
	EXPECT_EQ(SIGSEGV, touch(from, 6));
	ASSERT_REVOKE();
	EXPECT_PAGES(to, 6, 2, SIGBUS);
	/* Back, while there is nothing in the page tables to move. */
	ASSERT_EQ(from, mremap(to, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
			       from));
	EXPECT_PAGES(self->map, 0, 16, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(self->map, 0, 16, 0);
	EXPECT_EQ(SIGSEGV, touch(to, 6));
	/* Shrinking is fine. */
	ASSERT_EQ(from, mremap(from, len, PAGE, 0));
	EXPECT_EQ(0, touch(from, 6));
	EXPECT_EQ(SIGSEGV, touch(from + PAGE, 7));
}

static int map_errno(int fd, size_t len, int prot, int flags, __u64 offset)
{
	void *addr = mmap(NULL, len, prot, flags, fd, offset);

	if (addr == MAP_FAILED)
		return errno;
	munmap(addr, len);
	return 0;
}

TEST_F(mr, refused)
{
	const int rw = PROT_READ | PROT_WRITE;
	const struct {
		const char *what;
		__u64 offset;
		size_t len;
		int prot;
		int flags;
		int err;
	} cases[] = {
		{ "whole BAR", 0, self->bar.size, rw, MAP_SHARED, 0 },
		{ "last page", self->bar.size - PAGE, PAGE, rw, MAP_SHARED, 0 },
		{ "odd length", 0, 1, rw, MAP_SHARED, 0 },
		{ "PROT_NONE", 0, PAGE, PROT_NONE, MAP_SHARED, 0 },
		{ "SHARED_VALIDATE", 0, PAGE, rw, MAP_SHARED_VALIDATE, 0 },
		{ "POPULATE", 0, PAGE, rw, MAP_SHARED | MAP_POPULATE, 0 },
		{ "MAP_SYNC", 0, PAGE, rw, MAP_SHARED_VALIDATE | MAP_SYNC,
		  EOPNOTSUPP },
		{ "private", 0, PAGE, rw, MAP_PRIVATE, EINVAL },
		{ "private, read-only", 0, PAGE, PROT_READ, MAP_PRIVATE,
		  EINVAL },
		{ "zero length", 0, 0, rw, MAP_SHARED, EINVAL },
		{ "odd offset", 1, PAGE, rw, MAP_SHARED, EINVAL },
		{ "a page too long", 0, self->bar.size + PAGE, rw, MAP_SHARED,
		  EINVAL },
		{ "across the end", self->bar.size - PAGE, 2 * PAGE, rw,
		  MAP_SHARED, EINVAL },
		{ "behind the end", self->bar.size, PAGE, rw, MAP_SHARED,
		  EINVAL },
		{ "no such BAR", 1ULL << 40, PAGE, rw, MAP_SHARED, EINVAL },
		/* From here on offsets are absolute. */
		{ "config space", 7ULL << 40, PAGE, rw, MAP_SHARED, EINVAL },
		{ "ROM", 6ULL << 40, PAGE, PROT_READ, MAP_SHARED, EINVAL },
		{ "no such region", 64ULL << 40, PAGE, rw, MAP_SHARED, EINVAL },
		{ "last offset", -PAGE, PAGE, rw, MAP_SHARED, EOVERFLOW },
		{ "wrapping offset", -PAGE, 2 * PAGE, rw, MAP_SHARED,
		  EOVERFLOW },
		{ "last region", 0xffffffULL << 40, PAGE, rw, MAP_SHARED,
		  EINVAL },
	};
	__u64 base = self->bar.offset;
	struct statvfs fs;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!strcmp(cases[i].what, "config space"))
			base = 0;
		EXPECT_EQ(cases[i].err,
			  map_errno(self->dev.fd, cases[i].len, cases[i].prot,
				    cases[i].flags, base + cases[i].offset))
			TH_LOG("case '%s'", cases[i].what);
	}

	/* Executable: the file's own file system decides, anon inodes refuse. */
	ASSERT_EQ(0, fstatvfs(self->dev.fd, &fs));
	EXPECT_EQ(!variant->cdev || (fs.f_flag & ST_NOEXEC) ? EPERM : 0,
		  map_errno(self->dev.fd, PAGE, PROT_READ | PROT_EXEC,
			    MAP_SHARED, self->bar.offset));

	/* None of this has touched the mapping that was there. */
	EXPECT_EQ(0, touch(self->map, 0));
}

TEST_F(mr, map_over)
{
	char *addr = self->map;
	int i;

	/* Pages 0-3 in reverse order, one by one, over the old mapping. */
	for (i = 0; i < 4; i++)
		ASSERT_EQ(addr + i * PAGE,
			  mmap(addr + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, self->dev.fd,
			       self->bar.offset + (3 - i) * PAGE));
	ASSERT_EQ(addr + 4 * PAGE,
		  mmap(addr + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, mmio_write32(addr + 4 * PAGE, WORD(4)));

	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, touch(addr + i * PAGE, 3 - i));
	ASSERT_REVOKE();
	for (i = 0; i < 4; i++)
		EXPECT_EQ(SIGBUS, touch(addr + i * PAGE, 3 - i));
	/* What is not the device's is not revoked. */
	EXPECT_EQ(0, touch(addr + 4 * PAGE, 4));
	EXPECT_EQ(SIGBUS, touch(addr + 5 * PAGE, 5));
	ASSERT_RESTORE();
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, touch(addr + i * PAGE, 3 - i));
	EXPECT_EQ(0, touch(addr + 5 * PAGE, 5));
}

/* Mapped while memory is off: fails at the access, not at mmap(). */
TEST_F(mr, map_while_off)
{
	char *addr;

	ASSERT_REVOKE();
	addr = vfio_map(self->dev.fd, self->bar.offset, MB(2), MB(2));
	ASSERT_NE(MAP_FAILED, addr);
	EXPECT_PAGES(addr, 0, 4, SIGBUS);
	ASSERT_NE(MAP_FAILED, mmap(addr, PAGE, PROT_READ, MAP_SHARED |
				   MAP_FIXED | MAP_POPULATE, self->dev.fd,
				   self->bar.offset));
	EXPECT_PAGES(addr, 0, 4, SIGBUS);
	/* Off once more is still off, and one restore is enough. */
	ASSERT_REVOKE();
	EXPECT_PAGES(addr, 0, 4, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(addr, 0, 4, 0);
	EXPECT_PAGES(self->map, 0, 4, 0);
}

/* /proc/PID/maps and smaps tell the same story as ever. */
TEST_F(mr, proc_maps)
{
	char line[512], path[256] = "", flags[512] = "";
	unsigned long start, end, offset;
	unsigned int maj, min;
	bool ours = false;
	struct stat st;
	ino_t ino;
	int found = 0;
	FILE *f;

	ASSERT_EQ(0, fstat(self->dev.fd, &st));
	f = fopen("/proc/self/smaps", "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s %lx %x:%x %lu %255[^\n]", &start,
			   &end, &offset, &maj, &min, &ino, path) >= 6) {
			ours = start == (unsigned long)self->map;
			if (!ours)
				continue;
			found++;
			EXPECT_EQ(start + self->bar.size, end);
			EXPECT_EQ(self->bar.offset, offset);
			EXPECT_EQ(st.st_ino, ino);
			EXPECT_EQ(st.st_dev, makedev(maj, min));
			EXPECT_STREQ(variant->cdev ? self->dev.path :
				     "anon_inode:[vfio-device]", path);
		} else if (ours && !strncmp(line, "VmFlags:", 8)) {
			snprintf(flags, sizeof(flags), "%s", line);
		}
	}
	fclose(f);
	EXPECT_EQ(1, found);
	/* Shared, IO, PFNs only, never expanded, never dumped. */
	EXPECT_NE(NULL, strstr(flags, " sh ")) TH_LOG("%s", flags);
	EXPECT_NE(NULL, strstr(flags, " io "));
	EXPECT_NE(NULL, strstr(flags, " pf "));
	EXPECT_NE(NULL, strstr(flags, " de "));
	EXPECT_NE(NULL, strstr(flags, " dd "));
}

/* Access through the descriptor fails while memory is off, and only then. */
TEST_F(mr, fd_io)
{
	__u64 pos = self->bar.offset + 9 * PAGE;
	__u32 val = 0;

	ASSERT_EQ(4, pread(self->dev.fd, &val, 4, pos));
	EXPECT_EQ(WORD(9), val);
	ASSERT_REVOKE();
	EXPECT_EQ(-1, pread(self->dev.fd, &val, 4, pos));
	EXPECT_EQ(EIO, errno);
	val = ~WORD(9);
	EXPECT_EQ(-1, pwrite(self->dev.fd, &val, 4, pos));
	EXPECT_EQ(EIO, errno);
	/* Config space has nothing to do with memory decoding. */
	EXPECT_EQ(0, vfio_config_read(&self->dev, 0, 4, &val));
	EXPECT_EQ(0x11101af4, val);
	ASSERT_RESTORE();
	EXPECT_EQ(0, touch(self->map + 9 * PAGE, 9));
	val = WORD(10);
	EXPECT_EQ(4, pwrite(self->dev.fd, &val, 4, pos));
	EXPECT_EQ(0, touch(self->map + 9 * PAGE, 10));
	EXPECT_EQ(0, pread(self->dev.fd, &val, 0, pos));
}

/* A mapping keeps the device open, munmap() of the last piece closes it. */
TEST_F(mr, close_and_reopen)
{
	struct vfio_dev again;
	struct vfio_dev old = self->dev;

	vfio_close(&self->dev);
	EXPECT_EQ(0, touch(self->map + PAGE, 1));
	EXPECT_EQ(variant->cdev ? -EINVAL : -EBUSY,
		  vfio_open(&again, old.bdf, variant->cdev));
	EXPECT_EQ(-EBUSY, vfio_open(&again, old.bdf, !variant->cdev));

	ASSERT_EQ(0, munmap(self->map + PAGE, self->bar.size - PAGE));
	EXPECT_EQ(0, touch(self->map, 0));
	EXPECT_NE(0, vfio_open(&again, old.bdf, variant->cdev));
	ASSERT_EQ(0, munmap(self->map, PAGE));

	/* Either way of opening now works, one after the other. */
	ASSERT_EQ(0, vfio_open(&again, old.bdf, !variant->cdev));
	vfio_close(&again);
	ASSERT_EQ(0, vfio_open(&self->dev, old.bdf, variant->cdev));
	self->map = vfio_map(self->dev.fd, self->bar.offset, self->bar.size,
			     MB(2));
	ASSERT_NE(MAP_FAILED, self->map);
	EXPECT_PAGES(self->map, 0, 16, 0);
	ASSERT_REVOKE();
	EXPECT_PAGES(self->map, 0, 16, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(self->map, 0, 16, 0);
}

/* What was revoked at close is not revoked for the next user. */
TEST_F(mr, close_revoked)
{
	enum vfio_how how;

	for (how = BY_COMMAND; how <= BY_LOW_POWER; how++) {
		ASSERT_EQ(0, vfio_revoke(&self->dev, how));
		EXPECT_PAGES(self->map, 0, 4, SIGBUS);
		vfio_close(&self->dev);
		EXPECT_PAGES(self->map, 0, 4, SIGBUS);
		ASSERT_EQ(0, munmap(self->map, self->bar.size));
		ASSERT_EQ(0, vfio_open_id(&self->dev, ID_IVSHMEM, 0,
					  variant->cdev));
		self->map = vfio_map(self->dev.fd, self->bar.offset,
				     self->bar.size, MB(2));
		ASSERT_NE(MAP_FAILED, self->map);
		EXPECT_PAGES(self->map, 0, 16, 0);
	}
}

/* All descriptors of a device share its fate; a group hands out several. */
TEST_F(mr, two_fds)
{
	char *second;
	int fd;

	if (variant->cdev) {
		/* A cdev can be opened, but is bound, and so mapped, once. */
		fd = open(self->dev.path, O_RDWR);
		ASSERT_LE(0, fd);
		EXPECT_EQ(EINVAL, map_errno(fd, PAGE, PROT_READ, MAP_SHARED,
					    self->bar.offset));
		return;
	}
	fd = ioctl(self->dev.group, VFIO_GROUP_GET_DEVICE_FD, self->dev.bdf);
	ASSERT_LE(0, fd);
	second = vfio_map(fd, self->bar.offset, MB(2), MB(2));
	ASSERT_NE(MAP_FAILED, second);
	close(fd);
	EXPECT_PAGES(second, 0, 4, 0);
	ASSERT_REVOKE();
	EXPECT_PAGES(second, 0, 4, SIGBUS);
	EXPECT_PAGES(self->map, 0, 4, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(second, 0, 4, 0);
	EXPECT_PAGES(self->map, 0, 4, 0);
}

/* Every BAR of the device, and no BAR of any other device. */
TEST_F(mr, every_bar)
{
	__u32 ids[] = { ID_E1000E, ID_TESTDEV, ID_EDU, ID_IVSHMEM };
	struct vfio_region_info info;
	struct vfio_dev dev;
	unsigned int i, bar, n, devs = 0;
	char *map[6];
	__u32 val;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		/* The first ivshmem is ours, take the second. */
		if (vfio_open_id(&dev, ids[i], ids[i] == ID_IVSHMEM,
				 variant->cdev))
			continue;
		devs++;
		n = 0;
		for (bar = 0; bar < 6; bar++) {
			if (vfio_region(&dev, bar, &info) || !info.size ||
			    !(info.flags & VFIO_REGION_INFO_FLAG_MMAP))
				continue;
			map[n] = vfio_map(dev.fd, info.offset, info.size, PAGE);
			ASSERT_NE(MAP_FAILED, map[n]);
			ASSERT_EQ(0, mmio_read32(map[n++], &val));
		}
		ASSERT_LT(0, n);

		ASSERT_EQ(0, vfio_revoke(&dev, BY_COMMAND));
		for (bar = 0; bar < n; bar++)
			EXPECT_EQ(SIGBUS, mmio_read32(map[bar], &val))
				TH_LOG("%s: BAR mapping %u", dev.bdf, bar);
		EXPECT_PAGES(self->map, 0, 16, 0);
		ASSERT_REVOKE();
		ASSERT_EQ(0, vfio_restore(&dev, BY_COMMAND));
		for (bar = 0; bar < n; bar++)
			EXPECT_EQ(0, mmio_read32(map[bar], &val));
		EXPECT_PAGES(self->map, 0, 16, SIGBUS);
		ASSERT_RESTORE();
		if (ids[i] == ID_EDU) {
			EXPECT_EQ(0, mmio_write32(map[0] + EDU_LIVENESS, 42));
			EXPECT_EQ(0, mmio_read32(map[0] + EDU_LIVENESS, &val));
			EXPECT_EQ(~42u, val);
		}
		/* The mappings stay; they pin the device until we exit. */
		vfio_close(&dev);
	}
	if (!devs)
		SKIP(return, "no second device");
}

static int count_vmas(unsigned long start, unsigned long end)
{
	unsigned long from;
	char line[512];
	int n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-", &from) == 1)
			n += from >= start && from < end;
	if (f)
		fclose(f);
	return n;
}

#define MANY	4500	/* no multiple of 7, see below */

TEST_F_TIMEOUT(mr, many_vmas, 120)
{
	unsigned long start = (unsigned long)self->map;
	size_t i, len = MANY * PAGE;

	if (self->pages < MANY)
		SKIP(return, "BAR has only %zu pages", self->pages);

	/* One VMA per page, in an order that is not that of the addresses. */
	for (i = 0; i < MANY; i++) {
		size_t n = i * 7 % MANY;

		ASSERT_NE(MAP_FAILED,
			  mmap(self->map + n * PAGE, PAGE,
			       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			       self->dev.fd, self->bar.offset + n * PAGE));
	}
	ASSERT_EQ(MANY, count_vmas(start, start + len));
	ASSERT_EQ(MANY, count_touch(self->map, 0, MANY, 0));
	ASSERT_REVOKE();
	EXPECT_PAGES(self->map, 0, MANY, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(self->map, 0, MANY, 0);
}

TEST_F_TIMEOUT(mr, many_splits, 120)
{
	unsigned long start = (unsigned long)self->map;
	size_t i, len = MANY * PAGE;

	if (self->pages < MANY)
		SKIP(return, "BAR has only %zu pages", self->pages);

	for (i = 0; i < MANY; i += 2)
		ASSERT_EQ(0, mprotect(self->map + i * PAGE, PAGE, PROT_READ));
	ASSERT_LE(MANY, count_vmas(start, start + len));
	ASSERT_EQ(MANY, count_touch(self->map, 0, MANY, 0));
	ASSERT_REVOKE();
	EXPECT_PAGES(self->map, 0, MANY, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(self->map, 0, MANY, 0);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(i & 1 ? 0 : SIGSEGV,
			  mmio_write32(self->map + i * PAGE, WORD(i)));
}

static bool has_huge_pfnmaps(void)
{
	char line[128] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = '\0';
		fclose(f);
	}
	return strstr(line, "[always]");
}

/* Huge mappings are used where they can be, and die and split like others. */
TEST_F_TIMEOUT(mr, huge, 120)
{
	char *odd = self->map + MB(2);
	long before;

	ASSERT_REVOKE();
	ASSERT_RESTORE();
	before = faults(RUSAGE_SELF);
	ASSERT_EQ(self->pages, count_touch(self->map, 0, self->pages, 0));
	if (has_huge_pfnmaps())
		EXPECT_GE(self->bar.size / MB(2) + 32,
			  faults(RUSAGE_SELF) - before);

	/* A revoked huge entry is gone for each of its pages. */
	ASSERT_REVOKE();
	EXPECT_PAGES(odd, 512, 512, SIGBUS);
	/* Cut a hole into it while it is revoked, one while it is not. */
	ASSERT_EQ(0, munmap(odd + 16 * PAGE, 16 * PAGE));
	ASSERT_RESTORE();
	EXPECT_PAGES(odd, 512, 16, 0);
	EXPECT_PAGES(odd + 16 * PAGE, 528, 16, SIGSEGV);
	EXPECT_PAGES(odd + 32 * PAGE, 544, 480, 0);
	ASSERT_EQ(0, touch(self->map, 0));
	ASSERT_EQ(0, munmap(self->map + 16 * PAGE, 16 * PAGE));
	EXPECT_PAGES(self->map, 0, 16, 0);
	EXPECT_PAGES(self->map + 32 * PAGE, 32, 480, 0);
	ASSERT_REVOKE();
	EXPECT_PAGES(self->map, 0, 16, SIGBUS);
	EXPECT_PAGES(self->map + 32 * PAGE, 32, 480, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(self->map, 0, 16, 0);

	/* Alignment that allows no huge page: the same content. */
	odd = mmap(NULL, 2 * MB(2), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	ASSERT_NE(MAP_FAILED, odd);
	odd = (char *)(((unsigned long)odd + MB(2) - 1) & ~(MB(2) - 1)) + PAGE;
	ASSERT_EQ(odd, mmap(odd, MB(1), PROT_READ, MAP_SHARED | MAP_FIXED,
			    self->dev.fd, self->bar.offset));
	before = faults(RUSAGE_SELF);
	EXPECT_PAGES(odd, 0, 256, 0);
	/* One fault for a page table, but on kernels without the helper. */
	if (!access(OBJECTS, F_OK))
		EXPECT_GE(32, faults(RUSAGE_SELF) - before);
	ASSERT_REVOKE();
	EXPECT_PAGES(odd, 0, 256, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(odd, 0, 256, 0);
}

/* Low power: SIGBUS until the user leaves it; the descriptor wakes it up. */
TEST_F(mr, low_power)
{
	__u64 pos = self->bar.offset + 2 * PAGE;
	__u32 val;
	int ret;

	ret = vfio_revoke(&self->dev, BY_LOW_POWER);
	if (ret == -ENOTTY)
		SKIP(return, "no low power feature");
	ASSERT_EQ(0, ret);
	EXPECT_PAGES(self->map, 0, 4, SIGBUS);
	EXPECT_EQ(-EINVAL, vfio_revoke(&self->dev, BY_LOW_POWER));
	ASSERT_EQ(4, pread(self->dev.fd, &val, 4, pos));
	EXPECT_EQ(WORD(2), val);
	EXPECT_PAGES(self->map, 0, 4, SIGBUS);
	/* Memory on does not end it, memory off is independent of it. */
	ASSERT_RESTORE();
	EXPECT_PAGES(self->map, 0, 4, SIGBUS);
	ASSERT_REVOKE();
	ASSERT_EQ(0, vfio_restore(&self->dev, BY_LOW_POWER));
	EXPECT_PAGES(self->map, 0, 4, SIGBUS);
	ASSERT_RESTORE();
	EXPECT_PAGES(self->map, 0, 4, 0);
}

/* Low power with a wakeup eventfd: over as soon as the device wakes up. */
TEST_F(mr, low_power_wakeup)
{
	int ret = vfio_sleep_and_wake(&self->dev);

	if (ret == -ENOTTY || ret == -ETIME)
		SKIP(return, "the device does not sleep");
	ASSERT_EQ(0, ret);
	EXPECT_PAGES(self->map, 0, 4, 0);
}

/* D3hot by a write to the power management capability. */
TEST_F(mr, d3hot)
{
	struct vfio_region_info info;
	struct vfio_dev nic;
	char *map;
	__u32 val;
	int ret;

	if (vfio_open_id(&nic, ID_E1000E, 0, variant->cdev))
		SKIP(return, "no e1000e device");
	ASSERT_EQ(0, vfio_region(&nic, 0, &info));
	map = vfio_map(nic.fd, info.offset, info.size, PAGE);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mmio_read32(map, &val));
	ret = vfio_revoke(&nic, BY_D3HOT);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "%s has no power management", nic.bdf);
	ASSERT_EQ(0, ret);
	EXPECT_EQ(SIGBUS, mmio_read32(map, &val));
	EXPECT_EQ(-1, pread(nic.fd, &val, 4, info.offset));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, vfio_restore(&nic, BY_D3HOT));
	EXPECT_EQ(0, mmio_read32(map, &val));
	EXPECT_EQ(4, pread(nic.fd, &val, 4, info.offset));

	/* Memory off is independent of it. */
	ASSERT_EQ(0, vfio_revoke(&nic, BY_D3HOT));
	ASSERT_EQ(0, vfio_revoke(&nic, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&nic, BY_D3HOT));
	EXPECT_EQ(SIGBUS, mmio_read32(map, &val));
	ASSERT_EQ(0, vfio_restore(&nic, BY_COMMAND));
	EXPECT_EQ(0, mmio_read32(map, &val));
}

TEST_HARNESS_MAIN
