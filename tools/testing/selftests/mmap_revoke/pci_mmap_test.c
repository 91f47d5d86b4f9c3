// SPDX-License-Identifier: GPL-2.0
/*
 * BARs that are mapped by files of PCI and by /dev/mem: they go with the device,
 * and as long as it is there all is as it always was.
 */
#include <linux/pci.h>
#include <sys/syscall.h>

#define NO_FIXTURE_MR
#include "mr_test.h"

#define SYSFS_PCI	"/sys/bus/pci/"
#define MEMTYPES	"/sys/kernel/debug/x86/pat_memtype_list"
#define MODULE		"test_pci_config"

/* The files, each of which maps pages of its own in a test that has all. */
enum file { RES, RES_WC, PROC, PROC_WC, DEV_MEM, NR_FILES };

static const char * const names[] = {
	[RES] = "resource", [RES_WC] = "resource_wc", [PROC] = "procfs",
	[PROC_WC] = "procfs, write-combining", [DEV_MEM] = "/dev/mem",
};

#define PAGES		8
#define FIRST(file)	((file) * PAGES)

struct bar {
	char bdf[16];
	int nr;
	__u64 start, end;
};

static int bar_find(struct bar *bar, const char *bdf, int nr)
{
	*bar = (struct bar){ .nr = nr };
	strcpy(bar->bdf, bdf);
	return pci_bar(bdf, nr, &bar->start, &bar->end) ?:
	       bar->end ? 0 : -ENOENT;
}

static int bar_open(struct bar *bar, enum file file, int flags)
{
	char path[96];
	int fd;

	if (file == DEV_MEM)
		strcpy(path, "/dev/mem");
	else if (file == PROC || file == PROC_WC)
		snprintf(path, sizeof(path), "/proc/bus/pci/%.2s/%.4s",
			 bar->bdf + 5, bar->bdf + 8);
	else
		snprintf(path, sizeof(path), SYSFS_PCI "devices/%s/resource%d%s",
			 bar->bdf, bar->nr, file == RES_WC ? "_wc" : "");
	fd = open(path, flags | O_CLOEXEC | (file == DEV_MEM ? O_SYNC : 0));
	if (fd < 0)
		return -errno;
	if (file == PROC || file == PROC_WC)
		ioctl(fd, PCIIOC_MMAP_IS_MEM);
	if (file == PROC_WC)
		ioctl(fd, PCIIOC_WRITE_COMBINE, 1);
	return fd;
}

/* Where page @n of a BAR is in a file. */
static off_t bar_offset(struct bar *bar, enum file file, size_t n)
{
	return n * PAGE + (file == RES || file == RES_WC ? 0 :
			   bar->start & ~(PAGE - 1));
}

static char *bar_map(struct bar *bar, enum file file, size_t first, size_t nr)
{
	int fd = bar_open(bar, file, O_RDWR);
	char *addr;

	addr = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    bar_offset(bar, file, first));
	if (fd >= 0)
		close(fd);
	return addr;
}

/* As a debugger does: the bytes that were read, or a negative errno. */
static ssize_t peek(const void *addr, __u32 *val)
{
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	n = pread(fd, val, sizeof(*val), (unsigned long)addr);
	if (n < 0)
		n = -errno;
	close(fd);
	return n;
}

/* For what the name of the file must be told. */
#define EXPECT_FILE(want, expr, file)					\
do {									\
	long __want = (want), __got = (expr);				\
									\
	if (__got != __want)						\
		TH_LOG("%s:", names[file]);				\
	EXPECT_EQ(__want, __got);					\
} while (0)

static int load_claim(__u64 start, __u64 size, bool idle)
{
	char text[128], bdf[16];

	/* Any device that stays does for the other half of the module. */
	if (vfio_find(ID_TESTDEV, 0, bdf))
		return -ENODEV;
	snprintf(text, sizeof(text), "device=%s claim=%#llx,%#llx idle=%d", bdf,
		 (unsigned long long)start, (unsigned long long)size, idle);
	return module_load(MODULE, "MR_PCI_MODULE", text);
}

static int driver_claims(__u64 start, __u64 size)
{
	return load_claim(start, size, false);
}

static void driver_lets_go(void)
{
	syscall(SYS_delete_module, MODULE, O_NONBLOCK);
}

/* ivshmem-plain without a driver: BAR2 is memory, BAR0 has 256 bytes. */
FIXTURE(iomem) {
	struct bar bar;
	char path[96];
};

/* Of a device that nobody drives: whoever knows its ID may have taken it. */
static int enable(const char *bdf)
{
	pci_write(bdf, "driver/unbind", bdf);
	return pci_write(bdf, "enable", "1");
}

FIXTURE_SETUP(iomem)
{
	char *map, bdf[16];
	size_t n;

	if (vfio_find(ID_IVSHMEM, 1, bdf))
		SKIP(return, "no two ivshmem-plain devices");
	if (access("/dev/mem", F_OK))
		SKIP(return, "no /dev/mem");
	/* It knows the device by its ID, and claims one that comes back. */
	syscall(SYS_delete_module, "test_rdma_mmap", O_NONBLOCK);
	ASSERT_EQ(0, enable(bdf));
	ASSERT_EQ(0, bar_find(&self->bar, bdf, 2));
	snprintf(self->path, sizeof(self->path), SYSFS_PCI "devices/%s", bdf);
	map = bar_map(&self->bar, RES, 0, NR_FILES * PAGES);
	ASSERT_NE(MAP_FAILED, map);
	for (n = 0; n < NR_FILES * PAGES; n++)
		ASSERT_EQ(0, mmio_write32(map + n * PAGE, WORD(n)));
	ASSERT_EQ(0, munmap(map, NR_FILES * PAGES * PAGE));
}

FIXTURE_TEARDOWN(iomem)
{
	driver_lets_go();
	if (access(self->path, F_OK))
		write_file(SYSFS_PCI "rescan", "1");
	EXPECT_EQ(0, vfio_bind(self->bar.bdf));
}

static int bar_remove(struct bar *bar)
{
	return pci_write(bar->bdf, "remove", "1");
}

/* The memory type that is reserved for a page of the BAR, or "". */
static void memory_type(struct bar *bar, size_t page, char type[32])
{
	unsigned long long first, end, addr = bar->start + page * PAGE;
	char line[128], found[32];
	FILE *f = fopen(MEMTYPES, "r");

	type[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "PAT: [mem 0x%llx-0x%llx] %31s", &first, &end,
			   found) == 3 && first <= addr && addr < end)
			strcpy(type, found);
	if (f)
		fclose(f);
}

/* Faults while this touches all pages of a mapping. */
static long page_faults(const char *addr)
{
	long before = faults(RUSAGE_THREAD);
	size_t n;

	for (n = 0; n < PAGES; n++)
		__atomic_load_n((__u32 *)(addr + n * PAGE), __ATOMIC_RELAXED);
	return faults(RUSAGE_THREAD) - before;
}

/* Pages are there without a fault, and have the memory type of the file. */
TEST_F(iomem, live)
{
	static const char * const types[] = {
		[RES] = "uncached-minus", [RES_WC] = "write-combining",
		[PROC] = "uncached-minus", [PROC_WC] = "write-combining",
		[DEV_MEM] = "uncached-minus",
	};
	char type[32], *addr, *other;
	enum file file;
	__u32 val;

	for (file = 0; file < NR_FILES; file++) {
		/* The faults of the program itself come here. */
		other = bar_map(&self->bar, file, FIRST(file), PAGES);
		ASSERT_NE(MAP_FAILED, other);
		page_faults(other);
		ASSERT_EQ(0, munmap(other, PAGES * PAGE));

		addr = bar_map(&self->bar, file, FIRST(file), PAGES);
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_FILE(0, page_faults(addr), file);
		EXPECT_PAGES(addr, FIRST(file), PAGES, 0);
		memory_type(&self->bar, FIRST(file) + PAGES - 1, type);
		EXPECT_STREQ(types[file], type);

		/* A debugger sees it, also what this process may not write. */
		ASSERT_EQ(0, mprotect(addr, PAGE, PROT_READ));
		EXPECT_FILE(4, peek(addr, &val), file);
		EXPECT_EQ(WORD(FIRST(file)), val);
		EXPECT_EQ(0, touch(addr, FIRST(file)));
		EXPECT_EQ(SIGSEGV, mmio_write32(addr, 1));

		/* What one file writes is what another reads. */
		if (!strcmp(types[file], types[RES])) {
			other = bar_map(&self->bar, RES, FIRST(file), PAGES);
			ASSERT_NE(MAP_FAILED, other);
			ASSERT_EQ(0, mmio_write32(other + PAGE, 0xface));
			EXPECT_EQ(0, mmio_read32(addr + PAGE, &val));
			EXPECT_EQ(0xface, val);
			ASSERT_EQ(0, munmap(other, PAGES * PAGE));
		}
		/* The type is reserved as long as something is mapped. */
		ASSERT_EQ(0, munmap(addr, PAGES * PAGE));
		memory_type(&self->bar, FIRST(file), type);
		EXPECT_STREQ("", type);
	}
}

/* Mappings that few ask for, and refusals. */
TEST_F(iomem, odd)
{
	char type[32], *addr, *other;
	enum file file;
	__u32 val;
	int fd;

	for (file = 0; file < NR_FILES; file++) {
		/* A file that is open for reading. */
		fd = bar_open(&self->bar, file, O_RDONLY);
		ASSERT_LE(0, fd);
		addr = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd,
			    bar_offset(&self->bar, file, FIRST(file)));
		ASSERT_NE(MAP_FAILED, addr);
		EXPECT_EQ(0, touch(addr, FIRST(file)));
		EXPECT_EQ(-1, mprotect(addr, PAGE, PROT_READ | PROT_WRITE));

		/* A private mapping: the first write makes a copy. */
		other = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			     fd, bar_offset(&self->bar, file, FIRST(file)));
		ASSERT_NE(MAP_FAILED, other);
		EXPECT_EQ(0, touch(other, FIRST(file)));
		ASSERT_EQ(0, mmio_write32(other, 0xc0de));
		ASSERT_EQ(0, mmio_write32(other + PAGE, 0xc0de));
		EXPECT_EQ(0, mmio_read32(other, &val));
		EXPECT_EQ(0xc0de, val);
		EXPECT_EQ(0, touch(addr, FIRST(file)));
		ASSERT_EQ(0, munmap(addr, PAGE));
		ASSERT_EQ(0, munmap(other, 2 * PAGE));
		close(fd);
	}

	/* One memory type at a time, that of the first. */
	addr = bar_map(&self->bar, RES, 0, 1);
	ASSERT_NE(MAP_FAILED, addr);
	other = bar_map(&self->bar, RES_WC, 0, 1);
	ASSERT_NE(MAP_FAILED, other);
	memory_type(&self->bar, 0, type);
	EXPECT_STREQ("uncached-minus", type);
	EXPECT_EQ(0, touch(other, 0));
	ASSERT_EQ(0, munmap(other, PAGE));
	/* No further than the BAR. */
	EXPECT_EQ(MAP_FAILED, bar_map(&self->bar, RES, (self->bar.end + 1 -
							self->bar.start) / PAGE, 1));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, munmap(addr, PAGE));
}

/* All files, in two processes, whole, split and moved. */
struct all {
	char *map[NR_FILES], *moved[NR_FILES];
	struct proc child;
};

static int map_all(struct bar *bar, struct all *all)
{
	enum file file;
	char *addr;

	for (file = 0; file < NR_FILES; file++) {
		addr = bar_map(bar, file, FIRST(file), PAGES);
		if (addr == MAP_FAILED)
			return -errno;
		all->map[file] = addr;
		/* Pages 0, 1 | 2, read-only | 3, 4 | 5 to 7, moved. */
		if (mprotect(addr + 2 * PAGE, PAGE, PROT_READ))
			return -errno;
		all->moved[file] = mremap(addr + 5 * PAGE, 3 * PAGE, 3 * PAGE,
					  MREMAP_MAYMOVE | MREMAP_FIXED,
					  mmap(NULL, 3 * PAGE, PROT_NONE,
					       MAP_PRIVATE | MAP_ANONYMOUS, -1,
					       0));
		if (all->moved[file] == MAP_FAILED)
			return -errno;
	}
	return proc_start(&all->child);
}

/* How many of the pages of a file, here and in the child, give @outcome. */
static int count_all(struct all *all, enum file file, int outcome)
{
	char *addr = all->map[file], *moved = all->moved[file];
	size_t n, first = FIRST(file);
	int hits;

	hits = count_touch(addr, first, 5, outcome) +
	       count_touch(moved, first + 5, 3, outcome);
	for (n = 0; n < 5; n++)
		hits += proc_touch(&all->child, addr + n * PAGE, first + n) ==
			outcome;
	for (n = 0; n < 3; n++)
		hits += proc_touch(&all->child, moved + n * PAGE,
				   first + 5 + n) == outcome;
	return hits;
}

/* Nobody reads it or can write it, or has a debugger do so. */
#define EXPECT_GONE(of)							\
do {									\
	struct all *__all = (of);					\
	enum file __n;							\
	__u32 __val;							\
									\
	for (__n = 0; __n < NR_FILES; __n++) {				\
		EXPECT_FILE(2 * PAGES, count_all(__all, __n, SIGBUS),	\
			    __n);					\
		EXPECT_FILE(SIGBUS,					\
			    mmio_write32(__all->map[__n], 0xbad), __n);	\
		EXPECT_FILE(-EIO, peek(__all->map[__n], &__val), __n);	\
	}								\
} while (0)

TEST_F(iomem, remove)
{
	struct bar other = self->bar;
	struct all all;
	enum file file;
	char *stays, *again;
	int fd[NR_FILES];
	char bdf[16];

	ASSERT_EQ(0, vfio_find(ID_IVSHMEM, 0, bdf));
	pci_write(bdf, "enable", "1");
	ASSERT_EQ(0, bar_find(&other, bdf, 2));
	stays = bar_map(&other, RES, 0, 1);
	ASSERT_NE(MAP_FAILED, stays);
	ASSERT_EQ(0, mmio_write32(stays, WORD(0)));

	ASSERT_EQ(0, map_all(&self->bar, &all));
	for (file = 0; file < NR_FILES; file++) {
		EXPECT_FILE(2 * PAGES, count_all(&all, file, 0), file);
		fd[file] = bar_open(&self->bar, file, O_RDWR);
		ASSERT_LE(0, fd[file]);
	}

	ASSERT_EQ(0, bar_remove(&self->bar));
	EXPECT_GONE(&all);
	EXPECT_EQ(0, touch(stays, 0));
	/* Files that were open map nothing. */
	for (file = 0; file < DEV_MEM; file++) {
		EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED,
					   fd[file],
					   bar_offset(&self->bar, file, 0)));
		close(fd[file]);
	}
	close(fd[DEV_MEM]);

	/* The device comes back, what was mapped before does not. */
	ASSERT_EQ(0, write_file(SYSFS_PCI "rescan", "1"));
	ASSERT_EQ(0, enable(self->bar.bdf));
	again = bar_map(&self->bar, RES, 0, 1);
	ASSERT_NE(MAP_FAILED, again);
	EXPECT_EQ(0, touch(again, 0));
	EXPECT_GONE(&all);
	EXPECT_EQ(0, touch(again, 0));
	EXPECT_EQ(0, proc_stop(&all.child));
	pci_write(bdf, "enable", "0");
}

/* The next device at the address is another one. */
TEST_F_TIMEOUT(iomem, unplug, 120)
{
	struct bar next;
	struct all all;
	char *again;
	size_t n;
	int ret;

	ASSERT_EQ(0, map_all(&self->bar, &all));
	ret = pci_unplug(self->bar.bdf);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "nobody to pull the device");
	ASSERT_EQ(0, ret);
	/* Its files go a moment before its mappings do, /dev/mem's last. */
	for (n = 0; n < 500 && count_all(&all, DEV_MEM, SIGBUS) != 2 * PAGES;
	     n++)
		usleep(10000);
	EXPECT_GONE(&all);

	/* It gets its address a moment after its files, and claims it then. */
	ASSERT_EQ(0, pci_plug(self->bar.bdf));
	for (n = 0, ret = -EINVAL; n < 500 && ret; n++) {
		ASSERT_EQ(0, bar_find(&next, self->bar.bdf, 2));
		ret = next.start ? enable(next.bdf) : -EINVAL;
		if (ret)
			usleep(10000);
	}
	ASSERT_EQ(0, ret);
	ASSERT_EQ(self->bar.start, next.start);
	again = bar_map(&next, RES, 0, NR_FILES * PAGES);
	ASSERT_NE(MAP_FAILED, again);
	for (n = 0; n < NR_FILES * PAGES; n++)
		ASSERT_EQ(0, mmio_write32(again + n * PAGE, WORD(n)));
	EXPECT_GONE(&all);
	EXPECT_PAGES(again, 0, NR_FILES * PAGES, 0);
	EXPECT_EQ(0, proc_stop(&all.child));
}

/* The memory of a VF is gone when the PF has taken the VF away. */
TEST(vf_disable)
{
	static const enum file files[] = { RES, PROC, DEV_MEM };
	char pf[16], vf[16], *map[3];
	struct bar bar;
	__u32 val;
	int n;

	if (vf_make(pf, vf))
		SKIP(return, "QEMU's nvme makes no VF, or no pci-pf-stub");
	ASSERT_EQ(0, bar_find(&bar, vf, 0));
	for (n = 0; n < 3; n++) {
		map[n] = bar_map(&bar, files[n], 0, 1);
		ASSERT_NE(MAP_FAILED, map[n]);
		EXPECT_EQ(0, mmio_read32(map[n], &val));
	}
	ASSERT_EQ(0, vf_drop(pf));
	for (n = 0; n < 3; n++)
		EXPECT_FILE(SIGBUS, mmio_read32(map[n], &val), files[n]);

	/* The next VF has the same address. */
	ASSERT_EQ(0, vf_make(pf, vf));
	for (n = 0; n < 3; n++)
		EXPECT_FILE(SIGBUS, mmio_read32(map[n], &val), files[n]);
	ASSERT_EQ(0, vf_drop(pf));
}

/* A BAR of less than a page goes, and a neighbour in its page stays. */
TEST_F(iomem, small)
{
	static const enum file files[] = { RES, PROC, DEV_MEM };
	struct bar bar;
	__u32 val;
	char *map[3];
	int n, shared;

	for (shared = 0; shared < 2; shared++) {
		ASSERT_EQ(0, bar_find(&bar, self->bar.bdf, 0));
		ASSERT_GT(PAGE, bar.end + 1 - bar.start);
		for (n = 0; n < 3; n++) {
			map[n] = bar_map(&bar, files[n], 0, 1);
			ASSERT_NE(MAP_FAILED, map[n]);
			EXPECT_EQ(0, mmio_read32(map[n], &val));
		}
		if (shared && load_claim(bar.end + 1, 16, true))
			SKIP(return, "no module " MODULE);
		ASSERT_EQ(0, bar_remove(&bar));
		for (n = 0; n < 3; n++)
			EXPECT_FILE(shared && files[n] == DEV_MEM ? 0 : SIGBUS,
				    mmio_read32(map[n], &val), files[n]);
		driver_lets_go();
		ASSERT_EQ(0, write_file(SYSFS_PCI "rescan", "1"));
		ASSERT_EQ(0, enable(bar.bdf));
	}
}

/*
 * IO_STRICT_DEVMEM: what a driver claims is its own, and is not given back to
 * those who had it mapped. The rest of a mapping stays.
 */
TEST_F(iomem, claimed)
{
	enum { FROM = 2, NR = 3 };
	enum file file;
	char *map;
	__u32 val;

	for (file = 0; file < NR_FILES; file++) {
		__u64 start = self->bar.start + (FIRST(file) + FROM) * PAGE;

		map = bar_map(&self->bar, file, FIRST(file), PAGES);
		ASSERT_NE(MAP_FAILED, map);
		EXPECT_PAGES(map, FIRST(file), PAGES, 0);
		if (driver_claims(start, NR * PAGE))
			SKIP(return, "no module " MODULE);
		if (bar_map(&self->bar, DEV_MEM, FIRST(file) + FROM, 1) !=
		    MAP_FAILED)
			SKIP(return, "no CONFIG_IO_STRICT_DEVMEM");
		EXPECT_PAGES(map + FROM * PAGE, FIRST(file) + FROM, NR, SIGBUS);
		EXPECT_FILE(-EIO, peek(map + FROM * PAGE, &val), file);
		EXPECT_PAGES(map, FIRST(file), FROM, 0);
		EXPECT_PAGES(map + (FROM + NR) * PAGE, FIRST(file) + FROM + NR,
			     PAGES - FROM - NR, 0);
		if (file == DEV_MEM) {
			EXPECT_EQ(MAP_FAILED,
				  bar_map(&self->bar, file, FIRST(file), PAGES));
			EXPECT_EQ(EPERM, errno);
		}
		driver_lets_go();
		EXPECT_PAGES(map + FROM * PAGE, FIRST(file) + FROM, NR, SIGBUS);
		/* A new mapping has it. */
		ASSERT_EQ(0, munmap(map, PAGES * PAGE));
		map = bar_map(&self->bar, file, FIRST(file), PAGES);
		ASSERT_NE(MAP_FAILED, map);
		EXPECT_PAGES(map, FIRST(file), PAGES, 0);
		ASSERT_EQ(0, munmap(map, PAGES * PAGE));
	}
}

/* What was left of it goes with the device like the rest. */
TEST_F(iomem, claimed_and_removed)
{
	struct all all;

	ASSERT_EQ(0, map_all(&self->bar, &all));
	if (driver_claims(self->bar.start + PAGE, PAGE))
		SKIP(return, "no module " MODULE);
	driver_lets_go();
	EXPECT_EQ(0, touch(all.map[RES], 0));
	EXPECT_EQ(SIGBUS, touch(all.map[RES] + PAGE, 1));
	ASSERT_EQ(0, bar_remove(&self->bar));
	EXPECT_GONE(&all);
	EXPECT_EQ(0, proc_stop(&all.child));
}

/*
 * mmap() of a large BAR at a known address while the device goes: when that has
 * returned, nothing is reached there, and never will be.
 */
struct mapper {
	struct racer racer;
	char *addr;
	size_t size;
	off_t offset;
	int fd, ret;
};

static void map_bar(struct racer *racer)
{
	struct mapper *m = (struct mapper *)racer;

	m->ret = mmap(m->addr, m->size, PROT_READ | PROT_WRITE, MAP_SHARED |
		      MAP_FIXED, m->fd, m->offset) == m->addr ? 0 : -errno;
}

static size_t reached(struct mapper *m)
{
	size_t n, hits = 0;
	__u32 val;

	for (n = 0; n < m->size; n += 16 * PAGE)
		hits += !mmio_read32(m->addr + n, &val);
	return hits;
}

TEST_F_TIMEOUT(iomem, mmap_races_remove, 300)
{
	size_t size = self->bar.end + 1 - self->bar.start;
	int n, mapped[NR_FILES] = {}, refused[NR_FILES] = {};
	struct mapper m = { .racer.fn = map_bar, .size = size };
	enum file file = RES;
	__u64 late[NR_FILES] = {};

	m.addr = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, m.addr);
	for (n = 0; n < rounds(80) || (n < 100 && !(mapped[RES] && mapped[PROC]));
	     n++) {
		file = n % 2 ? PROC : RES;
		m.fd = bar_open(&self->bar, file, O_RDWR);
		ASSERT_LE(0, m.fd);
		m.offset = bar_offset(&self->bar, file, 0);
		if (!n) {
			ASSERT_EQ(0, racer_start(&m.racer));
			ASSERT_EQ(0, m.ret);
			EXPECT_LT(0, reached(&m));
		}
		ASSERT_EQ(m.addr, mmap(m.addr, size, PROT_NONE, MAP_PRIVATE |
				       MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		racer_go(&m.racer, late[file]);
		ASSERT_EQ(0, bar_remove(&self->bar));
		EXPECT_EQ(0, reached(&m));
		racer_join(&m.racer);
		EXPECT_EQ(0, reached(&m));
		/* Half of what a mmap() alone takes, and back. */
		late[file] = m.ret ? late[file] + m.racer.ns / 16 :
				     late[file] - late[file] / 4;
		if (m.ret)
			refused[file]++;
		else
			mapped[file]++;
		close(m.fd);
		ASSERT_EQ(0, write_file(SYSFS_PCI "rescan", "1"));
		ASSERT_EQ(0, enable(self->bar.bdf));
		EXPECT_EQ(0, reached(&m));
	}
	racer_stop(&m.racer);
	printf("# mapped, refused: resource %d, %d; procfs %d, %d; %llu us alone\n",
	       mapped[RES], refused[RES], mapped[PROC], refused[PROC],
	       m.racer.ns / 1000);
	EXPECT_LT(0, mapped[RES]);
	EXPECT_LT(0, mapped[PROC]);
}

/* Who only looks, as lspci does: config space, and the list of BARs. */
TEST_F(iomem, looked_at)
{
	unsigned char config[64], proc[64];
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/config", self->path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(64, pread(fd, config, 64, 0));
	close(fd);
	EXPECT_EQ(0x1af4, config[0] | config[1] << 8);
	fd = bar_open(&self->bar, PROC, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(64, pread(fd, proc, 64, 0));
	EXPECT_EQ(0, memcmp(config, proc, 64));
	ASSERT_EQ(0, bar_remove(&self->bar));
	EXPECT_EQ(-1, pread(fd, proc, 64, 0));
	close(fd);
}

TEST_HARNESS_MAIN
