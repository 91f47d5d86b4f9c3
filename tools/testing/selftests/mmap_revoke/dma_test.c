// SPDX-License-Identifier: GPL-2.0
/*
 * Peer-to-peer DMA through a type1 container: device B (edu, whose DMA engine
 * reads and writes where it is told) against the memory of device A
 * (ivshmem-plain).
 *
 * B reaches A as long as A is open and accessible, and at no other time; when
 * it does not, the IOMMU reports a fault. A kernel without that lets B have
 * the memory: the tests show it and skip.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <linux/pci_regs.h>

#define NO_FIXTURE_MR
#include "mr_test.h"
#include "rdma_util.h"

#define TYPE1_PARAM(name) "/sys/module/vfio_iommu_type1/parameters/" name
#define PARAM		TYPE1_PARAM("allow_unsafe_pfnmap")
#define RAM_PAGES	16
#define RAM_IOVA	0x100000UL
#define IOVA		0x4000000UL	/* of A's memory */
#define OTHER_IOVA	0xa000000UL
#define RAM_WORD(n)	(0x4a4d0000u + (__u32)(n))

static const char hole[] = "on this kernel DMA reaches memory that was taken away";

FIXTURE(dma) {
	struct vfio_dev a;
	struct edu b;
	struct vfio_region_info bar;
	char bdf[16];		/* of A */
	char *map;		/* A's memory */
	char *ram;
	int container;
	bool revokes;		/* the kernel does */
};

static int open_a(struct vfio_dev *a, struct vfio_region_info *bar, char **map,
		  const char *bdf, int container)
{
	int ret;

	ret = container < 0 ? vfio_open(a, bdf, false) :
			      vfio_open_in(a, bdf, container);
	if (ret)
		return ret;
	ret = vfio_region(a, BAR2, bar);
	if (!ret) {
		*map = vfio_map(a->fd, bar->offset, bar->size, MB(2));
		ret = *map == MAP_FAILED ? -errno : 0;
	}
	return ret;
}

FIXTURE_SETUP(dma)
{
	char edu[16];
	size_t n;

	if (vfio_find(ID_IVSHMEM, 0, self->bdf) || vfio_find(ID_EDU, 0, edu) ||
	    vfio_bind(self->bdf) || vfio_bind(edu))
		SKIP(return, "no ivshmem-plain and edu devices");
	self->revokes = !access(PARAM, F_OK);
	ASSERT_EQ(0, open_a(&self->a, &self->bar, &self->map, self->bdf, -1));
	self->container = self->a.iommu;
	ASSERT_EQ(0, edu_open(&self->b, edu, self->container));
	for (n = 0; n < self->bar.size / PAGE; n++)
		ASSERT_EQ(0, mmio_write32(self->map + n * PAGE, WORD(n)));
	self->ram = mmap(NULL, RAM_PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->ram);
	ASSERT_EQ(0, dma_map(self->container, self->ram, RAM_IOVA,
			     RAM_PAGES * PAGE, DMA_RW));
}

FIXTURE_TEARDOWN(dma)
{
}

static void ram_write(struct _test_data_dma *self, size_t off, __u32 val)
{
	__atomic_store_n((__u32 *)(self->ram + off), val, __ATOMIC_SEQ_CST);
}

/* What B reads at @iova; the first word of @ram is the bounce buffer. */
static __u32 peek(struct _test_data_dma *self, __u64 iova)
{
	ram_write(self, 0, 0xdead);
	if (edu_read32(&self->b, iova, RAM_IOVA))
		return 0xbad;
	return __atomic_load_n((__u32 *)self->ram, __ATOMIC_SEQ_CST);
}

static int poke(struct _test_data_dma *self, __u64 iova, __u32 val)
{
	ram_write(self, 0, val);
	return edu_write32(&self->b, iova, RAM_IOVA);
}

static bool reads(struct _test_data_dma *self, __u64 iova, size_t n)
{
	return peek(self, iova + n * PAGE) == WORD(n);
}

static bool blocked(struct _test_data_dma *self, __u64 iova)
{
	return edu_is_blocked(&self->b, iova, RAM_IOVA, false);
}

/*
 * Page @n of A's memory, mapped at @iova, is out of reach; or it is not, and
 * the kernel is one of those.
 */
#define EXPECT_BLOCKED(iova, n)						\
do {									\
	__u64 __iova = (iova);						\
	size_t __n = (n);						\
									\
	EXPECT_NE(self->revokes, reads(self, __iova, __n));		\
	if (self->revokes)						\
		EXPECT_TRUE(blocked(self, __iova + __n * PAGE));	\
} while (0)

#define MAP_A()								\
	ASSERT_EQ(0, dma_map(self->container, self->map, IOVA,		\
			     self->bar.size, DMA_RW))

static void close_a(struct _test_data_dma *self)
{
	munmap(self->map, self->bar.size);
	close(self->a.fd);
	self->a.fd = -1;
}

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
	ASSERT_EQ(0, open_a(&next, &bar, &map, self->bdf, -1));
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
		if (open_a(&dev, &bar, &map, self->bdf, -1) ||
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

static const enum vfio_how hows[] = { BY_COMMAND, BY_D3HOT, BY_LOW_POWER };

/* Back is what was there, without a call of the user. */
TEST_F_TIMEOUT(dma, revoked_and_restored, 120)
{
	size_t i;
	int ret;

	MAP_A();
	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		ret = vfio_revoke(&self->a, hows[i]);
		if (ret == -EOPNOTSUPP || ret == -ENOTTY)
			continue;	/* no PM capability */
		ASSERT_EQ(0, ret);
		/*
		 * The device ignores what it cannot decode, so that stock does
		 * not show the hole here.
		 */
		EXPECT_FALSE(reads(self, IOVA, 1) && self->revokes);
		if (self->revokes)
			EXPECT_TRUE(blocked(self, IOVA + PAGE));
		/* Twice is once. */
		ASSERT_EQ(0, vfio_restore(&self->a, hows[i]));
		EXPECT_TRUE(reads(self, IOVA, 1));
	}
	/* The device wakes, and its user is told. */
	ret = vfio_sleep_and_wake(&self->a);
	if (ret != -ENOTTY && ret != -ETIME) {
		ASSERT_EQ(0, ret);
		EXPECT_TRUE(reads(self, IOVA, 1));
	}
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 2));
	EXPECT_EQ(0, poke(self, IOVA + 3 * PAGE, WORD(3)));
	EXPECT_TRUE(reads(self, IOVA, 3));
}

/* Until nobody else is at the device. */
static int hot_reset(struct vfio_dev *dev)
{
	int ret;

	do
		ret = vfio_hot_reset(dev);
	while (ret == -EBUSY);
	return ret;
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

/* Two functions of a device, which are reset together. */
struct function {
	struct vfio_dev dev;
	struct vfio_region_info bar;
	char *map;
	__u64 iova;
	__u32 word;		/* that it has at its start */
	struct race *race;
};

static int function_map(struct _test_data_dma *self, struct function *f)
{
	int ret = vfio_region(&f->dev, 0, &f->bar);

	if (ret)
		return ret;
	f->map = vfio_map(f->dev.fd, f->bar.offset, f->bar.size, PAGE);
	if (f->map == MAP_FAILED)
		return -errno;
	return mmio_read32(f->map, &f->word) ?:
	       dma_map(self->container, f->map, f->iova, PAGE, DMA_RW);
}

static bool function_works(struct _test_data_dma *self, struct function *f)
{
	__u32 val;

	return !mmio_read32(f->map, &val) && val == f->word &&
	       peek(self, f->iova) == f->word;
}

static void *function_thread(void *arg)
{
	struct function *f = arg;
	__u32 val;

	while (!race_over(f->race)) {
		bool ok = pread(f->dev.fd, &val, sizeof(val),
				f->bar.offset) == sizeof(val);

		race_count(f->race, 0, 0, ok, val == f->word);
	}
	return NULL;
}

static int begun(struct function *f)
{
	char text[64];

	snprintf(text, sizeof(text), "mmap_revoke_begin: vfio %s", f->dev.bdf);
	return count_lines(TRACING "trace", text);
}

/*
 * Accesses to one of them keep it busy now and then: the other is revoked as
 * often as that, and not for nothing.
 */
TEST_F_TIMEOUT(dma, hot_reset_of_two, 300)
{
	struct function f[2] = {
		{ .iova = OTHER_IOVA }, { .iova = OTHER_IOVA + PAGE },
	};
	char bdf[2][16];
	pthread_t thread;
	int i, ret, done, busy;

	for (i = 0; i < 2; i++)
		if (vfio_find(ID_EDU, 2 + i, bdf[i]) || vfio_bind(bdf[i]))
			SKIP(return, "no device with two functions");
	ASSERT_EQ(0, vfio_open_in(&f[0].dev, bdf[0], self->container));
	ASSERT_EQ(0, hot_reset(&f[0].dev));
	f[1].dev = f[0].dev;
	memcpy(f[1].dev.bdf, bdf[1], sizeof(bdf[1]));
	f[1].dev.fd = ioctl(f[0].dev.group, VFIO_GROUP_GET_DEVICE_FD, bdf[1]);
	ASSERT_LE(0, f[1].dev.fd);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, function_map(self, &f[i]));
		ASSERT_NE(0, f[i].word);
		EXPECT_TRUE(function_works(self, &f[i]));
	}

	write_file(TRACING "events/mmap_revoke/mmap_revoke_begin/enable", "1");
	for (i = 0; i < 2; i++) {
		f[i].race = race_alloc();
		ASSERT_NE(NULL, f[i].race);
		write_file(TRACING "trace", "");
		ASSERT_EQ(0, pthread_create(&thread, NULL, function_thread,
					    &f[i]));
		ASSERT_TRUE(race_wait_ok(f[i].race, 1));
		for (done = 0, busy = 0; done < rounds(20) || !busy;) {
			ret = vfio_hot_reset(&f[0].dev);
			if (ret == -EBUSY) {
				busy++;
				continue;
			}
			ASSERT_EQ(0, ret);
			done++;
		}
		race_stop(f[i].race);
		pthread_join(thread, NULL);
		printf("# reset %d times, busy %d times\n", done, busy);
		EXPECT_EQ(0, f[i].race->seen[0].fault);
		EXPECT_EQ(0, f[i].race->seen[0].bad);
		if (self->revokes)
			EXPECT_LE(done, begun(&f[0]));
		EXPECT_EQ(begun(&f[0]), begun(&f[1]));
		EXPECT_TRUE(function_works(self, &f[0]));
		EXPECT_TRUE(function_works(self, &f[1]));
	}
	write_file(TRACING "events/mmap_revoke/enable", "0");

	munmap(f[1].map, f[1].bar.size);
	close(f[1].dev.fd);
	if (self->revokes)
		EXPECT_TRUE(blocked(self, f[1].iova));
	EXPECT_TRUE(function_works(self, &f[0]));
}

TEST_F_TIMEOUT(dma, map_while_revoked, 120)
{
	ASSERT_EQ(0, mmio_populate(self->map, PAGE));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	EXPECT_EQ(-EFAULT, dma_map(self->container, self->map, IOVA,
				   self->bar.size, DMA_RW));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	MAP_A();
	EXPECT_TRUE(reads(self, IOVA, 0));
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

/*
 * One DMA range over memory, device memory in VMAs of its own, and memory
 * again, twice; page @n of it reads as mixed_word(n).
 */
#define MIXED_PAGES	12

static char *mixed_map(struct _test_data_dma *self)
{
	char *map = mmap(NULL, MIXED_PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	size_t n;

	if (map == MAP_FAILED)
		return map;
	for (n = 0; n < MIXED_PAGES; n++) {
		*(__u32 *)(map + n * PAGE) = RAM_WORD(n);
		/* Pages 2, 3 and 8 are A's 12, 13 and 40. */
		if ((n == 2 && mmap(map + 2 * PAGE, 2 * PAGE,
				    PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, self->a.fd,
				    self->bar.offset + 12 * PAGE) == MAP_FAILED) ||
		    (n == 8 && mmap(map + 8 * PAGE, PAGE,
				    PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, self->a.fd,
				    self->bar.offset + 40 * PAGE) == MAP_FAILED))
			return MAP_FAILED;
	}
	for (n = 0; n < MIXED_PAGES; n++)
		if (n != 2 && n != 3 && n != 8)
			*(__u32 *)(map + n * PAGE) = RAM_WORD(n);
	mmio_write32(map + 2 * PAGE, WORD(12));
	mmio_write32(map + 3 * PAGE, WORD(13));
	mmio_write32(map + 8 * PAGE, WORD(40));
	return map;
}

static __u32 mixed_word(size_t n)
{
	return n == 2 || n == 3 ? WORD(10 + n) : n == 8 ? WORD(40) : RAM_WORD(n);
}

/* A bit for each page that reads as it should. */
static unsigned int mixed_good(struct _test_data_dma *self, __u64 iova)
{
	unsigned int good = 0;
	size_t n;

	for (n = 0; n < MIXED_PAGES; n++)
		if (peek(self, iova + n * PAGE) == mixed_word(n))
			good |= 1 << n;
	return good;
}

#define MIXED_ALL	((1U << MIXED_PAGES) - 1)
#define MIXED_RAM	(MIXED_ALL & ~(1U << 2 | 1U << 3 | 1U << 8))

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
	munmap(map + 2 * PAGE, 2 * PAGE);
	munmap(map + 8 * PAGE, PAGE);
	close_a(self);
	EXPECT_EQ(self->revokes ? MIXED_RAM : MIXED_ALL, mixed_good(self, IOVA));
	EXPECT_EQ(MIXED_PAGES * PAGE,
		  dma_unmap(self->container, IOVA, MIXED_PAGES * PAGE, 0));
	/* Memory behind a hole is unmapped as well. */
	EXPECT_TRUE(blocked(self, IOVA));
	EXPECT_TRUE(blocked(self, IOVA + 5 * PAGE));
	EXPECT_TRUE(blocked(self, IOVA + 11 * PAGE));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

static long locked_kb(void)
{
	char line[128];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmLck: %ld", &kb);
	if (f)
		fclose(f);
	return kb;
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

/* The memory of A, mapped in a container that A is not in. */
TEST_F_TIMEOUT(dma, other_container, 120)
{
	struct vfio_dev a;
	char *map;

	close_a(self);
	close(self->a.group);
	self->a.group = -1;
	ASSERT_EQ(0, open_a(&a, &self->bar, &map, self->bdf, -1));
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
	ASSERT_EQ(0, open_a(&self->a, &self->bar, &self->map, self->bdf, -1));
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

/* A mapper that takes long, with the container's lock held. */
#define SLOW_IOVA	0x40000000UL

struct slow {
	int container;
	char *addr;
	size_t size;
	int ret;
	bool started;
	bool done;
};

static void *slow_map(void *arg)
{
	struct slow *s = arg;

	__atomic_store_n(&s->started, true, __ATOMIC_SEQ_CST);
	s->ret = dma_map(s->container, s->addr, SLOW_IOVA, s->size, DMA_RW);
	__atomic_store_n(&s->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* As much as that of a small file, over and over. */
static char *slow_memory(size_t size)
{
	int fd = memfd_create("slow", MFD_CLOEXEC);
	char *base, *p;

	base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	if (fd < 0 || ftruncate(fd, MB(8)) || base == MAP_FAILED)
		return MAP_FAILED;
	for (p = base; p < base + size; p += MB(8))
		if (mmap(p, MB(8), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			return MAP_FAILED;
	close(fd);
	return base;
}

/* Revocation and close do not wait for it. */
TEST_F_TIMEOUT(dma, slow_mapper, 120)
{
	struct slow slow = {
		.container = self->container,
		.size = rounds(96) * MB(8),
	};
	pthread_t thread;

	slow.addr = slow_memory(slow.size);
	ASSERT_NE(MAP_FAILED, slow.addr);
	MAP_A();
	ASSERT_EQ(0, pthread_create(&thread, NULL, slow_map, &slow));
	while (!__atomic_load_n(&slow.started, __ATOMIC_SEQ_CST))
		sched_yield();
	usleep(10000);

	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	if (vfio_can_reset(&self->a))
		ASSERT_EQ(0, vfio_reset(&self->a));
	close_a(self);
	EXPECT_FALSE(__atomic_load_n(&slow.done, __ATOMIC_SEQ_CST));

	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, slow.ret);
	EXPECT_BLOCKED(IOVA, 1);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/*
 * The same for one that does not come to an end: its process sits on its
 * mmap_lock, in a mmap() of another device that takes for ever.
 */
struct stall {
	bool go, done;
	int container;
	char *ram;
};

static void *stall_map(void *arg)
{
	struct stall *stall = arg;

	while (!__atomic_load_n(&stall->go, __ATOMIC_SEQ_CST))
		usleep(1000);
	dma_map(stall->container, stall->ram, SLOW_IOVA, PAGE, DMA_RW);
	__atomic_store_n(&stall->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

TEST_F_TIMEOUT(dma, stalled_mapper, 120)
{
	struct rdma_dev other;
	struct stall *stall;
	pthread_t thread;
	char bdf[16];
	int status;
	pid_t pid;

	if (vfio_find(ID_IVSHMEM, 1, bdf) || rdma_bind(&other, bdf) ||
	    rdma_open(&other))
		SKIP(return, "no second ivshmem-plain device, or no test_rdma_mmap");
	stall = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, stall);
	stall->container = self->container;
	stall->ram = self->ram;
	MAP_A();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		munmap(self->map, self->bar.size);
		close(self->a.fd);
		if (!pthread_create(&thread, NULL, stall_map, stall))
			rdma_map(&other,
				 TEST_RDMA_MMAP_PGOFF(TEST_RDMA_MMAP_WAIT + 0UL,
						      300000) * PAGE, PAGE);
		_exit(1);
	}
	while (!rdma_count("waiting"))
		usleep(1000);
	__atomic_store_n(&stall->go, true, __ATOMIC_SEQ_CST);
	usleep(100000);

	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 1));
	if (vfio_can_reset(&self->a))
		ASSERT_EQ(0, vfio_reset(&self->a));
	close_a(self);
	EXPECT_BLOCKED(IOVA, 1);
	/* It was there all the time, with the lock of the container. */
	EXPECT_FALSE(__atomic_load_n(&stall->done, __ATOMIC_SEQ_CST));
	EXPECT_EQ(1, rdma_count("waiting"));

	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, status);
	EXPECT_EQ(self->bar.size, dma_unmap(self->container, IOVA,
					    self->bar.size, 0));
	rdma_close(&other);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/*
 * Somebody maps A's memory for DMA while it is taken away: either there is no
 * such mapping, or it knows. Both must have happened.
 */
struct mapper {
	struct racer racer;
	int container;
	char *map;
	int ret;
};

static void map_a(struct racer *racer)
{
	struct mapper *m = (struct mapper *)racer;

	m->ret = dma_map(m->container, m->map, IOVA, MB(1), DMA_RW);
}

TEST_F_TIMEOUT(dma, map_races_revoke, 300)
{
	struct mapper m = {
		.racer.fn = map_a, .container = self->container,
		.map = self->map,
	};
	int n, mapped = 0, refused = 0, there = 0;
	__u64 late = 0;

	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(0, m.ret);
	ASSERT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	for (n = 0; n < rounds(100) || (n < 500 && (!mapped || !refused)); n++) {
		racer_go(&m.racer, late);
		ASSERT_EQ(0, vfio_revoke(&self->a, BY_LOW_POWER));
		racer_join(&m.racer);
		late = racer_aim(&m.racer, late, !m.ret);
		there += reads(self, IOVA, 1);
		ASSERT_EQ(0, vfio_restore(&self->a, BY_LOW_POWER));
		if (m.ret) {
			EXPECT_EQ(-EFAULT, m.ret);
			refused++;
			EXPECT_FALSE(reads(self, IOVA, 1));
			continue;
		}
		mapped++;
		EXPECT_TRUE(reads(self, IOVA, 1));
		EXPECT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	}
	racer_stop(&m.racer);
	printf("# %d mapped, %d refused, %d reached memory that was away\n",
	       mapped, refused, there);
	EXPECT_LT(0, mapped);
	EXPECT_LT(0, refused);
	if (!self->revokes)
		SKIP(return, "%s", hole);
	EXPECT_EQ(0, there);
}

TEST_F_TIMEOUT(dma, map_races_close, 300)
{
	struct mapper m = {
		.racer.fn = map_a, .container = self->container,
		.map = self->map,
	};
	int n, mapped = 0, refused = 0, there = 0;
	__u64 late = 0;
	struct vfio_region_info bar;
	struct vfio_dev a;

	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(0, m.ret);
	ASSERT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	close_a(self);
	close(self->a.group);
	for (n = 0; n < rounds(60) || (n < 500 && (!mapped || !refused)); n++) {
		ASSERT_EQ(0, open_a(&a, &bar, &m.map, self->bdf, -1));
		racer_go(&m.racer, late);
		munmap(m.map, bar.size);
		vfio_close(&a);
		racer_join(&m.racer);
		late = racer_aim(&m.racer, late, !m.ret);
		there += reads(self, IOVA, 1);
		if (m.ret) {
			EXPECT_EQ(-EFAULT, m.ret);
			refused++;
			continue;
		}
		mapped++;
		EXPECT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	}
	racer_stop(&m.racer);
	printf("# %d mapped, %d refused, %d reached a closed device\n",
	       mapped, refused, there);
	EXPECT_LT(0, mapped);
	EXPECT_LT(0, refused);
	if (!self->revokes)
		SKIP(return, "%s", hole);
	EXPECT_EQ(0, there);
}

static void unmap_a(struct racer *racer)
{
	struct mapper *m = (struct mapper *)racer;

	m->ret = dma_unmap(m->container, IOVA, MB(1), 0);
}

/* Keeps the container's translations of device memory busy. */
struct toggler {
	struct vfio_dev dev;
	struct race *race;
	int ret;
};

static void *toggle(void *arg)
{
	struct toggler *t = arg;

	while (!race_over(t->race) && !t->ret)
		t->ret = vfio_revoke(&t->dev, BY_COMMAND) ?:
			 vfio_restore(&t->dev, BY_COMMAND);
	return NULL;
}

/* -1 where the translation of A never went, or whether A's revocation was over */
static int unmapped_late(void)
{
	bool over = false;
	char line[512];
	int late = -1;
	char text[64];
	FILE *f;

	snprintf(text, sizeof(text), " unmap: IOMMU: iova=0x%016lx", IOVA);
	f = fopen(TRACING "trace", "r");
	while (f && late < 0 && fgets(line, sizeof(line), f)) {
		over |= !!strstr(line, "revocation over");
		if (strstr(line, text))
			late = over;
	}
	if (f)
		fclose(f);
	return late;
}

/*
 * A mapping that is about to go by itself is gone as well when the revocation
 * is over.
 */
TEST_F_TIMEOUT(dma, unmap_races_revoke, 300)
{
	struct mapper m = {
		.racer.fn = unmap_a, .container = self->container,
	};
	struct toggler t = { .race = race_alloc() };
	int n, late, before = 0, after = 0;
	struct vfio_region_info bar;
	pthread_t thread;
	char bdf[16];
	void *map;

	if (vfio_find(ID_IVSHMEM, 1, bdf) || vfio_bind(bdf))
		SKIP(return, "no second ivshmem-plain device");
	if (write_file(TRACING "trace_clock", "counter") ||
	    write_file(TRACING "events/iommu/unmap/enable", "1"))
		SKIP(return, "no trace events of the IOMMU");
	ASSERT_NE(NULL, t.race);
	ASSERT_EQ(0, vfio_open_in(&t.dev, bdf, self->container));
	ASSERT_EQ(0, vfio_region(&t.dev, BAR2, &bar));
	map = vfio_map(t.dev.fd, bar.offset, bar.size, MB(2));
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, write_file(TYPE1_PARAM("disable_hugepages"), "Y"));
	EXPECT_EQ(0, dma_map(self->container, map, OTHER_IOVA, bar.size,
			     DMA_RW));
	write_file(TYPE1_PARAM("disable_hugepages"), "N");

	ASSERT_EQ(0, dma_map(self->container, self->map, IOVA, MB(1), DMA_RW));
	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(MB(1), m.ret);
	ASSERT_EQ(0, pthread_create(&thread, NULL, toggle, &t));
	for (n = 0; n < rounds(200); n++) {
		ASSERT_EQ(0, dma_map(self->container, self->map, IOVA, MB(1),
				     DMA_RW));
		write_file(TRACING "trace", "");
		racer_go(&m.racer, n % 16 * m.racer.ns / 8);
		ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
		write_file(TRACING "trace_marker", "revocation over");
		racer_join(&m.racer);
		EXPECT_EQ(MB(1), m.ret);
		late = unmapped_late();
		EXPECT_LE(0, late);
		*(late ? &after : &before) += 1;
		ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	}
	race_stop(t.race);
	pthread_join(thread, NULL);
	racer_stop(&m.racer);
	write_file(TRACING "events/iommu/unmap/enable", "0");
	write_file(TRACING "trace_clock", "local");
	EXPECT_EQ(0, t.ret);
	printf("# unmapped %d times in time, %d times too late\n", before,
	       after);
	if (!self->revokes)
		SKIP(return, "%s", hole);
	EXPECT_EQ(0, after);
}

/* An mdev device of the mtty sample: its container needs no IOMMU domain. */
static int open_mtty(int type, int *group, int *container)
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
	*container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
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

	if (open_mtty(type, &group, container))
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
		 * What is closed is no reason to refuse B, and does not come
		 * back with the next user of A.
		 */
		munmap(map + 2 * PAGE, 2 * PAGE);
		munmap(map + 8 * PAGE, PAGE);
		close_a(self);
		close(self->a.group);
		self->a.group = -1;
		ASSERT_EQ(0, open_a(&next, &bar, &next_map, self->bdf, -1));
		ASSERT_EQ(0, touch(next_map + 12 * PAGE, 12));
		ASSERT_EQ(0, edu_open(&self->b, edu, container));
		EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
		ASSERT_EQ(0, vfio_revoke(&next, BY_COMMAND));
		ASSERT_EQ(0, vfio_restore(&next, BY_COMMAND));
		EXPECT_EQ(MIXED_RAM, mixed_good(self, IOVA));
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
	ASSERT_EQ(0, map_over(self, self->a.fd, map + 8 * PAGE, 50));
	ASSERT_EQ(0, map_over(self, -1, map + 3 * PAGE, 3));
	ASSERT_EQ(0, edu_open(&self->b, edu, container));
	EXPECT_EQ(WORD(12), peek(self, IOVA + 2 * PAGE));
	EXPECT_EQ(RAM_WORD(3), peek(self, IOVA + 3 * PAGE));
	EXPECT_EQ(WORD(50), peek(self, IOVA + 8 * PAGE));
	edu_close(&self->b);

	/* The same pages of A, which was closed and opened in between. */
	ASSERT_EQ(0, map_over(self, -1, map + 2 * PAGE, 2));
	ASSERT_EQ(0, map_over(self, -1, map + 8 * PAGE, 8));
	close_a(self);
	close(self->a.group);
	self->a.group = -1;
	ASSERT_EQ(0, open_a(&next, &bar, &other, self->bdf, -1));
	ASSERT_EQ(0, map_over(self, next.fd, map + 2 * PAGE, 12));
	ASSERT_EQ(0, map_over(self, next.fd, map + 8 * PAGE, 50));
	ASSERT_EQ(0, edu_open(&self->b, edu, container));
	EXPECT_EQ(WORD(12), peek(self, IOVA + 2 * PAGE));
	EXPECT_EQ(RAM_WORD(3), peek(self, IOVA + 3 * PAGE));
	EXPECT_EQ(WORD(50), peek(self, IOVA + 8 * PAGE));
	EXPECT_EQ(MIXED_PAGES * PAGE,
		  dma_unmap(container, IOVA, MIXED_PAGES * PAGE, 0));
}

/* The first version of type1: no part of a mapping can be unmapped. */
TEST_F_TIMEOUT(dma, version_1, 120)
{
	char edu[16], *map;
	int container, ret;

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
	EXPECT_TRUE(blocked(self, IOVA + 11 * PAGE));
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* What is mapped page by page is mapped in pieces, and all of it. */
TEST_F_TIMEOUT(dma, small_pages, 120)
{
	size_t last = self->bar.size / PAGE - 1;
	int ret;

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

/* A container has so many pieces of device memory, and gets them back. */
TEST_F_TIMEOUT(dma, limit, 120)
{
	char *map = mixed_map(self);
	struct vfio_dev dev;
	char bdf[16];
	int ret;

	ASSERT_NE(MAP_FAILED, map);
	if (vfio_find(ID_EDU, 1, bdf) || vfio_bind(bdf))
		SKIP(return, "no second edu device");
	ASSERT_EQ(0, write_file(TYPE1_PARAM("dma_entry_limit"), "2"));
	ret = vfio_open(&dev, bdf, false);
	write_file(TYPE1_PARAM("dma_entry_limit"), "65535");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(0, dma_map(dev.iommu, map, IOVA, MIXED_PAGES * PAGE, DMA_RW));
	if (self->revokes) {
		EXPECT_EQ(1, dma_avail(dev.iommu));
		EXPECT_EQ(-ENOSPC, dma_map(dev.iommu, self->map, OTHER_IOVA,
					   PAGE, DMA_RW));
	}
	EXPECT_EQ(0, dma_map(dev.iommu, self->ram, RAM_IOVA, PAGE, DMA_RW));
	EXPECT_EQ(-ENOSPC, dma_map(dev.iommu, self->ram, OTHER_IOVA, PAGE,
				   DMA_RW));
	EXPECT_LT(0, dma_unmap(dev.iommu, IOVA, MIXED_PAGES * PAGE, 0));
	EXPECT_EQ(0, dma_map(dev.iommu, self->map, OTHER_IOVA, PAGE, DMA_RW));
	vfio_close(&dev);
	if (!self->revokes)
		SKIP(return, "no limit of device memory of its own");
}

/*
 * Have all allocations of this thread fail, from a write of "1" to what this
 * returns to a write of "0": opening a file takes memory.
 */
#define FAIL_PAGE_ALLOC "/sys/kernel/debug/fail_page_alloc/"
static int failing_allocations(void)
{
	/* First of all that none of another thread does. */
	int ret = write_file(FAIL_PAGE_ALLOC "task-filter", "Y") ?:
		  write_file(FAIL_PAGE_ALLOC "times", "-1") ?:
		  write_file(FAIL_PAGE_ALLOC "verbose", "0") ?:
		  write_file(FAIL_PAGE_ALLOC "min-order", "0") ?:
		  write_file(FAIL_PAGE_ALLOC "ignore-gfp-wait", "N") ?:
		  write_file(FAIL_PAGE_ALLOC "probability", "100");

	return ret ?: open("/proc/thread-self/make-it-fail", O_WRONLY);
}

/* As fail_open(), and pages count, too: page tables are pages. */
static int fail_open_pages(void)
{
	int fail = fail_open();
	int ret = fail < 0 ? fail :
		  write_file(FAIL_PAGE_ALLOC "min-order", "0") ?:
		  write_file(FAIL_PAGE_ALLOC "ignore-gfp-wait", "N");

	if (!ret)
		return fail;
	if (fail >= 0)
		close(fail);
	return ret;
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
	fail = failing_allocations();
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
		for (nth = total + 4; nth > 0 && nth > total - 8; nth--) {
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

	map = mixed_map(self);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, dma_map(self->container, map, OTHER_IOVA,
			     MIXED_PAGES * PAGE, DMA_RW));
	MAP_A();
	ret = second_domain(self, &c);
	if (ret == -ENODEV)
		SKIP(return, "no failslab, trace events, second edu device or second domain");
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
		EXPECT_TRUE(blocked(self, OTHER_IOVA + 11 * PAGE));
	}
	self->b = b;
	edu_close(&c);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* Whatever allocation fails when B joins: it is as if it had not tried. */
TEST_F_TIMEOUT(dma, replay_without_memory, 120)
{
	int container, ret, fail, n, refused = 0;
	char edu[16], *map;
	long left, kb;

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

/* No memory in the middle of a restore: it is for both domains or for none. */
TEST_F_TIMEOUT(dma, two_domains_failed_restore, 120)
{
	int fail, ret, n, reached, nowhere = 0;
	struct edu c, b = self->b;
	long left;

	if (access(FAIL_PAGE_ALLOC "min-order", F_OK))
		SKIP(return, "no FAIL_PAGE_ALLOC");
	/* So aligned that all of it takes 4 KiB pages. */
	ASSERT_EQ(0, dma_map(self->container, self->map + PAGE, IOVA, MB(4),
			     DMA_RW));
	ret = second_domain(self, &c);
	if (ret == -ENODEV)
		SKIP(return, "no failslab, trace events, second edu device or second domain");
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
		reached = reads(self, IOVA - PAGE, 1);
		self->b = c;
		reached += reads(self, IOVA - PAGE, 1);
		self->b = b;
		EXPECT_NE(1, reached);
		nowhere += !reached;
	}
	EXPECT_EQ(2, reached);
	EXPECT_LT(1, nowhere);
	close(fail);
	edu_close(&c);
}

/*
 * Everything at once, for MR_STORM seconds: what is left must be right, and a
 * lock that is taken in two orders is found by lockdep.
 */
struct storm {
	struct race *race;
	struct _test_data_dma *self;
	int who;
	char *mixed;
	char bdf[16];		/* of a third device */
	unsigned int steps;
};

static int storm_memory(struct storm *s, unsigned int n)
{
	enum vfio_how how = n % 4 ? BY_COMMAND : BY_LOW_POWER;

	return vfio_revoke(&s->self->a, how) ?: vfio_restore(&s->self->a, how);
}

static int storm_reset(struct storm *s, unsigned int n)
{
	int ret;

	if (n % 2 && vfio_can_reset(&s->self->a))
		return vfio_reset(&s->self->a);
	ret = vfio_hot_reset(&s->self->a);
	return ret == -EBUSY ? 0 : ret;
}

/* A mapping fails where the memory is off. */
static int storm_map_one(int container, char *map, __u64 iova, size_t size)
{
	ssize_t ret = dma_map(container, map, iova, size, DMA_RW);

	if (ret)
		return ret == -EFAULT ? 0 : ret;
	ret = dma_unmap(container, iova, size, 0);
	return ret == (ssize_t)size ? 0 : -EIO;
}

static int storm_map(struct storm *s, unsigned int n)
{
	return storm_map_one(s->self->container, s->self->map + n % 8 * PAGE,
			     IOVA, MB(4));
}

static int storm_mixed(struct storm *s, unsigned int n)
{
	return storm_map_one(s->self->container, s->mixed, OTHER_IOVA,
			     MIXED_PAGES * PAGE);
}

/* Another device, with a container of its own, comes and goes. */
static int storm_open(struct storm *s, unsigned int n)
{
	__u64 iova = OTHER_IOVA + MB(16);
	struct vfio_region_info bar;
	struct vfio_dev dev;
	ssize_t unmapped;
	char *map;
	int ret;

	ret = vfio_open(&dev, s->bdf, false);
	if (ret)	/* busy while a child of storm_fork() has it from us */
		return ret == -EBUSY ? 0 : ret;
	ret = vfio_region(&dev, 0, &bar);
	if (ret)
		return ret;
	map = vfio_map(dev.fd, bar.offset, bar.size, PAGE);
	if (map == MAP_FAILED)
		return -errno;
	ret = dma_map(s->self->container, map, iova, bar.size, DMA_RW) ?:
	      dma_map(dev.iommu, map, iova, bar.size, DMA_RW) ?:
	      vfio_revoke(&dev, BY_COMMAND) ?:
	      dma_map(dev.iommu, s->self->ram, RAM_IOVA, PAGE, DMA_RW) ?:
	      vfio_restore(&dev, BY_COMMAND);
	munmap(map, bar.size);
	vfio_close(&dev);
	unmapped = dma_unmap(s->self->container, iova, bar.size, 0);
	return ret ?: unmapped == (ssize_t)bar.size ? 0 : -EIO;
}

static int storm_fork(struct storm *s, unsigned int n)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid) {
		__u32 val;

		mmio_read32(s->self->map + n % 64 * PAGE, &val);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && !status ? 0 : -EIO;
}

static int storm_cpu(struct storm *s, unsigned int n)
{
	char *map = mmap(NULL, MB(1), PROT_READ | PROT_WRITE, MAP_SHARED,
			 s->self->a.fd, s->self->bar.offset);
	__u32 val;

	if (map == MAP_FAILED)
		return -errno;
	mmio_populate(map, MB(1));
	mmio_read32(s->self->map, &val);
	return munmap(map, MB(1)) ? -errno : 0;
}

static int (* const storms[])(struct storm *s, unsigned int n) = {
	storm_memory, storm_reset, storm_map, storm_mixed, storm_open,
	storm_fork, storm_cpu,
};

#define STORMS	ARRAY_SIZE(storms)

static void *storm(void *arg)
{
	struct storm *s = arg;
	int ret;

	for (; !race_over(s->race); s->steps++) {
		ret = storms[s->who](s, s->steps);
		if (ret) {
			fprintf(stderr, "# worker %d: step %u: %s\n", s->who,
				s->steps, strerror(-ret));
			__atomic_store_n(&s->race->broken, 1, __ATOMIC_SEQ_CST);
			break;
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(dma, storm, 600)
{
	struct storm s[STORMS] = {};
	struct race *race = race_alloc();
	pthread_t thread[STORMS];
	char bdf[16], *mixed;
	const char *seconds = getenv("MR_STORM") ?: "20";
	time_t end;
	int n, i;

	if (vfio_find(ID_EDU, 1, bdf) || vfio_bind(bdf))
		SKIP(return, "no second edu device");
	mixed = mixed_map(self);
	ASSERT_NE(MAP_FAILED, mixed);
	ASSERT_NE(NULL, race);
	for (i = 0; i < STORMS; i++) {
		s[i].race = race;
		s[i].self = self;
		s[i].who = i;
		s[i].mixed = mixed;
		snprintf(s[i].bdf, sizeof(s[i].bdf), "%s", bdf);
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, storm, &s[i]));
	}
	/* Memory that nobody takes away is there for B all the time. */
	end = time(NULL) + atoi(seconds);
	for (n = 0; time(NULL) < end && !race->broken; n++) {
		ram_write(self, PAGE, n);
		if (peek(self, RAM_IOVA + PAGE) != n)
			race->broken = 2;
	}
	race_stop(race);
	for (i = 0; i < STORMS; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
		EXPECT_LT(1, s[i].steps);
		printf("# worker %d: %u steps\n", i, s[i].steps);
	}
	EXPECT_EQ(0, race->broken);
	ASSERT_EQ(0, dma_map(self->container, mixed, OTHER_IOVA,
			     MIXED_PAGES * PAGE, DMA_RW));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, OTHER_IOVA));
	MAP_A();
	close_a(self);
	munmap(mixed, MIXED_PAGES * PAGE);
	EXPECT_EQ(self->revokes ? MIXED_RAM : MIXED_ALL,
		  mixed_good(self, OTHER_IOVA));
	EXPECT_BLOCKED(IOVA, 500);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

/* Memory of a device that is not under vfio: a parameter decides. */
TEST_F_TIMEOUT(dma, not_revocable, 120)
{
	char bdf[16], path[128];
	__u32 word;
	char *map;
	int fd;

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
	ASSERT_EQ(0, dma_map(self->container, map, IOVA, MB(1), DMA_RW));
	EXPECT_EQ(0x700d, peek(self, IOVA));
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
}

TEST_HARNESS_MAIN
