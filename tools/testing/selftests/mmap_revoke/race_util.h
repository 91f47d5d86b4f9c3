/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Races, of two kinds: workers do something over and over while the test
 * revokes and restores device memory, and count what they see; a racer does
 * something once in each round, at the same time as the test.
 *
 * Functions return 0 or a negative errno unless noted.
 */
#ifndef MMAP_REVOKE_RACE_UTIL_H
#define MMAP_REVOKE_RACE_UTIL_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>
#include <linux/types.h>

#include "vfio_util.h"

/* @base, or the share of it that $MR_ROUNDS, in percent, asks for. */
int rounds(int base);

/*
 * What workers (threads or processes) see, in shared memory. @phase is odd from
 * the moment a revoke has returned to the moment before the restore is called,
 * so an access that succeeds with the same odd phase before and after it has
 * broken the guarantee. A test may count other things with it.
 */
#define RACE_WORKERS	8

struct race_seen {
	__u64 ok;		/* accesses that succeeded */
	__u64 fault;		/* accesses that got SIGBUS, or EIO */
	__u64 ok_off;		/* succeeded while revoked: a violation */
	__u64 fault_off;	/* failed while revoked */
	__u64 bad;		/* succeeded with the wrong value: a violation */
	__u64 slowest;		/* longest access, ns */
	__u64 steps;		/* that the worker has done */
	long faults;		/* page faults that it took */
	int error;		/* of the step that could not do its job */
};

struct race {
	__u32 phase;
	__u32 stop;
	__u32 broken;		/* a worker could not do its job */
	struct race_seen seen[RACE_WORKERS];
};

struct race *race_alloc(void);
void race_reset(struct race *race);
void race_count(struct race *race, int who, __u32 phase, bool ok, bool good);
/* Read a word and count what happened; returns 0 or the signal. */
int race_probe(struct race *race, int who, const void *addr, __u32 want);
bool race_wait_ok(struct race *race, int workers);
int race_toggle(struct race *race, struct vfio_dev *dev, enum vfio_how how,
		int rounds, int workers);

static inline __u32 race_phase(struct race *race)
{
	return __atomic_load_n(&race->phase, __ATOMIC_SEQ_CST);
}

static inline void race_next_phase(struct race *race)
{
	__atomic_add_fetch(&race->phase, 1, __ATOMIC_SEQ_CST);
}

static inline bool race_over(struct race *race)
{
	return __atomic_load_n(&race->stop, __ATOMIC_SEQ_CST);
}

static inline void race_stop(struct race *race)
{
	__atomic_store_n(&race->stop, 1, __ATOMIC_SEQ_CST);
}

static inline void race_bump(__u64 *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

/* Takes step after step until race_stop(), or until a step returns an error. */
struct worker {
	struct race *race;
	int who;		/* its place in race->seen */
	int (*step)(struct worker *w, unsigned int n);
	void *arg;		/* of the step */
	int nice;
	pthread_t thread;
	pid_t pid;		/* of a process, else 0 */
};

int worker_start(struct worker *w);
/* In a process of its own. */
int worker_fork(struct worker *w);
/* Stops the race, waits for the worker, and returns its error. */
int worker_join(struct worker *w);

/* A step: race_probe() of one word. */
struct race_word {
	const char *addr;
	__u32 want;
};

int race_step_probe(struct worker *w, unsigned int n);

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

/* Starts the thread, which does it once. */
int racer_start(struct racer *r);
/* Let it go, and be late by so many ns. */
void racer_go(struct racer *r, __u64 late);
void racer_join(struct racer *r);
/* How late to be next time, where that is to have the other outcome. */
__u64 racer_aim(struct racer *r, __u64 late, bool was_late);
void racer_stop(struct racer *r);

#endif
