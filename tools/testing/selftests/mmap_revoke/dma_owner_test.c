// SPDX-License-Identifier: GPL-2.0
/*
 * Whoever resumes a device restores the DMA mappings of others: who pays for
 * page tables, and what if the owner of a mapping changes meanwhile.
 */
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "dma_test.h"

#define CGROUP		"/sys/fs/cgroup/"
#define OWNER		CGROUP "mmap_revoke_owner/"

static int stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

/* Until process @pid sleeps. */
static bool sleeps(pid_t pid)
{
	char path[64], state = '?';
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (n = 0; n < 1000 && state != 'S'; n++) {
		usleep(10000);
		scan_file(path, "%*d (%*[^)]) %c", &state);
	}
	return state == 'S';
}

/* Does the restore fail where the owner, which sleeps, must not allocate? */
static int restore_for_the_poor(struct _test_data_dma *self, pid_t owner)
{
	int kmsg = kmsg_open(), ret;
	char text[128];

	if (kmsg < 0 || !sleeps(owner))
		return 1;
	if (write_file(OWNER "memory.max", "0"))
		return 2;
	ret = vfio_restore(&self->a, BY_COMMAND);
	if (write_file(OWNER "memory.max", "max"))
		return 3;
	if (ret)
		return 4;
	snprintf(text, sizeof(text), "[%d]: no DMA to device memory of %s ",
		 owner, self->bdf);
	return kmsg_has(kmsg, text) ? 0 : 5;
}

/* Page tables are charged to the owner of the mapping, not to who resumes. */
TEST_F_TIMEOUT(dma, charged, 120)
{
	pid_t owner = getpid(), pid;
	int go[2], status;
	char c;

	if (!self->revokes)
		SKIP(return, "%s", hole);
	if (write_file(CGROUP "cgroup.subtree_control", "+memory") ||
	    (mkdir(OWNER, 0755) && errno != EEXIST))
		SKIP(return, "no memory cgroups");
	/* What a cgroup has in stock on another CPU is drained too late. */
	ASSERT_EQ(0, stay_on_this_cpu());
	/* So aligned that all of it takes 4 KiB pages. */
	ASSERT_EQ(0, dma_map(self->container, self->map + PAGE, IOVA, MB(32),
			     DMA_RW));
	EXPECT_TRUE(reads(self, IOVA - PAGE, 1));
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &c, 1) != 1)
			_exit(9);
		_exit(restore_for_the_poor(self, owner));
	}
	ASSERT_EQ(0, write_file(OWNER "cgroup.procs", "0"));
	/* That it has no memory is to fail the allocation, not to end it. */
	ASSERT_EQ(0, write_file("/proc/self/oom_score_adj", "-1000"));
	ASSERT_EQ(1, write(go[1], "g", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(blocked(self, IOVA));

	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA - PAGE, 1));
	EXPECT_TRUE(reads(self, IOVA - PAGE, 8000));
	EXPECT_EQ(MB(32), dma_unmap(self->container, IOVA, MB(32), 0));
	EXPECT_EQ(0, write_file(CGROUP "cgroup.procs", "0"));
	EXPECT_EQ(0, rmdir(OWNER));
}

#define OWNED_SIZE	MB(4)

/* The addresses are those of the caller from now on. */
static int change_owner(struct _test_data_dma *self)
{
	return dma_map(self->container, self->map, IOVA, OWNED_SIZE,
		       VFIO_DMA_MAP_FLAG_VADDR);
}

static int no_owner(struct _test_data_dma *self)
{
	ssize_t ret = dma_unmap(self->container, IOVA, OWNED_SIZE,
				VFIO_DMA_UNMAP_FLAG_VADDR);

	return ret == (ssize_t)OWNED_SIZE ? 0 : ret < 0 ? ret : -EIO;
}

/* Changes the owner so many ns after it was told to. */
static int next_owner(struct _test_data_dma *self, int go, int done)
{
	struct timespec late = {};
	int ret = 0;

	while (!ret && read(go, &late.tv_nsec, sizeof(late.tv_nsec)) > 0) {
		nanosleep(&late, NULL);
		ret = write_file(TRACING "trace_marker", "change begins") ?:
		      change_owner(self) ?:
		      write_file(TRACING "trace_marker", "change is over");
		if (write(done, &ret, sizeof(ret)) != sizeof(ret))
			ret = -EPIPE;
	}
	return -ret;
}

struct change {
	int pages;		/* that were restored */
	int begun, over;	/* after so many of them, or -1 */
};

static struct change read_change(void)
{
	struct change c = { .begun = -1, .over = -1 };
	FILE *f = fopen(TRACING "trace", "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, " map: IOMMU: iova="))
			c.pages++;
		else if (strstr(line, "change begins"))
			c.begun = c.pages;
		else if (strstr(line, "change is over"))
			c.over = c.pages;
	}
	if (f)
		fclose(f);
	return c;
}

/* A restore uses the owner: a change that comes meanwhile waits for its end. */
TEST_F_TIMEOUT(dma, owner_changes, 300)
{
	struct sched_param fifo = { .sched_priority = 1 };
	int go[2], done[2], n, ret, status, early = 0, during = 0;
	long late = 0, ns = LONG_MAX, start;
	struct change c;
	pid_t pid;

	if (!self->revokes)
		SKIP(return, "%s", hole);
	if (ioctl(self->container, VFIO_CHECK_EXTENSION, VFIO_UPDATE_VADDR) <= 0)
		SKIP(return, "no VFIO_UPDATE_VADDR");
	if (write_file(TRACING "events/iommu/map/enable", "1"))
		SKIP(return, "no trace events of the IOMMU");
	write_file(TRACING "events/iommu/map/enable", "0");
	/* Who has slept goes first, so it comes in the middle of the other. */
	ASSERT_EQ(0, stay_on_this_cpu());
	ASSERT_EQ(0, write_file(TYPE1_PARAM("disable_hugepages"), "Y"));
	EXPECT_EQ(0, dma_map(self->container, self->map, IOVA, OWNED_SIZE,
			     DMA_RW));
	write_file(TYPE1_PARAM("disable_hugepages"), "N");
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(done));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		if (sched_setscheduler(0, SCHED_FIFO, &fifo))
			_exit(1);
		_exit(next_owner(self, go[0], done[1]));
	}
	write_file(TRACING "events/iommu/map/enable", "1");
	for (n = 0; n < rounds(50) || (n < 1000 && !during); n++) {
		ASSERT_EQ(0, no_owner(self));
		ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
		write_file(TRACING "trace", "");
		late = n ? (late + ns / 8 + 1) % (2 * ns) : 0;
		ASSERT_EQ(sizeof(late), write(go[1], &late, sizeof(late)));
		start = now_ns();
		ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
		start = now_ns() - start;
		ns = start < ns ? start : ns;
		ASSERT_EQ(sizeof(ret), read(done[0], &ret, sizeof(ret)));
		ASSERT_EQ(0, ret);
		c = read_change();
		EXPECT_EQ(OWNED_SIZE / PAGE, c.pages);
		EXPECT_LE(0, c.begun);
		EXPECT_LE(c.begun, c.over);
		if (c.begun > 0 && c.begun < c.pages) {
			during++;
			early += c.over < c.pages;
		}
		/* Its owner is to be another one than the child. */
		ASSERT_EQ(0, no_owner(self));
		ASSERT_EQ(0, change_owner(self));
	}
	write_file(TRACING "events/iommu/map/enable", "0");
	printf("# %d changes, %d while a restore went on, %d did not wait\n", n,
	       during, early);
	EXPECT_LT(0, during);
	EXPECT_EQ(0, early);
	EXPECT_TRUE(reads(self, IOVA, 6));

	/* An owner that has gone is no reason not to restore. */
	ASSERT_EQ(0, no_owner(self));
	late = 0;
	ASSERT_EQ(sizeof(late), write(go[1], &late, sizeof(late)));
	ASSERT_EQ(sizeof(ret), read(done[0], &ret, sizeof(ret)));
	EXPECT_EQ(0, ret);
	close(go[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, vfio_revoke(&self->a, BY_COMMAND));
	EXPECT_TRUE(blocked(self, IOVA));
	ASSERT_EQ(0, vfio_restore(&self->a, BY_COMMAND));
	EXPECT_TRUE(reads(self, IOVA, 6));
}

TEST_HARNESS_MAIN
