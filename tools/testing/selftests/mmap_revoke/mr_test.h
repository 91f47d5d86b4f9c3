/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the mmap_revoke tests share: a device that is mapped and whose pages can
 * be told apart.
 */
#ifndef MMAP_REVOKE_MR_TEST_H
#define MMAP_REVOKE_MR_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "../kselftest_harness.h"
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

/* Page faults that this thread, or this process, has taken. */
static inline long faults(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return usage.ru_minflt;
}

/*
 * A thread that does something once in each round, at the same time as what
 * stands between racer_go() and racer_join().
 */
struct racer {
	void (*fn)(struct racer *r);
	pthread_barrier_t start, end;
	pthread_t thread;
	__u64 ns;		/* what fn() takes when it is alone */
	bool stop;
};

static inline __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline void *racer_thread(void *arg)
{
	struct racer *r = arg;

	for (;;) {
		pthread_barrier_wait(&r->start);
		if (r->stop)
			return NULL;
		r->fn(r);
		pthread_barrier_wait(&r->end);
	}
}

/* Let it go, and be late by so many ns. */
static inline void racer_go(struct racer *r, __u64 late)
{
	__u64 start;

	pthread_barrier_wait(&r->start);
	start = now_ns();
	while (now_ns() - start < late)
		;
}

static inline void racer_join(struct racer *r)
{
	pthread_barrier_wait(&r->end);
}

/* Starts the thread, which does it once; what is slow by chance counts less. */
static inline int racer_start(struct racer *r)
{
	const __u64 most = 20000000;
	__u64 start;
	int ret;

	pthread_barrier_init(&r->start, NULL, 2);
	pthread_barrier_init(&r->end, NULL, 2);
	ret = pthread_create(&r->thread, NULL, racer_thread, r);
	if (ret)
		return ret;
	start = now_ns();
	racer_go(r, 0);
	racer_join(r);
	r->ns = now_ns() - start;
	if (r->ns > most)
		r->ns = most;
	return 0;
}

/* How late to be next time, where that is to have the other outcome. */
static inline __u64 racer_aim(struct racer *r, __u64 late, bool was_late)
{
	__u64 step = r->ns / 8 + 1;

	return was_late ? late - (late < step ? late : step) : late + step;
}

static inline void racer_stop(struct racer *r)
{
	r->stop = true;
	pthread_barrier_wait(&r->start);
	pthread_join(r->thread, NULL);
}

static inline int rounds(int base)
{
	const char *env = getenv("MR_ROUNDS");
	int percent = env ? atoi(env) : 100;
	int n = base * percent / 100;

	return n > 8 ? n : 8;
}

#endif
