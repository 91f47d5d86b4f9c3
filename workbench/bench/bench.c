// SPDX-License-Identifier: GPL-2.0
/*
 * How long it takes to map a BAR for DMA, and to take it away: "name<TAB>us"
 * lines, the least of some runs. At an address that is as aligned as the BAR,
 * and one page off, where no huge page fits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>

#include "dma_util.h"
#include "vfio_util.h"

#define RUNS	5
#define IOVA	0x40000000UL

static void check(const char *what, long ret)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "bench: %s: %s\n", what, strerror(-ret));
	exit(1);
}

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}

enum { MAP, OFF, ON, UNMAP, STEPS };

static const char * const names[STEPS] = {
	"VFIO_IOMMU_MAP_DMA", "memory off", "memory on", "VFIO_IOMMU_UNMAP_DMA",
};

static void measure(struct vfio_dev *dev, struct vfio_region_info *bar,
		    char *map, const char *how)
{
	double best[STEPS], t[STEPS + 1];
	int run, i;

	for (run = 0; run < RUNS; run++) {
		/* No page table entry is there that could save a fault. */
		check("memory off", vfio_revoke(dev, BY_COMMAND));
		check("memory on", vfio_restore(dev, BY_COMMAND));
		t[MAP] = now_us();
		check("map", dma_map(dev->iommu, map, IOVA, bar->size, DMA_RW));
		t[OFF] = now_us();
		check("memory off", vfio_revoke(dev, BY_COMMAND));
		t[ON] = now_us();
		check("memory on", vfio_restore(dev, BY_COMMAND));
		t[UNMAP] = now_us();
		check("unmap", dma_unmap(dev->iommu, IOVA, bar->size, 0));
		t[STEPS] = now_us();
		for (i = 0; i < STEPS; i++)
			if (!run || t[i + 1] - t[i] < best[i])
				best[i] = t[i + 1] - t[i];
	}
	for (i = 0; i < STEPS; i++)
		printf("%s, %s\t%.0f\n", names[i], how, best[i]);
}

int main(void)
{
	struct vfio_region_info bar;
	struct vfio_dev dev;
	char *area;

	check("ivshmem", vfio_open_id(&dev, ID_IVSHMEM, 0, false));
	check("BAR", vfio_region(&dev, VFIO_PCI_BAR2_REGION_INDEX, &bar));
	area = vfio_map(dev.fd, bar.offset, bar.size, 1 << 30);
	check("mmap", area == MAP_FAILED ? -errno : 0);
	measure(&dev, &bar, area, "aligned");
	munmap(area, bar.size);
	/* What is next to an aligned address is not aligned. */
	area = mmap(area + getpagesize(), bar.size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED_NOREPLACE, dev.fd, bar.offset);
	check("mmap", area == MAP_FAILED ? -errno : 0);
	measure(&dev, &bar, area, "a page off");
	return 0;
}
