// SPDX-License-Identifier: GPL-2.0
/*
 * The user's mapping of a BAR goes first, or becomes another, while a DMA
 * mapping of it stands. As with memory that is pinned, the DMA mapping stays
 * what it was: it goes and comes back with the device, and ends with it.
 */
#include "dma_test.h"

/* What a word of the memory is that takes the place of the BAR. */
#define NEW_WORD	0x6e657721u

static int map_memory(void *addr, size_t size)
{
	void *map = mmap(addr, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (map == MAP_FAILED)
		return -errno;
	*(__u32 *)map = NEW_WORD;
	return 0;
}

/* B reaches page @n of A, also after A's memory was away for a while. */
#define EXPECT_STAYS(n)							\
do {									\
	size_t __page = (n);						\
									\
	EXPECT_TRUE(reads(self, IOVA, __page));				\
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));		\
	if (self->revokes)						\
		EXPECT_TRUE(blocked(self, IOVA + __page * PAGE));	\
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));		\
	EXPECT_TRUE(reads(self, IOVA, __page));				\
} while (0)

/* A was closed, and what is mapped at its old address does not matter. */
#define EXPECT_ENDS(n)							\
do {									\
	close(self->a.fd);						\
	EXPECT_BLOCKED(IOVA, n);					\
	EXPECT_EQ(self->bar.size, dma_unmap(self->container, IOVA,	\
					    self->bar.size, 0));	\
} while (0)

TEST_F_TIMEOUT(dma, vma_unmapped, 120)
{
	MAP_A();
	ASSERT_EQ(0, munmap(self->map, self->bar.size));
	EXPECT_STAYS(3);
	EXPECT_EQ(-EFAULT, dma_map(self->container, self->map, OTHER_IOVA, PAGE,
				   DMA_RW));
	EXPECT_ENDS(3);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

TEST_F_TIMEOUT(dma, vma_replaced, 120)
{
	MAP_A();
	ASSERT_EQ(0, map_memory(self->map, self->bar.size));
	EXPECT_STAYS(0);
	/* What is mapped from now on is the memory. */
	ASSERT_EQ(0, dma_map(self->container, self->map, OTHER_IOVA, PAGE,
			     DMA_RW));
	EXPECT_EQ(NEW_WORD, peek(self, OTHER_IOVA));
	EXPECT_EQ(NEW_WORD, *(__u32 *)self->map);
	EXPECT_ENDS(0);
	EXPECT_EQ(NEW_WORD, peek(self, OTHER_IOVA));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

struct late {
	int container;
	char *map;
	size_t size;
	int ret;
};

static void *map_late(void *arg)
{
	struct late *late = arg;

	late->ret = dma_map(late->container, late->map, OTHER_IOVA, late->size,
			    DMA_RW);
	return NULL;
}

/* While memory is pinned, its last page becomes A's: that cannot be pinned. */
TEST_F_TIMEOUT(dma, vma_replaced_late, 120)
{
	struct late late = { .container = self->container, .size = MB(64) };
	const size_t last = MB(64) - PAGE;
	unsigned char pinned = 0;
	pthread_t thread;
	int tries;
	void *map;

	if (is_iommufd(self))
		SKIP(return, "iommufd: it pins nothing of a VM_PFNMAP VMA");
	for (tries = 0; !tries || (self->revokes && !late.ret && tries < 20);
	     tries++) {
		if (tries)
			ASSERT_EQ(late.size, dma_unmap(late.container,
						       OTHER_IOVA, late.size,
						       0));
		late.map = mmap(late.map, late.size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS |
				(tries ? MAP_FIXED : 0), -1, 0);
		ASSERT_NE(MAP_FAILED, late.map);
		madvise(late.map, late.size, MADV_NOHUGEPAGE);
		ASSERT_EQ(0, pthread_create(&thread, NULL, map_late, &late));
		do {
			ASSERT_EQ(0, mincore(late.map, PAGE, &pinned));
		} while (!(pinned & 1));
		map = mmap(late.map + last, PAGE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_FIXED, self->a.fd,
			   self->bar.offset);
		ASSERT_EQ(0, pthread_join(thread, NULL));
		ASSERT_EQ(late.map + last, map);
	}
	EXPECT_EQ(self->revokes ? -EFAULT : 0, late.ret);
	if (!self->revokes)
		SKIP(return, "%s", hole);
	EXPECT_TRUE(blocked(self, OTHER_IOVA));
	EXPECT_TRUE(blocked(self, OTHER_IOVA + last));
	/* It is mapped by who knows from the start. */
	ASSERT_EQ(0, dma_map(late.container, late.map, OTHER_IOVA, late.size,
			     DMA_RW));
	EXPECT_EQ(WORD(0), peek(self, OTHER_IOVA + last));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	EXPECT_TRUE(blocked(self, OTHER_IOVA + last));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_EQ(WORD(0), peek(self, OTHER_IOVA + last));
}

TEST_F_TIMEOUT(dma, vma_moved, 120)
{
	char *to = mmap(NULL, self->bar.size, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, to);
	MAP_A();
	ASSERT_EQ(to, mremap(self->map, self->bar.size, self->bar.size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	ASSERT_EQ(0, map_memory(self->map, PAGE));
	EXPECT_STAYS(0);
	EXPECT_EQ(0, touch(to, 0));
	ASSERT_EQ(0, munmap(to, self->bar.size));
	EXPECT_ENDS(0);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* A part of it goes, another becomes memory. */
TEST_F_TIMEOUT(dma, vma_split, 120)
{
	MAP_A();
	ASSERT_EQ(0, munmap(self->map + 4 * PAGE, 4 * PAGE));
	ASSERT_EQ(0, map_memory(self->map + 6 * PAGE, PAGE));
	EXPECT_STAYS(5);
	EXPECT_TRUE(reads(self, IOVA, 3));
	EXPECT_TRUE(reads(self, IOVA, 6));
	EXPECT_TRUE(reads(self, IOVA, 8));
	EXPECT_EQ(0, touch(self->map + 8 * PAGE, 8));
	ASSERT_EQ(0, munmap(self->map, self->bar.size));
	EXPECT_ENDS(6);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* Rights are those that the user had when it mapped for DMA. */
TEST_F_TIMEOUT(dma, vma_read_only, 120)
{
	MAP_A();
	ASSERT_EQ(0, mprotect(self->map, self->bar.size, PROT_READ));
	EXPECT_EQ(0, poke(self, IOVA + 2 * PAGE, 0x1111));
	EXPECT_EQ(0x1111, peek(self, IOVA + 2 * PAGE));
	EXPECT_STAYS(1);
	EXPECT_EQ(0, poke(self, IOVA + 2 * PAGE, WORD(2)));
	EXPECT_EQ(0, touch(self->map + 2 * PAGE, 2));
	EXPECT_EQ(-EFAULT, dma_map(self->container, self->map, OTHER_IOVA, PAGE,
				   DMA_RW));
	ASSERT_EQ(0, munmap(self->map, self->bar.size));
	EXPECT_ENDS(1);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

TEST_HARNESS_MAIN
