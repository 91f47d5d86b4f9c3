/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the RDMA tests share: the device of lib/test_rdma_mmap.c, open, its
 * pages told apart by a word.
 */
#ifndef MMAP_REVOKE_RDMA_TEST_H
#define MMAP_REVOKE_RDMA_TEST_H

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
static inline int zero(const void *addr)
{
	__u32 val;
	int sig = mmio_read32(addr, &val);

	return sig ?: (int)val;
}

static inline size_t count_zero(const char *addr, size_t pages)
{
	size_t i, hits = 0;

	for (i = 0; i < pages; i++)
		hits += !zero(addr + i * PAGE);
	return hits;
}

static inline int proc_zero(struct proc *p, void *addr)
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

#endif
