// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory that RDMA drivers map, when the device goes: on the device of
 * lib/test_rdma_mmap.c, through the uverbs ABI. All but the tests of what is
 * new pass on kernels without mmap_revoke.
 */
#include <stdio.h>
#include <sys/prctl.h>

#define NO_FIXTURE_MR
#include "mr_test.h"
#include "rdma_util.h"

FIXTURE(rdma) {
	struct rdma_dev dev;
	int created, freed;
};

/* Of two ivshmem devices, the one that the vfio tests use least. */
FIXTURE_SETUP(rdma)
{
	struct rdma_entry all;
	char bdf[16], *map;
	size_t n, pages = 64;
	int ret;

	if (vfio_find(ID_IVSHMEM, 1, bdf) && vfio_find(ID_IVSHMEM, 0, bdf))
		SKIP(return, "no ivshmem-plain device");
	ret = rdma_bind(&self->dev, bdf);
	if (ret == -ENOENT)
		SKIP(return, "no module test_rdma_mmap");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, rdma_open(&self->dev));
	ASSERT_EQ(0, rdma_entry(&self->dev, &all, 0, pages, TEST_RDMA_MMAP_UC,
				0));
	map = rdma_map(&self->dev, all.offset, pages * PAGE);
	ASSERT_NE(MAP_FAILED, map);
	for (n = 0; n < pages; n++)
		ASSERT_EQ(0, mmio_write32(map + n * PAGE, WORD(n)));
	ASSERT_EQ(0, munmap(map, pages * PAGE));
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &all));
	self->created = rdma_count("created");
	self->freed = rdma_count("freed");
	ASSERT_EQ(self->created, self->freed);
}

FIXTURE_TEARDOWN(rdma)
{
	rdma_close(&self->dev);
}

/* 0, the signal, or what is there instead of zero. */
static int zero(const void *addr)
{
	__u32 val;
	int sig = mmio_read32(addr, &val);

	return sig ?: (int)val;
}

static size_t count_zero(const char *addr, size_t pages)
{
	size_t i, hits = 0;

	for (i = 0; i < pages; i++)
		hits += !zero(addr + i * PAGE);
	return hits;
}

static int proc_zero(struct proc *p, void *addr)
{
	__u32 val;
	int sig = proc_read32(p, addr, &val);

	return sig ?: (int)val;
}

#define MAP(addr, offset, pages)					\
	ASSERT_NE(MAP_FAILED, (addr) = rdma_map(&self->dev, offset,	\
						(pages) * PAGE))

/* Entries since the test began. */
#define CREATED	(rdma_count("created") - self->created)
#define FREED	(rdma_count("freed") - self->freed)

#define ENTRY(entry, page, pages, type, flags)				\
	ASSERT_EQ(0, rdma_entry(&self->dev, entry, page, pages, type, flags))

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

/*
 * Threads map, touch, fork and unmap while the device takes its memory back
 * again and again. An access that begins after that is over reads zeros where
 * the mapping is older, and never a signal.
 */
struct storm {
	struct rdma_dev *dev;
	__u64 offset;
	__u32 epoch;		/* disassociations that have returned */
	__u32 stop;
	__u64 device, zeros, old, wrong;
};

static void storm_count(__u64 *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static __u32 storm_epoch(struct storm *s)
{
	return __atomic_load_n(&s->epoch, __ATOMIC_SEQ_CST);
}

static void *storm_thread(void *arg)
{
	struct storm *s = arg;
	__u32 first, now, val;
	char *addr;
	int n;

	while (!__atomic_load_n(&s->stop, __ATOMIC_SEQ_CST)) {
		addr = rdma_map(s->dev, s->offset, 4 * PAGE);
		if (addr == MAP_FAILED) {
			/* One is under way, which keeps new mappings out. */
			if (errno != EIO)
				storm_count(&s->wrong);
			continue;
		}
		first = storm_epoch(s);
		for (n = 0; n < 16; n++) {
			now = storm_epoch(s);
			if (mmio_read32(addr + n % 4 * PAGE, &val) ||
			    (val && val != WORD(n % 4)))
				storm_count(&s->wrong);
			storm_count(val ? &s->device : &s->zeros);
			/*
			 * The first to return may have begun before the
			 * mapping was made, the second has not.
			 */
			if (now - first >= 2)
				storm_count(val ? &s->wrong : &s->old);
			if (n == 12 && first % 4 == 0)
				while (storm_epoch(s) - first < 2 &&
				       !__atomic_load_n(&s->stop,
							__ATOMIC_SEQ_CST))
					sched_yield();
		}
		munmap(addr, 4 * PAGE);
	}
	return NULL;
}

TEST_F_TIMEOUT(rdma, storm, 120)
{
	struct rdma_entry entry;
	struct storm s = { .dev = &self->dev };
	pthread_t thread[3];
	struct proc child;
	char *addr = NULL;
	int n;

	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	s.offset = entry.offset;
	for (n = 0; n < 3; n++)
		ASSERT_EQ(0, pthread_create(&thread[n], NULL, storm_thread,
					    &s));
	for (n = 0; n < rounds(200); n++) {
		if (n % 16 == 0) {
			MAP(addr, s.offset, 4);
			EXPECT_EQ(0, touch(addr, 0));
			ASSERT_EQ(0, proc_start(&child));
			EXPECT_EQ(0, proc_touch(&child, addr, 0));
		}
		ASSERT_EQ(0, rdma_gone(&self->dev, BY_DISASSOCIATE));
		__atomic_add_fetch(&s.epoch, 1, __ATOMIC_SEQ_CST);
		if (n % 16 == 0) {
			EXPECT_EQ(0, proc_zero(&child, addr));
			EXPECT_EQ(0, zero(addr));
			ASSERT_EQ(0, proc_stop(&child));
			ASSERT_EQ(0, munmap(addr, 4 * PAGE));
		}
		usleep(n % 5 * 1000);
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_SEQ_CST);
	for (n = 0; n < 3; n++)
		pthread_join(thread[n], NULL);
	EXPECT_EQ(0, s.wrong);
	EXPECT_LT(10, s.device);
	EXPECT_LT(10, s.zeros);
	EXPECT_LT(10, s.old);
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(1, FREED);
}

/*
 * A mmap() while the device takes its memory back or goes. Whatever came first:
 * after the next time, or after it went, there are zeros. Nobody else maps the
 * entry, so that what the first time missed is not found by accident.
 */
struct mapper {
	struct racer racer;
	struct rdma_dev *dev;
	__u64 offset;
	char *addr;
};

static void map_entry(struct racer *racer)
{
	struct mapper *m = (struct mapper *)racer;

	m->addr = rdma_map(m->dev, m->offset, 4 * PAGE);
}

TEST_F_TIMEOUT(rdma, mmap_races_gone, 120)
{
	struct mapper m = { .racer.fn = map_entry, .dev = &self->dev };
	int n, mapped[2] = {}, refused[2] = {};
	struct rdma_entry entry;

	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	m.offset = entry.offset;
	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(0, munmap(m.addr, 4 * PAGE));
	for (n = 0; n < rounds(500); n++) {
		bool goes = n % 50 == 49;

		racer_go(&m.racer, n % 17 * m.racer.ns / 8);
		ASSERT_EQ(0, rdma_gone(&self->dev,
				       goes ? BY_UNBIND : BY_DISASSOCIATE));
		racer_join(&m.racer);
		if (m.addr == MAP_FAILED) {
			refused[goes]++;
		} else {
			mapped[goes]++;
			if (!goes)
				ASSERT_EQ(0, rdma_gone(&self->dev,
						       BY_DISASSOCIATE));
			EXPECT_EQ(4, count_zero(m.addr, 4));
			ASSERT_EQ(0, munmap(m.addr, 4 * PAGE));
		}
		if (goes) {
			rdma_close(&self->dev);
			ASSERT_EQ(0, rdma_back(&self->dev, BY_UNBIND));
			ASSERT_EQ(0, rdma_open(&self->dev));
			ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
			m.offset = entry.offset;
		}
	}
	racer_stop(&m.racer);
	printf("# disassociated: %d mapped, %d refused; unbound: %d mapped, %d refused\n",
	       mapped[0], refused[0], mapped[1], refused[1]);
	EXPECT_LT(0, mapped[0]);
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(CREATED, FREED);
}

/* Maps, forks and unmaps until the device is gone, and then some. */
struct load {
	struct rdma_dev *dev;
	__u64 offset;
	__u32 stop;
	__u32 mapped, refused, wrong;
	__u32 lost;		/* children without device and zeros */
};

static void load_wait(__u32 *counter)
{
	while (!__atomic_load_n(counter, __ATOMIC_SEQ_CST))
		usleep(1000);
}

static __u32 load_count(__u32 *counter)
{
	return __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}

static void *load_thread(void *arg)
{
	struct load *l = arg;
	int status;
	__u32 val;
	pid_t pid;
	char *addr;

	while (!__atomic_load_n(&l->stop, __ATOMIC_SEQ_CST)) {
		addr = rdma_map(l->dev, l->offset, 4 * PAGE);
		if (addr == MAP_FAILED) {
			l->wrong += errno != EIO;
			load_count(&l->refused);
			usleep(1000);
			continue;
		}
		if (mmio_read32(addr, &val) || (val && val != WORD(0)))
			l->wrong++;
		if (load_count(&l->mapped) % 8 == 0) {
			pid = fork();
			if (!pid)
				_exit(mmio_read32(addr, &val) ||
				      munmap(addr + PAGE, PAGE));
			if (pid < 0 || waitpid(pid, &status, 0) != pid)
				l->wrong++;
			else if (status)
				l->lost++;
		}
		munmap(addr + PAGE, PAGE);
		munmap(addr, 4 * PAGE);
	}
	return NULL;
}

/*
 * Processes hammer their mappings, threads make and end them, while the driver
 * goes: no signal, and no entry is freed late or twice.
 */
TEST_F_TIMEOUT(rdma, gone_under_load, 120)
{
	static const enum rdma_how hows[] = { BY_UNBIND, BY_MODULE };
	struct race *race = race_alloc();
	struct rdma_entry entry;
	pthread_t thread[2];
	struct load load[2];
	struct proc p[3];
	int i, n, lost = 0;
	char *addr;
	__u32 val;

	ASSERT_NE(NULL, race);
	for (i = 0; i < 2; i++) {
		race_reset(race);
		ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
		MAP(addr, entry.offset, 4);
		EXPECT_PAGES(addr, 0, 4, 0);
		for (n = 0; n < 3; n++) {
			ASSERT_EQ(0, proc_start(&p[n]));
			ASSERT_EQ(0, proc_hammer(&p[n], race, n,
						 addr + n * PAGE, WORD(n)));
		}
		for (n = 0; n < 2; n++) {
			load[n] = (struct load){
				.dev = &self->dev, .offset = entry.offset,
			};
			ASSERT_EQ(0, pthread_create(&thread[n], NULL,
						    load_thread, &load[n]));
		}
		ASSERT_TRUE(race_wait_ok(race, 3));
		for (n = 0; n < 2; n++)
			load_wait(&load[n].mapped);
		ASSERT_EQ(0, rdma_gone(&self->dev, hows[i]));
		if (hows[i] == BY_UNBIND)
			EXPECT_EQ(1, FREED);
		for (n = 0; n < 3; n++) {
			ASSERT_EQ(0, proc_calm(&p[n]));
			EXPECT_EQ(0, proc_read32(&p[n], addr + n * PAGE, &val));
			EXPECT_EQ(0, val);
			EXPECT_EQ(0, race->seen[n].fault);
			EXPECT_LT(0, race->seen[n].ok);
			EXPECT_EQ(0, proc_stop(&p[n]));
		}
		for (n = 0; n < 2; n++) {
			load_wait(&load[n].refused);
			__atomic_store_n(&load[n].stop, 1, __ATOMIC_SEQ_CST);
			pthread_join(thread[n], NULL);
			EXPECT_EQ(0, load[n].wrong);
			lost += load[n].lost;
		}
		if (hows[i] == BY_UNBIND)
			EXPECT_EQ(1, FREED);
		ASSERT_EQ(0, munmap(addr, 4 * PAGE));
		rdma_close(&self->dev);
		ASSERT_EQ(0, rdma_back(&self->dev, hows[i]));
		ASSERT_EQ(0, rdma_open(&self->dev));
	}
	if (access(OBJECTS, F_OK) && lost)
		SKIP(return, "without mmap_revoke %d children lost the device",
		     lost);
	EXPECT_EQ(0, lost);
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
