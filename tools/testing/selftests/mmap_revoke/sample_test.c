// SPDX-License-Identifier: GPL-2.0
/*
 * samples/mmap_revoke: a driver that takes back the mappings of its device when
 * that is reset, unbound or removed. Needs QEMU's edu device with a reset of
 * its own, which is one behind a root port. The module stands in $MR_SAMPLE, or
 * modprobe finds it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "race_util.h"
#include "vfio_util.h"

#define MODULE		"mmap_revoke_edu"
#define DRIVER		"/sys/bus/pci/drivers/edu"
#define DEVICES		"/sys/bus/pci/devices/"

#define BAR_SIZE	((size_t)1 << 20)
#define EDU_ID		0x010000edu
#define EDU_MINORS	16

static bool device_has(const char *bdf, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICES "%s/%s", bdf, name);
	return !access(path, F_OK);
}

/* The node of the device, by way of sysfs. */
static int node_path(const char *bdf, char path[64])
{
	char sys[128], name[32];
	int ret;

	snprintf(sys, sizeof(sys), DEVICES "%s/edu", bdf);
	ret = dir_entry(sys, "edu", name, sizeof(name));
	if (!ret)
		snprintf(path, 64, "/dev/%s", name);
	return ret;
}

/* How often debugfs says that the mappings of the device were revoked. */
static long nr_revoked(const char *bdf)
{
	char line[256], format[64];
	long n = -1;
	FILE *f;

	snprintf(format, sizeof(format), "edu %s %%*s %%*u %%ld", bdf);
	f = fopen(OBJECTS, "r");
	while (f && n < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, format, &n) != 1)
			n = -1;
	if (f)
		fclose(f);
	return n;
}

FIXTURE(sample) {
	char bdf[16];
	char node[64];
	int fd;
	char *map;
};

/* By whatever driver the device is bound, if any. */
FIXTURE_SETUP(sample)
{
	int nth, ret;

	self->fd = -1;
	self->map = MAP_FAILED;
	for (nth = 0; !(ret = vfio_find(ID_EDU, nth, self->bdf)); nth++)
		if (device_has(self->bdf, "reset"))
			break;
	if (ret)
		SKIP(return, "no edu device that can be reset");
	ret = access(DRIVER, F_OK) ? module_load(MODULE, "MR_SAMPLE", "") : 0;
	if (ret)
		SKIP(return, "no module " MODULE ": %s", strerror(-ret));
	ASSERT_EQ(0, pci_write(self->bdf, "driver_override", "edu"));
	pci_write(self->bdf, "driver/unbind", self->bdf);
	ASSERT_EQ(0, write_file(DRIVER "/bind", self->bdf));

	ASSERT_EQ(0, node_path(self->bdf, self->node));
	self->fd = open(self->node, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

/* Without files and mappings the module can go; then the next test may come. */
FIXTURE_TEARDOWN(sample)
{
	if (self->map != MAP_FAILED)
		munmap(self->map, BAR_SIZE);
	if (self->fd >= 0)
		close(self->fd);
	if (!self->bdf[0])
		return;
	if (!access(DRIVER, F_OK) && !access("/sys/module/" MODULE, F_OK)) {
		pci_write(self->bdf, "driver/unbind", self->bdf);
		EXPECT_EQ(0, syscall(SYS_delete_module, MODULE, O_NONBLOCK));
	}
	vfio_bind(self->bdf);
}

/* 0 if it is the ID register that stands there, a signal, or an errno. */
static int touch_id(const void *map)
{
	__u32 val;
	int sig = mmio_read32(map, &val);

	return sig ?: val == EDU_ID ? 0 : -EILSEQ;
}

TEST_F(sample, registers)
{
	size_t page = getpagesize();
	__u32 val;

	EXPECT_EQ(0, touch_id(self->map));
	EXPECT_EQ(0, mmio_write32(self->map + EDU_LIVENESS, 0x12345678));
	EXPECT_EQ(0, mmio_read32(self->map + EDU_LIVENESS, &val));
	EXPECT_EQ(~0x12345678u, val);

	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ, MAP_PRIVATE,
				   self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ, MAP_SHARED, self->fd,
				   BAR_SIZE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, BAR_SIZE, PROT_READ, MAP_SHARED,
				   self->fd, page));
	EXPECT_EQ(EINVAL, errno);
}

static void bump(unsigned long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static unsigned long load(unsigned long *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

struct reader {
	const char *map;
	bool stop;
	unsigned long ok, sigbus, bad;
};

static void *reader_thread(void *arg)
{
	struct reader *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_SEQ_CST)) {
		int ret = touch_id(r->map);

		bump(!ret ? &r->ok : ret == SIGBUS ? &r->sigbus : &r->bad);
	}
	return NULL;
}

/* A device in reset reads as all ones: nobody may see that. */
TEST_F_TIMEOUT(sample, reset, 120)
{
	long revoked = nr_revoked(self->bdf);
	struct reader reader = { .map = self->map };
	pthread_t thread;
	int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, reader_thread, &reader));
	for (i = 0; i < 5; i++) {
		unsigned long ok = load(&reader.ok);

		/* By way of the driver, then of sysfs, which does not ask. */
		EXPECT_EQ(1, write(self->fd, "1", 1));
		EXPECT_EQ(0, touch_id(self->map));
		EXPECT_EQ(0, pci_write(self->bdf, "reset", "1"));
		EXPECT_EQ(0, touch_id(self->map));
		while (load(&reader.ok) == ok)
			usleep(1000);
	}
	__atomic_store_n(&reader.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, reader.bad);
	EXPECT_LT(0, reader.sigbus);
	if (revoked >= 0)	/* debugfs may be missing */
		revoked += 10;
	EXPECT_EQ(revoked, nr_revoked(self->bdf));
}

/* The exit status, or -1 for any other end. */
static int wait_child(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
	       WEXITSTATUS(status) : -1;
}

/* The device goes while two processes have it mapped, and comes back. */
static void device_goes(struct __test_metadata *const _metadata,
			FIXTURE_DATA(sample) * self, bool removed)
{
	int sv[2], ready[2], status, other;
	char go = 0, node[64], *map;
	pid_t pid;

	ASSERT_EQ(0, touch_id(self->map));
	ASSERT_EQ(0, pipe(sv));
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		status = touch_id(self->map) ? 2 : 0;
		if (write(ready[1], &go, 1) != 1 || read(sv[0], &go, 1) != 1)
			_exit(3);
		_exit(status ?: touch_id(self->map) == SIGBUS ? 0 : 4);
	}

	EXPECT_EQ(1, read(ready[0], &go, 1));
	EXPECT_EQ(0, removed ? pci_write(self->bdf, "remove", "1") :
			       pci_write(self->bdf, "driver/unbind",
					 self->bdf));
	EXPECT_EQ(1, write(sv[1], &go, 1));
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(SIGBUS, touch_id(self->map));
	EXPECT_EQ(-1, write(self->fd, "1", 1));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, open(self->node, O_RDWR));

	/* The file still maps, but what it maps is gone. */
	map = mmap(NULL, BAR_SIZE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(SIGBUS, touch_id(map));
	munmap(map, BAR_SIZE);

	EXPECT_EQ(0, removed ? write_file("/sys/bus/pci/rescan", "1") :
			       write_file(DRIVER "/bind", self->bdf));
	ASSERT_EQ(0, node_path(self->bdf, node));
	other = open(node, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, other);
	map = mmap(NULL, BAR_SIZE, PROT_READ, MAP_SHARED, other, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, touch_id(map));
	EXPECT_EQ(SIGBUS, touch_id(self->map));
	munmap(map, BAR_SIZE);
	close(other);
	close(sv[0]);
	close(sv[1]);
	close(ready[0]);
	close(ready[1]);
}

TEST_F_TIMEOUT(sample, unbind, 60)
{
	device_goes(_metadata, self, false);
}

TEST_F_TIMEOUT(sample, remove, 60)
{
	device_goes(_metadata, self, true);
}

/*
 * Threads that open the device, map it and read from it for as long as it is
 * bound and unbound. @phase is odd while it is unbound.
 */
struct opener {
	unsigned long phase;
	bool stop;
	unsigned long opened, refused, ok, sigbus, bad;
};

static void *opener_thread(void *arg)
{
	struct opener *o = arg;
	unsigned int minor = 0;
	unsigned long phase;
	char node[16], *map;
	int fd, ret;

	while (!__atomic_load_n(&o->stop, __ATOMIC_SEQ_CST)) {
		snprintf(node, sizeof(node), "/dev/edu%u",
			 minor++ % EDU_MINORS);
		fd = open(node, O_RDWR | O_CLOEXEC);
		if (fd < 0) {
			bump(&o->refused);
			/* Leave the processor to those who make the node. */
			if (minor % EDU_MINORS == 0)
				usleep(20000);
			continue;
		}
		bump(&o->opened);
		minor--;
		map = mmap(NULL, BAR_SIZE, PROT_READ, MAP_SHARED, fd, 0);
		phase = load(&o->phase);
		ret = map == MAP_FAILED ? -errno : touch_id(map);
		if (!ret && (phase & 1) && phase == load(&o->phase))
			ret = -EILSEQ;
		bump(!ret ? &o->ok : ret == SIGBUS ? &o->sigbus : &o->bad);
		if (map != MAP_FAILED)
			munmap(map, BAR_SIZE);
		close(fd);
	}
	return NULL;
}

/* What an open() uses that is under way must live: KASAN watches. */
TEST_F_TIMEOUT(sample, open_races_unbind, 300)
{
	int nr_rounds = rounds(20), i;
	struct opener opener = {};
	pthread_t threads[2];

	munmap(self->map, BAR_SIZE);
	self->map = MAP_FAILED;
	close(self->fd);
	self->fd = -1;
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, opener_thread,
					    &opener));
	for (i = 0; i < nr_rounds; i++) {
		unsigned long ok = load(&opener.ok);

		EXPECT_EQ(0, pci_write(self->bdf, "driver/unbind",
				       self->bdf));
		bump(&opener.phase);
		usleep(1000);
		bump(&opener.phase);
		ASSERT_EQ(0, write_file(DRIVER "/bind", self->bdf));
		while (load(&opener.ok) == ok)
			usleep(100);
	}
	__atomic_store_n(&opener.stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	TH_LOG("opened %lu, refused %lu, read %lu, SIGBUS %lu", opener.opened,
	       opener.refused, opener.ok, opener.sigbus);
	EXPECT_EQ(0, opener.bad);
	EXPECT_LT(0, opener.ok);
	EXPECT_LT(0, opener.sigbus + opener.refused);
}

TEST_HARNESS_MAIN
