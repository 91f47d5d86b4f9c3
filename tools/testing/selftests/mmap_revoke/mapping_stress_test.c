// SPDX-License-Identifier: GPL-2.0
/*
 * User accesses, mmap(), munmap(), fork() and exit race with revocation. A
 * guest must run this in one thread of QEMU, which crashes where one processor
 * accesses a BAR while another one writes PCI_COMMAND.
 *
 * What must hold whatever the timing: once the call that revokes has returned,
 * no access succeeds anywhere until the call that restores is made, and no
 * access ever returns anything but the content of its own page. Each race
 * checks that it was one: every worker has both succeeded and failed.
 */
#include <sched.h>

#include "mr_test.h"

FIXTURE_VARIANT_ADD(mr, group) { .cdev = false };
FIXTURE_VARIANT_ADD(mr, cdev) { .cdev = true };

#define WORKERS		4	/* twice the CPUs of a small guest */

/* What the workers have in common. */
struct target {
	int fd;
	__u64 offset;		/* of the BAR in @fd */
	char *map;		/* all of the BAR */
	size_t pages;
};

static int probe(struct worker *w, char *map, size_t page)
{
	int sig = race_probe(w->race, w->who, map + page * PAGE, WORD(page));

	return sig == SIGSEGV ? -EFAULT : 0;
}

/* Any page, so that new page tables are in play all the time. */
static int step_touch(struct worker *w, unsigned int n)
{
	struct target *t = w->arg;

	return probe(w, t->map, (n * 61 + w->who) % t->pages);
}

/* ->mmap(), first faults and unmap against revoke. */
static int step_map(struct worker *w, unsigned int n)
{
	struct target *t = w->arg;
	size_t first = (n * 16) % (t->pages - 16);
	char *map;
	int ret;

	map = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | (n % 4 ? 0 : MAP_POPULATE), t->fd,
		   t->offset + first * PAGE);
	if (map == MAP_FAILED)
		return -errno;
	/* probe() goes by the page number of the BAR. */
	ret = probe(w, map - first * PAGE, first) ?:
	      probe(w, map - first * PAGE, first + 15);
	return munmap(map, 16 * PAGE) ?: ret;
}

/* Huge entries that are cut to pieces while they are revoked. */
static int step_unmap_part(struct worker *w, unsigned int n)
{
	struct target *t = w->arg;
	size_t per = MB(2) / PAGE, hole = n % (per - 2) + 1;
	char *map = vfio_map(t->fd, t->offset, MB(2), MB(2));
	int ret;

	if (map == MAP_FAILED)
		return -errno;
	ret = probe(w, map, hole);
	if (munmap(map + hole * PAGE, PAGE) ||
	    mprotect(map, PAGE, PROT_READ))
		ret = -errno;
	ret = ret ?: probe(w, map, 0) ?: probe(w, map, hole - 1) ?:
	      probe(w, map, hole + 1) ?: probe(w, map, per - 1);
	return munmap(map, MB(2)) ?: ret;
}

/* A mapping that moves between two addresses. */
static int step_mremap(struct worker *w, unsigned int n)
{
	struct target *t = w->arg;
	size_t len = 8 * PAGE;
	char *old = vfio_map(t->fd, t->offset, len, PAGE), *new;
	int ret = 0;

	if (old == MAP_FAILED)
		return -errno;
	new = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (new == MAP_FAILED)
		return -errno;
	ret = probe(w, old, n % 8);
	if (mremap(old, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, new) != new)
		return -errno;
	ret = ret ?: probe(w, new, n % 8) ?: probe(w, new, (n + 1) % 8);
	return munmap(new, len) ?: ret;
}

/* Children inherit page tables in every state. */
static int step_fork(struct worker *w, unsigned int n)
{
	struct target *t = w->arg;
	int status;
	pid_t pid;

	probe(w, t->map, n % 64);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		int ret = 0;
		int i;

		for (i = 0; i < 8 && !ret; i++)
			ret = probe(w, t->map, (n + i) % 64);
		_exit(ret ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -ECHILD;
	return status ? -EIO : 0;
}

/* pread() and pwrite() of the BAR: EIO where a mapping gets SIGBUS. */
static int step_fd(struct worker *w, unsigned int n)
{
	/* Every worker writes a page of its own, which nobody else reads. */
	size_t page = n % 2 ? 64 + w->who : n % 64;
	struct target *t = w->arg;
	__u32 phase = race_phase(w->race);
	__u32 val = WORD(page);
	__u64 pos = t->offset + page * PAGE;
	ssize_t ret;

	if (n % 2)
		ret = pwrite(t->fd, &val, 4, pos);
	else
		ret = pread(t->fd, &val, 4, pos);
	if (ret != 4 && !(ret < 0 && errno == EIO))
		return ret < 0 ? -errno : -EIO;
	race_count(w->race, w->who, phase, ret == 4, val == WORD(page));
	return 0;
}

static struct target target_of(struct _test_data_mr *self)
{
	return (struct target){
		.fd = self->dev.fd, .offset = self->bar.offset,
		.map = self->map, .pages = self->pages,
	};
}

/* Threads and processes alternate: one mm and several. */
static void run_race(struct __test_metadata *_metadata,
		     struct _test_data_mr *self, enum vfio_how how, int base,
		     int (*step)(struct worker *w, unsigned int n))
{
	struct race *race = race_alloc();
	struct target target = target_of(self);
	struct worker w[WORKERS];
	int count = rounds(base);
	int i, ret;

	ASSERT_NE(NULL, race);
	/* fork() first: the children have only the thread they need. */
	for (i = WORKERS - 1; i >= 0; i--) {
		/* Leave a CPU to the one who revokes: rounds take less time. */
		w[i] = (struct worker){
			.race = race, .who = i, .step = step, .arg = &target,
			.nice = 10,
		};
		if (i % 2)
			ASSERT_EQ(0, worker_fork(&w[i]));
	}
	for (i = 0; i < WORKERS; i += 2)
		ASSERT_EQ(0, worker_start(&w[i]));

	ret = race_toggle(race, &self->dev, how, count, WORKERS);
	for (i = 0; i < WORKERS; i++)
		EXPECT_EQ(0, worker_join(&w[i]));
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, race->broken);
	for (i = 0; i < WORKERS; i++) {
		struct race_seen *seen = &race->seen[i];

		EXPECT_EQ(0, seen->ok_off);
		EXPECT_EQ(0, seen->bad);
		EXPECT_LT(0, seen->ok);
		EXPECT_LT(0, seen->fault);
		EXPECT_LT(0, seen->fault_off);
		TH_LOG("%s %d: %llu ok, %llu failed, %llu of these in %d rounds of surely off",
		       w[i].pid ? "process" : "thread", i, seen->ok, seen->fault,
		       seen->fault_off, count);
	}
	/* And all of it is back. */
	EXPECT_PAGES(self->map, 0, self->pages, 0);
}

TEST_F_TIMEOUT(mr, touch, 300)
{
	run_race(_metadata, self, BY_COMMAND, 120, step_touch);
}

TEST_F_TIMEOUT(mr, map, 300)
{
	run_race(_metadata, self, BY_COMMAND, 60, step_map);
}

TEST_F_TIMEOUT(mr, unmap_part, 300)
{
	run_race(_metadata, self, BY_COMMAND, 60, step_unmap_part);
}

TEST_F_TIMEOUT(mr, mremap, 300)
{
	run_race(_metadata, self, BY_COMMAND, 60, step_mremap);
}

TEST_F_TIMEOUT(mr, fork, 300)
{
	run_race(_metadata, self, BY_COMMAND, 40, step_fork);
}

TEST_F_TIMEOUT(mr, fd, 300)
{
	run_race(_metadata, self, BY_COMMAND, 60, step_fd);
}

TEST_F_TIMEOUT(mr, low_power_touch, 300)
{
	run_race(_metadata, self, BY_LOW_POWER, 200, step_touch);
}

TEST_F_TIMEOUT(mr, low_power_map, 300)
{
	run_race(_metadata, self, BY_LOW_POWER, 100, step_map);
}

/* A process is killed at any point of being revoked. */
TEST_F_TIMEOUT(mr, sigkill, 300)
{
	struct race *race = race_alloc();
	struct target target = target_of(self);
	int i, n = rounds(16), status;

	ASSERT_NE(NULL, race);
	for (i = 0; i < n; i++) {
		struct worker w = {
			.race = race, .step = step_unmap_part, .arg = &target,
			.nice = 10,
		};
		enum vfio_how how = i % 2 ? BY_LOW_POWER : BY_COMMAND;

		ASSERT_EQ(0, worker_fork(&w));
		ASSERT_EQ(0, race_toggle(race, &self->dev, how, 2, 1));
		ASSERT_EQ(0, vfio_revoke(&self->dev, how));
		ASSERT_EQ(0, kill(w.pid, SIGKILL));
		ASSERT_EQ(0, vfio_restore(&self->dev, how));
		ASSERT_EQ(w.pid, waitpid(w.pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		ASSERT_EQ(0, touch(self->map, 0));
		ASSERT_EQ(0, vfio_revoke(&self->dev, how));
		EXPECT_EQ(SIGBUS, touch(self->map, 0));
		ASSERT_EQ(0, vfio_restore(&self->dev, how));
	}
	EXPECT_EQ(0, race->seen[0].ok_off);
	EXPECT_EQ(0, race->seen[0].bad);
	EXPECT_LT(0, race->seen[0].ok);
	EXPECT_LT(0, race->seen[0].fault);
}

/*
 * A reset is no reason to fail an access: it waits and then succeeds. That the
 * mappings were gone for the reset shows in the page faults that each access
 * after one takes.
 */
static void run_reset(struct __test_metadata *_metadata,
		      struct _test_data_mr *self, int (*reset)(struct vfio_dev *dev))
{
	struct race *race = race_alloc();
	int i, ret = 0, n = rounds(8);
	struct race_word word[2];
	struct worker w[2];
	int busy = 0;

	ASSERT_NE(NULL, race);
	for (i = 0; i < 2; i++) {
		/* Pages that no huge entry has in common. */
		size_t page = i * MB(2) / PAGE + 1;

		word[i].addr = self->map + page * PAGE;
		word[i].want = WORD(page);
		w[i] = (struct worker){
			.race = race, .who = i, .step = race_step_probe,
			.arg = &word[i],
		};
		ASSERT_EQ(0, worker_start(&w[i]));
	}
	race_wait_ok(race, 2);
	for (i = 0; i < n && !ret; i++) {
		/* A hot reset gives way to faults in flight, as documented. */
		while ((ret = reset(&self->dev)) == -EBUSY && busy++ < 1000)
			sched_yield();
		race_wait_ok(race, 2);
	}
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, worker_join(&w[i]));
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, race->broken);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, race->seen[i].fault);
		EXPECT_EQ(0, race->seen[i].bad);
		EXPECT_LT(n, race->seen[i].ok);
		EXPECT_LE(n, race->seen[i].faults);
		TH_LOG("thread %d: %llu ok, %llu failed, %ld page faults, %d resets, %d times busy",
		       i, race->seen[i].ok, race->seen[i].fault,
		       race->seen[i].faults, n, busy);
	}
	EXPECT_PAGES(self->map, 0, self->pages, 0);
}

TEST_F_TIMEOUT(mr, reset, 300)
{
	if (!vfio_can_reset(&self->dev))
		SKIP(return, "%s has no way to be reset", self->dev.bdf);
	run_reset(_metadata, self, vfio_reset);

	/* Memory that was off before a reset is off after it. */
	ASSERT_EQ(0, vfio_revoke(&self->dev, BY_COMMAND));
	ASSERT_EQ(0, vfio_reset(&self->dev));
	EXPECT_PAGES(self->map, 0, 4, SIGBUS);
	ASSERT_EQ(0, vfio_restore(&self->dev, BY_COMMAND));
	EXPECT_PAGES(self->map, 0, 4, 0);
}

TEST_F_TIMEOUT(mr, hot_reset, 300)
{
	int ret;

	ret = vfio_hot_reset(&self->dev);
	if (ret == -ENODEV || ret == -EINVAL)
		SKIP(return, "%s: no hot reset: %s", self->dev.bdf,
		     strerror(-ret));
	ASSERT_EQ(0, ret);
	run_reset(_metadata, self, vfio_hot_reset);

	/* The group of another device is no authority over this one. */
	if (!variant->cdev) {
		struct vfio_dev other;

		if (vfio_open_id(&other, ID_E1000E, 0, false))
			SKIP(return, "no second group");
		int group = self->dev.group;

		self->dev.group = other.group;
		EXPECT_EQ(-EINVAL, vfio_hot_reset(&self->dev));
		self->dev.group = group;
		EXPECT_PAGES(self->map, 0, 4, 0);
		vfio_close(&other);
	}
}

/* Resets and memory decoding at the same time, while threads access. */
struct resetter {
	struct vfio_dev *dev;
	int (*reset)(struct vfio_dev *dev);
	int done;
};

static int reset_by_sysfs(struct vfio_dev *dev)
{
	return pci_write(dev->bdf, "reset", "1");
}

static int step_reset(struct worker *w, unsigned int n)
{
	struct resetter *r = w->arg;
	int ret = r->reset(r->dev);

	/* Either finds the other busy now and then. */
	if (ret == -EBUSY || ret == -EAGAIN)
		return 0;
	r->done++;
	return ret;
}

static void run_reset_and_revoke(struct __test_metadata *_metadata,
				 struct _test_data_mr *self,
				 int (*reset)(struct vfio_dev *dev))
{
	struct race *race = race_alloc();
	struct resetter r = { .dev = &self->dev, .reset = reset };
	struct race_word word = { .addr = self->map + PAGE, .want = WORD(1) };
	struct worker w[2] = {
		{
			.race = race, .who = 0, .step = race_step_probe,
			.arg = &word,
		}, {
			.race = race, .who = 1, .step = step_reset, .arg = &r,
		},
	};
	int i, n = rounds(16), ret = 0;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, worker_start(&w[i]));
	for (i = 0; i < n && !ret; i++)
		ret = race_toggle(race, &self->dev,
				  i % 2 ? BY_LOW_POWER : BY_COMMAND, 1, 1);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, worker_join(&w[i]));
	EXPECT_EQ(0, ret);
	EXPECT_LT(0, r.done);
	EXPECT_EQ(0, race->broken);
	EXPECT_EQ(0, race->seen[0].ok_off);
	EXPECT_EQ(0, race->seen[0].bad);
	EXPECT_LT(0, race->seen[0].ok);
	EXPECT_LE(n, race->seen[0].fault_off);
	EXPECT_PAGES(self->map, 0, 4, 0);
}

TEST_F_TIMEOUT(mr, reset_and_revoke, 300)
{
	if (!vfio_can_reset(&self->dev))
		SKIP(return, "%s has no way to be reset", self->dev.bdf);
	run_reset_and_revoke(_metadata, self, vfio_reset);
}

/*
 * A write to PCI_COMMAND has a lock of vfio and waits for the config space,
 * which a reset through sysfs blocks before it takes that lock.
 */
TEST_F_TIMEOUT(mr, sysfs_reset_and_revoke, 300)
{
	if (access(OBJECTS, F_OK))
		SKIP(return, "vfio of this kernel does not hear of it");
	if (!vfio_can_reset(&self->dev))
		SKIP(return, "%s has no way to be reset", self->dev.bdf);
	run_reset_and_revoke(_metadata, self, reset_by_sysfs);
}

TEST_HARNESS_MAIN
