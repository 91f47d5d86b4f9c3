// SPDX-License-Identifier: GPL-2.0
/*
 * What a container keeps of the ranges that are mapped for DMA: mixtures
 * of memory and device memory, what they count as, small pages, no memory.
 */
#include <stdio.h>

#include "dma_test.h"

TEST_F_TIMEOUT(dma, mixed, 120)
{
	char *map = mixed_map(self);

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, dma_map(self->container, map, IOVA, MIXED_PAGES * PAGE,
			     DMA_RW));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	if (self->revokes)
		EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	mixed_unmap_device(map);
	close_a(self);
	EXPECT_EQ(self->revokes ? MIXED_RAM : MIXED_ALL, mixed_good(self, IOVA));
	EXPECT_EQ(MIXED_PAGES * PAGE,
		  dma_unmap(self->container, IOVA, MIXED_PAGES * PAGE, 0));
	/* Memory behind a hole is unmapped as well. */
	EXPECT_TRUE(blocked(self, IOVA));
	EXPECT_TRUE(blocked(self, IOVA + 5 * PAGE));
	EXPECT_TRUE(blocked(self, IOVA + (MIXED_PAGES - 1) * PAGE));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* Memory of a range can be reached while device memory in it is away. */
TEST_F_TIMEOUT(dma, mixed_while_revoked, 120)
{
	char *map = mixed_map(self);

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	if (!self->revokes) {
		EXPECT_EQ(-EFAULT, dma_map(self->container, map, IOVA,
					   MIXED_PAGES * PAGE, DMA_RW));
		ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
		SKIP(return, "no DMA mapping of memory that is away");
	}
	ASSERT_EQ(0, dma_map(self->container, map, IOVA, MIXED_PAGES * PAGE,
			     DMA_RW));
	EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	/* Unmapped before it was ever there. */
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, dma_map(self->container, map, OTHER_IOVA,
			     MIXED_PAGES * PAGE, DMA_RW));
	EXPECT_EQ(MIXED_PAGES * PAGE, dma_unmap(self->container, OTHER_IOVA,
						MIXED_PAGES * PAGE, 0));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(blocked(self, OTHER_IOVA + MIXED_SINGLE * PAGE));
}

static int dma_avail(int container)
{
	struct {
		struct vfio_iommu_type1_info info;
		char caps[4096];
	} arg = { .info.argsz = sizeof(arg) };
	struct vfio_info_cap_header *cap;
	__u32 off;

	if (ioctl(container, VFIO_IOMMU_GET_INFO, &arg))
		return -errno;
	for (off = arg.info.cap_offset; off; off = cap->next) {
		cap = (void *)((char *)&arg + off);
		if (cap->id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL)
			return ((struct vfio_iommu_type1_info_dma_avail *)
				cap)->avail;
	}
	return -ENOENT;
}

/* Memory of a mixed range is locked, device memory is not. */
TEST_F_TIMEOUT(dma, accounting, 120)
{
	long kb = locked_kb(), page_kb = PAGE / 1024;
	int avail = dma_avail(self->container);
	char *map = mixed_map(self);

	if (is_iommufd(self))
		SKIP(return, "iommufd: no count of mappings, and root is not charged");
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_LT(0, avail);
	ASSERT_EQ(0, dma_map(self->container, map, OTHER_IOVA,
			     MIXED_PAGES * PAGE, DMA_RW));
	EXPECT_EQ(kb + (MIXED_PAGES - 3) * page_kb, locked_kb());
	MAP_A();
	EXPECT_EQ(kb + (MIXED_PAGES - 3) * page_kb, locked_kb());
	EXPECT_EQ(avail - 2, dma_avail(self->container));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	EXPECT_EQ(kb + (MIXED_PAGES - 3) * page_kb, locked_kb());
	EXPECT_EQ(avail - 2, dma_avail(self->container));
	EXPECT_LT(0, dma_unmap(self->container, OTHER_IOVA, MIXED_PAGES * PAGE,
			       0));
	EXPECT_LT(0, dma_unmap(self->container, IOVA, self->bar.size, 0));
	EXPECT_EQ(kb, locked_kb());
	EXPECT_EQ(avail, dma_avail(self->container));
}

/* New addresses of the process are no business of device memory. */
TEST_F_TIMEOUT(dma, update_vaddr, 120)
{
	if (ioctl(self->container, VFIO_CHECK_EXTENSION, VFIO_UPDATE_VADDR) <= 0)
		SKIP(return, "no VFIO_UPDATE_VADDR");
	MAP_A();
	ASSERT_EQ(self->bar.size, dma_unmap(self->container, IOVA,
					    self->bar.size,
					    VFIO_DMA_UNMAP_FLAG_VADDR));
	EXPECT_TRUE(reads(self, IOVA, 6));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	if (self->revokes)
		EXPECT_TRUE(blocked(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 6));
	ASSERT_EQ(0, dma_map(self->container, self->map, IOVA, self->bar.size,
			     VFIO_DMA_MAP_FLAG_VADDR));
	EXPECT_TRUE(reads(self, IOVA, 6));
	close_a(self);
	EXPECT_BLOCKED(IOVA, 6);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

static int dirty(int container, __u32 what, __u64 iova, size_t size,
		 __u64 *bitmap)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap hdr;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} arg = {
		.hdr.argsz = sizeof(arg), .hdr.flags = what,
		.get.iova = iova, .get.size = size,
		.get.bitmap.pgsize = getpagesize(),
		.get.bitmap.size = (size / getpagesize() + 63) / 64 * 8,
		.get.bitmap.data = bitmap,
	};

	return ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &arg) ? -errno : 0;
}

static ssize_t unmap_dirty(int container, __u64 iova, size_t size,
			   __u64 *bitmap)
{
	struct {
		struct vfio_iommu_type1_dma_unmap unmap;
		struct vfio_bitmap bitmap;
	} arg = {
		.unmap.argsz = sizeof(arg), .unmap.iova = iova,
		.unmap.size = size,
		.unmap.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
		.bitmap.pgsize = getpagesize(),
		.bitmap.size = (size / getpagesize() + 63) / 64 * 8,
		.bitmap.data = bitmap,
	};

	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &arg) ? -errno :
	       (ssize_t)arg.unmap.size;
}

/* All is dirty, in every state, for who tracks nothing better. */
TEST_F_TIMEOUT(dma, dirty_tracking, 120)
{
	__u64 bitmap;

	if (is_iommufd(self))
		SKIP(return, "iommufd: no VFIO_IOMMU_DIRTY_PAGES");
	ASSERT_EQ(0, dma_map(self->container, self->map, IOVA, 64 * PAGE,
			     DMA_RW));
	ASSERT_EQ(0, dirty(self->container, VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
			   0, 0, NULL));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	bitmap = 0;
	EXPECT_EQ(0, dirty(self->container,
			   VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, IOVA,
			   64 * PAGE, &bitmap));
	EXPECT_EQ(~0ULL, bitmap);
	close_a(self);
	bitmap = 0;
	EXPECT_EQ(0, dirty(self->container,
			   VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, IOVA,
			   64 * PAGE, &bitmap));
	EXPECT_EQ(~0ULL, bitmap);
	bitmap = 0;
	EXPECT_EQ(64 * PAGE, unmap_dirty(self->container, IOVA, 64 * PAGE,
					 &bitmap));
	EXPECT_EQ(~0ULL, bitmap);
	EXPECT_TRUE(blocked(self, IOVA));
	EXPECT_EQ(0, dirty(self->container, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
			   0, 0, NULL));
}

/* What is mapped page by page is mapped in pieces, and all of it. */
TEST_F_TIMEOUT(dma, small_pages, 120)
{
	size_t last = self->bar.size / PAGE - 1;
	int ret;

	if (is_iommufd(self))
		SKIP(return, "iommufd: no disable_hugepages");
	ASSERT_EQ(0, write_file(TYPE1_PARAM("disable_hugepages"), "Y"));
	ret = dma_map(self->container, self->map, IOVA, self->bar.size, DMA_RW);
	write_file(TYPE1_PARAM("disable_hugepages"), "N");
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(reads(self, IOVA, 0));
	EXPECT_TRUE(reads(self, IOVA, MB(16) / PAGE - 1));
	EXPECT_TRUE(reads(self, IOVA, MB(16) / PAGE));
	EXPECT_TRUE(reads(self, IOVA, last));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	if (self->revokes) {
		EXPECT_TRUE(blocked(self, IOVA));
		EXPECT_TRUE(blocked(self, IOVA + last * PAGE));
	}
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 0));
	EXPECT_TRUE(reads(self, IOVA, last));
	EXPECT_EQ(self->bar.size,
		  dma_unmap(self->container, IOVA, self->bar.size, 0));
	EXPECT_TRUE(blocked(self, IOVA + last * PAGE));
}

/* Pieces of device memory are not what dma_entry_limit counts. */
TEST_F_TIMEOUT(dma, limit, 120)
{
	char *map = mixed_map(self);
	char bdf[16], text[16];
	struct vfio_dev dev;
	unsigned int limit;
	int ret;

	if (is_iommufd(self))
		SKIP(return, "iommufd: no dma_entry_limit");
	ASSERT_NE(MAP_FAILED, map);
	if (vfio_find(ID_EDU, 1, bdf) || vfio_bind(bdf))
		SKIP(return, "no second edu device");
	ASSERT_EQ(0, write_file(TYPE1_PARAM("dma_entry_limit"), "2"));
	ret = vfio_open(&dev, bdf, false);
	write_file(TYPE1_PARAM("dma_entry_limit"), "65535");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(0, dma_map(dev.iommu, map, IOVA, MIXED_PAGES * PAGE, DMA_RW));
	EXPECT_EQ(1, dma_avail(dev.iommu));
	EXPECT_EQ(0, dma_map(dev.iommu, self->map, OTHER_IOVA, PAGE, DMA_RW));
	EXPECT_EQ(-ENOSPC, dma_map(dev.iommu, self->ram, RAM_IOVA, PAGE,
				   DMA_RW));
	EXPECT_LT(0, dma_unmap(dev.iommu, IOVA, MIXED_PAGES * PAGE, 0));
	EXPECT_EQ(0, dma_map(dev.iommu, self->ram, RAM_IOVA, PAGE, DMA_RW));
	vfio_close(&dev);
	if (!self->revokes)
		SKIP(return, "no mmio_entry_limit");

	/* They have a limit of their own. */
	ASSERT_EQ(0, scan_file(TYPE1_PARAM("mmio_entry_limit"), "%u", &limit));
	snprintf(text, sizeof(text), "%u", limit);
	ASSERT_EQ(0, write_file(TYPE1_PARAM("mmio_entry_limit"), "2"));
	ret = vfio_open(&dev, bdf, false);
	write_file(TYPE1_PARAM("mmio_entry_limit"), text);
	ASSERT_EQ(0, ret);
	EXPECT_EQ(0, dma_map(dev.iommu, map, IOVA, MIXED_PAGES * PAGE, DMA_RW));
	EXPECT_EQ(-ENOSPC, dma_map(dev.iommu, self->map, OTHER_IOVA, PAGE,
				   DMA_RW));
	EXPECT_EQ(0, dma_map(dev.iommu, self->ram, RAM_IOVA, PAGE, DMA_RW));
	EXPECT_LT(0, dma_unmap(dev.iommu, IOVA, MIXED_PAGES * PAGE, 0));
	EXPECT_EQ(0, dma_map(dev.iommu, self->map, OTHER_IOVA, PAGE, DMA_RW));
	vfio_close(&dev);
}

/* No memory for page tables of the IOMMU when they should come back. */
TEST_F_TIMEOUT(dma, failed_restore, 120)
{
	int kmsg, fail, ret;

	/* So aligned that all of it takes 4 KiB pages. */
	ASSERT_EQ(0, dma_map(self->container, self->map + PAGE, IOVA, MB(32),
			     DMA_RW));
	EXPECT_TRUE(reads(self, IOVA - PAGE, 1));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	fail = fail_all_pages();
	if (fail < 0) {
		ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
		SKIP(return, "no FAIL_PAGE_ALLOC");
	}
	kmsg = kmsg_open();
	ASSERT_LE(0, kmsg);
	ASSERT_EQ(1, pwrite(fail, "1", 1, 0));
	ret = vfio_restore(&self->a, BY_COMMAND);
	ASSERT_EQ(1, pwrite(fail, "0", 1, 0));
	close(fail);
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(kmsg_has(kmsg, "no DMA to device memory"));
	close(kmsg);
	EXPECT_TRUE(blocked(self, IOVA));
	EXPECT_TRUE(blocked(self, IOVA + MB(31)));
	EXPECT_EQ(0, touch(self->map, 0));
	/* The next time there is. */
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA - PAGE, 1));
	EXPECT_TRUE(reads(self, IOVA - PAGE, 8000));
	EXPECT_EQ(MB(32), dma_unmap(self->container, IOVA, MB(32), 0));
}

TEST_HARNESS_MAIN
