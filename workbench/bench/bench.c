// SPDX-License-Identifier: GPL-2.0
/*
 * usage: bench dma | bench rdma
 *
 * dma: how long it takes to map a BAR for DMA, and to take it away: at an address
 * that is as aligned as the BAR, and one page off, where no huge page fits.
 * rdma: what a process pays for doorbells, and how long it takes to take them
 * back, on the device of lib/test_rdma_mmap.c.
 *
 * Prints "name<TAB>value" lines; times are in us, the least of some runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "dma_util.h"
#include "mmio_util.h"
#include "rdma_util.h"
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

#define PAGE	((size_t)getpagesize())
#define LOOPS	64

/* kB that the kernel's own objects take. */
static long slab(void)
{
	char line[128];
	long kb = 0;
	FILE *f;

	/* Objects that wait for RCU are still there. */
	sleep(1);
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Slab: %ld", &kb);
	if (f)
		fclose(f);
	return kb;
}

static char *map(struct rdma_dev *dev, struct rdma_entry *entry, size_t pages)
{
	char *addr = rdma_map(dev, entry->offset, pages * PAGE);

	check("mmap", addr == MAP_FAILED ? -errno : 0);
	return addr;
}

static void doorbells(struct rdma_dev *dev, unsigned int pages)
{
	double best[3], t, touched;
	struct rdma_entry entry;
	int run, loop, touch;
	unsigned int n;
	char *addr;

	check("entry", rdma_entry(dev, &entry, 0, pages, TEST_RDMA_MMAP_WC, 0));
	for (run = 0; run < 2 * RUNS; run++) {
		touch = run % 2;
		touched = 0;
		t = now_us();
		for (loop = 0; loop < LOOPS; loop++) {
			addr = map(dev, &entry, pages);
			touched -= touch ? now_us() : 0;
			for (n = 0; touch && n < pages; n++)
				*(volatile __u32 *)(addr + n * PAGE) = n;
			touched += touch ? now_us() : 0;
			munmap(addr, pages * PAGE);
		}
		t = (now_us() - t) / LOOPS;
		if (run < 2 || t < best[touch])
			best[touch] = t;
		if (run < 2 || (touch && touched / LOOPS < best[2]))
			best[2] = touched / LOOPS;
	}
	check("end of entry", rdma_entry_end(dev, &entry));
	printf("mmap, munmap, %u pages\t%.2f\n", pages, best[0]);
	printf("mmap, touch, munmap, %u pages\t%.2f\n", pages, best[1]);
	printf("first touch, %u pages\t%.2f\n", pages, best[2]);
}

/* With many mappings, each of them touched. */
static void many(struct rdma_dev *dev, int nr)
{
	double fork_us = 0, gone_us = 0, t;
	struct rdma_entry entry;
	char *addr[1024];
	int run, n, status;
	long before;
	pid_t pid;

	check("entry", rdma_entry(dev, &entry, 0, 1, TEST_RDMA_MMAP_WC, 0));
	for (run = 0; run < RUNS; run++) {
		before = slab();
		for (n = 0; n < nr; n++) {
			addr[n] = map(dev, &entry, 1);
			*(volatile __u32 *)addr[n] = n;
		}
		if (!run)
			printf("slab for one of %d mmap(), bytes\t%ld\n", nr,
			       (slab() - before) * 1024 / nr);
		t = now_us();
		pid = fork();
		if (!pid)
			_exit(0);
		t = now_us() - t;
		check("fork", pid);
		waitpid(pid, &status, 0);
		if (!run || t < fork_us)
			fork_us = t;
		t = now_us();
		check("disassociate", rdma_gone(dev, BY_DISASSOCIATE));
		t = now_us() - t;
		if (!run || t < gone_us)
			gone_us = t;
		for (n = 0; n < nr; n++)
			munmap(addr[n], PAGE);
	}
	printf("fork with %d mappings\t%.2f\n", nr, fork_us);
	printf("disassociate %d mappings\t%.2f\n", nr, gone_us);
	check("end of entry", rdma_entry_end(dev, &entry));
}

static void rdma(void)
{
	struct rdma_dev dev, files[500];
	char bdf[16];
	long before;
	int n;

	check("ivshmem", vfio_find(ID_IVSHMEM, 1, bdf));
	check("bind", rdma_bind(&dev, bdf));
	check("open", rdma_open(&dev));
	doorbells(&dev, 1);
	doorbells(&dev, 2);
	doorbells(&dev, 512);
	many(&dev, 64);
	many(&dev, 1024);
	before = slab();
	for (n = 0; n < 500; n++) {
		files[n] = dev;
		check("open", rdma_open(&files[n]));
	}
	printf("slab for one of 500 open files, bytes\t%ld\n",
	       (slab() - before) * 1024 / 500);
}

static void dma(void)
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
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";

	if (!strcmp(what, "dma"))
		dma();
	else if (!strcmp(what, "rdma"))
		rdma();
	else
		check(what, -EINVAL);
	return 0;
}
