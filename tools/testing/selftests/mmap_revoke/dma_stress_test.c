// SPDX-License-Identifier: GPL-2.0
/*
 * DMA mappings are made, used and ended while the memory is taken away: by
 * resets, by mappers that take for ever, in races, and all at once.
 */
#include <stdio.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "dma_test.h"
#include "rdma_util.h"

/* Two functions of a device, which are reset together. */
struct function {
	struct vfio_dev dev;
	struct vfio_region_info bar;
	char *map;
	__u64 iova;
	__u32 word;		/* that it has at its start */
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

static int function_step(struct worker *w, unsigned int n)
{
	struct function *f = w->arg;
	__u32 val;
	bool ok = pread(f->dev.fd, &val, sizeof(val), f->bar.offset) ==
		  sizeof(val);

	race_count(w->race, w->who, 0, ok, val == f->word);
	return 0;
}

/* Both functions, in the container of B; -ENODEV where there is none. */
static int functions_open(struct _test_data_dma *self, struct function f[2])
{
	char bdf[2][16];
	int ret, i;

	for (i = 0; i < 2; i++)
		if (vfio_find(ID_EDU, 2 + i, bdf[i]) || vfio_bind(bdf[i]))
			return -ENODEV;
	ret = vfio_open_in(&f[0].dev, bdf[0], self->container) ?:
	      hot_reset(&f[0].dev);
	if (ret)
		return ret;
	f[1].dev = f[0].dev;
	memcpy(f[1].dev.bdf, bdf[1], sizeof(bdf[1]));
	f[1].dev.fd = ioctl(f[0].dev.group, VFIO_GROUP_GET_DEVICE_FD, bdf[1]);
	if (f[1].dev.fd < 0)
		return -errno;
	f[0].iova = OTHER_IOVA;
	f[1].iova = OTHER_IOVA + PAGE;
	for (i = 0; i < 2; i++) {
		ret = function_map(self, &f[i]);
		if (ret)
			return ret;
		if (!function_works(self, &f[i]))
			return -EILSEQ;
	}
	return 0;
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
	struct function f[2] = {};
	int i, ret, done, busy;

	ret = functions_open(self, f);
	if (ret == -ENODEV)
		SKIP(return, "no device with two functions");
	ASSERT_EQ(0, ret);

	write_file(TRACING "events/mmap_revoke/mmap_revoke_begin/enable", "1");
	for (i = 0; i < 2; i++) {
		struct worker w = {
			.race = race_alloc(), .step = function_step,
			.arg = &f[i],
		};

		ASSERT_NE(NULL, w.race);
		write_file(TRACING "trace", "");
		ASSERT_EQ(0, worker_start(&w));
		ASSERT_TRUE(race_wait_ok(w.race, 1));
		for (done = 0, busy = 0; done < rounds(20) || !busy;) {
			ret = vfio_hot_reset(&f[0].dev);
			if (ret == -EBUSY) {
				busy++;
				continue;
			}
			ASSERT_EQ(0, ret);
			done++;
		}
		EXPECT_EQ(0, worker_join(&w));
		printf("# reset %d times, busy %d times\n", done, busy);
		EXPECT_EQ(0, w.race->seen[0].fault);
		EXPECT_EQ(0, w.race->seen[0].bad);
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

static int function_command(struct worker *w, unsigned int n)
{
	struct function *f = w->arg;

	return n & 1 ? vfio_restore(&f->dev, BY_COMMAND) :
		       vfio_revoke(&f->dev, BY_COMMAND);
}

/*
 * Somebody resets both by their port, while the user accesses one of them and
 * writes PCI_COMMAND of the other: the reset waits for both, and they for it.
 */
TEST_F_TIMEOUT(dma, bridge_reset_of_two, 300)
{
	struct race *race = race_alloc();
	struct function f[2] = {};
	struct worker w[2] = {
		{ .race = race, .who = 0, .step = function_step, .arg = &f[0] },
		{ .race = race, .who = 1, .step = function_command, .arg = &f[1] },
	};
	int i, ret, done = 0;

	if (!self->revokes)
		SKIP(return, "vfio of this kernel does not hear of it");
	ret = functions_open(self, f);
	if (ret == -ENODEV)
		SKIP(return, "no device with two functions");
	ASSERT_EQ(0, ret);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, worker_start(&w[i]));
	while (done < rounds(8)) {
		ret = pci_write(f[0].dev.bdf, "../reset_subordinate", "1");
		if (ret == -EAGAIN)
			continue;
		ASSERT_EQ(0, ret);
		done++;
		EXPECT_TRUE(race_wait_ok(race, 1));
	}
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, worker_join(&w[i]));
	EXPECT_LT(1, race->seen[1].steps);
	EXPECT_EQ(0, race->seen[0].fault);
	EXPECT_EQ(0, race->seen[0].bad);
	ASSERT_EQ(0, vfio_restore(&f[1].dev, BY_COMMAND));
	EXPECT_TRUE(function_works(self, &f[0]));
	EXPECT_TRUE(function_works(self, &f[1]));
}

/*
 * A mapper that does not come to an end, with the lock of the container: its
 * process sits on its mmap_lock, in a mmap() of another device that waits.
 */
#define STALL_IOVA	0x40000000UL

struct stall {
	bool go, done;
	int container;
	int tid;
	int ret;
	char *ram;
};

static void *stall_map(void *arg)
{
	struct stall *stall = arg;

	__atomic_store_n(&stall->tid, gettid(), __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&stall->go, __ATOMIC_SEQ_CST))
		usleep(1000);
	stall->ret = dma_map(stall->container, stall->ram, STALL_IOVA, PAGE,
			     DMA_RW);
	__atomic_store_n(&stall->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void stall_end(int sig)
{
}

/* Waits until the mapper has been let go and waits for its mmap_lock. */
static bool stall_blocks(struct stall *stall, pid_t pid)
{
	char path[64], state = '?';
	int n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid,
		 __atomic_load_n(&stall->tid, __ATOMIC_SEQ_CST));
	__atomic_store_n(&stall->go, true, __ATOMIC_SEQ_CST);
	for (n = 0; n < 1000 && state != 'D'; n++) {
		usleep(10000);
		scan_file(path, "%*d (%*[^)]) %c", &state);
	}
	return state == 'D';
}

/* Revocation and close do not wait for it. */
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
		signal(SIGUSR1, stall_end);
		if (pthread_create(&thread, NULL, stall_map, stall))
			_exit(1);
		rdma_map(&other, TEST_RDMA_MMAP_PGOFF(TEST_RDMA_MMAP_WAIT + 0UL,
						      300000) * PAGE, PAGE);
		_exit(pthread_join(thread, NULL) ? 1 : 0);
	}
	while (!rdma_count("waiting") ||
	       !__atomic_load_n(&stall->tid, __ATOMIC_SEQ_CST))
		usleep(1000);
	EXPECT_TRUE(stall_blocks(stall, pid));

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

	/* Its mmap_lock is free again, and the mapper comes to its end. */
	ASSERT_EQ(0, kill(pid, SIGUSR1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, stall->ret);
	EXPECT_EQ(PAGE, dma_unmap(self->container, STALL_IOVA, PAGE, 0));
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

/*
 * Did B reach A's page 1: while it was away, and after it came back? To look
 * at what B has takes a transfer of its own: do that for many rounds at once.
 */
#define BATCH	100

struct reached {
	unsigned int rounds, there;
	bool mapped[BATCH];
};

static void check_reached(struct __test_metadata *_metadata,
			  struct _test_data_dma *self, struct reached *r)
{
	const __u32 *words = slots(self, 2 * r->rounds);
	unsigned int n;

	for (n = 0; n < r->rounds; n++) {
		r->there += words[2 * n] == WORD(1);
		EXPECT_EQ(r->mapped[n], words[2 * n + 1] == WORD(1));
	}
	r->rounds = 0;
}

TEST_F_TIMEOUT(dma, map_races_revoke, 300)
{
	struct mapper m = {
		.racer.fn = map_a, .container = self->container,
		.map = self->map,
	};
	int n, mapped = 0, refused = 0;
	struct reached r = {};
	__u64 late = 0;

	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(0, m.ret);
	ASSERT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	for (n = 0; n < rounds(100) || (n < 500 && !self->revokes &&
					(!mapped || !refused)); n++) {
		racer_go(&m.racer, late);
		ASSERT_EQ(0, vfio_revoke(&self->a, BY_LOW_POWER));
		racer_join(&m.racer);
		/* Where both orders succeed, go through all of them. */
		late = self->revokes ? (late + m.racer.ns / 8 + 1) %
				       (2 * m.racer.ns) :
				       racer_aim(&m.racer, late, !m.ret);
		ASSERT_EQ(0, edu_load(&self->b, IOVA + PAGE, 2 * r.rounds));
		ASSERT_EQ(0, vfio_restore(&self->a, BY_LOW_POWER));
		ASSERT_EQ(0, edu_load(&self->b, IOVA + PAGE,
				      2 * r.rounds + 1));
		r.mapped[r.rounds++] = !m.ret;
		if (r.rounds == BATCH)
			check_reached(_metadata, self, &r);
		if (m.ret) {
			EXPECT_EQ(-EFAULT, m.ret);
			refused++;
			continue;
		}
		mapped++;
		EXPECT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	}
	check_reached(_metadata, self, &r);
	racer_stop(&m.racer);
	printf("# %d mapped, %d refused, %u reached memory that was away\n",
	       mapped, refused, r.there);
	EXPECT_LT(0, mapped);
	EXPECT_EQ(!self->revokes, refused > 0);
	if (!self->revokes)
		SKIP(return, "%s", hole);
	EXPECT_EQ(0, r.there);
}

static int count_reached(struct _test_data_dma *self, unsigned int loaded)
{
	const __u32 *words = slots(self, loaded);
	int there = 0;

	while (loaded--)
		there += words[loaded] == WORD(1);
	return there;
}

TEST_F_TIMEOUT(dma, map_races_close, 300)
{
	struct mapper m = {
		.racer.fn = map_a, .container = self->container,
		.map = self->map,
	};
	int n, mapped = 0, refused = 0, there = 0, loaded = 0;
	__u64 late = 0;
	struct vfio_region_info bar;
	struct vfio_dev a;

	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(0, m.ret);
	ASSERT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	close_a(self);
	close(self->a.group);
	for (n = 0; n < rounds(60) || (n < 500 && (!mapped || !refused)); n++) {
		ASSERT_EQ(0, open_a(&a, &bar, &m.map, self->bdf, self->fresh));
		racer_go(&m.racer, late);
		munmap(m.map, bar.size);
		vfio_close(&a);
		racer_join(&m.racer);
		late = racer_aim(&m.racer, late, !m.ret);
		ASSERT_EQ(0, edu_load(&self->b, IOVA + PAGE, loaded++));
		if (loaded == BATCH) {
			there += count_reached(self, loaded);
			loaded = 0;
		}
		if (m.ret) {
			EXPECT_EQ(-EFAULT, m.ret);
			refused++;
			continue;
		}
		mapped++;
		EXPECT_EQ(MB(1), dma_unmap(self->container, IOVA, MB(1), 0));
	}
	there += count_reached(self, loaded);
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
static int toggle(struct worker *w, unsigned int n)
{
	return vfio_revoke(w->arg, BY_COMMAND) ?:
	       vfio_restore(w->arg, BY_COMMAND);
}

/* -1: the translation of A never went; else: was A's revocation over? */
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
	struct vfio_dev other;
	struct worker w = {
		.race = race_alloc(), .step = toggle, .arg = &other,
	};
	int n, late, before = 0, after = 0;
	struct vfio_region_info bar;
	char bdf[16];
	void *map;

	if (vfio_find(ID_IVSHMEM, 1, bdf) || vfio_bind(bdf))
		SKIP(return, "no second ivshmem-plain device");
	if (write_file(TRACING "trace_clock", "counter") ||
	    write_file(TRACING "events/iommu/unmap/enable", "1"))
		SKIP(return, "no trace events of the IOMMU");
	ASSERT_NE(NULL, w.race);
	ASSERT_EQ(0, vfio_open_in(&other, bdf, self->container));
	ASSERT_EQ(0, vfio_region(&other, BAR2, &bar));
	map = vfio_map(other.fd, bar.offset, bar.size, MB(2));
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, write_file(TYPE1_PARAM("disable_hugepages"), "Y"));
	EXPECT_EQ(0, dma_map(self->container, map, OTHER_IOVA, bar.size,
			     DMA_RW));
	write_file(TYPE1_PARAM("disable_hugepages"), "N");

	ASSERT_EQ(0, dma_map(self->container, self->map, IOVA, MB(1), DMA_RW));
	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(MB(1), m.ret);
	ASSERT_EQ(0, worker_start(&w));
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
	EXPECT_EQ(0, worker_join(&w));
	racer_stop(&m.racer);
	write_file(TRACING "events/iommu/unmap/enable", "0");
	write_file(TRACING "trace_clock", "local");
	printf("# unmapped %d times in time, %d times too late\n", before,
	       after);
	if (!self->revokes)
		SKIP(return, "%s", hole);
	EXPECT_EQ(0, after);
}

/*
 * Everything at once, for MR_STORM seconds: what is left must be right, and a
 * lock that is taken in two orders is found by lockdep.
 */
struct storm {
	struct _test_data_dma *self;
	char *mixed;
	char bdf[16];		/* of a third device */
};

static int storm_memory(struct worker *w, unsigned int n)
{
	struct storm *s = w->arg;
	enum vfio_how how = n % 4 ? BY_COMMAND : BY_LOW_POWER;

	return vfio_revoke(&s->self->a, how) ?: vfio_restore(&s->self->a, how);
}

static int storm_reset(struct worker *w, unsigned int n)
{
	struct storm *s = w->arg;
	int ret;

	if (n % 2 && vfio_can_reset(&s->self->a))
		return vfio_reset(&s->self->a);
	ret = vfio_hot_reset(&s->self->a);
	return ret == -EBUSY ? 0 : ret;
}

/* On stock a mapping fails where the memory is off. */
static int storm_map_one(int container, char *map, __u64 iova, size_t size)
{
	ssize_t ret = dma_map(container, map, iova, size, DMA_RW);

	if (ret)
		return ret == -EFAULT ? 0 : ret;
	ret = dma_unmap(container, iova, size, 0);
	return ret == (ssize_t)size ? 0 : -EIO;
}

static int storm_map(struct worker *w, unsigned int n)
{
	struct storm *s = w->arg;

	return storm_map_one(s->self->container, s->self->map + n % 8 * PAGE,
			     IOVA, MB(4));
}

static int storm_mixed(struct worker *w, unsigned int n)
{
	struct storm *s = w->arg;

	return storm_map_one(s->self->container, s->mixed, OTHER_IOVA,
			     MIXED_PAGES * PAGE);
}

/* Another device, with a container of its own, comes and goes. */
static int storm_open(struct worker *w, unsigned int n)
{
	struct storm *s = w->arg;
	__u64 iova = OTHER_IOVA + MB(16);
	struct vfio_region_info bar;
	struct vfio_dev dev;
	ssize_t unmapped;
	char *map;
	int ret;

	ret = vfio_open_in(&dev, s->bdf, s->self->fresh);
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

static int storm_fork(struct worker *w, unsigned int n)
{
	struct storm *s = w->arg;
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

static int storm_cpu(struct worker *w, unsigned int n)
{
	struct storm *s = w->arg;
	char *map = mmap(NULL, MB(1), PROT_READ | PROT_WRITE, MAP_SHARED,
			 s->self->a.fd, s->self->bar.offset);
	__u32 val;

	if (map == MAP_FAILED)
		return -errno;
	mmio_populate(map, MB(1));
	mmio_read32(s->self->map, &val);
	return munmap(map, MB(1)) ? -errno : 0;
}

static int (* const storms[])(struct worker *w, unsigned int n) = {
	storm_memory, storm_reset, storm_map, storm_mixed, storm_open,
	storm_fork, storm_cpu,
};

#define STORMS	ARRAY_SIZE(storms)

TEST_F_TIMEOUT(dma, storm, 600)
{
	struct storm s = { .self = self };
	struct worker w[STORMS];
	struct race *race = race_alloc();
	const char *seconds = getenv("MR_STORM") ?: "20";
	time_t end;
	int n, i;

	if (vfio_find(ID_EDU, 1, s.bdf) || vfio_bind(s.bdf))
		SKIP(return, "no second edu device");
	s.mixed = mixed_map(self);
	ASSERT_NE(MAP_FAILED, s.mixed);
	ASSERT_NE(NULL, race);
	for (i = 0; i < STORMS; i++) {
		w[i] = (struct worker){
			.race = race, .who = i, .step = storms[i], .arg = &s,
		};
		ASSERT_EQ(0, worker_start(&w[i]));
	}
	/* Memory that nobody takes away is there for B all the time. */
	end = time(NULL) + atoi(seconds);
	for (n = 0; time(NULL) < end && !race->broken; n++) {
		ram_write(self, PAGE, n);
		if (peek(self, RAM_IOVA + PAGE) != n)
			race->broken = 2;
	}
	for (i = 0; i < STORMS; i++) {
		EXPECT_EQ(0, worker_join(&w[i]));
		EXPECT_LT(1, race->seen[i].steps);
		printf("# worker %d: %llu steps\n", i, race->seen[i].steps);
	}
	EXPECT_EQ(0, race->broken);
	ASSERT_EQ(0, dma_map(self->container, s.mixed, OTHER_IOVA,
			     MIXED_PAGES * PAGE, DMA_RW));
	EXPECT_EQ(MIXED_ALL, mixed_good(self, OTHER_IOVA));
	MAP_A();
	close_a(self);
	munmap(s.mixed, MIXED_PAGES * PAGE);
	EXPECT_EQ(self->revokes ? MIXED_RAM : MIXED_ALL,
		  mixed_good(self, OTHER_IOVA));
	EXPECT_BLOCKED(IOVA, 500);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

TEST_HARNESS_MAIN
