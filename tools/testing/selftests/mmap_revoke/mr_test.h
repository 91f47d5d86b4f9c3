/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the mmap_revoke tests share: a device that is mapped and whose pages can
 * be told apart.
 */
#ifndef MMAP_REVOKE_MR_TEST_H
#define MMAP_REVOKE_MR_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "../kselftest_harness.h"

/* In seconds: a guest on a busy host can be ten times slower than usual. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#include "dma_util.h"
#include "mmio_util.h"
#include "proc_util.h"
#include "race_util.h"
#include "sys_util.h"
#include "vfio_util.h"

#define MB(n)		((size_t)(n) << 20)
#define PAGE		((size_t)getpagesize())
#define BAR2		VFIO_PCI_BAR2_REGION_INDEX

/* The word at the start of page @n of ivshmem's memory. */
#define WORD(n)		(0x5eed0000u + (__u32)(n))

#ifndef NO_FIXTURE_MR
FIXTURE(mr) {
	struct vfio_dev dev;
	struct vfio_region_info bar;
	size_t pages;
	char *map;		/* all of the BAR, 2 MiB aligned */
};

FIXTURE_VARIANT(mr) {
	bool cdev;		/* cdev and iommufd, or group and type1 */
};

/* ivshmem-plain: BAR2 is memory whose content survives all that we do to it. */
FIXTURE_SETUP(mr)
{
	int ret = vfio_open_id(&self->dev, ID_IVSHMEM, 0, variant->cdev);
	size_t n;

	if (ret == -ENODEV || ret == -ENOENT)
		SKIP(return, "no ivshmem-plain device, or no vfio-pci with %s",
		     variant->cdev ? "cdev and iommufd" : "groups and type1");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vfio_region(&self->dev, BAR2, &self->bar));
	self->pages = self->bar.size / PAGE;
	ASSERT_LE(MB(4) / PAGE, self->pages);
	self->map = vfio_map(self->dev.fd, self->bar.offset, self->bar.size,
			     MB(2));
	ASSERT_NE(MAP_FAILED, self->map);
	for (n = 0; n < self->pages; n++)
		ASSERT_EQ(0, mmio_write32(self->map + n * PAGE, WORD(n)));
}

/* Mappings pin the device: the process ends right after this. */
FIXTURE_TEARDOWN(mr)
{
	vfio_close(&self->dev);
}

#endif /* NO_FIXTURE_MR */

/* What an access gives: its signal, else whether the word is that of page @n */
static inline int touch(const void *addr, size_t n)
{
	__u32 val;
	int sig = mmio_read32(addr, &val);

	return sig ?: val == WORD(n) ? 0 : -EILSEQ;
}

/* How many of @pages pages, the first of them page @n, give @outcome. */
static inline size_t count_touch(const char *addr, size_t n, size_t pages,
				 int outcome)
{
	size_t i, hits = 0;

	for (i = 0; i < pages; i++)
		hits += touch(addr + i * PAGE, n + i) == outcome;
	return hits;
}

#define EXPECT_PAGES(addr, n, pages, outcome)				\
do {									\
	size_t __pages = (pages);					\
									\
	EXPECT_EQ(__pages, count_touch(addr, n, __pages, outcome));	\
} while (0)

static inline int proc_touch(struct proc *p, void *addr, size_t n)
{
	__u32 val;
	int sig = proc_read32(p, addr, &val);

	return sig ?: val == WORD(n) ? 0 : -EILSEQ;
}

#endif
