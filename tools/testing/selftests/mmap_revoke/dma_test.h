/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the DMA tests share. Device B (edu, whose DMA engine reads and writes
 * where it is told) is in one container with device A (ivshmem-plain), whose
 * memory it reaches, or not. The container is that of vfio_iommu_type1, or
 * iommufd in its place.
 */
#ifndef MMAP_REVOKE_DMA_TEST_H
#define MMAP_REVOKE_DMA_TEST_H

#define NO_FIXTURE_MR
#include "mr_test.h"

#define TYPE1_PARAM(name) "/sys/module/vfio_iommu_type1/parameters/" name
#define PARAM		TYPE1_PARAM("allow_unsafe_pfnmap")
#define RAM_PAGES	16
#define RAM_IOVA	0x100000UL
#define IOVA		0x4000000UL	/* of A's memory */
#define OTHER_IOVA	0xa000000UL
#define RAM_WORD(n)	(0x4a4d0000u + (__u32)(n))

static const char hole[] =
	"on this kernel DMA reaches memory that was taken away";

FIXTURE(dma) {
	struct vfio_dev a;
	struct edu b;
	struct vfio_region_info bar;
	char bdf[16];		/* of A */
	char *map;		/* A's memory */
	char *ram;
	int container;
	int fresh;		/* for another container of its kind */
	bool revokes;		/* the kernel does */
};

FIXTURE_VARIANT(dma) {
	int fresh;
};

FIXTURE_VARIANT_ADD(dma, type1) {
	.fresh = VFIO_NEW_TYPE1,
};

FIXTURE_VARIANT_ADD(dma, iommufd) {
	.fresh = VFIO_NEW_IOMMUFD,
};

static inline int open_a(struct vfio_dev *a, struct vfio_region_info *bar,
			 char **map, const char *bdf, int container)
{
	int ret;

	ret = vfio_open_in(a, bdf, container);
	if (ret)
		return ret;
	ret = vfio_region(a, BAR2, bar);
	if (!ret) {
		*map = vfio_map(a->fd, bar->offset, bar->size, MB(2));
		ret = *map == MAP_FAILED ? -errno : 0;
	}
	return ret;
}

FIXTURE_SETUP(dma)
{
	char edu[16];
	size_t n;

	if (vfio_find(ID_IVSHMEM, 0, self->bdf) || vfio_find(ID_EDU, 0, edu) ||
	    vfio_bind(self->bdf) || vfio_bind(edu))
		SKIP(return, "no ivshmem-plain and edu devices");
	self->revokes = !access(PARAM, F_OK);
	self->fresh = variant->fresh;
	ASSERT_EQ(0, open_a(&self->a, &self->bar, &self->map, self->bdf,
			    self->fresh));
	self->container = self->a.iommu;
	if (self->fresh == VFIO_NEW_IOMMUFD) {
		if (dma_map(self->container, self->map, IOVA, PAGE, DMA_RW) ==
		    -EFAULT)
			SKIP(return, "iommufd: no device memory on this kernel");
		ASSERT_EQ(PAGE, dma_unmap(self->container, IOVA, PAGE, 0));
	}
	ASSERT_EQ(0, edu_open(&self->b, edu, self->container));
	for (n = 0; n < self->bar.size / PAGE; n++)
		ASSERT_EQ(0, mmio_write32(self->map + n * PAGE, WORD(n)));
	self->ram = mmap(NULL, RAM_PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->ram);
	ASSERT_EQ(0, dma_map(self->container, self->ram, RAM_IOVA,
			     RAM_PAGES * PAGE, DMA_RW));
}

FIXTURE_TEARDOWN(dma)
{
}

static inline bool is_iommufd(const struct _test_data_dma *self)
{
	return self->fresh == VFIO_NEW_IOMMUFD;
}

static inline void ram_write(struct _test_data_dma *self, size_t off, __u32 val)
{
	__atomic_store_n((__u32 *)(self->ram + off), val, __ATOMIC_SEQ_CST);
}

/* What B reads at @iova; the first word of @ram is the bounce buffer. */
static inline __u32 peek(struct _test_data_dma *self, __u64 iova)
{
	ram_write(self, 0, 0xdead);
	if (edu_read32(&self->b, iova, RAM_IOVA))
		return 0xbad;
	return __atomic_load_n((__u32 *)self->ram, __ATOMIC_SEQ_CST);
}

/*
 * The words that B's slots have, of @nr loads: loading one takes half as long
 * as peek(), and looking at many takes no longer than at one.
 */
static inline const __u32 *slots(struct _test_data_dma *self, unsigned int nr)
{
	unsigned int n;

	for (n = 0; n < nr; n++)
		ram_write(self, 4 * n, 0xdead);
	if (nr)
		edu_store(&self->b, RAM_IOVA, 0, nr);
	return (const __u32 *)self->ram;
}

static inline int poke(struct _test_data_dma *self, __u64 iova, __u32 val)
{
	ram_write(self, 0, val);
	return edu_write32(&self->b, iova, RAM_IOVA);
}

static inline bool reads(struct _test_data_dma *self, __u64 iova, size_t n)
{
	return peek(self, iova + n * PAGE) == WORD(n);
}

static inline bool blocked(struct _test_data_dma *self, __u64 iova)
{
	return edu_is_blocked(&self->b, iova, RAM_IOVA, false);
}

/* Does B read page @n (*@found), is it blocked? One access can show both. */
static inline bool reads_or_blocked(struct _test_data_dma *self, __u64 iova,
				    size_t n, bool *found)
{
	int kmsg = kmsg_open();
	bool told;

	*found = reads(self, iova, n);
	told = self->revokes &&
	       edu_was_blocked(&self->b, kmsg, iova + n * PAGE);
	close(kmsg);
	return told || (self->revokes && blocked(self, iova + n * PAGE));
}

/*
 * Page @n of A's memory, mapped at @iova, is out of reach; or it is not, and
 * the kernel is one of those.
 */
#define EXPECT_BLOCKED(iova, n)						\
do {									\
	__u64 __iova = (iova);						\
	size_t __n = (n);						\
	bool __found, __blocked;					\
									\
	__blocked = reads_or_blocked(self, __iova, __n, &__found);	\
	EXPECT_NE(self->revokes, __found);				\
	if (self->revokes)						\
		EXPECT_TRUE(__blocked);					\
} while (0)

#define MAP_A()								\
	ASSERT_EQ(0, dma_map(self->container, self->map, IOVA,		\
			     self->bar.size, DMA_RW))

static inline void close_a(struct _test_data_dma *self)
{
	munmap(self->map, self->bar.size);
	close(self->a.fd);
	self->a.fd = -1;
}

/*
 * One DMA range over memory, device memory in VMAs of its own, and memory
 * again, twice; page @n of it reads as mixed_word(n).
 */
#define MIXED_PAGES	8
#define MIXED_PAIR	2	/* A's pages 12 and 13 */
#define MIXED_SINGLE	6	/* A's page 40 */

static inline __u32 mixed_word(size_t n)
{
	return n == MIXED_SINGLE ? WORD(40) :
	       n / 2 * 2 == MIXED_PAIR ? WORD(12 + n - MIXED_PAIR) : RAM_WORD(n);
}

static inline char *mixed_map(struct _test_data_dma *self)
{
	char *map = mmap(NULL, MIXED_PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	size_t n;

	if (map == MAP_FAILED)
		return map;
	for (n = 0; n < MIXED_PAGES; n++)
		*(__u32 *)(map + n * PAGE) = RAM_WORD(n);
	if (mmap(map + MIXED_PAIR * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, self->a.fd,
		 self->bar.offset + 12 * PAGE) == MAP_FAILED ||
	    mmap(map + MIXED_SINGLE * PAGE, PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, self->a.fd,
		 self->bar.offset + 40 * PAGE) == MAP_FAILED)
		return MAP_FAILED;
	for (n = 0; n < MIXED_PAGES; n++)
		mmio_write32(map + n * PAGE, mixed_word(n));
	return map;
}

/* A bit for each page that reads as it should. */
static inline unsigned int mixed_good(struct _test_data_dma *self, __u64 iova)
{
	const __u32 *words;
	unsigned int good = 0;
	size_t n;

	for (n = 0; n < MIXED_PAGES; n++)
		if (edu_load(&self->b, iova + n * PAGE, n))
			return 0;
	words = slots(self, MIXED_PAGES);
	for (n = 0; n < MIXED_PAGES; n++)
		if (words[n] == mixed_word(n))
			good |= 1 << n;
	return good;
}

#define MIXED_ALL	((1U << MIXED_PAGES) - 1)
#define MIXED_RAM	(MIXED_ALL & ~(3U << MIXED_PAIR | 1U << MIXED_SINGLE))

static inline void mixed_unmap_device(char *map)
{
	munmap(map + MIXED_PAIR * PAGE, 2 * PAGE);
	munmap(map + MIXED_SINGLE * PAGE, PAGE);
}

static inline long locked_kb(void)
{
	return proc_number("/proc/self/status", "VmLck: %ld");
}

/* Until nobody else is at the device. */
static inline int hot_reset(struct vfio_dev *dev)
{
	int ret;

	do
		ret = vfio_hot_reset(dev);
	while (ret == -EBUSY);
	return ret;
}

#endif
