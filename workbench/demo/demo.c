// SPDX-License-Identifier: GPL-2.0
/*
 * The main job of mmap_revoke on real devices, told to an engineer at a
 * terminal. Three processes have the memory of two PCI devices mapped:
 *
 *	A	this one, opened the devices
 *	B	its child, inherited the mappings
 *	C	got the descriptors over a unix socket and mapped on its own
 *
 * Before that, what it is for: one device reads the memory of another by DMA.
 *
 * Then the devices are disabled, reset, put to sleep, unplugged and closed. A
 * third device is an RDMA device with doorbell pages, which goes away without
 * asking, and so does a fourth one, under uio. The exit status is 0 if every
 * process saw what was promised.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/pci.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "dma_util.h"
#include "proc_util.h"
#include "race_util.h"
#include "rdma_util.h"
#include "uio_util.h"
#include "vfio_util.h"

#define OBJECTS		"/sys/kernel/debug/mmap_revoke/objects"
#define WORD(n)		(0x5eed0000u + (__u32)(n))
#define PROCS		3
#define BOUNCE_IOVA	0x100000UL
#define PEER_IOVA	0x4000000UL
#define ZEROS		-ENODATA

struct bar {
	const char *name;
	struct vfio_dev dev;
	struct vfio_region_info info;
	char *map[PROCS];	/* where A, B and C have it mapped */
	int fd_c;		/* C's own descriptor */
	__u32 want;		/* what the word at @word reads */
	size_t word;
};

static struct bar edu = { .name = "edu" };
static struct bar mem = { .name = "ivshmem" };
static struct bar * const bars[] = { &edu, &mem };

static const char * const names[PROCS] = { "A", "B", "C" };
static struct proc procs[PROCS];	/* A, the first, is ourselves */
static struct race *race;
static int failures;
static bool stock;		/* a kernel without mmap_revoke */

static struct row {
	char what[28];
	char saw[PROCS][20];
	char took[16];
	char back[8];
	bool good;
	bool hole;		/* of stock kernels */
} table[24];

static int rows;

static void die(const char *what, int err)
{
	fprintf(stderr, "demo: %s: %s\n", what, strerror(err));
	exit(2);
}

static void check(const char *what, int ret)
{
	if (ret < 0)
		die(what, -ret);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static const char *duration(double s)
{
	static char buf[4][16];
	static int i;
	char *p = buf[i++ % 4];

	if (s < 1e-3)
		snprintf(p, 16, "%.0f us", s * 1e6);
	else if (s < 1)
		snprintf(p, 16, "%.1f ms", s * 1e3);
	else
		snprintf(p, 16, "%.2f s", s);
	return p;
}

static struct row *new_row(const char *fmt, const char *name)
{
	struct row *row = &table[rows++];

	snprintf(row->what, sizeof(row->what), fmt, name);
	row->good = true;
	return row;
}

static void verdict(struct row *row, bool good)
{
	row->good = good;
	failures += !good;
	if (!good)
		printf("   NOT AS PROMISED\n");
}

static void chapter(const char *title)
{
	static int n;

	printf("\n%d. %s\n\n", ++n, title);
}

/* One access by process @i: 0, a signal, ZEROS, or -EILSEQ for a wrong value. */
static int touch(int i, struct bar *bar)
{
	void *addr = bar->map[i] + bar->word;
	__u32 val = 0;
	int ret;

	ret = i ? proc_read32(&procs[i], addr, &val) : mmio_read32(addr, &val);
	return ret ?: val == bar->want ? 0 : !val ? ZEROS : -EILSEQ;
}

static const char *outcome(int ret)
{
	return ret == ZEROS ? "zeros" : !ret ? "ok" :
	       ret == SIGBUS ? "SIGBUS" : ret == SIGSEGV ? "SIGSEGV" : "wrong value";
}

/* Have all three access and say what they saw; true if it was @want. */
static bool all_touch(struct row *row, struct bar *bar, int want)
{
	bool good = true;
	int i, ret;

	printf("  ");
	for (i = 0; i < PROCS; i++) {
		ret = touch(i, bar);
		good &= ret == want;
		printf("   %s: %-7s", names[i], outcome(ret));
		if (row)
			snprintf(row->saw[i], sizeof(row->saw[i]), "%s",
				 outcome(ret));
	}
	printf("\n");
	return good;
}

/* Mappings of the device and their pages, as /proc tells for A, B and C. */
static void count_maps(struct bar *bar, int *vmas, size_t *pages)
{
	unsigned long start, end;
	char path[32], line[512];
	FILE *f;
	int i;

	*vmas = 0;
	*pages = 0;
	for (i = 0; i < PROCS; i++) {
		snprintf(path, sizeof(path), "/proc/%d/maps", procs[i].pid);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f)) {
			if (sscanf(line, "%lx-%lx ", &start, &end) != 2 ||
			    start != (unsigned long)bar->map[i])
				continue;
			++*vmas;
			*pages += (end - start) / getpagesize();
		}
		if (f)
			fclose(f);
	}
}

/* Fault in every page in every process, so that there is much to revoke. */
static void populate(struct bar *bar)
{
	int i;

	mmio_populate(bar->map[0], bar->info.size);
	for (i = 1; i < PROCS; i++)
		proc_populate(&procs[i], bar->map[i], bar->info.size);
}

static void say_maps(struct bar *bar, const char *what)
{
	size_t pages;
	int vmas;

	populate(bar);
	count_maps(bar, &vmas, &pages);
	printf("   %s: %d VMAs, %zu pages mapped. %s\n", bar->name, vmas, pages,
	       what);
}

/* Chapters 1 and 4: gone until it is given back. */
static void off_and_on(struct bar *bar, enum vfio_how how, const char *label,
		       const char *off, const char *on)
{
	struct row *row = new_row(label, bar->name);
	bool good, back;
	double start;

	say_maps(bar, off);
	start = now();
	check(off, vfio_revoke(&bar->dev, how));
	snprintf(row->took, sizeof(row->took), "%s", duration(now() - start));
	printf("   revoked in %s; the next access of each:\n", row->took);
	good = all_touch(row, bar, SIGBUS);
	start = now();
	check(on, vfio_restore(&bar->dev, how));
	printf("   %s took %s; the next access of each:\n", on,
	       duration(now() - start));
	back = all_touch(NULL, bar, 0);
	snprintf(row->back, sizeof(row->back), back ? "yes" : "NO");
	verdict(row, good && back);
}

/* Chapters 2 and 3: accesses wait, and nobody gets a signal. */
static void reset(struct bar *bar, int (*how)(struct vfio_dev *dev),
		  const char *label, const char *what)
{
	struct row *row = new_row(label, bar->name);
	struct race_word word = {
		.addr = bar->map[0] + bar->word, .want = bar->want,
	};
	struct worker a = {
		.race = race, .who = 0, .step = race_step_probe, .arg = &word,
	};
	bool good, back;
	double start;
	int i, ret;

	say_maps(bar, what);
	race_reset(race);
	check("hammer", worker_start(&a));
	for (i = 1; i < PROCS; i++)
		check("hammer", proc_hammer(&procs[i], race, i,
					    bar->map[i] + bar->word,
					    bar->want));
	race_wait_ok(race, PROCS);
	start = now();
	/* A hot reset gives way to page faults in flight. */
	while ((ret = how(&bar->dev)) == -EBUSY)
		;
	snprintf(row->took, sizeof(row->took), "%s", duration(now() - start));
	back = race_wait_ok(race, PROCS);
	check("calm", worker_join(&a));
	for (i = 1; i < PROCS; i++)
		check("calm", proc_calm(&procs[i]));

	printf("   %s after %s; all three read a word again and again meanwhile:\n",
	       ret ? strerror(-ret) : "done", row->took);
	good = !ret && !race->broken;
	for (i = 0; i < PROCS; i++) {
		struct race_seen *seen = &race->seen[i];

		printf("     %s: %7llu ok  %llu SIGBUS  %llu wrong values  longest wait %s\n",
		       names[i], seen->ok, seen->fault, seen->bad,
		       duration(seen->slowest / 1e9));
		good &= seen->ok && !seen->fault && !seen->bad;
		snprintf(row->saw[i], sizeof(row->saw[i]), "%s",
			 seen->fault ? "SIGBUS" : seen->bad ? "wrong value" :
			 duration(seen->slowest / 1e9));
		if (!seen->fault && !seen->bad)
			snprintf(row->saw[i], sizeof(row->saw[i]), "waited %s",
				 duration(seen->slowest / 1e9));
	}
	printf("   the next access of each:\n");
	back &= all_touch(NULL, bar, 0);
	snprintf(row->back, sizeof(row->back), back ? "yes" : "NO");
	verdict(row, good && back);
}

static void show_objects(void)
{
	char line[256];
	FILE *f = fopen(OBJECTS, "r");

	printf("\n   Who still maps my device?\n");
	if (!f) {
		printf("     This kernel cannot tell: %s is not there.\n\n",
		       OBJECTS);
		return;
	}
	printf("     $ cat %s\n", OBJECTS);
	while (fgets(line, sizeof(line), f))
		printf("     %s", line);
	printf("\n");
	fclose(f);
}

/* The harness listens on this virtio-serial port and talks to QEMU for us. */
static int host_open(void)
{
	char path[300], name[64];
	struct dirent *entry;
	int fd = -ENODEV;
	FILE *f;
	DIR *dir;

	dir = opendir("/sys/class/virtio-ports");
	while (dir && fd < 0 && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
			 entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%63s", name) == 1 &&
		    !strcmp(name, "org.mmap_revoke.host")) {
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC);
			if (fd < 0)
				fd = -errno;
		}
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return fd;
}

/* Returns what follows the "ok", or NULL. */
static char *host_command(int fd, const char *fmt, const char *arg)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	static char buf[128];
	ssize_t n;

	n = snprintf(buf, sizeof(buf), fmt, arg);
	if (write(fd, buf, n) != n || poll(&pfd, 1, 20000) != 1)
		return NULL;
	n = read(fd, buf, sizeof(buf) - 1);
	if (n <= 0)
		return NULL;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return strncmp(buf, "ok", 2) ? NULL : buf + 2 + (buf[2] == ' ');
}

/* The id that QEMU knows the device by. */
static const char *host_id(int fd, const char *bdf)
{
	static const char * const ids[] = { "edu0", "edu1" };
	unsigned int i;
	char *got;

	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		got = host_command(fd, "bdf %s\n", ids[i]);
		if (got && !strcmp(got, bdf))
			return ids[i];
	}
	return "unknown";
}

static bool present(struct bar *bar)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", bar->dev.bdf);
	return !access(path, F_OK);
}

/* Let go of the device: C over the socket, B likewise, A last. */
static void let_go(struct bar *bar, int i)
{
	if (i) {
		proc_unmap(&procs[i], bar->map[i], bar->info.size);
	} else {
		munmap(bar->map[0], bar->info.size);
		vfio_close(&bar->dev);
	}
	if (i == 1) {
		proc_close_fd(&procs[1], bar->dev.fd);
		proc_close_fd(&procs[1], bar->dev.iommu);
		if (bar->dev.group >= 0)
			proc_close_fd(&procs[1], bar->dev.group);
	}
	if (i == 2)
		proc_close_fd(&procs[2], bar->fd_c);
	printf("     %s: unmapped and closed\n", names[i]);
}

static void unplug(struct bar *bar)
{
	struct row *row = new_row("unplug, %s", bar->name);
	struct pollfd pfd = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
	int host = host_open(), i;
	bool asked, waits, gone;
	double start;

	snprintf(row->took, sizeof(row->took), "-");
	snprintf(row->back, sizeof(row->back), "-");
	if (host < 0) {
		printf("   No port org.mmap_revoke.host: nobody can pull the device.\n");
		for (i = 0; i < PROCS; i++)
			snprintf(row->saw[i], sizeof(row->saw[i]), "not run");
		verdict(row, false);
		return;
	}
	check("request eventfd", vfio_request_eventfd(&bar->dev, pfd.fd));
	say_maps(bar, "The host pulls it: device_del.");
	start = now();
	if (!host_command(host, "device_del %s\n",
			  host_id(host, bar->dev.bdf))) {
		printf("   the host did not do it\n");
		verdict(row, false);
		return;
	}
	asked = poll(&pfd, 1, 60000) == 1;
	printf("   %s after %s (the slot waits 5 s for second thoughts)\n",
	       asked ? "A is asked by its request eventfd" : "A is NOT asked",
	       duration(now() - start));
	waits = present(bar);
	printf("   The device is %s; the next access of each:\n",
	       waits ? "still there, removal waits" : "GONE under its users");
	waits &= all_touch(row, bar, 0);
	show_objects();
	printf("   They let go one by one:\n");
	for (i = PROCS - 1; i >= 0; i--) {
		usleep(200000);
		waits &= present(bar);
		if (!i)
			start = now();
		let_go(bar, i);
		snprintf(row->saw[i], sizeof(row->saw[i]), "ok, let go");
	}
	for (i = 0; present(bar) && i < 6000; i++)
		usleep(10000);
	gone = !present(bar);
	snprintf(row->took, sizeof(row->took), "%s", duration(now() - start));
	if (gone)
		printf("   %s is gone from sysfs %s after the last user let go.\n",
		       bar->dev.bdf, row->took);
	else
		printf("   %s is STILL in sysfs.\n", bar->dev.bdf);
	snprintf(row->back, sizeof(row->back), gone ? "gone" : "NO");
	close(host);
	verdict(row, asked && waits && gone);
}

static void reopen(struct bar *bar)
{
	struct row *row = new_row("close and reopen, %s", bar->name);
	struct vfio_dev next;
	bool pinned, good;
	__u32 val = 0;
	double start;
	int i, ret;
	char *map, *old = bar->map[0];

	say_maps(bar, "A and B close it, C keeps its mapping.");
	for (i = 0; i < 2; i++)
		let_go(bar, 1 - i);
	proc_close_fd(&procs[2], bar->fd_c);
	ret = vfio_open(&next, bar->dev.bdf, bar->dev.cdev);
	pinned = ret < 0;
	printf("   A mapping pins the device: opening it again gives \"%s\".\n",
	       pinned ? strerror(-ret) : "success");
	ret = touch(2, bar);
	printf("     C: %s\n", outcome(ret));
	good = pinned && !ret;
	start = now();
	good &= !proc_unmap(&procs[2], bar->map[2], bar->info.size);
	snprintf(row->took, sizeof(row->took), "%s", duration(now() - start));
	printf("   C unmaps it, that was the last one: closed in %s.\n",
	       row->took);

	check("reopen", vfio_open(&next, bar->dev.bdf, bar->dev.cdev));
	map = vfio_map(next.fd, bar->info.offset, bar->info.size, 2 << 20);
	if (map == MAP_FAILED)
		die("mmap", errno);
	bar->map[0] = map;
	ret = touch(0, bar);
	printf("   A new user opens and maps it: %s, with the content as it was.\n",
	       outcome(ret));
	good &= !ret;
	snprintf(row->back, sizeof(row->back), ret ? "NO" : "new");
	for (i = 0; i < PROCS; i++) {
		ret = i ? proc_read32(&procs[i], i == 1 ? old : bar->map[i],
				      &val) :
			  old == map ? SIGSEGV : mmio_read32(old, &val);
		printf("     %s at its old address: %s\n", names[i],
		       outcome(ret));
		snprintf(row->saw[i], sizeof(row->saw[i]), "old: %s",
			 outcome(ret));
		good &= ret == SIGSEGV;
	}
	munmap(map, bar->info.size);
	vfio_close(&next);
	verdict(row, good);
}

/*
 * Chapter 7: an RDMA device cannot ask its users, it goes. Doorbell pages read
 * as zeros from then on, for a bus error would kill who only polls one.
 */
static void doorbells(enum rdma_how how, const char *label, const char *what)
{
	struct row *row = new_row("%s, RDMA", label);
	struct bar db = { .name = "doorbells", .want = WORD(9) };
	struct rdma_entry entry;
	bool good, back = false;
	struct rdma_dev dev;
	char bdf[16], *map;
	double start;
	__u32 val;
	int i;

	db.info.size = 256 * getpagesize();
	db.word = 9 * getpagesize();
	check("a second ivshmem", vfio_find(ID_IVSHMEM, 1, bdf));
	check("the RDMA test driver", rdma_bind(&dev, bdf));
	check("open uverbs", rdma_open(&dev));
	check("mmap entry", rdma_entry(&dev, &entry, 0, 256, TEST_RDMA_MMAP_UC,
				       0));
	db.map[0] = rdma_map(&dev, entry.offset, db.info.size);
	if (db.map[0] == MAP_FAILED)
		die("mmap of doorbells", errno);
	mmio_write32(db.map[0] + db.word, db.want);
	proc_stop(&procs[1]);
	check("process B", proc_start(&procs[1]));
	db.map[1] = db.map[0];
	db.fd_c = proc_send_fd(&procs[2], dev.fd);
	check("pass descriptor", db.fd_c);
	db.map[2] = proc_map(&procs[2], db.fd_c, entry.offset, db.info.size);
	if (db.map[2] == MAP_FAILED)
		die("mmap in process C", errno);

	printf("   %s, RDMA device %s on %s\n", dev.path, "test_rdma_mmap", bdf);
	say_maps(&db, "The next access of each:");
	good = all_touch(NULL, &db, 0);
	start = now();
	check(what, rdma_gone(&dev, how));
	snprintf(row->took, sizeof(row->took), "%s", duration(now() - start));
	printf("   %s took %s; the next access of each:\n", what, row->took);
	good &= all_touch(row, &db, ZEROS);

	if (how == BY_DISASSOCIATE) {
		map = rdma_map(&dev, entry.offset, db.info.size);
		back = map != MAP_FAILED &&
		       !mmio_read32(map + db.word, &val) && val == db.want;
		printf("   What A maps from now on is the device again: %s\n",
		       back ? "ok" : "NO");
		munmap(map, db.info.size);
	} else {
		back = access(dev.path, F_OK);
		printf("   %s is %s.\n", dev.path, back ? "gone" : "STILL there");
	}
	snprintf(row->back, sizeof(row->back), !back ? "NO" :
		 how == BY_DISASSOCIATE ? "new" : "gone");
	for (i = 1; i < PROCS; i++)
		proc_unmap(&procs[i], db.map[i], db.info.size);
	munmap(db.map[0], db.info.size);
	proc_close_fd(&procs[1], dev.fd);
	proc_close_fd(&procs[2], db.fd_c);
	rdma_close(&dev);
	verdict(row, good && back);
}

/* How the time to take a page back grows with the processes that map it. */
static void crowd(void)
{
	static const int sizes[] = { 10, 100, 1000, 3000 };
	size_t page = getpagesize(), n;
	struct rdma_entry entry;
	struct rdma_dev dev;
	pid_t pids[3000];
	char bdf[16];
	double start;
	void *map;
	int i;

	check("a second ivshmem", vfio_find(ID_IVSHMEM, 1, bdf));
	check("the RDMA test driver", rdma_bind(&dev, bdf));
	check("open uverbs", rdma_open(&dev));
	check("mmap entry", rdma_entry(&dev, &entry, 0, 1, TEST_RDMA_MMAP_UC,
				       0));
	for (n = 0; n < sizeof(sizes) / sizeof(*sizes); n++) {
		map = rdma_map(&dev, entry.offset, page);
		if (map == MAP_FAILED)
			die("mmap of a doorbell", errno);
		mmio_populate(map, page);
		for (i = 0; i < sizes[n]; i++) {
			pids[i] = fork();
			if (pids[i] < 0)
				die("fork", errno);
			if (!pids[i]) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				for (;;)
					pause();
			}
		}
		start = now();
		check("disassociate", rdma_gone(&dev, BY_DISASSOCIATE));
		printf("   A doorbell taken back from %4d processes: %s\n",
		       sizes[n], duration(now() - start));
		while (i--) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
		munmap(map, page);
	}
	rdma_close(&dev);
}

/* A uio device goes without asking. Does anybody reach it afterwards? */
static void uio(void)
{
	struct row *row = new_row("unbind, %s", "uio");
	struct bar regs = { .name = "registers", .want = 0x010000ed };
	char bdf[16], parent[64], path[32];
	double start;
	bool good;
	int fd, i;

	check("edu", vfio_find(ID_EDU, 0, bdf));
	check("uio_pci_generic", pci_bind(bdf, "uio_pci_generic"));
	snprintf(parent, sizeof(parent), "/sys/bus/pci/devices/%s", bdf);
	check("uio device", uio_path(parent, path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	check("open uio", fd < 0 ? -errno : 0);
	regs.info.size = getpagesize();
	regs.map[0] = uio_map(fd, 0, 1);
	if (regs.map[0] == MAP_FAILED)
		die("mmap of registers", errno);
	proc_stop(&procs[1]);
	check("process B", proc_start(&procs[1]));
	regs.map[1] = regs.map[0];
	regs.fd_c = proc_send_fd(&procs[2], fd);
	check("pass descriptor", regs.fd_c);
	regs.map[2] = proc_map(&procs[2], regs.fd_c, 0, regs.info.size);
	if (regs.map[2] == MAP_FAILED)
		die("mmap in process C", errno);

	printf("   %s, edu %s under uio_pci_generic\n", path, bdf);
	say_maps(&regs, "Each reads the ID register:");
	good = all_touch(NULL, &regs, 0);
	start = now();
	check("unbind", pci_write(bdf, "driver/unbind", bdf));
	snprintf(row->took, sizeof(row->took), "%s", duration(now() - start));
	printf("   Unbinding took %s; the next access of each:\n", row->took);
	row->hole = stock;
	good &= all_touch(row, &regs, stock ? 0 : SIGBUS);
	printf("   %s\n", stock ?
	       "Nobody drives the device, and all of them reach it: nothing took it back." :
	       "Nobody reaches the device any more.");
	snprintf(row->back, sizeof(row->back), "gone");
	for (i = 1; i < PROCS; i++)
		proc_unmap(&procs[i], regs.map[i], regs.info.size);
	munmap(regs.map[0], regs.info.size);
	proc_close_fd(&procs[1], fd);
	proc_close_fd(&procs[2], regs.fd_c);
	close(fd);
	verdict(row, good);
}

/* An edu behind a root port of its own can be reset and unplugged. */
static int open_edu(void)
{
	int i, ret;

	for (i = 0; ; i++) {
		ret = vfio_open_id(&edu.dev, ID_EDU, i, false);
		if (ret || vfio_can_reset(&edu.dev))
			return ret;
		vfio_close(&edu.dev);
	}
}

/* What device B gets by DMA at @iova, in words. */
static const char *dma_outcome(struct edu *b, __u64 iova, __u32 *bounce,
			       __u32 want)
{
	*(volatile __u32 *)bounce = 0;
	check("DMA", edu_read32(b, iova, BOUNCE_IOVA));
	if (*(volatile __u32 *)bounce == want)
		return "read";
	return edu_is_blocked(b, iova, BOUNCE_IOVA, false) ?
	       "IOMMU fault" : "nothing";
}

static void dma_case(struct row *row, int i, const char *when,
		     const char *saw, const char *want)
{
	bool good = !strcmp(saw, want);

	printf("   %-42s B gets: %s\n", when, saw);
	snprintf(row->saw[i], sizeof(row->saw[i]), "%s", saw);
	/* Stock kernels tell the IOMMU nothing. */
	if (!good && stock)
		row->hole = true;
	else if (!good)
		verdict(row, false);
}

/*
 * Chapter 1: the user of two devices gives one of them back. Does the other
 * one still reach it? Once for each of the two IOMMU backends.
 */
static void peers(int container)
{
	bool type1 = container == VFIO_NEW_TYPE1;
	struct row *row = new_row("peer DMA, %s", type1 ? "type1" : "iommufd");
	static const char secret[] = "another user's secret";
	struct vfio_region_info info;
	struct vfio_dev a, next;
	char bdf_a[16], bdf_b[16];
	__u32 *bounce, word;
	struct edu b;
	double start;
	char *map;
	int ret;

	check("ivshmem", vfio_find(ID_IVSHMEM, 0, bdf_a));
	check("edu", vfio_find(ID_EDU, 0, bdf_b));
	check("bind", vfio_bind(bdf_a) ?: vfio_bind(bdf_b));
	check("open A", vfio_open_in(&a, bdf_a, container));
	check("open B", edu_open(&b, bdf_b, a.iommu));
	check("BAR", vfio_region(&a, 2, &info));
	map = vfio_map(a.fd, info.offset, info.size, 2 << 20);
	bounce = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || bounce == MAP_FAILED)
		die("mmap", errno);
	if (type1)
		printf("   device A: ivshmem %s, %llu MiB; device B: edu %s, with a DMA engine.\n"
		       "   One process has both in one container, that of vfio_iommu_type1, maps A's\n"
		       "   BAR, and lets B reach it: VFIO_IOMMU_MAP_DMA. B now reads a word of A, by\n"
		       "   DMA through the IOMMU:\n\n",
		       bdf_a, info.size >> 20, bdf_b);
	else
		printf("\n   The same with /dev/iommu as the container:\n\n");
	mmio_write32(map, WORD(1));
	check("DMA map of memory", dma_map(a.iommu, bounce, BOUNCE_IOVA,
					   getpagesize(), DMA_RW));
	start = now();
	ret = dma_map(a.iommu, map, PEER_IOVA, info.size, DMA_RW);
	if (ret == -EFAULT && stock && !type1) {
		printf("   VFIO_IOMMU_MAP_DMA of A's BAR: %s\n", strerror(-ret));
		snprintf(row->saw[0], sizeof(row->saw[0]), "refused");
		goto out;
	}
	check("DMA map of A", ret);
	printf("   (mapped in %s)\n", duration(now() - start));
	dma_case(row, 0, "A is open", dma_outcome(&b, PEER_IOVA, bounce,
						  WORD(1)), "read");
	check("memory off", vfio_revoke(&a, BY_COMMAND));
	dma_case(row, 1, "A's memory decoding is off",
		 dma_outcome(&b, PEER_IOVA, bounce, WORD(1)), "IOMMU fault");
	check("memory on", vfio_restore(&a, BY_COMMAND));
	if (strcmp(dma_outcome(&b, PEER_IOVA, bounce, WORD(1)), "read")) {
		snprintf(row->back, sizeof(row->back), "NO");
		verdict(row, false);
	} else {
		printf("   %-42s B gets: read\n", "on again");
		snprintf(row->back, sizeof(row->back), "yes");
	}

	munmap(map, info.size);
	start = now();
	close(a.fd);
	snprintf(row->took, sizeof(row->took), "%s", duration(now() - start));
	a.fd = -1;
	close(a.group);
	a.group = -1;
	check("open A anew", vfio_open_in(&next, bdf_a, container));
	map = vfio_map(next.fd, info.offset, info.size, 2 << 20);
	if (map == MAP_FAILED)
		die("mmap", errno);
	memcpy(&word, secret, sizeof(word));
	mmio_write32(map, word);
	dma_case(row, 2, "A was closed, and opened by another user",
		 dma_outcome(&b, PEER_IOVA, bounce, word), "IOMMU fault");
	printf("\n   %s\n", row->hole ?
	       "Device B can still reach closed device A: nobody told the IOMMU." :
	       "Blocked by the IOMMU: B reaches A while that is there, and then no more.");
	vfio_close(&next);
out:
	munmap(map, info.size);
	munmap(bounce, getpagesize());
	edu_close(&b);
	vfio_close(&a);
}

/*
 * Files of the PCI core, which no driver watches. The device is
 * removed, and comes back, as another one could.
 */
static void pci_files(void)
{
	struct row *row = new_row("remove, PCI files", "");
	struct bar bar = { .name = "ivshmem", .want = WORD(7) };
	unsigned long long start = 0;
	char bdf[16], path[96];
	const size_t size = getpagesize();
	bool good = true;
	double before;
	int i, fd, ret;
	FILE *f;

	check("ivshmem", vfio_find(ID_IVSHMEM, 1, bdf));
	pci_write(bdf, "driver/unbind", bdf);
	check("enable", pci_write(bdf, "enable", "1"));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", bdf);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%*x %*x %*x %*x %*x %*x %llx", &start) != 1)
		die(path, EIO);
	fclose(f);
	for (i = 0; i < PROCS; i++) {
		if (i == 0)
			snprintf(path, sizeof(path),
				 "/sys/bus/pci/devices/%s/resource2", bdf);
		else if (i == 1)
			snprintf(path, sizeof(path), "/proc/bus/pci/%.2s/%.4s",
				 bdf + 5, bdf + 8);
		else
			strcpy(path, "/dev/mem");
		fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
		if (fd < 0)
			die(path, errno);
		if (i == 1)
			ioctl(fd, PCIIOC_MMAP_IS_MEM);
		bar.map[i] = i ? proc_map(&procs[i], proc_send_fd(&procs[i], fd),
					  start, size) :
				 mmap(NULL, size, PROT_READ | PROT_WRITE,
				      MAP_SHARED, fd, 0);
		if (bar.map[i] == MAP_FAILED)
			die(path, errno);
		printf("   %s maps %s\n", names[i], path);
		close(fd);
	}
	mmio_write32(bar.map[0], bar.want);
	all_touch(NULL, &bar, 0);
	before = now();
	check("remove", pci_write(bdf, "remove", "1"));
	snprintf(row->took, sizeof(row->took), "%s", duration(now() - before));
	printf("   echo 1 > remove took %s; the next access of each:\n",
	       row->took);
	all_touch(row, &bar, SIGBUS);
	check("rescan", write_file("/sys/bus/pci/rescan", "1"));
	check("enable", pci_write(bdf, "enable", "1"));
	printf("   echo 1 > rescan; the device is another one now, and they see\n");
	for (i = 0; i < PROCS; i++) {
		ret = touch(i, &bar);
		printf("     %s: %s\n", names[i], outcome(ret));
		good &= ret == SIGBUS && !strcmp(row->saw[i], "SIGBUS");
	}
	snprintf(row->back, sizeof(row->back), good ? "new" : "old");
	if (!good && stock)
		row->hole = true;
	else if (!good)
		verdict(row, false);
	check("bind", vfio_bind(bdf));
}

static void title(void)
{
	struct utsname uts;

	uname(&uts);
	stock = access("/sys/kernel/debug/mmap_revoke", F_OK);
	printf("Revoking mapped device memory, Linux %s, %s the mmap_revoke helper\n",
	       uts.release, stock ? "without" : "with");
}

static void setup(void)
{
	unsigned int i;

	printf("\n");
	race = race_alloc();
	procs[0].pid = getpid();
	check("process C", proc_start(&procs[2]));
	/* One by way of its group and type1, one by cdev and iommufd. */
	check("edu", open_edu());
	check("open ivshmem", vfio_open_id(&mem.dev, ID_IVSHMEM, 0, true));
	for (i = 0; i < 2; i++) {
		struct bar *bar = bars[i];

		check("BAR", vfio_region(&bar->dev, bar == &edu ? 0 : 2,
					 &bar->info));
		bar->map[0] = vfio_map(bar->dev.fd, bar->info.offset,
				       bar->info.size, 2 << 20);
		if (bar->map[0] == MAP_FAILED)
			die("mmap", errno);
		printf("  %-8s %s  BAR%d, %5llu KiB, opened by %s\n", bar->name,
		       bar->dev.bdf, bar == &edu ? 0 : 2,
		       bar->info.size >> 10, bar->dev.path);
	}
	edu.word = EDU_LIVENESS;
	edu.want = ~WORD(0);
	mmio_write32(edu.map[0] + edu.word, WORD(0));
	mem.word = 5 * getpagesize();
	mem.want = WORD(5);
	mmio_write32(mem.map[0] + mem.word, mem.want);

	check("process B", proc_start(&procs[1]));
	for (i = 0; i < 2; i++) {
		struct bar *bar = bars[i];

		bar->map[1] = bar->map[0];
		bar->fd_c = proc_send_fd(&procs[2], bar->dev.fd);
		check("pass descriptor", bar->fd_c);
		bar->map[2] = proc_map(&procs[2], bar->fd_c, bar->info.offset,
				       bar->info.size);
		if (bar->map[2] == MAP_FAILED)
			die("mmap in process C", errno);
	}
	printf("\n  A  pid %-5d opened the devices and mapped them\n"
	       "  B  pid %-5d child of A, inherited the mappings\n"
	       "  C  pid %-5d got the descriptors over a unix socket, mapped on its own\n",
	       procs[0].pid, procs[1].pid, procs[2].pid);
}

static void print_table(void)
{
	int i;

	printf("\n%-26s %-14s %-14s %-14s %-9s %-6s %s\n", "scenario", "A", "B",
	       "C", "took", "back", "verdict");
	for (i = 0; i < 100; i++)
		putchar('-');
	putchar('\n');
	for (i = 0; i < rows; i++)
		printf("%-26s %-14s %-14s %-14s %-9s %-6s %s\n", table[i].what,
		       table[i].saw[0], table[i].saw[1], table[i].saw[2],
		       table[i].took, table[i].back,
		       table[i].good ? table[i].hole ? "A HOLE" : "as promised" :
					       "BROKEN");
	if (failures)
		printf("\n%d of %d scenarios were NOT as promised.\n", failures,
		       rows);
	else if (stock)
		printf("\nAll was as on any kernel of today, holes included.\n");
	else
		printf("\nAll %d scenarios were as promised.\n", rows);
}

int main(void)
{
	unsigned int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	title();
	chapter("Peer-to-peer DMA: does device B reach device A when A is closed?");
	peers(VFIO_NEW_TYPE1);
	peers(VFIO_NEW_IOMMUFD);
	setup();

	chapter("Memory decoding off and on: a write to PCI_COMMAND");
	for (i = 0; i < 2; i++)
		off_and_on(bars[i], BY_COMMAND, "memory off/on, %s",
			   "Memory off.", "memory on");
	chapter("Reset: VFIO_DEVICE_RESET, while all three access");
	for (i = 0; i < 2; i++)
		reset(bars[i], vfio_reset, "reset, %s", "Reset.");
	chapter("Hot reset of the bus: VFIO_DEVICE_PCI_HOT_RESET, likewise");
	for (i = 0; i < 2; i++)
		reset(bars[i], vfio_hot_reset, "hot reset, %s", "Hot reset.");
	chapter("Low power: VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY and _EXIT");
	for (i = 0; i < 2; i++)
		off_and_on(bars[i], BY_LOW_POWER, "low power, %s",
			   "Low power entry.", "exit");
	chapter("Unplug: the user is asked, removal waits until it lets go");
	unplug(&edu);
	chapter("Close and open again: a new generation of the device");
	reopen(&mem);
	chapter("Files of the PCI core: the device is removed under its users");
	pci_files();
	chapter("RDMA: doorbell pages of a device that takes them back, then goes");
	doorbells(BY_DISASSOCIATE, "disassociate",
		  "Disassociation, as before a reset,");
	crowd();
	doorbells(BY_UNPLUG, "unplug",
		  "Unplug (the slot waits 5 s for second thoughts)");
	chapter("uio: the driver of a device is unbound while it is mapped");
	uio();

	print_table();
	for (i = 1; i < PROCS; i++)
		proc_stop(&procs[i]);
	return failures ? 1 : 0;
}
