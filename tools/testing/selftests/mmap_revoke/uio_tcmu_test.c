// SPDX-License-Identifier: GPL-2.0
/*
 * A disk of tcm-user, whose commands a thread of the test executes. The kernel
 * takes pages of the data area back at times: what the thread sees there must
 * be what the kernel means.
 */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <scsi/scsi.h>
#include <scsi/sg.h>
/* The C library defines it, too. */
#define iovec tcmu_iovec
#include <linux/target_core_user.h>
#undef iovec

#define NO_FIXTURE_MR
#include "mr_test.h"
#include "uio_util.h"

#define CONFIGFS	"/sys/kernel/config/"
#define TARGET		CONFIGFS "target/"
#define CORE		TARGET "core/user_0/"
#define DISK		CORE "mr"
#define WWN		"naa.6001405000000001"
#define LOOP		TARGET "loopback/" WWN
#define LUN		LOOP "/tpgt_1/lun/lun_0"
#define LIMIT		"/sys/module/target_core_user/parameters/global_max_data_area_mb"

#define SECTOR		512UL
#define DISK_SIZE	MB(16)
#define CHUNK		MB(1)	/* of a command */
#define USERS		4

struct disk {
	char path[32];		/* of the uio device */
	char sg[64];		/* of the SCSI device */
	int fd;
	struct tcmu_mailbox *mb;
	size_t size;
	char *data;		/* of the disk */
	pthread_t thread;
	int stop;
	unsigned int commands;
};

/* Between the disk and the pages that a command has in the data area. */
static void transfer(struct disk *d, struct tcmu_cmd_entry *ent, bool write,
		     size_t offset)
{
	unsigned int n;

	for (n = 0; n < ent->req.iov_cnt; n++) {
		struct tcmu_iovec iov = ent->req.iov[n];
		char *mem = (char *)d->mb + (size_t)iov.iov_base;

		if (offset + iov.iov_len > DISK_SIZE)
			return;
		if (write)
			memcpy(d->data + offset, mem, iov.iov_len);
		else
			memcpy(mem, d->data + offset, iov.iov_len);
		offset += iov.iov_len;
	}
}

static void answer(struct disk *d, struct tcmu_cmd_entry *ent, const void *data,
		   size_t len)
{
	unsigned int n;

	for (n = 0; n < ent->req.iov_cnt && len; n++) {
		struct tcmu_iovec iov = ent->req.iov[n];
		size_t part = len < iov.iov_len ? len : iov.iov_len;

		memcpy((char *)d->mb + (size_t)iov.iov_base, data, part);
		data = (char *)data + part;
		len -= part;
	}
}

static void execute(struct disk *d, struct tcmu_cmd_entry *ent)
{
	static const __u8 inquiry[36] = {
		0, 0, 5, 2, 31, 0, 0, 2, 'm', 'm', 'a', 'p', ' ', ' ', ' ', ' ',
		'r', 'e', 'v', 'o', 'k', 'e',
	};
	static const __u8 illegal[18] = { 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0,
					  0, 0x20 };
	const __u32 last = DISK_SIZE / SECTOR - 1;
	const __u8 capacity[8] = {
		last >> 24, last >> 16, last >> 8 & 0xff, last & 0xff,
		0, 0, SECTOR >> 8, 0,
	};
	const __u8 *cdb = (__u8 *)d->mb + ent->req.cdb_off;
	size_t offset = (cdb[2] << 24 | cdb[3] << 16 | cdb[4] << 8 | cdb[5]) *
			SECTOR;
	__u8 status = 0, op = cdb[0];

	if (op == READ_10 || op == WRITE_10)
		transfer(d, ent, op == WRITE_10, offset);
	else if (op == INQUIRY && !(cdb[1] & 1))
		answer(d, ent, inquiry, sizeof(inquiry));
	else if (op == READ_CAPACITY)
		answer(d, ent, capacity, sizeof(capacity));
	else if (op != TEST_UNIT_READY)
		status = CHECK_CONDITION << 1;

	/* Over what the request was. */
	memset(&ent->rsp, 0, sizeof(ent->rsp));
	ent->rsp.scsi_status = status;
	if (status)
		memcpy(ent->rsp.sense_buffer, illegal, sizeof(illegal));
}

static void *handler(void *arg)
{
	struct pollfd poll_fd;
	struct disk *d = arg;
	__s32 count = 1;

	while (!__atomic_load_n(&d->stop, __ATOMIC_SEQ_CST)) {
		struct tcmu_mailbox *mb = d->mb;

		poll_fd = (struct pollfd){ .fd = d->fd, .events = POLLIN };
		if (poll(&poll_fd, 1, 10) != 1 || read(d->fd, &count, 4) != 4)
			continue;
		while (mb->cmd_tail !=
		       __atomic_load_n(&mb->cmd_head, __ATOMIC_ACQUIRE)) {
			struct tcmu_cmd_entry *ent = (void *)mb + mb->cmdr_off +
						     mb->cmd_tail;
			__u32 len_op = ent->hdr.len_op;

			if (tcmu_hdr_get_op(len_op) == TCMU_OP_CMD) {
				execute(d, ent);
				d->commands++;
			}
			__atomic_store_n(&mb->cmd_tail,
					 (mb->cmd_tail +
					  tcmu_hdr_get_len(len_op)) %
					 mb->cmdr_size, __ATOMIC_RELEASE);
		}
		count = 1;
		if (write(d->fd, &count, 4) != 4)
			return (void *)1L;
	}
	return NULL;
}

/* The uio device of the disk, by its name. */
static int find_uio(char path[32], size_t *size)
{
	char file[64], name[128];
	int n;

	for (n = 0; n < 64; n++) {
		snprintf(file, sizeof(file), "/sys/class/uio/uio%d/name", n);
		if (scan_file(file, "%127s", name) ||
		    strncmp(name, "tcm-user/0/mr", 13))
			continue;
		snprintf(file, sizeof(file),
			 "/sys/class/uio/uio%d/maps/map0/size", n);
		snprintf(path, 32, "/dev/uio%d", n);
		return scan_file(file, "%zx", size);
	}
	return -ENODEV;
}

/* /dev/sgN, from the SCSI device that appears. */
static int find_sg(char path[64])
{
	char file[64], vendor[16];
	int n, i;

	for (i = 0; i < 500; i++, usleep(10000)) {
		for (n = 0; n < 16; n++) {
			snprintf(file, sizeof(file),
				 "/sys/class/scsi_generic/sg%d/device/vendor",
				 n);
			snprintf(path, 64, "/dev/sg%d", n);
			if (!scan_file(file, "%15s", vendor) &&
			    !strcmp(vendor, "mmap") && !access(path, F_OK))
				return 0;
		}
	}
	return -ENODEV;
}

static int command(int sg, __u8 op, size_t offset, void *data, size_t len)
{
	__u32 lba = offset / SECTOR, sectors = len / SECTOR;
	__u8 cdb[10] = { op, 0, lba >> 24, lba >> 16, lba >> 8, lba, 0,
			 sectors >> 8, sectors };
	__u8 sense[32];
	struct sg_io_hdr hdr = {
		.interface_id = 'S',
		.cmd_len = sizeof(cdb),
		.cmdp = cdb,
		.dxfer_direction = op == WRITE_10 ? SG_DXFER_TO_DEV :
						    SG_DXFER_FROM_DEV,
		.dxfer_len = len,
		.dxferp = data,
		.mx_sb_len = sizeof(sense),
		.sbp = sense,
		.timeout = 60000,
	};

	if (ioctl(sg, SG_IO, &hdr))
		return -errno;
	return hdr.status || hdr.host_status || hdr.driver_status ? -EIO : 0;
}

FIXTURE(tcmu) {
	struct disk disk;
};

FIXTURE_SETUP(tcmu)
{
	static const char * const options[] = {
		"dev_config=mr/test,dev_size=16777216,hw_block_size=512",
		"hw_max_sectors=4096,max_data_area_mb=16",
		"nl_reply_supported=-1",
	};
	struct disk *d = &self->disk;
	size_t n;

	mount("config", CONFIGFS, "configfs", 0, NULL);
	mkdir(TARGET "loopback", 0755);
	mkdir(CORE, 0755);
	if (mkdir(DISK, 0755))
		SKIP(return, "no tcm-user in this kernel");
	for (n = 0; n < sizeof(options) / sizeof(*options); n++)
		ASSERT_EQ(0, write_file(DISK "/control", options[n]));
	ASSERT_EQ(0, write_file(DISK "/enable", "1"));
	ASSERT_EQ(0, find_uio(d->path, &d->size));
	d->fd = open(d->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, d->fd);
	d->mb = mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
		     0);
	ASSERT_NE(MAP_FAILED, d->mb);
	d->data = mmap(NULL, DISK_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, d->data);
	ASSERT_EQ(0, pthread_create(&d->thread, NULL, handler, d));

	ASSERT_EQ(0, mkdir(LOOP, 0755));
	ASSERT_EQ(0, mkdir(LOOP "/tpgt_1", 0755));
	ASSERT_EQ(0, write_file(LOOP "/tpgt_1/nexus", WWN));
	ASSERT_EQ(0, mkdir(LUN, 0755));
	ASSERT_EQ(0, symlink(DISK, LUN "/disk"));
	ASSERT_EQ(0, find_sg(d->sg));
}

static int stop_handler(struct disk *d)
{
	void *ret;

	__atomic_store_n(&d->stop, 1, __ATOMIC_SEQ_CST);
	return pthread_join(d->thread, &ret) ?: (long)ret;
}

static int remove_disk(void)
{
	return unlink(LUN "/disk") || rmdir(LUN) || rmdir(LOOP "/tpgt_1") ||
	       rmdir(LOOP) || rmdir(DISK) || rmdir(CORE) ? -errno : 0;
}

FIXTURE_TEARDOWN(tcmu)
{
	if (self->disk.mb) {
		if (!self->disk.stop)
			stop_handler(&self->disk);
		remove_disk();
	}
}

/* Each user has a part of the disk for itself. */
struct user {
	struct disk *disk;
	pthread_t thread;
	int who, rounds;
	int failed, wrong;
};

static void *user_thread(void *arg)
{
	const size_t part = DISK_SIZE / USERS;
	struct user *u = arg;
	__u32 *out = malloc(CHUNK), *in = malloc(CHUNK);
	int sg = open(u->disk->sg, O_RDWR | O_CLOEXEC), n;
	size_t i, at;

	for (n = 0; n < u->rounds; n++) {
		at = u->who * part + n % (part / CHUNK) * CHUNK;
		for (i = 0; i < CHUNK / 4; i++)
			out[i] = u->who << 28 ^ n << 18 ^ i;
		memset(in, 0xee, CHUNK);
		u->failed += !!command(sg, WRITE_10, at, out, CHUNK);
		u->failed += !!command(sg, READ_10, at, in, CHUNK);
		u->wrong += !!memcmp(in, out, CHUNK) +
			    !!memcmp(u->disk->data + at, out, CHUNK);
	}
	close(sg);
	free(out);
	free(in);
	return NULL;
}

/* How much of the data area is in page tables. */
static size_t mapped_kb(const void *addr)
{
	char line[512], start[32];
	size_t kb = 0, val;
	bool here = false;
	FILE *f = fopen("/proc/self/smaps", "r");

	snprintf(start, sizeof(start), "%lx-", (unsigned long)addr);
	while (f && fgets(line, sizeof(line), f)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			here = !strncmp(line, start, strlen(start));
		if (here && sscanf(line, "Rss: %zu", &val) == 1)
			kb = val;
	}
	if (f)
		fclose(f);
	return kb;
}

/* More than the limit of 1 MiB is taken all the time, and given back. */
TEST_F_TIMEOUT(tcmu, data_while_zapped, 300)
{
	struct user users[USERS];
	size_t before, kb, zapped = 0, least = ~0UL;
	int n, i;

	ASSERT_EQ(0, write_file(LIMIT, "1"));
	for (i = 0; i < rounds(20); i++) {
		for (n = 0; n < USERS; n++) {
			users[n] = (struct user){
				.disk = &self->disk, .who = n, .rounds = 4,
			};
			ASSERT_EQ(0, pthread_create(&users[n].thread, NULL,
						    user_thread, &users[n]));
		}
		for (n = 0; n < USERS; n++) {
			ASSERT_EQ(0, pthread_join(users[n].thread, NULL));
			EXPECT_EQ(0, users[n].failed);
			EXPECT_EQ(0, users[n].wrong);
		}
		before = mapped_kb(self->disk.mb);
		/*
		 * Idle: a look at the limit gives all of the area back. The
		 * larger limit calls a look off that waits for its 5 seconds.
		 */
		ASSERT_EQ(0, write_file(LIMIT, "1024"));
		ASSERT_EQ(0, write_file(LIMIT, "1"));
		for (n = 0; n < 100; n++, usleep(1000)) {
			kb = mapped_kb(self->disk.mb);
			if (kb < before)
				break;
		}
		zapped += kb < before;
		least = kb < least ? kb : least;
	}
	printf("# %u commands, zapped in %zu of %d rounds, %zu KiB are left\n",
	       self->disk.commands, zapped, i, least);
	EXPECT_LT(0, zapped);
	EXPECT_EQ(0, stop_handler(&self->disk));
	ASSERT_EQ(0, write_file(LIMIT, "1024"));
}

/* A handler splits its mapping. On kernels without the fix it gets SIGBUS. */
TEST_F(tcmu, split)
{
	char *ring = (char *)self->disk.mb;
	__u32 val;

	ASSERT_EQ(0, mprotect(ring + 4 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(0, mmio_read32(ring + 4 * PAGE, &val));
	EXPECT_EQ(0, mmio_read32(ring + 5 * PAGE, &val));
	EXPECT_EQ(0, mmio_read32(ring + 100 * PAGE, &val));
	ASSERT_EQ(0, mprotect(ring + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE));
}

/* The ring lives as long as its mapping: a handler hears late of the end. */
TEST_F(tcmu, gone)
{
	struct disk *d = &self->disk;
	__u32 val, version;
	struct proc child;

	ASSERT_EQ(0, mmio_read32(d->mb, &version));
	ASSERT_EQ(0, stop_handler(d));
	ASSERT_EQ(0, proc_start(&child));
	ASSERT_EQ(0, remove_disk());
	EXPECT_EQ(0, mmio_read32(d->mb, &val));
	EXPECT_EQ(version, val);
	EXPECT_EQ(0, proc_read32(&child, d->mb, &val));
	EXPECT_EQ(version, val);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, d->size, PROT_READ, MAP_SHARED, d->fd,
				   0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, proc_stop(&child));
	munmap(d->mb, d->size);
	d->mb = NULL;
	close(d->fd);
}

TEST_HARNESS_MAIN
