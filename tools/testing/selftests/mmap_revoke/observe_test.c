// SPDX-License-Identifier: GPL-2.0
/*
 * What the helper tells an engineer: the debugfs list of live objects and the
 * tracepoints. Kernels without the helper have neither: the tests skip.
 */
#include "mr_test.h"

#define TRACED(event)	count_lines(TRACING "trace", " mmap_revoke_" event ": ")

FIXTURE_VARIANT_ADD(mr, group) { .cdev = false };
FIXTURE_VARIANT_ADD(mr, cdev) { .cdev = true };

struct object {
	char state[32];
	unsigned long vmas;
	unsigned long revoked;
	int listed;		/* VMA lines below it */
	int mine;		/* of these, VMAs of the calling process */
	bool map;		/* one of which is the one looked for */
};

/* Find the object of @bdf; with @map look for that VMA in its list. */
static int object_get(const char *bdf, struct object *obj, void *map,
		      __u64 pgoff)
{
	char line[512], owner[32], device[64], state[32];
	unsigned long vmas, revoked, start, end;
	bool found = false, here = false;
	unsigned long long off;
	char comm[64];
	FILE *f;
	int pid;

	memset(obj, 0, sizeof(*obj));
	f = fopen(OBJECTS, "r");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (line[0] != ' ') {
			here = sscanf(line, "%31s %63s %31s %lu %lu", owner,
				      device, state, &vmas, &revoked) == 5 &&
			       !strcmp(owner, "vfio") && !strcmp(device, bdf);
			if (here) {
				found = true;
				snprintf(obj->state, sizeof(obj->state), "%s",
					 state);
				obj->vmas = vmas;
				obj->revoked = revoked;
			}
		} else if (here && sscanf(line, " %d %63s %lx-%lx %llx", &pid,
					  comm, &start, &end, &off) == 5) {
			obj->listed++;
			obj->mine += pid == getpid();
			if (pid == getpid() && start == (unsigned long)map &&
			    off == pgoff)
				obj->map = true;
		}
	}
	fclose(f);
	return found ? 0 : -ENOENT;
}

#define ASSERT_OBJECT(obj)						\
	ASSERT_EQ(0, object_get(self->dev.bdf, obj, self->map,		\
				self->bar.offset / PAGE))

TEST_F(mr, objects)
{
	struct object before, now;
	struct proc p;
	char *addr[3];
	char header[128];
	FILE *f;
	int i;

	f = fopen(OBJECTS, "r");
	if (!f)
		SKIP(return, "%s: %s", OBJECTS, strerror(errno));
	ASSERT_NE(NULL, fgets(header, sizeof(header), f));
	fclose(f);
	EXPECT_EQ(0, strncmp(header, "owner", 5)) TH_LOG("%s", header);

	ASSERT_OBJECT(&before);
	EXPECT_STREQ("live", before.state);
	EXPECT_EQ(1, before.vmas);
	EXPECT_EQ(1, before.listed);
	EXPECT_EQ(1, before.mine);
	EXPECT_TRUE(before.map);

	/* One VMA per mmap(), and they count before they are touched. */
	for (i = 0; i < 3; i++) {
		addr[i] = vfio_map(self->dev.fd, self->bar.offset, 4 * PAGE,
				   PAGE);
		ASSERT_NE(MAP_FAILED, addr[i]);
		ASSERT_OBJECT(&now);
		EXPECT_EQ(before.vmas + i + 1, now.vmas);
		EXPECT_EQ(now.vmas, now.listed);
	}
	ASSERT_EQ(0, munmap(addr[0] + PAGE, PAGE));	/* splits */
	ASSERT_OBJECT(&now);
	EXPECT_EQ(before.vmas + 4, now.vmas);
	ASSERT_EQ(0, munmap(addr[0], 4 * PAGE));
	ASSERT_OBJECT(&now);
	EXPECT_EQ(before.vmas + 2, now.vmas);

	/* A child has as many again, and they go with it. */
	ASSERT_EQ(0, proc_start(&p));
	ASSERT_OBJECT(&now);
	EXPECT_EQ(2 * (before.vmas + 2), now.vmas);
	EXPECT_EQ(now.vmas, now.listed);
	EXPECT_EQ(now.vmas / 2, now.mine);
	ASSERT_EQ(0, proc_stop(&p));
	ASSERT_OBJECT(&now);
	EXPECT_EQ(before.vmas + 2, now.vmas);
}

TEST_F(mr, states)
{
	struct object before, now;
	struct vfio_dev other;

	if (access(OBJECTS, R_OK))
		SKIP(return, "%s: %s", OBJECTS, strerror(errno));
	ASSERT_OBJECT(&before);
	ASSERT_EQ(0, vfio_revoke(&self->dev, BY_COMMAND));
	ASSERT_OBJECT(&now);
	EXPECT_STREQ("suspended", now.state);
	EXPECT_EQ(before.vmas, now.vmas);
	EXPECT_EQ(before.revoked + 1, now.revoked);
	/* Another device is not suspended by that. */
	if (!vfio_open_id(&other, ID_IVSHMEM, 1, variant->cdev)) {
		ASSERT_EQ(0, object_get(other.bdf, &now, NULL, 0));
		EXPECT_STREQ("live", now.state);
		EXPECT_EQ(0, now.vmas);
		vfio_close(&other);
	}
	ASSERT_EQ(0, vfio_restore(&self->dev, BY_COMMAND));
	ASSERT_OBJECT(&now);
	EXPECT_STREQ("live", now.state);
	EXPECT_EQ(before.revoked + 1, now.revoked);

	if (!vfio_revoke(&self->dev, BY_LOW_POWER)) {
		ASSERT_OBJECT(&now);
		EXPECT_STREQ("suspended", now.state);
		/* Faults fail until low power is left, so this is no end. */
		ASSERT_EQ(0, vfio_restore(&self->dev, BY_COMMAND));
		ASSERT_OBJECT(&now);
		EXPECT_STREQ("suspended", now.state);
		ASSERT_EQ(0, vfio_restore(&self->dev, BY_LOW_POWER));
		ASSERT_OBJECT(&now);
		EXPECT_STREQ("live", now.state);
		if (!vfio_sleep_and_wake(&self->dev)) {
			ASSERT_OBJECT(&now);
			EXPECT_STREQ("live", now.state);
		}
	}
	if (vfio_can_reset(&self->dev)) {
		ASSERT_OBJECT(&before);
		ASSERT_EQ(0, vfio_reset(&self->dev));
		ASSERT_OBJECT(&now);
		EXPECT_STREQ("live", now.state);
		EXPECT_LT(before.revoked, now.revoked);
	}
	/* The object stays with the device, its mappings and state go. */
	ASSERT_EQ(0, munmap(self->map, self->bar.size));
	ASSERT_EQ(0, vfio_revoke(&self->dev, BY_COMMAND));
	vfio_close(&self->dev);
	ASSERT_OBJECT(&now);
	EXPECT_STREQ("dead", now.state);
	EXPECT_EQ(0, now.vmas);
	EXPECT_EQ(0, now.listed);
	ASSERT_EQ(0, vfio_open_id(&self->dev, ID_IVSHMEM, 0, variant->cdev));
	ASSERT_OBJECT(&now);
	EXPECT_STREQ("live", now.state);
}

TEST_F(mr, tracepoints)
{
	static const char * const events[] = {
		"mmap_revoke_bind", "mmap_revoke_zap", "mmap_revoke_begin",
		"mmap_revoke_end", "mmap_revoke_kill",
	};
	char path[128];
	unsigned int i;

	if (access(TRACING "events", R_OK))
		SKIP(return, "tracefs is not mounted");
	if (access(TRACING "events/mmap_revoke", R_OK))
		SKIP(return, "no mmap_revoke events in this kernel");
	for (i = 0; i < ARRAY_SIZE(events); i++) {
		snprintf(path, sizeof(path), TRACING "events/mmap_revoke/%s/enable",
			 events[i]);
		EXPECT_EQ(0, write_file(path, "1")) TH_LOG("%s", path);
	}
	ASSERT_EQ(0, write_file(TRACING "trace", ""));
	ASSERT_EQ(0, write_file(TRACING "tracing_on", "1"));

	ASSERT_EQ(0, vfio_revoke(&self->dev, BY_COMMAND));
	EXPECT_EQ(1, TRACED("begin"));
	EXPECT_LE(1, TRACED("zap"));
	EXPECT_EQ(0, TRACED("end"));
	ASSERT_EQ(0, vfio_restore(&self->dev, BY_COMMAND));
	EXPECT_EQ(1, TRACED("begin"));
	EXPECT_EQ(1, TRACED("end"));
	EXPECT_EQ(0, TRACED("kill"));
	EXPECT_EQ(0, TRACED("bind"));

	/* A new file of the device is bound to its object. */
	ASSERT_EQ(0, munmap(self->map, self->bar.size));
	vfio_close(&self->dev);
	EXPECT_EQ(1, TRACED("kill"));
	ASSERT_EQ(0, vfio_open_id(&self->dev, ID_IVSHMEM, 0, variant->cdev));
	EXPECT_LE(1, TRACED("bind"));
	EXPECT_EQ(0, write_file(TRACING "events/mmap_revoke/enable", "0"));
}

TEST_HARNESS_MAIN
