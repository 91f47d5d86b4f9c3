// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory that RDMA drivers map, while the device takes it back or goes,
 * from several threads and processes at once.
 *
 * None of these writes PCI_COMMAND, so that a guest can run them with a thread
 * of QEMU for each processor, where they race truly.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "rdma_test.h"

/*
 * Threads map, touch, fork and unmap while the device takes its memory back
 * again and again. An access that begins after that is over reads zeros where
 * the mapping is older, and never a signal.
 */
struct storm {
	struct rdma_dev *dev;
	__u64 offset;
	__u64 device, zeros, old, wrong;
};

/* The phase of the race: disassociations that have returned. */
static int storm_step(struct worker *w, unsigned int step)
{
	struct storm *s = w->arg;
	__u32 first, now, val;
	char *addr;
	int n;

	addr = rdma_map(s->dev, s->offset, 4 * PAGE);
	if (addr == MAP_FAILED) {
		/* One is under way, which keeps new mappings out. */
		if (errno != EIO)
			race_bump(&s->wrong);
		return 0;
	}
	first = race_phase(w->race);
	for (n = 0; n < 16; n++) {
		now = race_phase(w->race);
		if (mmio_read32(addr + n % 4 * PAGE, &val) ||
		    (val && val != WORD(n % 4)))
			race_bump(&s->wrong);
		race_bump(val ? &s->device : &s->zeros);
		/*
		 * The first to return may have begun before the mapping was
		 * made, the second has not.
		 */
		if (now - first >= 2)
			race_bump(val ? &s->wrong : &s->old);
		if (n == 12 && first % 4 == 0)
			while (race_phase(w->race) - first < 2 &&
			       !race_over(w->race))
				sched_yield();
	}
	munmap(addr, 4 * PAGE);
	return 0;
}

TEST_F_TIMEOUT(rdma, storm, 120)
{
	struct rdma_entry entry;
	struct storm s = { .dev = &self->dev };
	struct race *race = race_alloc();
	struct worker w[3];
	struct proc child;
	char *addr = NULL;
	int n;

	ASSERT_NE(NULL, race);
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	s.offset = entry.offset;
	for (n = 0; n < 3; n++) {
		w[n] = (struct worker){
			.race = race, .who = n, .step = storm_step, .arg = &s,
		};
		ASSERT_EQ(0, worker_start(&w[n]));
	}
	for (n = 0; n < rounds(200); n++) {
		if (n % 16 == 0) {
			MAP(addr, s.offset, 4);
			EXPECT_EQ(0, touch(addr, 0));
			ASSERT_EQ(0, proc_start(&child));
			EXPECT_EQ(0, proc_touch(&child, addr, 0));
		}
		ASSERT_EQ(0, rdma_gone(&self->dev, BY_DISASSOCIATE));
		race_next_phase(race);
		if (n % 16 == 0) {
			EXPECT_EQ(0, proc_zero(&child, addr));
			EXPECT_EQ(0, zero(addr));
			ASSERT_EQ(0, proc_stop(&child));
			ASSERT_EQ(0, munmap(addr, 4 * PAGE));
		}
		usleep(n % 5 * 1000);
	}
	for (n = 0; n < 3; n++)
		EXPECT_EQ(0, worker_join(&w[n]));
	EXPECT_EQ(0, s.wrong);
	EXPECT_LT(10, s.device);
	EXPECT_LT(10, s.zeros);
	EXPECT_LT(10, s.old);
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(1, FREED);
}

/*
 * A mmap() while the device takes its memory back or goes. Whatever came first:
 * after the next time, or after it went, there are zeros. Nobody else maps the
 * entry, so that what the first time missed is not found by accident.
 */
struct mapper {
	struct racer racer;
	struct rdma_dev *dev;
	__u64 offset;
	char *addr;
};

static void map_entry(struct racer *racer)
{
	struct mapper *m = (struct mapper *)racer;

	m->addr = rdma_map(m->dev, m->offset, 4 * PAGE);
}

TEST_F_TIMEOUT(rdma, mmap_races_gone, 120)
{
	struct mapper m = { .racer.fn = map_entry, .dev = &self->dev };
	int n, mapped[2] = {}, refused[2] = {};
	struct rdma_entry entry;

	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	m.offset = entry.offset;
	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(0, munmap(m.addr, 4 * PAGE));
	for (n = 0; n < rounds(500); n++) {
		bool goes = n % 50 == 49;

		racer_go(&m.racer, n % 17 * m.racer.ns / 8);
		ASSERT_EQ(0, rdma_gone(&self->dev,
				       goes ? BY_UNBIND : BY_DISASSOCIATE));
		racer_join(&m.racer);
		if (m.addr == MAP_FAILED) {
			refused[goes]++;
		} else {
			mapped[goes]++;
			if (!goes)
				ASSERT_EQ(0, rdma_gone(&self->dev,
						       BY_DISASSOCIATE));
			EXPECT_EQ(4, count_zero(m.addr, 4));
			ASSERT_EQ(0, munmap(m.addr, 4 * PAGE));
		}
		if (goes) {
			rdma_close(&self->dev);
			ASSERT_EQ(0, rdma_back(&self->dev, BY_UNBIND));
			ASSERT_EQ(0, rdma_open(&self->dev));
			ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
			m.offset = entry.offset;
		}
	}
	racer_stop(&m.racer);
	printf("# disassociated: %d mapped, %d refused; unbound: %d mapped, %d refused\n",
	       mapped[0], refused[0], mapped[1], refused[1]);
	EXPECT_LT(0, mapped[0]);
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(CREATED, FREED);
}

/* Likewise, while the driver revokes the entry: zeros, or there is no entry. */
TEST_F_TIMEOUT(rdma, mmap_races_revoke_entry, 120)
{
	struct mapper m = { .racer.fn = map_entry, .dev = &self->dev };
	int n, mapped = 0, refused = 0;
	struct rdma_entry entry;

	if (access(OBJECTS, F_OK))
		SKIP(return, "this kernel cannot revoke a single entry");
	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, TEST_RDMA_MMAP_REVOKE);
	m.offset = entry.offset;
	ASSERT_EQ(0, racer_start(&m.racer));
	ASSERT_EQ(0, munmap(m.addr, 4 * PAGE));
	for (n = 0; n < rounds(500); n++) {
		racer_go(&m.racer, n % 17 * m.racer.ns / 8);
		ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
		racer_join(&m.racer);
		if (m.addr == MAP_FAILED) {
			refused++;
		} else {
			mapped++;
			EXPECT_EQ(4, count_zero(m.addr, 4));
			ASSERT_EQ(0, munmap(m.addr, 4 * PAGE));
		}
		ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, TEST_RDMA_MMAP_REVOKE);
		m.offset = entry.offset;
	}
	racer_stop(&m.racer);
	printf("# %d mapped, %d refused\n", mapped, refused);
	EXPECT_LT(0, mapped);
	EXPECT_LT(0, refused);
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(CREATED, FREED);
}

/*
 * A mapping that another thread takes away while mmap() is on its way back, and
 * puts ordinary memory there. The times move towards where both happen.
 */
static void replace_entry(struct racer *racer)
{
	struct mapper *m = (struct mapper *)racer;

	if (mmap(m->addr, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED |
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != m->addr)
		abort();
}

TEST_F_TIMEOUT(rdma, munmap_races_mmap, 120)
{
	struct mapper m = { .racer.fn = replace_entry, .dev = &self->dev };
	int n, replaced = 0, there = 0;
	struct rdma_entry entry;
	__u64 late = 0;

	ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
	m.addr = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, m.addr);
	ASSERT_EQ(0, racer_start(&m.racer));
	for (n = 0; n < rounds(500) || (n < 5000 && !(there && replaced)); n++) {
		racer_go(&m.racer, late);
		ASSERT_EQ(m.addr, mmap(m.addr, 4 * PAGE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, self->dev.fd,
				       entry.offset));
		racer_join(&m.racer);
		if (zero(m.addr)) {
			EXPECT_PAGES(m.addr, 0, 4, 0);
			there++;
			late = racer_aim(&m.racer, late, true);
		} else {
			EXPECT_EQ(4, count_zero(m.addr, 4));
			replaced++;
			late = racer_aim(&m.racer, late, false);
		}
	}
	racer_stop(&m.racer);
	printf("# %d mapped last, %d replaced\n", there, replaced);
	EXPECT_LT(0, there);
	EXPECT_LT(0, replaced);
	ASSERT_EQ(0, munmap(m.addr, 4 * PAGE));
	ASSERT_EQ(0, rdma_entry_end(&self->dev, &entry));
	EXPECT_EQ(1, FREED);
}

/* Maps, forks and unmaps until the device is gone, and then some. */
struct load {
	struct rdma_dev *dev;
	__u64 offset;
	__u64 mapped, refused, wrong;
	__u64 lost;		/* children without device and zeros */
};

static void load_wait(__u64 *counter)
{
	while (!__atomic_load_n(counter, __ATOMIC_SEQ_CST))
		usleep(1000);
}

static int load_step(struct worker *w, unsigned int step)
{
	struct load *l = w->arg;
	int status;
	__u32 val;
	pid_t pid;
	char *addr;

	addr = rdma_map(l->dev, l->offset, 4 * PAGE);
	if (addr == MAP_FAILED) {
		l->wrong += errno != EIO;
		race_bump(&l->refused);
		usleep(1000);
		return 0;
	}
	if (mmio_read32(addr, &val) || (val && val != WORD(0)))
		l->wrong++;
	race_bump(&l->mapped);
	if (l->mapped % 8 == 1) {
		pid = fork();
		if (!pid)
			_exit(mmio_read32(addr, &val) ||
			      munmap(addr + PAGE, PAGE));
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			l->wrong++;
		else if (status)
			l->lost++;
	}
	munmap(addr + PAGE, PAGE);
	munmap(addr, 4 * PAGE);
	return 0;
}

/*
 * Processes hammer their mappings, threads make and end them, while the driver
 * goes: no signal, and no entry is freed late or twice.
 */
TEST_F_TIMEOUT(rdma, gone_under_load, 120)
{
	static const enum rdma_how hows[] = { BY_UNBIND, BY_MODULE };
	/* The processes come to their end first. */
	struct race *race = race_alloc(), *load_race = race_alloc();
	struct rdma_entry entry;
	struct worker w[2];
	struct load load[2];
	struct proc p[3];
	int i, n, lost = 0;
	char *addr;
	__u32 val;

	ASSERT_NE(NULL, race);
	ASSERT_NE(NULL, load_race);
	for (i = 0; i < 2; i++) {
		race_reset(race);
		race_reset(load_race);
		ENTRY(&entry, 0, 4, TEST_RDMA_MMAP_UC, 0);
		MAP(addr, entry.offset, 4);
		EXPECT_PAGES(addr, 0, 4, 0);
		for (n = 0; n < 3; n++) {
			ASSERT_EQ(0, proc_start(&p[n]));
			ASSERT_EQ(0, proc_hammer(&p[n], race, n,
						 addr + n * PAGE, WORD(n)));
		}
		for (n = 0; n < 2; n++) {
			load[n] = (struct load){
				.dev = &self->dev, .offset = entry.offset,
			};
			w[n] = (struct worker){
				.race = load_race, .who = n, .step = load_step,
				.arg = &load[n],
			};
			ASSERT_EQ(0, worker_start(&w[n]));
		}
		ASSERT_TRUE(race_wait_ok(race, 3));
		for (n = 0; n < 2; n++)
			load_wait(&load[n].mapped);
		ASSERT_EQ(0, rdma_gone(&self->dev, hows[i]));
		if (hows[i] == BY_UNBIND)
			EXPECT_EQ(1, FREED);
		for (n = 0; n < 3; n++) {
			ASSERT_EQ(0, proc_calm(&p[n]));
			EXPECT_EQ(0, proc_read32(&p[n], addr + n * PAGE, &val));
			EXPECT_EQ(0, val);
			EXPECT_EQ(0, race->seen[n].fault);
			EXPECT_LT(0, race->seen[n].ok);
			EXPECT_EQ(0, proc_stop(&p[n]));
		}
		for (n = 0; n < 2; n++)
			load_wait(&load[n].refused);
		for (n = 0; n < 2; n++) {
			EXPECT_EQ(0, worker_join(&w[n]));
			EXPECT_EQ(0, load[n].wrong);
			lost += load[n].lost;
		}
		if (hows[i] == BY_UNBIND)
			EXPECT_EQ(1, FREED);
		ASSERT_EQ(0, munmap(addr, 4 * PAGE));
		rdma_close(&self->dev);
		ASSERT_EQ(0, rdma_back(&self->dev, hows[i]));
		ASSERT_EQ(0, rdma_open(&self->dev));
	}
	if (access(OBJECTS, F_OK) && lost)
		SKIP(return, "without mmap_revoke %d children lost the device",
		     lost);
	EXPECT_EQ(0, lost);
}

TEST_HARNESS_MAIN
