/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the UIO tests share: the device of lib/test_uio_mmap.c, open, its pages
 * told apart by a word.
 */
#ifndef MMAP_REVOKE_UIO_TEST_H
#define MMAP_REVOKE_UIO_TEST_H

#define NO_FIXTURE_MR
#include "mr_test.h"
#include "uio_util.h"

/* Why tests of a device that goes are skipped on kernels without mmap_revoke. */
#define OUTLIVES	"mappings outlive a UIO device: this kernel has the bug"

/* The first page of a map, for touch(). */
#define FIRST(m)	(16 * (m))

FIXTURE(uio) {
	char path[32];
	int fd;
	char bdf[16];		/* of the device whose memory UIO_PHYS is */
};

FIXTURE_VARIANT(uio) {
	bool phys;		/* also UIO_PHYS, of an ivshmem-plain */
};

FIXTURE_SETUP(uio)
{
	__u64 bar = 0, end;
	char *map;
	size_t n;
	int ret;

	if (variant->phys) {
		if (vfio_find(ID_IVSHMEM, 1, self->bdf))
			SKIP(return, "no second ivshmem-plain device");
		pci_write(self->bdf, "driver/unbind", self->bdf);
		ASSERT_EQ(0, pci_write(self->bdf, "enable", "1"));
		ASSERT_EQ(0, pci_bar(self->bdf, 2, &bar, &end));
		ASSERT_NE(0, bar);
	}
	ret = uio_bind(NULL, bar);
	if (ret == -ENOENT)
		SKIP(return, "no module test_uio_mmap");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, uio_test_path(self->path));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	if (!bar)
		return;
	map = uio_map(self->fd, UIO_PHYS, uio_pages(UIO_PHYS));
	ASSERT_NE(MAP_FAILED, map);
	for (n = 0; n < uio_pages(UIO_PHYS); n++)
		ASSERT_EQ(0, mmio_write32(map + n * PAGE,
					  WORD(FIRST(UIO_PHYS) + n)));
	ASSERT_EQ(0, munmap(map, uio_pages(UIO_PHYS) * PAGE));
}

FIXTURE_TEARDOWN(uio)
{
	close(self->fd);
	if (self->bdf[0]) {
		pci_write(self->bdf, "enable", "0");
		vfio_bind(self->bdf);
	}
}

static inline char *map_all(int fd, enum uio_map m)
{
	return uio_map(fd, m, uio_pages(m));
}

#define MAP(addr, m)	ASSERT_NE(MAP_FAILED, (addr) = map_all(self->fd, m))

/* How many pages of a map do not give @outcome. */
static inline size_t others(const char *addr, enum uio_map m, int outcome)
{
	return uio_pages(m) - count_touch(addr, FIRST(m), uio_pages(m),
					  outcome);
}

#define EXPECT_MAP(addr, m, outcome)	EXPECT_EQ(0, others(addr, m, outcome))

#endif
