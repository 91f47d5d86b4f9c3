// SPDX-License-Identifier: GPL-2.0
/*
 * A UIO device that goes while a thread maps and touches its memory.
 *
 * None of this writes PCI_COMMAND, so that a guest can run it with a thread of
 * QEMU for each processor, where it races truly.
 */
#include <stdio.h>

#include "uio_test.h"

FIXTURE_VARIANT_ADD(uio, memory) { .phys = false };

struct mapper {
	struct racer racer;
	int fd, map;
	bool touch;
	char *last;	/* what was mapped last */
	int mapped;	/* how often it was */
};

static void map_until_gone(struct racer *racer)
{
	struct mapper *m = (struct mapper *)racer;
	char *addr;

	m->last = MAP_FAILED;
	while ((addr = uio_map(m->fd, m->map, 4)) != MAP_FAILED) {
		if (m->last != MAP_FAILED)
			munmap(m->last, 4 * PAGE);
		m->last = addr;
		m->mapped++;
		if (m->touch)
			mmio_populate(addr, 4 * PAGE);
	}
}

/* Whether mmap() or a fault comes first: nothing is there afterwards. */
TEST_F_TIMEOUT(uio, mmap_races_unbind, 300)
{
	struct mapper m = { .racer.fn = map_until_gone, .fd = -1 };
	int n, mapped = 0;

	ASSERT_EQ(0, racer_start(&m.racer));
	for (n = 0; n < rounds(400); n++) {
		m.fd = self->fd;
		m.map = n % UIO_PHYS;
		m.touch = n / UIO_PHYS % 2;
		racer_go(&m.racer, n % 7 * 100000);
		ASSERT_EQ(0, uio_unbind());
		racer_join(&m.racer);
		if (m.last != MAP_FAILED) {
			mapped++;
			if (access(OBJECTS, F_OK) && touch(m.last, 0) != SIGBUS)
				SKIP(goto out, OUTLIVES);
			EXPECT_PAGES(m.last, 0, 4, SIGBUS);
			ASSERT_EQ(0, munmap(m.last, 4 * PAGE));
		}
		EXPECT_EQ(0, uio_still_mapped());
		close(self->fd);
		ASSERT_EQ(0, uio_bind(NULL, 0));
		ASSERT_EQ(0, uio_test_path(self->path));
		self->fd = open(self->path, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, self->fd);
	}
	EXPECT_LT(0, mapped);
out:
	racer_stop(&m.racer);
	printf("# mapped in %d of %d rounds, %d times\n", mapped, n, m.mapped);
}

/* The same from the file on: what was opened late is of no use. */
struct opener {
	struct racer racer;
	const char *path;
	int fd, opened;
};

static void open_until_gone(struct racer *racer)
{
	struct opener *o = (struct opener *)racer;
	int fd;

	o->fd = -1;
	while ((fd = open(o->path, O_RDWR | O_CLOEXEC)) >= 0) {
		if (o->fd >= 0)
			close(o->fd);
		o->fd = fd;
		o->opened++;
	}
}

TEST_F_TIMEOUT(uio, open_races_unbind, 300)
{
	struct opener o = { .racer.fn = open_until_gone, .path = "/dev/none" };
	char path[32];
	int n;

	ASSERT_EQ(0, racer_start(&o.racer));
	for (n = 0; n < rounds(200); n++) {
		close(self->fd);
		self->fd = -1;
		memcpy(path, self->path, sizeof(path));
		o.path = path;
		racer_go(&o.racer, n % 7 * 100000);
		ASSERT_EQ(0, uio_unbind());
		racer_join(&o.racer);
		if (o.fd >= 0) {
			EXPECT_EQ(MAP_FAILED, uio_map(o.fd, n % UIO_PHYS, 1));
			EXPECT_EQ(EINVAL, errno);
			close(o.fd);
		}
		ASSERT_EQ(0, uio_bind(NULL, 0));
		ASSERT_EQ(0, uio_test_path(self->path));
	}
	racer_stop(&o.racer);
	EXPECT_LT(0, o.opened);
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
}

TEST_HARNESS_MAIN
