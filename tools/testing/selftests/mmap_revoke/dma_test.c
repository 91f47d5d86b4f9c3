// SPDX-License-Identifier: GPL-2.0
/*
 * Peer-to-peer DMA: B reaches A as long as A is open and accessible, and at no
 * other time; when it does not, the IOMMU reports a fault. A kernel without
 * that lets B have the memory: the tests show it and skip.
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "dma_test.h"
#include "uio_util.h"

TEST_F_TIMEOUT(dma, open, 120)
{
	size_t last = self->bar.size / PAGE - 1;
	__u32 val;

	MAP_A();
	EXPECT_TRUE(reads(self, IOVA, 0));
	EXPECT_TRUE(reads(self, IOVA, last));
	EXPECT_EQ(0, poke(self, IOVA + 5 * PAGE, 0x1234));
	EXPECT_EQ(0, mmio_read32(self->map + 5 * PAGE, &val));
	EXPECT_EQ(0x1234, val);
	EXPECT_TRUE(blocked(self, IOVA + self->bar.size));
	/* A part of the VMA, from its middle. */
	ASSERT_EQ(0, dma_map(self->container, self->map + 7 * PAGE, OTHER_IOVA,
			     PAGE, DMA_RW));
	EXPECT_EQ(WORD(7), peek(self, OTHER_IOVA));

	/* The mapping is of the memory, not of the address. */
	munmap(self->map, self->bar.size);
	EXPECT_TRUE(reads(self, IOVA, 7));
	EXPECT_EQ(self->bar.size, dma_unmap(self->container, IOVA,
					    self->bar.size, 0));
	EXPECT_TRUE(blocked(self, IOVA));
}

/* The bug that all this is for. */
TEST_F_TIMEOUT(dma, closed, 120)
{
	struct vfio_region_info bar;
	struct vfio_dev next;
	__u32 val;
	char *map;

	MAP_A();
	close_a(self);
	EXPECT_BLOCKED(IOVA, 0);
	EXPECT_BLOCKED(IOVA, 100);

	/* Not for whoever opens it next, by reading or by writing. */
	close(self->a.group);
	self->a.group = -1;
	ASSERT_EQ(0, open_a(&next, &bar, &map, self->bdf, self->fresh));
	ASSERT_EQ(0, mmio_write32(map, WORD(0)));
	EXPECT_BLOCKED(IOVA, 0);
	ASSERT_EQ(0, vfio_revoke(&next, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&next, BY_COMMAND));
	EXPECT_BLOCKED(IOVA, 0);
	EXPECT_EQ(0, poke(self, IOVA + PAGE, 0xbad));
	EXPECT_EQ(0, mmio_read32(map + PAGE, &val));
	EXPECT_EQ(self->revokes ? WORD(1) : 0xbad, val);

	/* It is still there for bookkeeping. */
	EXPECT_EQ(-EEXIST, dma_map(self->container, self->ram, IOVA, PAGE,
				   DMA_RW));
	EXPECT_EQ(bar.size, dma_unmap(self->container, IOVA, bar.size, 0));
	EXPECT_EQ(0, dma_map(self->container, map, IOVA, bar.size, DMA_RW));
	EXPECT_TRUE(reads(self, IOVA, 2));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* Its next user is another process. */
TEST_F_TIMEOUT(dma, handed_over, 120)
{
	int go[2], done[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(done));
	MAP_A();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct vfio_region_info bar;
		struct vfio_dev dev;
		char *map;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Nothing of A is left here from the fork. */
		munmap(self->map, self->bar.size);
		close(self->a.fd);
		close(self->a.group);
		if (write(done[1], "c", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		if (open_a(&dev, &bar, &map, self->bdf, self->fresh) ||
		    mmio_write32(map + 3 * PAGE, WORD(3)))
			_exit(2);
		if (write(done[1], "o", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(3);
		_exit(0);
	}
	ASSERT_EQ(1, read(done[0], &c, 1));
	close_a(self);
	close(self->a.group);
	self->a.group = -1;
	ASSERT_EQ(1, write(go[1], "o", 1));
	ASSERT_EQ(1, read(done[0], &c, 1));
	EXPECT_BLOCKED(IOVA, 3);
	ASSERT_EQ(1, write(go[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* A close by one of several users of the file is none. */
TEST_F_TIMEOUT(dma, passed_on, 120)
{
	struct proc p;
	int fd;

	MAP_A();
	ASSERT_EQ(0, proc_start(&p));
	fd = proc_send_fd(&p, self->a.fd);
	ASSERT_LE(0, fd);
	/* The child has the mapping and the descriptor from the fork, too. */
	ASSERT_EQ(0, proc_unmap(&p, self->map, self->bar.size));
	ASSERT_EQ(0, proc_close_fd(&p, self->a.fd));
	close_a(self);
	EXPECT_TRUE(reads(self, IOVA, 4));
	ASSERT_EQ(0, proc_close_fd(&p, fd));
	EXPECT_BLOCKED(IOVA, 4);
	proc_stop(&p);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* A has no D3hot; that is in event_test. */
static const enum vfio_how hows[] = { BY_COMMAND, BY_LOW_POWER };

/* Back is what was there, without a call of the user. */
TEST_F_TIMEOUT(dma, revoked_and_restored, 120)
{
	bool found, is_blocked;
	size_t i;

	MAP_A();
	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		ASSERT_EQ(0, vfio_revoke(&self->a, hows[i]));
		/*
		 * The device ignores what it cannot decode, so that stock does
		 * not show the hole here.
		 */
		is_blocked = reads_or_blocked(self, IOVA, 1, &found);
		EXPECT_FALSE(found && self->revokes);
		if (self->revokes)
			EXPECT_TRUE(is_blocked);
		/* Twice is once. */
		ASSERT_EQ(0, vfio_restore(&self->a, hows[i]));
		EXPECT_TRUE(reads(self, IOVA, 1));
	}
	/* The device wakes, and its user is told. */
	ASSERT_EQ(0, vfio_sleep_and_wake(&self->a));
	EXPECT_TRUE(reads(self, IOVA, 1));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 2));
	EXPECT_EQ(0, poke(self, IOVA + 3 * PAGE, WORD(3)));
	EXPECT_TRUE(reads(self, IOVA, 3));
}

TEST_F_TIMEOUT(dma, resets, 120)
{
	int i;

	MAP_A();
	for (i = 0; i < 4; i++) {
		if (vfio_can_reset(&self->a))
			ASSERT_EQ(0, vfio_reset(&self->a));
		ASSERT_EQ(0, hot_reset(&self->a));
	}
	EXPECT_TRUE(reads(self, IOVA, 9));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, hot_reset(&self->a));
	/* Memory is as it was before the reset: off. */
	if (self->revokes)
		EXPECT_TRUE(blocked(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 9));
}

/* As a VMM does that moves a BAR: it maps first, and enables memory then. */
TEST_F_TIMEOUT(dma, map_while_revoked, 120)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		ASSERT_EQ(0, mmio_populate(self->map, PAGE));
		ASSERT_EQ(0, vfio_revoke(&self->a, hows[i]));
		EXPECT_EQ(self->revokes ? 0 : -EFAULT,
			  dma_map(self->container, self->map, IOVA,
				  self->bar.size, DMA_RW));
		EXPECT_TRUE(blocked(self, IOVA));
		ASSERT_EQ(0, vfio_restore(&self->a, hows[i]));
		if (!self->revokes)
			MAP_A();
		EXPECT_TRUE(reads(self, IOVA, 0));
		EXPECT_EQ(self->bar.size, dma_unmap(self->container, IOVA,
						    self->bar.size, 0));
		EXPECT_TRUE(blocked(self, IOVA));
	}
}

TEST_F_TIMEOUT(dma, unmap_while_revoked, 120)
{
	MAP_A();
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	EXPECT_EQ(self->bar.size, dma_unmap(self->container, IOVA,
					    self->bar.size, 0));
	ASSERT_EQ(0, dma_map(self->container, self->ram, IOVA, PAGE, DMA_RW));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	/* What comes back is not in the way of what is there now. */
	ram_write(self, 0, 0);
	EXPECT_FALSE(reads(self, IOVA, 0));
	EXPECT_TRUE(blocked(self, IOVA + PAGE));
	/* Memory that is mapped twice is revoked twice. */
	ASSERT_EQ(0, dma_map(self->container, self->map, OTHER_IOVA,
			     self->bar.size, DMA_RW));
	ASSERT_LE(0, dma_unmap(self->container, IOVA, PAGE, 0));
	MAP_A();
	close_a(self);
	EXPECT_BLOCKED(IOVA, 1);
	EXPECT_BLOCKED(OTHER_IOVA, 1);
	EXPECT_EQ(2 * self->bar.size + RAM_PAGES * PAGE,
		  dma_unmap(self->container, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* The checks that a fault makes. */
TEST_F_TIMEOUT(dma, permissions, 120)
{
	ASSERT_EQ(0, mprotect(self->map, self->bar.size, PROT_READ));
	EXPECT_EQ(-EFAULT, dma_map(self->container, self->map, IOVA, MB(2),
				   DMA_RW));
	EXPECT_EQ(-EFAULT, dma_map(self->container, self->map, IOVA, MB(2),
				   DMA_W));
	ASSERT_EQ(0, dma_map(self->container, self->map, IOVA, MB(2), DMA_R));
	/* QEMU reports no fault for what a read has put in its IOTLB. */
	EXPECT_TRUE(edu_is_blocked(&self->b, IOVA + 3 * PAGE, RAM_IOVA, true));
	EXPECT_TRUE(reads(self, IOVA, 3));
	EXPECT_EQ(0, touch(self->map + 3 * PAGE, 3));
	/* So it is after it came back. */
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	if (self->revokes)
		EXPECT_TRUE(edu_is_blocked(&self->b, IOVA + 3 * PAGE, RAM_IOVA,
					   true));
	EXPECT_TRUE(reads(self, IOVA, 3));

	/* Never touched: a PTE that is there satisfies stock kernels. */
	munmap(self->map, self->bar.size);
	self->map = vfio_map(self->a.fd, self->bar.offset, self->bar.size,
			     MB(2));
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(0, mprotect(self->map, self->bar.size, PROT_NONE));
	EXPECT_EQ(-EFAULT, dma_map(self->container, self->map, OTHER_IOVA,
				   MB(2), DMA_R));
	/* All of the range is needed. */
	ASSERT_EQ(0, mprotect(self->map, MB(1), PROT_READ | PROT_WRITE));
	EXPECT_EQ(-EFAULT, dma_map(self->container, self->map, OTHER_IOVA,
				   MB(2), DMA_R));
	EXPECT_TRUE(blocked(self, OTHER_IOVA));
	EXPECT_EQ(0, dma_map(self->container, self->map, OTHER_IOVA, MB(1),
			     DMA_RW));
	EXPECT_TRUE(reads(self, OTHER_IOVA, 0));
}

/* The memory of A, mapped in a container that A is not in. */
TEST_F_TIMEOUT(dma, other_container, 120)
{
	struct vfio_dev a;
	char *map;

	close_a(self);
	close(self->a.group);
	self->a.group = -1;
	ASSERT_EQ(0, open_a(&a, &self->bar, &map, self->bdf, self->fresh));
	ASSERT_EQ(0, dma_map(self->container, map, IOVA, self->bar.size,
			     DMA_RW));
	ASSERT_EQ(0, dma_map(a.iommu, map, IOVA, self->bar.size, DMA_RW));
	EXPECT_TRUE(reads(self, IOVA, 8));
	ASSERT_EQ(0, vfio_revoke(&a, BY_COMMAND));
	if (self->revokes)
		EXPECT_TRUE(blocked(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 8));
	munmap(map, self->bar.size);
	vfio_close(&a);
	EXPECT_BLOCKED(IOVA, 8);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* The container goes first, with everything mapped. */
TEST_F_TIMEOUT(dma, container_goes, 120)
{
	MAP_A();
	edu_close(&self->b);
	close(self->a.fd);
	close(self->a.group);
	close(self->container);
	/* The mapping keeps the device open. */
	EXPECT_EQ(0, touch(self->map, 0));
	ASSERT_EQ(0, munmap(self->map, self->bar.size));
	ASSERT_EQ(0, open_a(&self->a, &self->bar, &self->map, self->bdf, self->fresh));
	EXPECT_EQ(0, touch(self->map, 0));
}

/* A child maps what it has from its parent, in the parent's container. */
TEST_F_TIMEOUT(dma, forked, 120)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(dma_map(self->container, self->map, IOVA, self->bar.size,
			      DMA_RW) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_TRUE(reads(self, IOVA, 2));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	if (self->revokes)
		EXPECT_TRUE(blocked(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 2));
	close_a(self);
	EXPECT_BLOCKED(IOVA, 2);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* Removal asks A's user; B has A's memory until A is closed, and no longer. */
TEST_F_TIMEOUT(dma, unplugged_under_load, 120)
{
	struct pollfd pfd = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
	struct vfio_region_info bar;
	struct vfio_dev a;
	char bdf[16], path[128];
	int status;
	__u32 id;
	pid_t pid;
	char *map;

	if (vfio_find(ID_EDU, 1, bdf) || vfio_bind(bdf))
		SKIP(return, "no second edu device");
	ASSERT_EQ(0, vfio_open_in(&a, bdf, self->container));
	ASSERT_EQ(0, vfio_request_eventfd(&a, pfd.fd));
	ASSERT_EQ(0, vfio_region(&a, 0, &bar));
	map = vfio_map(a.fd, bar.offset, bar.size, PAGE);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mmio_read32(map, &id));
	ASSERT_EQ(0, dma_map(self->container, map, IOVA, bar.size, DMA_RW));
	EXPECT_EQ(id, peek(self, IOVA));

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", bdf);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		munmap(map, bar.size);
		close(a.fd);
		close(a.group);
		_exit(write_file(path, "1") ? 1 : 0);
	}
	do {
		EXPECT_EQ(id, peek(self, IOVA));
	} while (!poll(&pfd, 1, 0));
	EXPECT_EQ(id, peek(self, IOVA));
	munmap(map, bar.size);
	close(a.fd);
	if (self->revokes)
		EXPECT_TRUE(blocked(self, IOVA));
	close(a.group);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_NE(0, access(path, F_OK));
	if (self->revokes)
		EXPECT_TRUE(blocked(self, IOVA));
	/* The mapping for DMA has the object still, and nothing else has. */
	snprintf(path, sizeof(path), "vfio %s ", bdf);
	EXPECT_EQ(self->revokes, count_lines(OBJECTS, path));
	EXPECT_EQ(bar.size, dma_unmap(self->container, IOVA, bar.size, 0));
	EXPECT_EQ(0, count_lines(OBJECTS, path));
	ASSERT_EQ(0, write_file("/sys/bus/pci/rescan", "1"));
	ASSERT_EQ(0, vfio_bind(bdf));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/*
 * Memory of a device that is not under vfio: a parameter decides, and iommufd
 * never takes it.
 */
TEST_F_TIMEOUT(dma, not_revocable, 120)
{
	char bdf[16], path[128], text[128];
	__u64 start, end;
	__u32 word;
	char *map;
	int fd, kmsg;

	if (vfio_find(ID_IVSHMEM, 1, bdf))
		SKIP(return, "no second ivshmem-plain device");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", bdf);
	write_file(path, "1");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource2", bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	map = mmap(NULL, MB(1), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mmio_write32(map, 0x700d));
	if (is_iommufd(self)) {
		EXPECT_EQ(-EFAULT, dma_map(self->container, map, IOVA, MB(1),
					   DMA_RW));
		EXPECT_TRUE(blocked(self, IOVA));
		return;
	}
	kmsg = kmsg_open();
	ASSERT_LE(0, kmsg);
	ASSERT_EQ(0, dma_map(self->container, map, IOVA, MB(1), DMA_RW));
	EXPECT_EQ(0x700d, peek(self, IOVA));
	if (self->revokes) {
		/* Who did that, and with which file. */
		snprintf(text, sizeof(text),
			 "%s[%d] maps memory for DMA that cannot be revoked: resource2,",
			 program_invocation_short_name, getpid());
		EXPECT_TRUE(kmsg_has(kmsg, text));
	}
	close(kmsg);
	ASSERT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	if (!self->revokes)
		SKIP(return, "no allow_unsafe_pfnmap");

	ASSERT_EQ(0, write_file(PARAM, "N"));
	EXPECT_EQ(-EPERM, dma_map(self->container, map, IOVA, MB(1), DMA_RW));
	/* Which is not about devices under vfio. */
	EXPECT_EQ(0, dma_map(self->container, self->map, OTHER_IOVA,
			     self->bar.size, DMA_RW));
	EXPECT_TRUE(reads(self, OTHER_IOVA, 1));
	ASSERT_EQ(0, write_file(PARAM, "Y"));
	EXPECT_EQ(0, dma_map(self->container, map, IOVA, MB(1), DMA_RW));
	EXPECT_EQ(0, mmio_read32(map, &word));
	EXPECT_EQ(0x700d, word);
	ASSERT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));

	/* The same memory under another driver; its memory type is another. */
	ASSERT_EQ(0, munmap(map, MB(1)));
	close(fd);
	ASSERT_EQ(0, pci_bar(bdf, 2, &start, &end));
	if (uio_bind(NULL, start))
		SKIP(return, "no module test_uio_mmap");
	ASSERT_EQ(0, uio_test_path(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	map = uio_map(fd, UIO_PHYS, 1);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, dma_map(self->container, map, IOVA, PAGE, DMA_RW));
	EXPECT_EQ(0x700d, peek(self, IOVA));
	uio_unbind();
}

TEST_HARNESS_MAIN
