// SPDX-License-Identifier: GPL-2.0
/*
 * Domains come and go while memory is mapped for DMA: what a container maps for
 * one that joins, and what it maps for two.
 */
#include <stdio.h>

#include "dma_test.h"

#define FAIL_PAGES	"/sys/kernel/debug/fail_page_alloc/min-order"

/* An mdev device of the mtty sample: its container needs no IOMMU domain. */
static int open_mtty(int type, int fresh, int *group, int *container)
{
	static const char uuid[] = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
	char path[160], link[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s", uuid);
	if (access(path, F_OK) &&
	    write_file("/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create",
		       uuid))
		return -ENODEV;
	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/iommu_group",
		 uuid);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -errno;
	link[n] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%.20s", strrchr(link, '/') + 1);
	*group = open(path, O_RDWR | O_CLOEXEC);
	*container = open(fresh == VFIO_NEW_IOMMUFD ? "/dev/iommu" :
			  "/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (*group < 0 || *container < 0 ||
	    ioctl(*group, VFIO_GROUP_SET_CONTAINER, container) ||
	    ioctl(*container, VFIO_SET_IOMMU, type))
		return -errno;
	return 0;
}

/*
 * A container with mappings of which no domain has any: B has left it, and
 * @edu is where B is.
 */
static int container_without_b(struct _test_data_dma *self, int type,
			       char edu[16], int *container, char **map)
{
	int group;

	if (open_mtty(type, self->fresh, &group, container))
		return -ENODEV;
	snprintf(edu, 16, "%s", self->b.dev.bdf);
	edu_close(&self->b);
	*map = mixed_map(self);
	if (*map == MAP_FAILED)
		return -ENOMEM;
	return dma_map(*container, *map, IOVA, MIXED_PAGES * PAGE, DMA_RW) ?:
	       dma_map(*container, self->ram, RAM_IOVA, RAM_PAGES * PAGE,
		       DMA_RW);
}

/* B joins a container that has mappings already, leaves it, and joins again. */
TEST_F_TIMEOUT(dma, replay, 120)
{
	char edu[16], *map, *next_map, *bad;
	struct vfio_region_info bar;
	struct vfio_dev next;
	int container, ret;

	ret = container_without_b(self, VFIO_TYPE1v2_IOMMU, edu, &container,
				  &map);
	if (ret == -ENODEV)
		SKIP(return, "no mtty (CONFIG_SAMPLE_VFIO_MDEV_MTTY)");
	ASSERT_EQ(0, ret);

	/* A mapping with nothing behind it: all is undone. */
	bad = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, bad);
	ASSERT_EQ(0, dma_map(container, bad, OTHER_IOVA, 3 * PAGE, DMA_RW));
	munmap(bad + PAGE, 2 * PAGE);
	EXPECT_EQ(-EFAULT, edu_open(&self->b, edu, container));
	EXPECT_EQ(3 * PAGE, dma_unmap(container, OTHER_IOVA, 3 * PAGE, 0));

	ASSERT_EQ(0, edu_open(&self->b, edu, container));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	if (self->revokes)
		EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
	edu_close(&self->b);
	if (self->revokes) {
		/* What is revoked stays out, whenever B joins. */
		ASSERT_EQ(0, edu_open(&self->b, edu, container));
		EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
		ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
		EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
		edu_close(&self->b);

		/*
		 * What has been unmapped meanwhile cannot be mapped, as other
		 * memory, and does not come back with the next user of A.
		 */
		mixed_unmap_device(map);
		close_a(self);
		close(self->a.group);
		self->a.group = -1;
		ASSERT_EQ(0, open_a(&next, &bar, &next_map, self->bdf,
				    self->fresh));
		ASSERT_EQ(0, touch(next_map + 12 * PAGE, 12));
		ret = edu_open(&self->b, edu, container);
		ASSERT_EQ(0, vfio_revoke(&next, BY_COMMAND));
		ASSERT_EQ(0, vfio_restore(&next, BY_COMMAND));
		if (is_iommufd(self)) {
			/* It does not look at the addresses again. */
			ASSERT_EQ(0, ret);
			EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
		} else {
			EXPECT_EQ(-EFAULT, ret);
		}
	}
	EXPECT_EQ(MIXED_PAGES * PAGE,
		  dma_unmap(container, IOVA, MIXED_PAGES * PAGE, 0));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

static int map_over(struct _test_data_dma *self, int fd, char *map, size_t page)
{
	void *p = fd < 0 ? mmap(map, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
				MAP_ANONYMOUS | MAP_FIXED, -1, 0) :
			   mmap(map, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED |
				MAP_FIXED, fd, self->bar.offset + page * PAGE);

	if (p == MAP_FAILED)
		return -errno;
	return mmio_write32(map, fd < 0 ? RAM_WORD(page) : WORD(page));
}

/* While no device was there to have it mapped, other things were mapped. */
TEST_F_TIMEOUT(dma, replay_replaced, 120)
{
	char edu[16], *map, *other;
	struct vfio_region_info bar;
	struct vfio_dev next;
	int container, ret;

	if (is_iommufd(self))
		SKIP(return, "iommufd: an area keeps the memory that it was mapped for");
	ret = container_without_b(self, VFIO_TYPE1v2_IOMMU, edu, &container,
				  &map);
	if (ret == -ENODEV)
		SKIP(return, "no mtty (CONFIG_SAMPLE_VFIO_MDEV_MTTY)");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, edu_open(&self->b, edu, container));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	edu_close(&self->b);

	/* The same, but read-only by now. */
	ASSERT_EQ(0, mprotect(map + 2 * PAGE, 2 * PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, edu_open(&self->b, edu, container));
	ASSERT_EQ(0, mprotect(map + 2 * PAGE, 2 * PAGE,
			      PROT_READ | PROT_WRITE));

	/* Another page of A, and memory over the second half of a VMA. */
	ASSERT_EQ(0, map_over(self, self->a.fd, map + MIXED_SINGLE * PAGE, 50));
	ASSERT_EQ(0, map_over(self, -1, map + 3 * PAGE, 3));
	ASSERT_EQ(0, edu_open(&self->b, edu, container));
	EXPECT_EQ(WORD(12), peek(self, IOVA + 2 * PAGE));
	EXPECT_EQ(RAM_WORD(3), peek(self, IOVA + 3 * PAGE));
	EXPECT_EQ(WORD(50), peek(self, IOVA + MIXED_SINGLE * PAGE));
	edu_close(&self->b);

	/* The same pages of A, which was closed and opened in between. */
	ASSERT_EQ(0, map_over(self, -1, map + 2 * PAGE, 2));
	ASSERT_EQ(0, map_over(self, -1, map + MIXED_SINGLE * PAGE, 6));
	close_a(self);
	close(self->a.group);
	self->a.group = -1;
	ASSERT_EQ(0, open_a(&next, &bar, &other, self->bdf, self->fresh));
	ASSERT_EQ(0, map_over(self, next.fd, map + 2 * PAGE, 12));
	ASSERT_EQ(0, map_over(self, next.fd, map + MIXED_SINGLE * PAGE, 50));
	ASSERT_EQ(0, edu_open(&self->b, edu, container));
	EXPECT_EQ(WORD(12), peek(self, IOVA + 2 * PAGE));
	EXPECT_EQ(RAM_WORD(3), peek(self, IOVA + 3 * PAGE));
	EXPECT_EQ(WORD(50), peek(self, IOVA + MIXED_SINGLE * PAGE));
	EXPECT_EQ(MIXED_PAGES * PAGE,
		  dma_unmap(container, IOVA, MIXED_PAGES * PAGE, 0));
}

/* The first version of type1: no part of a mapping can be unmapped. */
TEST_F_TIMEOUT(dma, version_1, 120)
{
	char edu[16], *map;
	int container, ret;

	if (is_iommufd(self))
		SKIP(return, "iommufd: each piece is unmapped on its own");
	ret = container_without_b(self, VFIO_TYPE1_IOMMU, edu, &container,
				  &map);
	if (ret == -ENODEV)
		SKIP(return, "no mtty (CONFIG_SAMPLE_VFIO_MDEV_MTTY)");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, edu_open(&self->b, edu, container));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	EXPECT_EQ(0, dma_unmap(container, IOVA + 2 * PAGE, 2 * PAGE, 0));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	if (self->revokes)
		EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	munmap(map, MIXED_PAGES * PAGE);
	close_a(self);
	EXPECT_EQ(self->revokes ? MIXED_RAM : MIXED_ALL, mixed_good(self, IOVA));
	EXPECT_EQ(MIXED_PAGES * PAGE, dma_unmap(container, IOVA, PAGE, 0));
	EXPECT_TRUE(blocked(self, IOVA + 2 * PAGE));
	EXPECT_TRUE(blocked(self, IOVA + (MIXED_PAGES - 1) * PAGE));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* How often memory is mapped that is mapped once: in each domain. */
static int domains(struct _test_data_dma *self)
{
	char text[64];
	int n;

	snprintf(text, sizeof(text), " map: IOMMU: iova=0x%016lx",
		 OTHER_IOVA + MB(16));
	if (write_file(TRACING "trace", "") ||
	    write_file(TRACING "events/iommu/map/enable", "1") ||
	    dma_map(self->container, self->ram, OTHER_IOVA + MB(16), PAGE,
		    DMA_RW))
		return -1;
	n = count_lines(TRACING "trace", text);
	write_file(TRACING "events/iommu/map/enable", "0");
	dma_unmap(self->container, OTHER_IOVA + MB(16), PAGE, 0);
	return n;
}

/* Have the group of @dev join, with the @nth allocation failing. */
static int join_failing(struct vfio_dev *dev, const char *bdf, int container,
			int fail, long nth, long *left)
{
	int ret;

	memset(dev, 0, sizeof(*dev));
	snprintf(dev->bdf, sizeof(dev->bdf), "%.15s", bdf);
	dev->fd = -1;
	dev->iommu = -1;
	vfio_path(bdf, false, dev->path);
	dev->group = open(dev->path, O_RDWR | O_CLOEXEC);
	if (dev->group < 0 || fail_nth(fail, nth))
		return -errno;
	ret = ioctl(dev->group, VFIO_GROUP_SET_CONTAINER, &container) ? -errno :
									0;
	*left = fail_left(fail);
	if (ret)
		vfio_close(dev);
	return ret;
}

/* Whatever allocation fails when B joins: it is as if it had not tried. */
TEST_F_TIMEOUT(dma, replay_without_memory, 120)
{
	int container, ret, fail, n, refused = 0;
	char edu[16], *map;
	long left, kb;

	if (is_iommufd(self))
		SKIP(return, "iommufd: selftests/iommu has this");
	fail = fail_open_pages();
	if (fail < 0)
		SKIP(return, "no failslab, or no FAIL_PAGE_ALLOC");
	kb = locked_kb();
	ret = container_without_b(self, VFIO_TYPE1v2_IOMMU, edu, &container,
				  &map);
	if (ret == -ENODEV)
		SKIP(return, "no mtty (CONFIG_SAMPLE_VFIO_MDEV_MTTY)");
	ASSERT_EQ(0, ret);
	for (n = 1, left = 0; !left; n++) {
		ret = join_failing(&self->b.dev, edu, container, fail, n,
				   &left);
		ASSERT_LE(0, left);
		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			refused++;
		} else {
			vfio_close(&self->b.dev);
		}
	}
	close(fail);
	printf("# refused %d of %d times\n", refused, n - 1);
	EXPECT_LT(0, refused);
	ASSERT_EQ(0, edu_open(&self->b, edu, container));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, IOVA));
	EXPECT_EQ(MIXED_PAGES * PAGE,
		  dma_unmap(container, IOVA, MIXED_PAGES * PAGE, 0));
	EXPECT_EQ(RAM_PAGES * PAGE,
		  dma_unmap(container, RAM_IOVA, RAM_PAGES * PAGE, 0));
	EXPECT_EQ(kb, locked_kb());
}

/*
 * Two domains in one container. The IOMMU of this machine could do with one:
 * a device that cannot join that, for want of memory, has one of its own.
 */
static int second_domain(struct _test_data_dma *self, struct edu *c)
{
	const long many = 1000000;
	long left, nth, total = many;
	int fail, tries;
	char bdf[16];

	fail = fail_open();
	if (fail < 0 || access(TRACING "events/iommu/map", F_OK) ||
	    vfio_find(ID_EDU, 1, bdf) || vfio_bind(bdf))
		return -ENODEV;
	/* Kernels that check themselves allocate something more at times. */
	for (tries = 0; tries < 8; tries++) {
		if (domains(self) != 1 ||
		    join_failing(&c->dev, bdf, self->container, fail, many,
				 &left))
			return -EIO;
		vfio_close(&c->dev);
		if (many - left < total)
			total = many - left;
		/* The attempt to join the domain that is there comes last. */
		for (nth = total + 1; nth > 0 && nth > total - 8; nth--) {
			if (join_failing(&c->dev, bdf, self->container, fail,
					 nth, &left))
				continue;
			if (domains(self) == 2)
				goto found;
			vfio_close(&c->dev);
		}
	}
	close(fail);
	return -ENODEV;

found:
	close(fail);
	c->dev.fd = ioctl(c->dev.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	return c->dev.fd < 0 ? -errno : edu_start(c);
}

TEST_F_TIMEOUT(dma, two_domains, 120)
{
	struct edu c, b = self->b;
	char *map;
	int i, ret;

	if (is_iommufd(self))
		SKIP(return, "iommufd: selftests/iommu has this");
	map = mixed_map(self);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, dma_map(self->container, map, OTHER_IOVA,
			     MIXED_PAGES * PAGE, DMA_RW));
	MAP_A();
	ret = second_domain(self, &c);
	if (ret == -ENODEV)
		SKIP(return, "no failslab, trace events, second edu or second domain");
	ASSERT_EQ(0, ret);

	/* Through the eyes of both. */
	for (i = 0; i < 2; i++) {
		self->b = i ? c : b;
		EXPECT_TRUE(reads(self, IOVA, 1));
		EXPECT_EQ(MIXED_ALL, mixed_good(self, OTHER_IOVA));
	}
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_LOW_POWER));
	for (i = 0; i < 2 && self->revokes; i++) {
		self->b = i ? c : b;
		EXPECT_TRUE(blocked(self, IOVA + PAGE));
		EXPECT_EQ(MIXED_RAM, mixed_good(self, OTHER_IOVA));
	}
	ASSERT_EQ(0, vfio_restore(&self->a, BY_LOW_POWER));
	for (i = 0; i < 2; i++) {
		self->b = i ? c : b;
		EXPECT_TRUE(reads(self, IOVA, 1));
		EXPECT_EQ(MIXED_ALL, mixed_good(self, OTHER_IOVA));
	}
	/* New mappings are for both, too. */
	EXPECT_EQ(self->bar.size,
		  dma_unmap(self->container, IOVA, self->bar.size, 0));
	MAP_A();
	for (i = 0; i < 2; i++) {
		self->b = i ? c : b;
		EXPECT_TRUE(reads(self, IOVA, 2));
	}
	munmap(map, MIXED_PAGES * PAGE);
	close_a(self);
	for (i = 0; i < 2; i++) {
		self->b = i ? c : b;
		EXPECT_BLOCKED(IOVA, 3);
		EXPECT_EQ(self->revokes ? MIXED_RAM : MIXED_ALL,
			  mixed_good(self, OTHER_IOVA));
	}
	/* Nothing is left behind the holes, in either. */
	EXPECT_EQ(MIXED_PAGES * PAGE, dma_unmap(self->container, OTHER_IOVA,
						MIXED_PAGES * PAGE, 0));
	for (i = 0; i < 2; i++) {
		self->b = i ? c : b;
		EXPECT_TRUE(blocked(self, OTHER_IOVA + 5 * PAGE));
		EXPECT_TRUE(blocked(self, OTHER_IOVA + (MIXED_PAGES - 1) * PAGE));
	}
	self->b = b;
	edu_close(&c);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

static int command_step(struct worker *w, unsigned int n)
{
	return n & 1 ? vfio_restore(w->arg, BY_COMMAND) :
		       vfio_revoke(w->arg, BY_COMMAND);
}

/* One of two domains goes while the memory is mapped in it, or unmapped. */
TEST_F_TIMEOUT(dma, domain_goes, 300)
{
	struct worker w = { .step = command_step, .arg = &self->a };
	struct edu c;
	int i, ret;

	if (is_iommufd(self))
		SKIP(return, "iommufd: this is about a lock of type1");
	/* Page by page, which takes most of the time of a step. */
	ASSERT_EQ(0, write_file(TYPE1_PARAM("disable_hugepages"), "Y"));
	ret = dma_map(self->container, self->map, IOVA, MB(4), DMA_RW);
	write_file(TYPE1_PARAM("disable_hugepages"), "N");
	ASSERT_EQ(0, ret);
	for (i = 0; i < rounds(16); i++) {
		ret = second_domain(self, &c);
		if (ret == -ENODEV)
			SKIP(return, "no failslab, trace events, second edu or second domain");
		ASSERT_EQ(0, ret);
		w.race = race_alloc();
		ASSERT_NE(NULL, w.race);
		ASSERT_EQ(0, worker_start(&w));
		while (!__atomic_load_n(&w.race->seen[0].steps,
					__ATOMIC_SEQ_CST))
			usleep(100);
		edu_close(&c);
		ASSERT_EQ(0, worker_join(&w));
		ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
		EXPECT_TRUE(reads(self, IOVA, 1));
	}
	EXPECT_EQ(1, domains(self));
}

/* No memory in the middle of a restore: it is for both domains or for none. */
TEST_F_TIMEOUT(dma, two_domains_failed_restore, 120)
{
	int fail, ret, n, i, reached = 0, nowhere = 0;
	const __u32 *words;
	struct edu c, b = self->b;
	__u8 from_b[EDU_SLOTS];
	long left;

	if (is_iommufd(self))
		SKIP(return, "iommufd: selftests/iommu has this");
	if (access(FAIL_PAGES, F_OK))
		SKIP(return, "no FAIL_PAGE_ALLOC");
	/* So aligned that all of it takes 4 KiB pages. */
	ASSERT_EQ(0, dma_map(self->container, self->map + PAGE, IOVA, MB(4),
			     DMA_RW));
	ret = second_domain(self, &c);
	if (ret == -ENODEV)
		SKIP(return, "no failslab, trace events, second edu or second domain");
	ASSERT_EQ(0, ret);
	fail = fail_open_pages();
	ASSERT_LE(0, fail);
	for (n = 1, left = 0; !left; n++) {
		ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
		ASSERT_EQ(0, fail_nth(fail, n));
		ret = vfio_restore(&self->a, BY_COMMAND);
		left = fail_left(fail);
		ASSERT_EQ(0, ret);
		ASSERT_LE(0, left);
		ASSERT_GT(EDU_SLOTS, n);
		ASSERT_EQ(0, edu_load(&b, IOVA, n));
		ASSERT_EQ(0, edu_load(&c, IOVA, n));
	}
	words = slots(self, n);
	for (i = 1; i < n; i++)
		from_b[i] = words[i] == WORD(1);
	self->b = c;
	words = slots(self, n);
	for (i = 1; i < n; i++) {
		reached = from_b[i] + (words[i] == WORD(1));
		EXPECT_NE(1, reached);
		nowhere += !reached;
	}
	self->b = b;
	EXPECT_EQ(2, reached);
	EXPECT_LT(1, nowhere);
	close(fail);
	edu_close(&c);
}

TEST_HARNESS_MAIN
