// SPDX-License-Identifier: GPL-2.0
/*
 * usage: bench NAME...   what a figure of that name costs on this kernel
 *
 * Prints "what<TAB>size<TAB>unit<TAB>value" lines; size is 0 where nothing grows.
 * In an instruction-counted guest the least of a few runs is printed, otherwise
 * each run, for workbench/bench/compare to take the median of many guests.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/param.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "dma_util.h"
#include "mmio_util.h"
#include "rdma_util.h"
#include "sys_util.h"
#include "vfio_util.h"

#define RUNS	3
#define LOOPS	64
#define KB(n)	((size_t)(n) << 10)
#define MB(n)	((size_t)(n) << 20)
#define PAGE	((size_t)getpagesize())
#define IOVA	0x40000000UL
#define ZAP	TRACING "events/mmap_revoke/mmap_revoke_zap/enable"

static void check(const char *what, long ret)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "bench: %s: %s\n", what, strerror(-ret));
	exit(1);
}

static void put(const char *what, long size, const char *unit, double value)
{
	printf("%s\t%ld\t%s\t%.2f\n", what, size, unit, value);
	fflush(stdout);
}

static double now_us(void)
{
	return now_ns() / 1e3;
}

/* The time since @start, if it is less than @best or the first. */
static void least(double *best, double start)
{
	double t = now_us() - start;

	if (!*best || t < *best)
		*best = t;
}

static bool is_patched(void)
{
	return !access(OBJECTS, F_OK);
}

static void touch(char *addr, size_t size, size_t step)
{
	size_t at;

	for (at = 0; at < size; at += step)
		*(volatile __u32 *)(addr + at);
}

/*
 * vfio-pci, on an ivshmem-plain with a BAR 2 of @size
 */
static int find_bar(size_t size, char bdf[16])
{
	__u64 start, end;
	int nth;

	for (nth = 0; !vfio_find(ID_IVSHMEM, nth, bdf); nth++)
		if (!pci_bar(bdf, 2, &start, &end) && end - start + 1 == size)
			return 0;
	return -ENODEV;
}

static struct vfio_dev dev;
static struct vfio_region_info bar;

static void open_bar(size_t size)
{
	char bdf[16];

	check("BAR of that size", find_bar(size, bdf));
	check("bind", vfio_bind(bdf));
	check("open", vfio_open(&dev, bdf, false));
	check("BAR", vfio_region(&dev, VFIO_PCI_BAR2_REGION_INDEX, &bar));
}

/* Of the BAR: as aligned as it is, or one page off, where no huge page fits. */
static char *map_bar(size_t size, bool off)
{
	/* memory() maps more after it */
	size_t room = MAX(size, MB(64)) + MB(1024);
	char *area = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
			  MAP_NORESERVE, -1, 0);

	check("room", area == MAP_FAILED ? -errno : 0);
	area = (char *)(((unsigned long)area + MB(1024) - 1) & -MB(1024));
	area = mmap(area + off * PAGE, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, dev.fd, bar.offset);
	check("mmap", area == MAP_FAILED ? -errno : 0);
	return area;
}

/* No page table entry is left that could save a fault. */
static void memory_off_and_on(void)
{
	check("memory off", vfio_revoke(&dev, BY_COMMAND));
	check("memory on", vfio_restore(&dev, BY_COMMAND));
}

static const char * const where[] = { "aligned", "a page off" };

static void dma(void)
{
	char *area, what[64];
	size_t size;
	int off, run;

	open_bar(MB(1024));
	for (off = 0; off < 2; off++) {
		area = map_bar(bar.size, off);
		for (size = MB(1); size <= MB(1024); size *= 4) {
			double map = 0, unmap = 0, t;

			for (run = 0; run < 2; run++) {
				memory_off_and_on();
				t = now_us();
				check("map", dma_map(dev.iommu, area, IOVA,
						     size, DMA_RW));
				least(&map, t);
				t = now_us();
				check("unmap", dma_unmap(dev.iommu, IOVA, size,
							 0));
				least(&unmap, t);
			}
			snprintf(what, sizeof(what), "VFIO_IOMMU_MAP_DMA, %s",
				 where[off]);
			put(what, size >> 20, "us", map);
			snprintf(what, sizeof(what), "VFIO_IOMMU_UNMAP_DMA, %s",
				 where[off]);
			put(what, size >> 20, "us", unmap);
		}
	}
}

/* /dev/iommu in the place of /dev/vfio/vfio. */
static void container(void)
{
	int fd = open("/dev/iommu", O_RDWR), off, ret;
	char bdf[16], *area, what[96];
	double t;

	check("BAR of that size", find_bar(MB(64), bdf));
	check("bind", vfio_bind(bdf));
	check("open", vfio_open_in(&dev, bdf, fd));
	check("BAR", vfio_region(&dev, VFIO_PCI_BAR2_REGION_INDEX, &bar));
	for (off = 0; off < 2; off++) {
		area = map_bar(bar.size, off);
		t = now_us();
		ret = dma_map(fd, area, IOVA, bar.size, DMA_RW);
		t = now_us() - t;
		snprintf(what, sizeof(what),
			 "VFIO_IOMMU_MAP_DMA through /dev/iommu, %s",
			 where[off]);
		if (ret) {
			printf("%s\t64\tus\t%s\n", what, strerrorname_np(-ret));
			continue;
		}
		put(what, 64, "us", t);
		t = now_us();
		check("unmap", dma_unmap(fd, IOVA, bar.size, 0));
		snprintf(what, sizeof(what),
			 "VFIO_IOMMU_UNMAP_DMA through /dev/iommu, %s",
			 where[off]);
		put(what, 64, "us", now_us() - t);
	}
}

/* What the kernel says that unmap_mapping_pages() took, in us. */
static double zap_us(void)
{
	unsigned long long ns = 0;
	char line[256], *at;
	FILE *f = fopen(TRACING "trace", "r");

	while (f && fgets(line, sizeof(line), f)) {
		at = strstr(line, "duration_ns=");
		if (at)
			ns = strtoull(strchr(at, '=') + 1, NULL, 10);
	}
	if (f)
		fclose(f);
	return ns / 1e3;
}

/* The least of a few runs, off and on each, with pages mapped a @step apart. */
static double least_off_and_on(char *area, size_t size, size_t step)
{
	double off = 0, on = 0, t;
	int run;

	for (run = 0; run < RUNS; run++) {
		touch(area, size, step);
		t = now_us();
		check("memory off", vfio_revoke(&dev, BY_COMMAND));
		least(&off, t);
		t = now_us();
		check("memory on", vfio_restore(&dev, BY_COMMAND));
		least(&on, t);
	}
	return off + on;
}

static void memory(void)
{
	double zap, t;
	long nr, vmas = 0;
	char *area;
	int run, n;

	open_bar(MB(64));
	area = map_bar(PAGE, true);
	for (nr = 1; nr <= 4096; nr *= 4) {
		for (; vmas < nr; vmas++)
			check("mmap", mmap(area + vmas * PAGE, PAGE,
					   PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_FIXED, dev.fd,
					   bar.offset + vmas * PAGE) ==
				      MAP_FAILED ? -errno : 0);
		put("memory off and on, by VMAs", nr, "us",
		    least_off_and_on(area, nr * PAGE, PAGE));
		if (write_file(ZAP, "1"))
			continue;
		for (zap = 0, run = 0; run < RUNS; run++) {
			touch(area, nr * PAGE, PAGE);
			memory_off_and_on();
			t = zap_us();
			zap = !zap || t < zap ? t : zap;
		}
		write_file(ZAP, "0");
		put("unmap_mapping_pages() of that", nr, "us", zap);
	}
	munmap(area, vmas * PAGE);

	area = map_bar(bar.size, false);
	for (nr = 0; nr <= 64; nr += 64) {
		for (n = 0; n < nr; n++)
			check("map", dma_map(dev.iommu, area + MB(n),
					     IOVA + MB(n), MB(1), DMA_RW));
		put("memory off and on, by DMA mappings of 1 MiB", nr, "us",
		    least_off_and_on(area, bar.size, MB(1)));
	}
	t = now_us();
	for (n = 0; n < 64; n++)
		check("unmap", dma_unmap(dev.iommu, IOVA + MB(n), MB(1), 0));
	for (n = 0; n < 64; n++)
		check("map", dma_map(dev.iommu, area + MB(n), IOVA + MB(n),
				     MB(1), DMA_RW));
	put("VFIO_IOMMU_UNMAP_DMA and MAP_DMA of 1 MiB, by number", 64, "us",
	    now_us() - t);
}

static void first_touch(void)
{
	char *area, what[64];
	double all, one, t;
	size_t size;
	int off, run;
	long nr = 0;

	open_bar(MB(64));
	for (off = 0; off < 2; off++)
		for (size = KB(16); size <= MB(64); size *= 4) {
			area = map_bar(size, off);
			for (all = one = 0, run = 0; run < RUNS; run++) {
				memory_off_and_on();
				nr = faults(RUSAGE_SELF);
				t = now_us();
				touch(area, size, PAGE);
				least(&all, t);
				nr = faults(RUSAGE_SELF) - nr;
				memory_off_and_on();
				t = now_us();
				touch(area + size / 2, PAGE, PAGE);
				least(&one, t);
			}
			snprintf(what, sizeof(what),
				 "first touch of every page, %s", where[off]);
			put(what, size >> 10, "us", all);
			put(what, size >> 10, "faults", nr);
			snprintf(what, sizeof(what),
				 "first touch of one page, %s", where[off]);
			put(what, size >> 10, "us", one);
			munmap(area, size);
		}
}

/*
 * uverbs, on the device of lib/test_rdma_mmap.c
 */
static struct rdma_dev rdma;

static void open_rdma(void)
{
	char bdf[16];

	check("ivshmem", find_bar(MB(64), bdf));
	check("bind", rdma_bind(&rdma, bdf));
	check("open", rdma_open(&rdma));
}

static char *map(struct rdma_entry *entry, size_t pages)
{
	char *addr = rdma_map(&rdma, entry->offset, pages * PAGE);

	check("mmap", addr == MAP_FAILED ? -errno : 0);
	return addr;
}

static void doorbells(void)
{
	static const unsigned int sizes[] = { 1, 2, 512 };
	struct rdma_entry entry;
	unsigned int i, loop;
	double best[2], t;
	int run, touched;
	size_t pages;
	char *addr;

	open_rdma();
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		pages = sizes[i];
		check("entry", rdma_entry(&rdma, &entry, 0, pages,
					  TEST_RDMA_MMAP_WC, 0));
		best[0] = best[1] = 0;
		for (run = 0; run < 2 * RUNS; run++) {
			touched = run % 2;
			t = now_us();
			for (loop = 0; loop < LOOPS; loop++) {
				addr = map(&entry, pages);
				if (touched)
					touch(addr, pages * PAGE, PAGE);
				munmap(addr, pages * PAGE);
			}
			least(&best[touched], t);
		}
		check("end of entry", rdma_entry_end(&rdma, &entry));
		put("doorbell: mmap, munmap", pages, "us", best[0] / LOOPS);
		put("doorbell: mmap, touch, munmap", pages, "us",
		    best[1] / LOOPS);
	}
}

static double fork_and_exit(void)
{
	double best = 0, t;
	int run;

	for (run = 0; run < 2 * RUNS; run++) {
		pid_t pid;

		t = now_us();
		pid = fork();
		if (!pid)
			_exit(0);
		check("fork", pid);
		waitpid(pid, NULL, 0);
		least(&best, t);
	}
	return best;
}

static void forks(void)
{
	struct rdma_entry entry;
	double none;
	int n;

	open_rdma();
	check("entry", rdma_entry(&rdma, &entry, 0, 1, TEST_RDMA_MMAP_WC, 0));
	none = fork_and_exit();
	for (n = 0; n < 64; n++)
		touch(map(&entry, 1), PAGE, PAGE);
	put("fork and exit with so many doorbells, on top of none", 64, "us",
	    fork_and_exit() - none);
}

/* Children with the mappings of this process. */
#define MAX_CHILDREN	3000

static pid_t children[MAX_CHILDREN];

/* Hold mmap_lock for writing, nearly always: 1 GiB with all its page tables. */
static void sit_on_mmap_lock(int *ready)
{
	size_t size = MB(1024);
	char *area = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
			  MAP_NORESERVE, -1, 0);

	madvise(area, size, MADV_NOHUGEPAGE);
	touch(area, size, MB(2));
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		mprotect(area, size, PROT_READ | PROT_WRITE);
		mprotect(area, size, PROT_READ);
	}
}

static void start_children(int nr, bool busy)
{
	int *ready = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int n;

	for (n = 0; n < nr; n++) {
		children[n] = fork();
		check("fork", children[n] < 0 ? -errno : 0);
		if (children[n])
			continue;
		if (busy)
			sit_on_mmap_lock(ready);
		for (;;)
			pause();
	}
	while (busy && __atomic_load_n(ready, __ATOMIC_SEQ_CST) < nr)
		usleep(10000);
	usleep(100000);
	munmap(ready, PAGE);
}

static void end_children(int nr)
{
	int n;

	for (n = 0; n < nr; n++)
		kill(children[n], SIGKILL);
	for (n = 0; n < nr; n++)
		waitpid(children[n], NULL, 0);
}

/* How long a disassociation takes that ends 8 mappings in each process. */
static double disassociate(int nr, bool busy)
{
	/* It waits for locks, and not for a turn on a processor. */
	struct sched_param first = { .sched_priority = 50 }, none = {};
	struct rdma_entry entry[8];
	char *addr[8];
	double t;
	int n;

	check("open", rdma_open(&rdma));
	for (n = 0; n < 8; n++) {
		check("entry", rdma_entry(&rdma, &entry[n], n, 1,
					  TEST_RDMA_MMAP_WC, 0));
		addr[n] = map(&entry[n], 1);
		touch(addr[n], PAGE, PAGE);
	}
	start_children(nr - 1, busy);
	sched_setscheduler(0, SCHED_FIFO, &first);
	t = now_us();
	check("disassociate", rdma_gone(&rdma, BY_DISASSOCIATE));
	t = now_us() - t;
	sched_setscheduler(0, SCHED_OTHER, &none);
	end_children(nr - 1);
	for (n = 0; n < 8; n++)
		munmap(addr[n], PAGE);
	rdma_close(&rdma);
	return t;
}

static void gone(void)
{
	static const int sizes[] = { 1, 8, 64, 256, 512, 1024, 2048, 3000 };
	unsigned int i;

	open_rdma();
	rdma_close(&rdma);
	disassociate(2, false);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		put("uverbs disassociation, by processes", sizes[i], "us",
		    disassociate(sizes[i], false));
}

static void busy(void)
{
	int run;

	open_rdma();
	rdma_close(&rdma);
	disassociate(2, false);
	for (run = 0; run < RUNS; run++) {
		put("uverbs disassociation, idle", 64, "us",
		    disassociate(64, false));
		put("uverbs disassociation, busy mmap_locks", 64, "us",
		    disassociate(64, true));
	}
}

/* Revoke one entry while there are others, or while dead maps have VMAs. */
static void one_entry(void)
{
	struct rdma_entry entry;
	int dead, run, nr, n;
	double best, t;
	char *addr;

	if (!is_patched())
		return;
	for (dead = 0; dead < 2; dead++) {
		if (dead)
			rdma_close(&rdma);
		open_rdma();
		for (n = 0, nr = 1; nr <= 10000; nr *= 10) {
			for (; n < nr; n++) {
				check("entry", rdma_entry(&rdma, &entry,
							  n % 1024, 1,
							  TEST_RDMA_MMAP_WC, 0));
				map(&entry, 1);
			}
			if (dead)
				check("disassociate",
				      rdma_gone(&rdma, BY_DISASSOCIATE));
			for (best = 0, run = 0; run < RUNS; run++) {
				check("entry", rdma_entry(&rdma, &entry, 7, 1,
							  TEST_RDMA_MMAP_WC,
							  TEST_RDMA_MMAP_REVOKE));
				addr = map(&entry, 1);
				touch(addr, PAGE, PAGE);
				t = now_us();
				check("end of entry",
				      rdma_entry_end(&rdma, &entry));
				least(&best, t);
				munmap(addr, PAGE);
			}
			put(dead ? "revoke of one entry, by dead ones" :
				   "revoke of one entry, by others that live",
			    nr, "us", best);
		}
	}
}

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

static void open_and_close(void)
{
	struct rdma_entry entry;
	double best[2] = {}, t;
	int run, loop, n, fd;
	struct rdma_dev file;
	long before;

	open_rdma();
	file = rdma;
	for (run = 0; run < RUNS; run++) {
		t = now_us();
		for (loop = 0; loop < LOOPS; loop++) {
			fd = open(rdma.path, O_RDWR);
			check("open", fd < 0 ? -errno : 0);
			close(fd);
		}
		least(&best[0], t);
		t = now_us();
		for (loop = 0; loop < LOOPS; loop++) {
			check("open", rdma_open(&file));
			rdma_close(&file);
		}
		least(&best[1], t);
	}
	put("open and close of a uverbs file", 0, "us", best[0] / LOOPS);
	put("the same, with a context", 0, "us", best[1] / LOOPS);

	before = slab();
	for (n = 0; n < 800; n++)
		check("open", open(rdma.path, O_RDWR) < 0 ? -errno : 0);
	put("slab for an open uverbs file", 0, "bytes",
	    (slab() - before) * 1024.0 / 800);
	check("entry", rdma_entry(&rdma, &entry, 0, 1, TEST_RDMA_MMAP_WC, 0));
	before = slab();
	for (n = 0; n < 4096; n++)
		map(&entry, 1);
	put("slab for an mmap()", 0, "bytes", (slab() - before) * 1024.0 / 4096);
}

/*
 * mmap, touch and munmap of one page by one and two processes at once: under
 * memory_lock of vfio-pci, under the gate of the sample driver and that of maps.
 */
static void at_once(const char *what, int fd, off_t offset)
{
	const int loops = 2000;
	int nr, n, run, loop;
	char *addr;
	double t;

	for (nr = 1; nr <= 2; nr++)
		for (run = 0; run < RUNS; run++) {
			t = now_us();
			for (n = 0; n < nr; n++) {
				children[n] = fork();
				check("fork", children[n]);
				if (children[n])
					continue;
				for (loop = 0; loop < loops; loop++) {
					addr = mmap(NULL, PAGE, PROT_READ,
						    MAP_SHARED, fd, offset);
					if (addr == MAP_FAILED)
						_exit(1);
					touch(addr, PAGE, PAGE);
					munmap(addr, PAGE);
				}
				_exit(0);
			}
			for (n = 0; n < nr; n++)
				waitpid(children[n], NULL, 0);
			put(what, nr, "us", (now_us() - t) / loops);
		}
}

static void gate(void)
{
	char bdf[16];
	struct rdma_entry entry;
	int fd;

	open_bar(MB(64));
	at_once("mmap, touch, munmap at once: vfio-pci, memory_lock", dev.fd,
		bar.offset);
	vfio_close(&dev);
	open_rdma();
	check("entry", rdma_entry(&rdma, &entry, 0, 1, TEST_RDMA_MMAP_UC, 0));
	at_once("mmap, touch, munmap at once: uverbs", rdma.fd, entry.offset);
	if (!is_patched())
		return;
	check("edu", vfio_find(ID_EDU, 0, bdf));
	check("sample", module_load("mmap_revoke_edu", "MR_SAMPLE", ""));
	pci_write(bdf, "driver_override", "edu");
	pci_write(bdf, "driver/unbind", bdf);
	check("bind", write_file("/sys/bus/pci/drivers/edu/bind", bdf));
	usleep(100000);
	fd = open("/dev/edu0", O_RDWR);
	check("open", fd < 0 ? -errno : 0);
	at_once("mmap, touch, munmap at once: sample, gate", fd, 0);
}

static void boot(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	put("boot, until user space is ready", 0, "ms",
	    ts.tv_sec * 1e3 + ts.tv_nsec / 1e6);
}

static const struct {
	const char *name;
	void (*fn)(void);
} benches[] = {
	{ "boot", boot },
	{ "busy", busy },
	{ "container", container },
	{ "dma", dma },
	{ "doorbell", doorbells },
	{ "entry", one_entry },
	{ "fork", forks },
	{ "gate", gate },
	{ "gone", gone },
	{ "memory", memory },
	{ "open", open_and_close },
	{ "touch", first_touch },
};

int main(int argc, char **argv)
{
	unsigned int i;

	for (i = 0; argc == 2 && i < sizeof(benches) / sizeof(benches[0]); i++)
		if (!strcmp(benches[i].name, argv[1])) {
			benches[i].fn();
			return 0;
		}
	check("one name", -EINVAL);
}
