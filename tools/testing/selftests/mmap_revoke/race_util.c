// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "race_util.h"

int rounds(int base)
{
	const char *env = getenv("MR_ROUNDS");
	int percent = env ? atoi(env) : 100;
	int n = base * percent / 100;

	return n > 8 ? n : 8;
}

struct race *race_alloc(void)
{
	struct race *race;

	race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return race == MAP_FAILED ? NULL : race;
}

void race_reset(struct race *race)
{
	memset(race, 0, sizeof(*race));
}

void race_count(struct race *race, int who, __u32 phase, bool ok, bool good)
{
	struct race_seen *seen = &race->seen[who];
	bool off = (phase & 1) && phase == race_phase(race);

	if (ok && off)
		race_bump(&seen->ok_off);
	if (ok && !good)
		race_bump(&seen->bad);
	if (!ok && off)
		race_bump(&seen->fault_off);
	race_bump(ok ? &seen->ok : &seen->fault);
}

int race_probe(struct race *race, int who, const void *addr, __u32 want)
{
	__u32 phase = race_phase(race);
	__u64 start = now_ns(), took;
	__u32 val = 0;
	int sig;

	sig = mmio_read32(addr, &val);
	took = now_ns() - start;
	if (sig && sig != SIGBUS)
		__atomic_store_n(&race->broken, 1, __ATOMIC_SEQ_CST);
	race_count(race, who, phase, !sig, val == want);
	if (took > race->seen[who].slowest)
		race->seen[who].slowest = took;
	return sig;
}

/* Wait until every worker has had one more of the outcome at @offset. */
static bool race_wait(struct race *race, int workers, size_t offset)
{
	__u64 before[RACE_WORKERS];
	int i;

#define OUTCOME(i) __atomic_load_n((__u64 *)((char *)&race->seen[i] + offset), \
				   __ATOMIC_SEQ_CST)
	for (i = 0; i < workers; i++)
		before[i] = OUTCOME(i);
	for (i = 0; i < workers; i++)
		while (OUTCOME(i) == before[i]) {
			if (__atomic_load_n(&race->broken, __ATOMIC_SEQ_CST))
				return false;
			usleep(100);
		}
#undef OUTCOME
	return true;
}

bool race_wait_ok(struct race *race, int workers)
{
	return race_wait(race, workers, offsetof(struct race_seen, ok));
}

int race_toggle(struct race *race, struct vfio_dev *dev, enum vfio_how how,
		int rounds, int workers)
{
	int ret, i;

	for (i = 0; i < rounds; i++) {
		/*
		 * Most rounds are as tight as can be. Every eighth waits until
		 * each worker has seen both states, so that none of them can
		 * sleep through the race.
		 */
		bool wait = !(i % 8);

		ret = vfio_revoke(dev, how);
		if (ret)
			return ret;
		race_next_phase(race);
		if (wait && !race_wait(race, workers,
				       offsetof(struct race_seen, fault_off)))
			return -ECANCELED;
		race_next_phase(race);
		ret = vfio_restore(dev, how);
		if (ret)
			return ret;
		if (wait && !race_wait_ok(race, workers))
			return -ECANCELED;
	}
	return 0;
}

static void worker_run(struct worker *w)
{
	struct race_seen *seen = &w->race->seen[w->who];
	unsigned int n;
	long before;

	if (w->nice)
		setpriority(PRIO_PROCESS, 0, w->nice);
	before = faults(RUSAGE_THREAD);
	for (n = 0; !race_over(w->race); n++) {
		seen->error = w->step(w, n);
		if (seen->error) {
			fprintf(stderr, "# worker %d: step %u: %s\n", w->who,
				n, strerror(-seen->error));
			__atomic_store_n(&w->race->broken, 1, __ATOMIC_SEQ_CST);
			break;
		}
		seen->steps++;
	}
	seen->faults = faults(RUSAGE_THREAD) - before;
}

static void *worker_thread(void *arg)
{
	worker_run(arg);
	return NULL;
}

int worker_start(struct worker *w)
{
	w->pid = 0;
	return -pthread_create(&w->thread, NULL, worker_thread, w);
}

int worker_fork(struct worker *w)
{
	w->pid = fork();
	if (w->pid < 0)
		return -errno;
	if (!w->pid) {
		/* Never outlive the test: that would keep the device open. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		worker_run(w);
		_exit(0);
	}
	return 0;
}

int worker_join(struct worker *w)
{
	int ret = 0, status;

	race_stop(w->race);
	if (!w->pid)
		ret = -pthread_join(w->thread, NULL);
	else if (waitpid(w->pid, &status, 0) != w->pid)
		ret = -ECHILD;
	else if (status)
		ret = -EIO;
	return ret ?: w->race->seen[w->who].error;
}

int race_step_probe(struct worker *w, unsigned int n)
{
	struct race_word *word = w->arg;

	race_probe(w->race, w->who, word->addr, word->want);
	return 0;
}

static void *racer_thread(void *arg)
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

void racer_go(struct racer *r, __u64 late)
{
	__u64 start;

	pthread_barrier_wait(&r->start);
	start = now_ns();
	while (now_ns() - start < late)
		;
}

void racer_join(struct racer *r)
{
	pthread_barrier_wait(&r->end);
}

int racer_start(struct racer *r)
{
	const __u64 most = 20000000;	/* what is slow by chance is not */
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

__u64 racer_aim(struct racer *r, __u64 late, bool was_late)
{
	__u64 step = r->ns / 8 + 1;

	return was_late ? late - (late < step ? late : step) : late + step;
}

void racer_stop(struct racer *r)
{
	r->stop = true;
	pthread_barrier_wait(&r->start);
	pthread_join(r->thread, NULL);
}
