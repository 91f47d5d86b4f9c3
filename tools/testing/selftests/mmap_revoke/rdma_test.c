// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory that RDMA drivers map, when the device goes: on the device of
 * lib/test_rdma_mmap.c, through the uverbs ABI. All but the tests of what is
 * new pass on kernels without mmap_revoke.
 */
#include <stdio.h>
#include <sys/prctl.h>

#include "rdma_test.h"

/* Entries are mapped as a whole, shared, and while they exist. */
TEST_F(rdma, refusals)
{
	const int rw = PROT_READ | PROT_WRITE;
	struct rdma_entry entry, other;
	char *addr, *rest;

	ENTRY(&entry, 4, 4, TEST_RDMA_MMAP_UC, 0);
	ENTRY(&other, 9, 1, TEST_RDMA_MMAP_UC, 0);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4 * PAGE, rw, MAP_PRIVATE,
				   self->dev.fd, entry.offset));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, rw, MAP_PRIVATE, self->dev.fd,
				   TEST_RDMA_MMAP_PGOFF(0UL, 0) * PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, rdma_map(&self->dev, entry.offset, 3 * PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, rdma_map(&self->dev, entry.offset, 5 * PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED,
		  rdma_map(&self->dev, entry.offset + PAGE, 3 * PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, rdma_map(&self->dev,
				       TEST_RDMA_MMAP_PGOFF(0UL, 0) * PAGE,
				       2 * PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EINVAL, rdma_entry(&self->dev, &other, 1, 0,
				      TEST_RDMA_MMAP_UC, 0));

	MAP(addr, entry.offset, 4);
	EXPECT_PAGES(addr, 4, 4, 0);
	EXPECT_EQ(MAP_FAILED, mremap(addr, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE));
	/* Pieces of one mapping, one of them moved. */
	ASSERT_EQ(0, munmap(addr + PAGE, PAGE));
	rest = mremap(addr + 2 * PAGE, 2 * PAGE, 2 * PAGE,
		      MREMAP_MAYMOVE | MREMAP_FIXED, addr + MB(16));
	ASSERT_NE(MAP_FAILED, rest);
	EXPECT_PAGES(addr, 4, 1, 0);
	EXPECT_PAGES(rest, 6, 2, 0);

	/* Removed is not gone: that takes the last piece. */
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(MAP_FAILED, rdma_map(&self->dev, entry.offset, 4 * PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_PAGES(rest, 6, 2, 0);
	ASSERT_EQ(0, munmap(addr, PAGE));
	ASSERT_EQ(0, munmap(rest, PAGE));
	EXPECT_EQ(0, FREED);
	ASSERT_EQ(0, munmap(rest + PAGE, PAGE));
	EXPECT_EQ(1, FREED);
}

/*
 * Pages are there when mmap() returns: drivers for other devices look up the
 * PFN of a doorbell, and do not fault it in.
 */
static long untouched(struct rdma_dev *dev, char *warm, char *addr, __u32 page,
		      unsigned int nr)
{
	long before = 0;
	unsigned int n;
	__u32 val;

	if (rdma_mapped(dev, addr, page, nr) != (int)nr)
		return -ENOENT;
	/* Not the faults of the program itself, of which a fork makes some. */
	for (n = 0; n < 2; n++) {
		if (mmio_read32(warm, &val))
			return -EFAULT;
		before = faults(RUSAGE_THREAD);
	}
	for (n = 0; n < nr; n++)
		if (mmio_read32(addr + n * PAGE, &val))
			return -EFAULT;
	return faults(RUSAGE_THREAD) - before;
}

TEST_F(rdma, populated)
{
	static const unsigned int sizes[] = { 1, 4, 512 };
	const int rw = PROT_READ | PROT_WRITE;
	struct rdma_entry entry;
	unsigned int i, nr;
	char *warm, *addr, *next;
	int status;
	pid_t pid;

	ENTRY(&entry, 0, 1, TEST_RDMA_MMAP_UC, 0);
	MAP(warm, entry.offset, 1);
	for (i = 0; i < 3; i++) {
		nr = sizes[i];
		ENTRY(&entry, 7, nr, TEST_RDMA_MMAP_UC, 0);
		MAP(addr, entry.offset, nr);
		/* A child has them, too. */
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(rdma_mapped(&self->dev, addr, 7, nr) != (int)nr);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_EQ(0, untouched(&self->dev, warm, addr, 7, nr));
		EXPECT_EQ(0, touch(addr, 7));

		/* As far as possible into one page table. */
		addr = vfio_map(self->dev.fd, entry.offset, nr * PAGE, MB(2));
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_EQ(0, untouched(&self->dev, warm, addr, 7, nr));

		addr = mmap(NULL, nr * PAGE, PROT_READ, MAP_SHARED,
			    self->dev.fd, entry.offset);
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_EQ(0, untouched(&self->dev, warm, addr, 7, nr));
		addr = mmap(NULL, nr * PAGE, PROT_NONE, MAP_SHARED,
			    self->dev.fd, entry.offset);
		ASSERT_NE(MAP_FAILED, addr);
		ASSERT_EQ(0, mprotect(addr, nr * PAGE, PROT_READ));
		EXPECT_EQ(0, untouched(&self->dev, warm, addr, 7, nr));
		addr = mmap(NULL, nr * PAGE, rw, MAP_SHARED | MAP_POPULATE,
			    self->dev.fd, entry.offset);
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_EQ(0, untouched(&self->dev, warm, addr, 7, nr));
		ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
		MAP(next, entry.offset, nr);
		ASSERT_EQ(0, munlockall());
		EXPECT_EQ(0, untouched(&self->dev, warm, next, 7, nr));
		EXPECT_EQ(0, untouched(&self->dev, warm, addr, 7, nr));
	}
}

static long slab_kb(void)
{
	return proc_number("/proc/meminfo", "SUnreclaim: %ld");
}

/*
 * Nothing is left of a mmap() once there was the munmap(). RCU may be late, and
 * the slab allocator keep some: not three times.
 */
TEST_F(rdma, nothing_left)
{
	const long times = 20000, most = times * 32 / 1024;
	struct rdma_entry entry;
	long before, more = most;
	int n, tries, waits;
	char *addr;

	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		SKIP(return, "KASAN keeps what was freed, and kmemleak its own notes");
	ENTRY(&entry, 0, 1, TEST_RDMA_MMAP_UC, 0);
	for (tries = 0; tries < 3 && more >= most; tries++) {
		before = slab_kb();
		ASSERT_LT(0, before);
		for (n = 0; n < times; n++) {
			MAP(addr, entry.offset, 1);
			ASSERT_EQ(0, munmap(addr, PAGE));
		}
		for (waits = 0; waits < 50; waits++) {
			more = slab_kb() - before;
			if (more < most)
				break;
			usleep(100000);
		}
	}
	EXPECT_GT(most, more);
}

/* What happens to a mapping before user space runs comes first. */
TEST_F(rdma, before_populated)
{
	struct rdma_entry gone, unmapped, other;
	char *addr;

	ENTRY(&gone, 0, 4, TEST_RDMA_MMAP_UC, TEST_RDMA_MMAP_DISASSOCIATE);
	ENTRY(&unmapped, 0, 4, TEST_RDMA_MMAP_UC, TEST_RDMA_MMAP_UNMAP);
	ENTRY(&other, 8, 4, TEST_RDMA_MMAP_UC, 0);
	MAP(addr, gone.offset, 4);
	EXPECT_EQ(0, rdma_mapped(&self->dev, addr, 0, 4));
	EXPECT_EQ(4, count_zero(addr, 4));
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &gone));
	EXPECT_EQ(1, FREED);

	MAP(addr, unmapped.offset, 4);
	EXPECT_EQ(0, rdma_mapped(&self->dev, addr, 0, 4));
	EXPECT_EQ(SIGSEGV, touch(addr, 0));
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &unmapped));
	EXPECT_EQ(2, FREED);
	MAP(addr, other.offset, 4);
	EXPECT_PAGES(addr, 8, 4, 0);
}

/* Whatever allocation of an mmap() fails: it is refused, or all is there. */
TEST_F_TIMEOUT(rdma, mmap_without_memory, 120)
{
	int fd = fail_open(), n, mapped = 0, failed = 0;
	struct rdma_entry entry;
	long left;
	char *addr;

	if (fd < 0)
		SKIP(return, "no failslab");
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	for (n = 1, left = 0; !left; n++) {
		ASSERT_EQ(0, fail_nth(fd, n));
		addr = rdma_map(&self->dev, entry.offset, 4 * PAGE);
		left = fail_left(fd);
		ASSERT_LE(0, left);
		if (addr == MAP_FAILED) {
			failed++;
			continue;
		}
		mapped++;
		EXPECT_EQ(4, rdma_mapped(&self->dev, addr, 0, 4));
		EXPECT_PAGES(addr, 0, 4, 0);
		ASSERT_EQ(0, munmap(addr, 4 * PAGE));
	}
	close(fd);
	EXPECT_LT(0, failed);
	EXPECT_LT(0, mapped);
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(1, FREED);
}

/* New: what a driver maps before its mmap() fails is undone. */
TEST_F(rdma, failed_mmap)
{
	struct rdma_entry entry, other;
	char *addr;

	if (access(OBJECTS, F_OK))
		SKIP(return, "this kernel keeps the entry, and a pointer to the VMA");
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_WC, TEST_RDMA_MMAP_FAIL);
	ENTRY(&other, 0, 4, TEST_RDMA_MMAP_UC, 0);
	EXPECT_EQ(MAP_FAILED, rdma_map(&self->dev, entry.offset, 4 * PAGE));
	EXPECT_EQ(EBADE, errno);
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(1, FREED);
	ASSERT_EQ(0, rdma_gone(&self->dev, BY_DISASSOCIATE));
	/* The memory type is free as well. */
	MAP(addr, other.offset, 4);
	EXPECT_PAGES(addr, 0, 4, 0);
}

/* Access rights are those of the last mprotect(). */
TEST_F(rdma, mprotect)
{
	struct rdma_entry entry;
	char *addr;

	ENTRY(&entry, 0, 2, TEST_RDMA_MMAP_UC, 0);
	MAP(addr, entry.offset, 2);
	ASSERT_EQ(0, mprotect(addr, PAGE, PROT_READ));
	EXPECT_PAGES(addr, 0, 2, 0);
	EXPECT_EQ(SIGSEGV, mmio_write32(addr, 0));
	ASSERT_EQ(0, mprotect(addr, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, mmio_write32(addr, WORD(0)));
	ASSERT_EQ(0, mprotect(addr, PAGE, PROT_NONE));
	EXPECT_EQ(SIGSEGV, touch(addr, 0));
	ASSERT_EQ(0, rdma_gone(&self->dev, BY_DISASSOCIATE));
	EXPECT_EQ(SIGSEGV, touch(addr, 0));
	ASSERT_EQ(0, mprotect(addr, PAGE, PROT_READ));
	EXPECT_EQ(0, zero(addr));
	EXPECT_EQ(SIGSEGV, mmio_write32(addr, 1));
	EXPECT_EQ(0, zero(addr + PAGE));
}

/*
 * The device goes under the mappings of a process, its child, and one that got
 * the descriptor.
 */
FIXTURE(rdma_gone) {
	struct rdma_dev dev;
	int created, freed;
};

FIXTURE_VARIANT(rdma_gone) {
	enum rdma_how how;
};

FIXTURE_VARIANT_ADD(rdma_gone, disassociate) { .how = BY_DISASSOCIATE };

FIXTURE_VARIANT_ADD(rdma_gone, unbind) { .how = BY_UNBIND };

FIXTURE_VARIANT_ADD(rdma_gone, module) { .how = BY_MODULE };

FIXTURE_VARIANT_ADD(rdma_gone, remove) { .how = BY_REMOVE };

FIXTURE_VARIANT_ADD(rdma_gone, unplug) { .how = BY_UNPLUG };

FIXTURE_SETUP(rdma_gone)
{
	FIXTURE_DATA(rdma) base = {};

	rdma_setup(_metadata, &base, NULL);
	self->dev = base.dev;
	self->created = base.created;
	self->freed = base.freed;
}

FIXTURE_TEARDOWN(rdma_gone)
{
	rdma_close(&self->dev);
}

TEST_F_TIMEOUT(rdma_gone, zeros, 120)
{
	const __u64 single = TEST_RDMA_MMAP_PGOFF(TEST_RDMA_MMAP_WC + 0UL, 20) *
			     PAGE;
	const __u64 kernel = TEST_RDMA_MMAP_PGOFF(TEST_RDMA_MMAP_KERNEL + 0UL,
						  0) * PAGE;
	bool alive = variant->how == BY_DISASSOCIATE;
	char *addr, *read_only, *page, *plain, *moved, *theirs;
	struct rdma_entry entry, other;
	struct proc child, stranger;
	int fd, ret;

	ASSERT_EQ(0, proc_start(&stranger));
	fd = proc_send_fd(&stranger, self->dev.fd);
	ASSERT_LE(0, fd);
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	ENTRY(&other, 8, 4, TEST_RDMA_MMAP_WC, 0);
	MAP(addr, entry.offset, 4);
	MAP(moved, other.offset, 4);
	MAP(page, single, 1);
	MAP(plain, kernel, 1);
	read_only = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, self->dev.fd,
			 entry.offset);
	ASSERT_NE(MAP_FAILED, read_only);
	theirs = proc_map(&stranger, fd, entry.offset, 4 * PAGE);
	ASSERT_NE(MAP_FAILED, theirs);
	ASSERT_EQ(0, mmio_write32(plain, 0x1234));
	EXPECT_PAGES(addr, 0, 4, 0);
	EXPECT_PAGES(read_only, 0, 4, 0);
	EXPECT_EQ(0, touch(page, 20));
	EXPECT_EQ(0, proc_touch(&stranger, theirs + PAGE, 1));
	/* Split, moved, and forked after all that. */
	ASSERT_EQ(0, munmap(addr + PAGE, PAGE));
	moved = mremap(moved, 4 * PAGE, 4 * PAGE,
		       MREMAP_MAYMOVE | MREMAP_FIXED, moved + MB(16));
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_PAGES(moved, 8, 4, 0);
	ASSERT_EQ(0, proc_start(&child));
	EXPECT_EQ(0, proc_touch(&child, addr + 3 * PAGE, 3));

	ret = rdma_gone(&self->dev, variant->how);
	if (ret == -EOPNOTSUPP)
		SKIP(goto out, "this machine cannot do it");
	ASSERT_EQ(0, ret);

	EXPECT_EQ(0, zero(addr));
	EXPECT_EQ(2, count_zero(addr + 2 * PAGE, 2));
	EXPECT_EQ(4, count_zero(read_only, 4));
	EXPECT_EQ(SIGSEGV, mmio_write32(read_only, 1));
	EXPECT_EQ(4, count_zero(moved, 4));
	EXPECT_EQ(0, zero(page));
	EXPECT_EQ(0, proc_zero(&child, addr + 3 * PAGE));
	EXPECT_EQ(0, proc_zero(&child, moved + PAGE));
	EXPECT_EQ(0, proc_zero(&stranger, theirs + PAGE));
	/* One page for all of the file: what one writes, another reads. */
	EXPECT_EQ(0, mmio_write32(addr, 77));
	EXPECT_EQ(77, proc_zero(&child, page));
	EXPECT_EQ(77, proc_zero(&stranger, theirs));
	EXPECT_EQ(4, count_zero(read_only, 4));
	/* The driver's own memory is not the device's. */
	EXPECT_EQ(0x1234, zero(plain));
	EXPECT_EQ(0x1234, proc_zero(&child, plain));

	if (alive) {
		EXPECT_EQ(0, FREED);
		/* What is mapped from now on is the device. */
		MAP(page, entry.offset, 4);
		EXPECT_PAGES(page, 0, 4, 0);
		EXPECT_EQ(77, zero(addr));
		ASSERT_EQ(0, rdma_entry_end(&self->dev, &other));
		/* No mapping of it is left that counts. */
		EXPECT_EQ(1, FREED);
	} else {
		if (variant->how != BY_MODULE) {
			EXPECT_EQ(2, CREATED);
			EXPECT_EQ(2, FREED);
		}
		EXPECT_EQ(MAP_FAILED,
			  rdma_map(&self->dev, entry.offset, 4 * PAGE));
		EXPECT_EQ(EIO, errno);
		EXPECT_EQ(MAP_FAILED, rdma_map(&self->dev, single, PAGE));
	}
	/* Unmapping touches nothing of a driver that may be gone. */
	ASSERT_EQ(0, munmap(addr, PAGE));
	ASSERT_EQ(0, munmap(moved, 4 * PAGE));
	EXPECT_EQ(0, proc_unmap(&child, moved, 4 * PAGE));
	EXPECT_EQ(0, proc_unmap(&stranger, theirs, 4 * PAGE));
	if (!alive && variant->how != BY_MODULE)
		EXPECT_EQ(2, FREED);
	if (!alive) {
		rdma_close(&self->dev);
		ASSERT_EQ(0, rdma_back(&self->dev, variant->how));
		EXPECT_EQ(0, rdma_open(&self->dev));
	}
out:
	EXPECT_EQ(0, proc_stop(&child));
	EXPECT_EQ(0, proc_stop(&stranger));
}

/* What the page table says, in the order of the PAT that Linux sets up. */
static const char *cache_type(struct rdma_dev *dev, const void *addr)
{
	static const char * const types[] = { "WB", "WC", "UC-", "UC" };
	const unsigned long pwt = 1 << 3, pat = 1 << 7;
	unsigned long prot;

	if (rdma_pgprot(dev, addr, &prot))
		return "none";
	return prot & pat ? "?" : types[prot / pwt % 4];
}

#define EXPECT_TYPE(type, addr)						\
	EXPECT_STREQ(type, cache_type(&self->dev, addr))

TEST_F(rdma, cache_types)
{
	/* The MTRRs say that this is not memory: it cannot be cached. */
	static const char * const want[] = {
		[TEST_RDMA_MMAP_UC] = "UC-",
		[TEST_RDMA_MMAP_WC] = "WC",
		[TEST_RDMA_MMAP_WB] = "UC-",
	};
	__u64 single = TEST_RDMA_MMAP_PGOFF(TEST_RDMA_MMAP_WC + 0UL, 30) * PAGE;
	struct rdma_entry entry;
	char *addr, *other;
	unsigned int n;

#ifndef __x86_64__
	SKIP(return, "written for the page tables of x86-64");
#endif
	for (n = TEST_RDMA_MMAP_UC; n <= TEST_RDMA_MMAP_WB; n++) {
		ENTRY(&entry, 10 * n, 4, n, 0);
		MAP(addr, entry.offset, 4);
		EXPECT_PAGES(addr, 10 * n, 4, 0);
		EXPECT_TYPE(want[n], addr);
		EXPECT_TYPE(want[n], addr + 3 * PAGE);
		/* Rights change, the type stays. */
		ASSERT_EQ(0, mprotect(addr, PAGE, PROT_READ));
		EXPECT_EQ(0, touch(addr, 10 * n));
		EXPECT_TYPE(want[n], addr);
		/* Before the first touch as well. */
		MAP(addr, entry.offset, 4);
		ASSERT_EQ(0, mprotect(addr, 2 * PAGE, PROT_READ));
		EXPECT_PAGES(addr, 10 * n, 4, 0);
		EXPECT_TYPE(want[n], addr);
		EXPECT_TYPE(want[n], addr + 2 * PAGE);
	}

	/* The type is reserved: who maps the same page gets the same type. */
	MAP(addr, single, 1);
	EXPECT_EQ(0, touch(addr, 30));
	EXPECT_TYPE("WC", addr);
	MAP(other, TEST_RDMA_MMAP_PGOFF(0UL, 30) * PAGE, 1);
	EXPECT_EQ(0, touch(other, 30));
	EXPECT_TYPE("WC", other);
	/* As long as it is mapped. */
	ASSERT_EQ(0, munmap(addr, PAGE));
	ASSERT_EQ(0, munmap(other, PAGE));
	MAP(other, TEST_RDMA_MMAP_PGOFF(0UL, 30) * PAGE, 1);
	EXPECT_EQ(0, touch(other, 30));
	EXPECT_TYPE("UC-", other);

	/* Zeros are memory; without mmap_revoke they have the device's type. */
	ASSERT_EQ(0, rdma_gone(&self->dev, BY_DISASSOCIATE));
	EXPECT_TYPE("none", other);
	EXPECT_EQ(0, zero(other));
	EXPECT_TYPE(access(OBJECTS, F_OK) ? "UC-" : "WB", other);
}

/*
 * New: a page of the device goes to another process, while the first one still
 * maps it. A driver that only removes the entry leaves the first one there.
 */
TEST_F(rdma, handed_on)
{
	const __u32 secret = 0x5ec2e7;
	struct rdma_dev dev = self->dev;
	struct rdma_entry entry, next;
	struct proc second;
	char *addr, *theirs;
	__u32 val;
	int fd;

	ENTRY(&entry, 3, 1, TEST_RDMA_MMAP_UC, TEST_RDMA_MMAP_REVOKE);
	MAP(addr, entry.offset, 1);
	EXPECT_EQ(0, touch(addr, 3));
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));

	ASSERT_EQ(0, rdma_open(&dev));
	ASSERT_EQ(0, rdma_entry(&dev, &next, 3, 1, TEST_RDMA_MMAP_UC, 0));
	ASSERT_EQ(0, proc_start(&second));
	fd = proc_send_fd(&second, dev.fd);
	ASSERT_LE(0, fd);
	theirs = proc_map(&second, fd, next.offset, PAGE);
	ASSERT_NE(MAP_FAILED, theirs);
	ASSERT_EQ(0, proc_write32(&second, theirs, secret));

	ASSERT_EQ(0, mmio_read32(addr, &val));
	if (access(OBJECTS, F_OK) && val == secret) {
		EXPECT_EQ(0, mmio_write32(addr, 1));
		EXPECT_EQ(1, proc_zero(&second, theirs));
		EXPECT_EQ(0, proc_stop(&second));
		rdma_close(&dev);
		SKIP(return, "a page that was handed on is still mapped");
	}
	EXPECT_EQ(0, val);
	EXPECT_EQ(0, mmio_write32(addr, 1));
	EXPECT_EQ(secret, proc_zero(&second, theirs));
	EXPECT_EQ(0, proc_stop(&second));
	rdma_close(&dev);
}

/* Files for events outlive the file that they came with, and the device. */
TEST_F(rdma, async_outlives)
{
	bool new = !access(OBJECTS, F_OK);
	struct rdma_dev dev = self->dev;
	int async, before = count_lines(OBJECTS, "uverbs ");
	struct rdma_entry entry;
	char *addr;

	ASSERT_EQ(0, rdma_open_async(&dev, &async));
	ASSERT_EQ(0, rdma_entry(&dev, &entry, 0, 4, TEST_RDMA_MMAP_UC, 0));
	addr = rdma_map(&dev, entry.offset, 4 * PAGE);
	ASSERT_NE(MAP_FAILED, addr);
	rdma_close(&dev);
	/* The mapping has the file. */
	EXPECT_PAGES(addr, 0, 4, 0);
	EXPECT_EQ(0, FREED);
	ASSERT_EQ(0, munmap(addr, 4 * PAGE));
	EXPECT_EQ(1, FREED);
	if (new)
		EXPECT_EQ(before + 1, count_lines(OBJECTS, "uverbs "));
	rdma_close(&self->dev);
	ASSERT_EQ(0, rdma_gone(&self->dev, BY_UNBIND));
	if (new)
		EXPECT_EQ(before, count_lines(OBJECTS, "uverbs "));
	ASSERT_EQ(0, close(async));
	if (new)
		EXPECT_EQ(before - 1, count_lines(OBJECTS, "uverbs "));
	ASSERT_EQ(0, rdma_back(&self->dev, BY_UNBIND));
	EXPECT_EQ(0, rdma_open(&self->dev));
}

/* New: a driver takes one entry back at once. */
TEST_F(rdma, revoke_entry)
{
	struct rdma_entry entry, other;
	struct proc child;
	char *addr, *second;

	if (access(OBJECTS, F_OK))
		SKIP(return, "this kernel cannot revoke a single entry");
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, TEST_RDMA_MMAP_REVOKE);
	ENTRY(&other, 2, 4, TEST_RDMA_MMAP_UC, 0);
	MAP(addr, entry.offset, 4);
	MAP(second, other.offset, 4);
	EXPECT_PAGES(addr, 0, 4, 0);
	EXPECT_PAGES(second, 2, 4, 0);
	ASSERT_EQ(0, munmap(addr + PAGE, PAGE));
	ASSERT_EQ(0, proc_start(&child));
	EXPECT_EQ(0, proc_touch(&child, addr + 2 * PAGE, 2));

	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(1, FREED);
	EXPECT_EQ(0, zero(addr));
	EXPECT_EQ(2, count_zero(addr + 2 * PAGE, 2));
	EXPECT_EQ(0, proc_zero(&child, addr + 2 * PAGE));
	EXPECT_PAGES(second, 2, 4, 0);
	EXPECT_EQ(0, proc_touch(&child, second, 2));
	EXPECT_EQ(MAP_FAILED, rdma_map(&self->dev, entry.offset, 4 * PAGE));
	EXPECT_EQ(EINVAL, errno);

	/* Its offset is free again, for another, which the old VMAs are not. */
	ENTRY(&entry, 40, 4, TEST_RDMA_MMAP_UC, 0);
	EXPECT_EQ(0, zero(addr));
	MAP(second, entry.offset, 4);
	EXPECT_PAGES(second, 40, 4, 0);
	EXPECT_EQ(0, zero(addr));
	EXPECT_EQ(0, proc_stop(&child));
}

/* New: a private mapping that cannot be written, neither now nor later. */
TEST_F(rdma, private_read_only)
{
	char *addr;

	addr = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self->dev.fd,
		    TEST_RDMA_MMAP_PGOFF(0UL, 0) * PAGE);
	if (access(OBJECTS, F_OK)) {
		EXPECT_EQ(MAP_FAILED, addr);
		SKIP(return, "this kernel refuses private mappings");
	}
	ASSERT_NE(MAP_FAILED, addr);
	EXPECT_PAGES(addr, 0, 1, 0);
	EXPECT_EQ(-1, mprotect(addr, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	ASSERT_EQ(0, rdma_gone(&self->dev, BY_DISASSOCIATE));
	EXPECT_EQ(0, zero(addr));
	ASSERT_EQ(0, munmap(addr, PAGE));
}

/* New: the mappings of a revoked entry are gone, its dma-buf keeps the rest. */
TEST_F(rdma, revoke_entry_with_dmabuf)
{
	struct rdma_entry entry;
	char *addr;
	int fd;

	if (access(OBJECTS, F_OK))
		SKIP(return, "this kernel cannot revoke a single entry");
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, TEST_RDMA_MMAP_REVOKE);
	MAP(addr, entry.offset, 4);
	EXPECT_PAGES(addr, 0, 4, 0);
	fd = rdma_dmabuf(&self->dev, &entry);
	if (fd == -EOPNOTSUPP)
		SKIP(return, "no CONFIG_PCI_P2PDMA");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(4, count_zero(addr, 4));
	EXPECT_EQ(0, FREED);
	EXPECT_EQ(-EINVAL, rdma_dmabuf(&self->dev, &entry));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(1, FREED);
}

/*
 * A process that sits on its mmap_lock, here in a mmap() of another device that
 * takes long, does not delay that its mappings go. Without mmap_revoke it does.
 */
TEST_F(rdma, mmap_lock)
{
	static const enum rdma_how hows[] = { BY_DISASSOCIATE, BY_UNBIND };
	bool new = !access(OBJECTS, F_OK);
	struct rdma_entry entry;
	struct rdma_dev other;
	char bdf[16], *addr;
	int i, status;
	pid_t pid;

	if (vfio_find(ID_IVSHMEM, 0, bdf) || !strcmp(bdf, self->dev.bdf))
		SKIP(return, "needs two ivshmem-plain devices");
	ASSERT_EQ(0, rdma_bind(&other, bdf));
	ASSERT_EQ(0, rdma_open(&other));
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	for (i = 0; i < 2; i++) {
		MAP(addr, entry.offset, 4);
		EXPECT_PAGES(addr, 0, 4, 0);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			rdma_map(&other,
				 TEST_RDMA_MMAP_PGOFF(TEST_RDMA_MMAP_WAIT + 0UL,
						      new ? 300000 : 2000) *
				 PAGE, PAGE);
			_exit(errno != EINTR);
		}
		while (!rdma_count("waiting"))
			usleep(1000);
		ASSERT_EQ(0, rdma_gone(&self->dev, hows[i]));
		EXPECT_EQ(new, rdma_count("waiting"));
		EXPECT_EQ(4, count_zero(addr, 4));
		if (new)
			kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(new ? SIGKILL : 0, status);
	}
	EXPECT_EQ(1, FREED);
	rdma_close(&other);
	rdma_close(&self->dev);
	ASSERT_EQ(0, rdma_back(&self->dev, BY_UNBIND));
}

/* Allocations of one disassociation, or a negative errno. */
static long allocations(struct rdma_dev *dev)
{
	const long many = 1000000;
	int fd = fail_open();
	long n, left;

	if (fd < 0)
		return fd;
	n = fail_nth(fd, many) ?: rdma_gone(dev, BY_DISASSOCIATE);
	left = fail_left(fd);
	close(fd);
	return n ?: many - left;
}

/*
 * Not an allocation for each mapping, nor for each VMA. Kernels that check
 * themselves may do some.
 */
TEST_F(rdma, allocations)
{
	const int maps = 200;
	struct rdma_entry entry;
	char *addr;
	long few;
	int n;

	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	MAP(addr, entry.offset, 4);
	EXPECT_PAGES(addr, 0, 4, 0);
	few = allocations(&self->dev);
	if (few == -ENOENT)
		SKIP(return, "no failslab");
	ASSERT_LT(0, few);
	for (n = 0; n < maps; n++) {
		MAP(addr, entry.offset, 4);
		EXPECT_PAGES(addr, 0, 4, 0);
		ASSERT_EQ(0, munmap(addr + PAGE, PAGE));
	}
	EXPECT_GT(few + maps / 2, allocations(&self->dev));
	EXPECT_EQ(0, zero(addr));
}

/*
 * Whatever allocation of a fork or a split fails: it works all the same and
 * the device is there, or it is refused.
 */
TEST_F_TIMEOUT(rdma, children_without_memory, 120)
{
	int fd = fail_open(), n, status, worked = 0, failed = 0, lost = 0;
	struct rdma_entry entry;
	long left;
	char *addr;
	pid_t pid;

	if (fd < 0)
		SKIP(return, "no failslab");
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	MAP(addr, entry.offset, 4);
	EXPECT_PAGES(addr, 0, 4, 0);
	for (n = 1, left = 0; !left; n++) {
		ASSERT_EQ(0, fail_nth(fd, n));
		pid = fork();
		if (!pid)
			_exit(touch(addr, 0) || touch(addr + 3 * PAGE, 3));
		left = fail_left(fd);
		ASSERT_LE(0, left);
		if (pid < 0) {
			failed++;
			continue;
		}
		worked++;
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		lost += !!status;
	}
	EXPECT_LT(0, failed);
	EXPECT_LT(0, worked);
	for (n = 1, left = 0; !left; n++) {
		MAP(addr, entry.offset, 4);
		EXPECT_PAGES(addr, 0, 4, 0);
		ASSERT_EQ(0, fail_nth(fd, n));
		status = munmap(addr + PAGE, PAGE);
		left = fail_left(fd);
		ASSERT_LE(0, left);
		lost += touch(addr, 0) || touch(addr + 3 * PAGE, 3);
		failed += !!status;
		ASSERT_EQ(0, munmap(addr, 4 * PAGE));
	}
	close(fd);
	if (access(OBJECTS, F_OK) && lost)
		SKIP(return, "without mmap_revoke %d children and pieces lost the device",
		     lost);
	EXPECT_EQ(0, lost);
}

/* New: what is forked or split after the device went is no worse than before */
TEST_F(rdma, later_children)
{
	struct rdma_entry entry;
	struct proc child;
	char *addr;

	if (access(OBJECTS, F_OK))
		SKIP(return, "SIGBUS on kernels without mmap_revoke");
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	MAP(addr, entry.offset, 4);
	EXPECT_PAGES(addr, 0, 4, 0);
	ASSERT_EQ(0, rdma_gone(&self->dev, BY_DISASSOCIATE));
	ASSERT_EQ(0, munmap(addr + PAGE, PAGE));
	EXPECT_EQ(0, zero(addr));
	EXPECT_EQ(2, count_zero(addr + 2 * PAGE, 2));
	ASSERT_EQ(0, proc_start(&child));
	EXPECT_EQ(0, proc_zero(&child, addr));
	EXPECT_EQ(0, proc_zero(&child, addr + 3 * PAGE));
	EXPECT_EQ(0, proc_stop(&child));
}

/* Queues in kernel memory outlive the device that shared them. */
FIXTURE(rdma_soft) {
	struct rdma_dev dev;
};

FIXTURE_VARIANT(rdma_soft) {
	const char *type;
	bool waits;		/* cannot be disassociated: waits for users */
};

FIXTURE_VARIANT_ADD(rdma_soft, rxe) { .type = "rxe" };

FIXTURE_VARIANT_ADD(rdma_soft, siw) { .type = "siw", .waits = true };

FIXTURE_SETUP(rdma_soft)
{
	int ret = rdma_soft_new(&self->dev, variant->type);

	if (ret == -ENODEV || ret == -EINVAL)
		SKIP(return, "no dummy network device, or no %s",
		     variant->type);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, rdma_open(&self->dev));
}

FIXTURE_TEARDOWN(rdma_soft)
{
	rdma_close(&self->dev);
}

static void *soft_delete(void *arg)
{
	int *ret = arg;

	*ret = rdma_soft_delete();
	return NULL;
}

TEST_F_TIMEOUT(rdma_soft, outlived, 120)
{
	pthread_t thread;
	int ret = -1;
	struct rdma_queue queue[3];
	struct proc child;
	__u32 val, *last[3];
	char *addr[3];
	int n;

	ASSERT_EQ(0, rdma_soft_queues(&self->dev, queue));
	for (n = 0; n < 3; n++) {
		queue[n].size = (queue[n].size + PAGE - 1) & ~(PAGE - 1);
		ASSERT_LT(0, queue[n].size);
		MAP(addr[n], queue[n].offset, queue[n].size / PAGE);
		/* A word that the driver does not use before there is work. */
		last[n] = (__u32 *)(addr[n] + queue[n].size) - 1;
		EXPECT_EQ(0, mmio_write32(last[n], 0x600d0000 + n));
	}
	ASSERT_EQ(0, proc_start(&child));

	ASSERT_EQ(0, pthread_create(&thread, NULL, soft_delete, &ret));
	if (variant->waits)
		sleep(1);
	else
		pthread_join(thread, NULL);
	for (n = 0; n < 3; n++) {
		EXPECT_EQ(0, mmio_read32(last[n], &val));
		EXPECT_EQ(0x600d0000 + n, val);
		EXPECT_EQ(0, mmio_read32(addr[n], &val));
		EXPECT_EQ(0, proc_read32(&child, last[n], &val));
		EXPECT_EQ(0x600d0000 + n, val);
		EXPECT_EQ(0, proc_write32(&child, last[n], 1));
		EXPECT_EQ(1, zero(last[n]));
		if (!variant->waits) {
			EXPECT_EQ(MAP_FAILED,
				  rdma_map(&self->dev, queue[n].offset,
					   queue[n].size));
			EXPECT_EQ(EIO, errno);
		}
		ASSERT_EQ(0, munmap(addr[n], queue[n].size));
	}
	EXPECT_EQ(0, proc_stop(&child));
	rdma_close(&self->dev);
	if (variant->waits)
		pthread_join(thread, NULL);
	EXPECT_EQ(0, ret);
}

TEST_HARNESS_MAIN
