// SPDX-License-Identifier: GPL-2.0
/*
 * Each event that takes the memory of a PCI device away: what becomes of its
 * mappings in processes, of DMA mappings in a container of either kind, and of
 * dma-bufs.
 * Documentation/driver-api/vfio-mmap.rst has the same as a table.
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NO_FIXTURE_MR
#include "dmabuf_util.h"
#include "mr_test.h"

#define PARAM		"/sys/module/vfio_iommu_type1/parameters/allow_unsafe_pfnmap"
#define POWER		"/sys/power/"
#define ENABLE_SRIOV	"/sys/module/vfio_pci/parameters/enable_sriov"
#define MODULE		"test_pci_config"
#define FLRS		"/sys/module/" MODULE "/parameters/flrs"
#define RAM_IOVA	0x100000UL
#define IOVA		0x4000000UL	/* of the device's memory */

static const char hole[] =
	"on this kernel DMA reaches memory that was taken away";
static const char unheard[] = "vfio of this kernel does not hear of it";

/* A device with a word in a BAR that is the same before and after an event. */
struct target {
	char bdf[16];
	char pf[16];		/* of a VF */
	struct vfio_dev dev;
	struct vfio_region_info bar;
	char *map;
	char *word;
	__u32 want;
	enum vfio_how how;	/* for take_away() and give_back() */
	int efd;		/* while it sleeps */
};

/* Have the device do what QEMU's do not: see lib/test_pci_config.c. */
static void config_unload(void)
{
	syscall(SYS_delete_module, MODULE, O_NONBLOCK);
}

static int config_load(const char *bdf, const char *what)
{
	char text[64];

	config_unload();
	snprintf(text, sizeof(text), "device=%s %s", bdf, what);
	return module_load(MODULE, "MR_PCI_MODULE", text);
}

/* edu, which reads that word by DMA. */
struct reader {
	struct edu edu;
	__u32 *ram;
};

static int take_away(struct target *t)
{
	return vfio_revoke(&t->dev, t->how);
}

static int give_back(struct target *t)
{
	return vfio_restore(&t->dev, t->how);
}

static int sleeps(struct target *t)
{
	t->efd = vfio_sleep(&t->dev);
	return t->efd < 0 ? t->efd : 0;
}

static int wakes(struct target *t)
{
	return vfio_wake(&t->dev, t->efd);
}

static int reset(struct target *t)
{
	return vfio_reset(&t->dev);
}

/* Until nobody else is at the device. */
static int hot_reset(struct target *t)
{
	int ret;

	do
		ret = vfio_hot_reset(&t->dev);
	while (ret == -EBUSY);
	return ret;
}

static int flr(struct target *t)
{
	return vfio_flr(&t->dev);
}

/* Is it the way in which the device is reset, too? */
static int af_flr(struct target *t)
{
	unsigned int before, after;
	int ret;

	ret = scan_file(FLRS, "%u", &before) ?: vfio_af_flr(&t->dev) ?:
	      scan_file(FLRS, "%u", &after);
	return ret ?: after == before + 1 ? 0 : -ENOMSG;
}

/* Somebody has VFs made of the device, and drops them again. */
static int makes_vf(struct target *t)
{
	int ret;

	write_file(ENABLE_SRIOV, "Y");
	ret = pci_write(t->bdf, "sriov_numvfs", "1") ?: vf_drop(t->bdf);
	write_file(ENABLE_SRIOV, "N");
	return ret;
}

static int sysfs_reset(struct target *t)
{
	return pci_write(t->bdf, "reset", "1");
}

static int bus_reset(struct target *t)
{
	int ret;

	ret = pci_write(t->bdf, "reset_method", "bus");
	ret = ret ?: sysfs_reset(t);
	pci_write(t->bdf, "reset_method", "default");
	return ret;
}

static int bridge_reset(struct target *t)
{
	int ret;

	do
		ret = pci_write(t->bdf, "../reset_subordinate", "1");
	while (ret == -EAGAIN);
	return ret;
}

FIXTURE(event) {
	struct target t;
	bool revokes;		/* the kernel does, for DMA */
};

FIXTURE_VARIANT(event) {
	__u32 id;
	bool vf;		/* of the device that @id names */
	int bar;
	size_t off;		/* of the word */
	enum vfio_how how;
	int (*take)(struct target *t);
	/* Without it, take() returns when the memory is back. */
	int (*give)(struct target *t);
	bool foreign;		/* vfio did not begin it */
};

/* Memory; the address of a NIC; the versions of two controllers. */
#define ON_IVSHMEM	.id = ID_IVSHMEM, .bar = 2, .off = 0
#define ON_E1000E	.id = ID_E1000E, .bar = 0, .off = 0x5400
#define ON_NVME		.id = ID_NVME, .bar = 0, .off = 8
/* The status of a controller that is not online. */
#define ON_VF		.id = ID_NVME, .vf = true, .bar = 0, .off = 0x1c

FIXTURE_VARIANT_ADD(event, command) {
	ON_IVSHMEM, .how = BY_COMMAND, .take = take_away, .give = give_back,
};

FIXTURE_VARIANT_ADD(event, d3hot) {
	ON_E1000E, .how = BY_D3HOT, .take = take_away, .give = give_back,
};

FIXTURE_VARIANT_ADD(event, d3hot_numvfs) {
	ON_NVME, .how = BY_D3HOT, .take = take_away, .give = makes_vf,
};

FIXTURE_VARIANT_ADD(event, low_power) {
	ON_E1000E, .how = BY_LOW_POWER, .take = take_away, .give = give_back,
};

FIXTURE_VARIANT_ADD(event, low_power_wakeup) {
	ON_E1000E, .take = sleeps, .give = wakes,
};

FIXTURE_VARIANT_ADD(event, reset) {
	ON_E1000E, .take = reset,
};

FIXTURE_VARIANT_ADD(event, hot_reset) {
	ON_IVSHMEM, .take = hot_reset,
};

FIXTURE_VARIANT_ADD(event, flr) {
	ON_NVME, .take = flr,
};

FIXTURE_VARIANT_ADD(event, af_flr) {
	ON_E1000E, .take = af_flr,
};

FIXTURE_VARIANT_ADD(event, vf_flr) {
	ON_VF, .take = flr,
};

FIXTURE_VARIANT_ADD(event, sysfs_reset) {
	ON_E1000E, .take = sysfs_reset, .foreign = true,
};

FIXTURE_VARIANT_ADD(event, vf_sysfs_reset) {
	ON_VF, .take = sysfs_reset, .foreign = true,
};

FIXTURE_VARIANT_ADD(event, bus_reset) {
	ON_E1000E, .take = bus_reset, .foreign = true,
};

FIXTURE_VARIANT_ADD(event, bridge_reset) {
	ON_IVSHMEM, .take = bridge_reset, .foreign = true,
};

FIXTURE_SETUP(event)
{
	struct target *t = &self->t;
	int ret;

	t->dev.fd = -1;
	t->dev.group = -1;
	t->dev.iommu = -1;
	t->how = variant->how;
	self->revokes = !access(PARAM, F_OK);
	if (variant->foreign && !self->revokes)
		SKIP(return, "%s", unheard);
	ret = variant->vf ? vf_make(t->pf, t->bdf) :
			    vfio_find(variant->id, 0, t->bdf);
	if (ret)
		SKIP(return, "no such device, or QEMU's nvme makes no VF");
	ASSERT_EQ(0, vfio_bind(t->bdf));
	/* QEMU's root port can say that the link is down, whoever asks. */
	if (variant->take == bus_reset && bus_reset(t) == -ENOTTY)
		SKIP(return, "the port sees no link after a bus reset");
	if (variant->give == makes_vf && vf_drop(t->bdf))
		SKIP(return, "QEMU's nvme makes no VF");
	if (variant->take == af_flr) {
		/* e1000e has nothing there. */
		ret = config_load(t->bdf, "af=0x40");
		if (ret == -ENOENT)
			SKIP(return, "no module " MODULE);
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, pci_write(t->bdf, "reset_method", "default"));
	}
}

/* A VF goes when nobody has it any more. */
FIXTURE_TEARDOWN(event)
{
	struct target *t = &self->t;

	if (t->map)
		munmap(t->map, t->bar.size);
	vfio_close(&t->dev);
	if (variant->vf && t->pf[0])
		EXPECT_EQ(0, vf_drop(t->pf));
	if (variant->take == af_flr) {
		config_unload();
		EXPECT_EQ(0, pci_write(t->bdf, "reset_method", "default"));
	}
}

static int target_map(struct target *t, int bar, size_t off)
{
	int ret;

	ret = vfio_region(&t->dev, bar, &t->bar);
	if (ret)
		return ret;
	t->map = vfio_map(t->dev.fd, t->bar.offset, t->bar.size, PAGE);
	if (t->map == MAP_FAILED)
		return -errno;
	t->word = t->map + off;
	/* ivshmem has what it is given. */
	if (bar == BAR2)
		mmio_write32(t->word, WORD(0));
	ret = mmio_read32(t->word, &t->want);
	if (ret)
		return -EFAULT;
	/* What a failed read gives. */
	return t->want && ~t->want ? 0 : -ENODATA;
}

static int target_open(struct target *t, bool cdev, int bar, size_t off)
{
	return vfio_open(&t->dev, t->bdf, cdev) ?: target_map(t, bar, off);
}

/* What an access gives: its signal, else whether the word is what it was. */
static int target_read(struct target *t)
{
	__u32 val;
	int sig = mmio_read32(t->word, &val);

	return sig ?: val == t->want ? 0 : -EILSEQ;
}

/* How often the object of the device was revoked; 0 without the helper. */
static unsigned long revoked(const char *bdf)
{
	char line[512], device[64];
	unsigned long n, found = 0;
	FILE *f = fopen(OBJECTS, "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "vfio %63s %*s %*u %lu", device, &n) == 2 &&
		    !strcmp(device, bdf))
			found = n;
	if (f)
		fclose(f);
	return found;
}

static int reader_open(struct reader *r, int container)
{
	char bdf[16];
	int ret;

	ret = vfio_find(ID_EDU, 0, bdf);
	ret = ret ?: vfio_bind(bdf);
	ret = ret ?: edu_open(&r->edu, bdf, container);
	if (ret)
		return ret;
	r->ram = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return dma_map(container, r->ram, RAM_IOVA, PAGE, DMA_RW);
}

/* The word at @iova, as edu reads it. */
static __u32 peek(struct reader *r, __u64 iova)
{
	__atomic_store_n(r->ram, ~0U, __ATOMIC_SEQ_CST);
	if (edu_read32(&r->edu, iova, RAM_IOVA))
		return 0;
	return __atomic_load_n(r->ram, __ATOMIC_SEQ_CST);
}

/* From here on: what the IOMMU layer maps and unmaps. */
static int trace_iommu(void)
{
	return write_file(TRACING "trace", "") ?:
	       write_file(TRACING "events/iommu/unmap/enable", "1") ?:
	       write_file(TRACING "events/iommu/map/enable", "1");
}

static void trace_stop(void)
{
	write_file(TRACING "events/iommu/unmap/enable", "0");
	write_file(TRACING "events/iommu/map/enable", "0");
}

static int traced(const char *what)
{
	char text[64];

	snprintf(text, sizeof(text), " %s: IOMMU: iova=0x%016lx ", what, IOVA);
	return count_lines(TRACING "trace", text);
}

/*
 * SIGBUS until the memory comes back. Where it comes back by itself, accesses
 * wait: they see neither SIGBUS nor a device that does not answer.
 */
TEST_F_TIMEOUT(event, mapping, 60)
{
	struct race *race = race_alloc();
	struct target *t = &self->t;
	struct race_word word;
	struct worker w = {
		.race = race, .step = race_step_probe, .arg = &word,
	};
	unsigned long before;
	long faulted;
	char *other;
	__u32 val;

	ASSERT_EQ(0, target_open(t, false, variant->bar, variant->off));
	before = revoked(t->bdf);
	/* One that the other thread does not touch. */
	other = vfio_map(t->dev.fd, t->bar.offset, PAGE, PAGE);
	ASSERT_NE(MAP_FAILED, other);
	ASSERT_EQ(0, mmio_read32(other, &val));
	if (variant->give) {
		ASSERT_EQ(0, variant->take(t));
		EXPECT_EQ(SIGBUS, target_read(t));
		ASSERT_EQ(0, variant->give(t));
	} else {
		word = (struct race_word){ .addr = t->word, .want = t->want };
		ASSERT_EQ(0, worker_start(&w));
		ASSERT_TRUE(race_wait_ok(race, 1));
		EXPECT_EQ(0, variant->take(t));
		EXPECT_TRUE(race_wait_ok(race, 1));
		ASSERT_EQ(0, worker_join(&w));
		EXPECT_EQ(0, race->seen[0].fault);
		EXPECT_EQ(0, race->seen[0].bad);
	}
	faulted = faults(RUSAGE_THREAD);
	EXPECT_EQ(0, mmio_read32(other, &val));
	EXPECT_LT(faulted, faults(RUSAGE_THREAD));
	munmap(other, PAGE);
	EXPECT_EQ(0, target_read(t));
	if (self->revokes)
		EXPECT_LT(before, revoked(t->bdf));
}

/* DMA is blocked as long as that, and the user makes no call for the rest. */
static void event_dma(struct __test_metadata *_metadata,
		      struct _test_data_event *self,
		      const struct _fixture_variant_event *variant,
		      int container)
{
	struct target *t = &self->t;
	struct reader r;
	int ret;

	ASSERT_EQ(0, vfio_open_in(&t->dev, t->bdf, container));
	ASSERT_EQ(0, target_map(t, variant->bar, variant->off));
	ASSERT_EQ(0, reader_open(&r, t->dev.iommu));
	ret = dma_map(t->dev.iommu, t->map, IOVA, t->bar.size, DMA_RW);
	if (ret == -EFAULT && container == VFIO_NEW_IOMMUFD)
		SKIP(return, "iommufd: no device memory on this kernel");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(t->want, peek(&r, IOVA + variant->off));

	ASSERT_EQ(0, trace_iommu());
	ASSERT_EQ(0, variant->take(t));
	if (variant->give) {
		if (self->revokes)
			EXPECT_TRUE(edu_is_blocked(&r.edu, IOVA + variant->off,
						   RAM_IOVA, false));
		ASSERT_EQ(0, variant->give(t));
	}
	trace_stop();
	if (self->revokes) {
		EXPECT_LE(1, traced("unmap"));
		EXPECT_LE(1, traced("map"));
	} else {
		EXPECT_EQ(0, traced("unmap"));
	}
	EXPECT_EQ(t->want, peek(&r, IOVA + variant->off));
	edu_close(&r.edu);
	if (!self->revokes)
		SKIP(return, "%s", hole);
}

TEST_F_TIMEOUT(event, type1, 60)
{
	event_dma(_metadata, self, variant, VFIO_NEW_TYPE1);
}

TEST_F_TIMEOUT(event, iommufd, 60)
{
	event_dma(_metadata, self, variant, VFIO_NEW_IOMMUFD);
}

/* A dma-buf is revoked, and what an importer had of it; then it is back. */
TEST_F_TIMEOUT(event, dmabuf, 60)
{
	struct vfio_device_attach_iommufd_pt pt = { .argsz = sizeof(pt) };
	struct target *t = &self->t;
	__u32 ioas;
	int fd;

	ASSERT_EQ(0, target_open(t, true, variant->bar, variant->off));
	fd = dmabuf_export(&t->dev, variant->bar, t->bar.size);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, dmabuf_import(fd, t->bar.size));
	ioas = ioas_alloc(t->dev.iommu);
	pt.pt_id = ioas;
	ASSERT_EQ(0, ioctl(t->dev.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &pt));
	ASSERT_EQ(0, ioas_map_file(t->dev.iommu, ioas, fd, IOVA, t->bar.size));

	ASSERT_EQ(0, trace_iommu());
	ASSERT_EQ(0, variant->take(t));
	trace_stop();
	EXPECT_LE(1, traced("unmap"));
	if (variant->give) {
		EXPECT_EQ(-ENODEV, dmabuf_import(fd, t->bar.size));
		ASSERT_EQ(0, variant->give(t));
	}
	EXPECT_EQ(0, dmabuf_import(fd, t->bar.size));
	close(fd);
}

/* A NIC whose registers a process, another device and a dma-buf reach. */
struct nic {
	struct target t;
	struct reader r;
	int fd;
};

static int nic_find(char bdf[16])
{
	return vfio_find(ID_E1000E, 0, bdf) ?: vfio_bind(bdf);
}

static int nic_open(struct nic *nic)
{
	struct target *t = &nic->t;
	int ret;

	ret = target_open(t, false, 0, 0x5400);
	ret = ret ?: reader_open(&nic->r, t->dev.iommu);
	ret = ret ?: dma_map(t->dev.iommu, t->map, IOVA, t->bar.size, DMA_RW);
	if (ret)
		return ret;
	nic->fd = dmabuf_export(&t->dev, 0, t->bar.size);
	return nic->fd < 0 ? nic->fd : 0;
}

static void nic_close(struct nic *nic)
{
	close(nic->fd);
	edu_close(&nic->r.edu);
	munmap(nic->t.map, nic->t.bar.size);
	vfio_close(&nic->t.dev);
}

static void expect_back(struct __test_metadata *_metadata, struct nic *nic)
{
	EXPECT_EQ(0, target_read(&nic->t));
	EXPECT_EQ(nic->t.want, peek(&nic->r, IOVA + 0x5400));
	EXPECT_EQ(0, dmabuf_import(nic->fd, nic->t.bar.size));
}

/* Somebody resets what is revoked: that gives nothing back. */
TEST(reset_while_revoked)
{
	static const enum vfio_how hows[] = { BY_COMMAND, BY_LOW_POWER };
	struct target t = {};
	size_t i;
	int fd;

	if (nic_find(t.bdf))
		SKIP(return, "no e1000e device");
	ASSERT_EQ(0, target_open(&t, true, 0, 0x5400));
	fd = dmabuf_export(&t.dev, 0, t.bar.size);
	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		ASSERT_EQ(0, vfio_revoke(&t.dev, hows[i]));
		EXPECT_EQ(SIGBUS, target_read(&t));
		ASSERT_EQ(0, sysfs_reset(&t));
		EXPECT_EQ(SIGBUS, target_read(&t));
		EXPECT_EQ(-ENODEV, dmabuf_import(fd, t.bar.size));
		ASSERT_EQ(0, vfio_restore(&t.dev, hows[i]));
		EXPECT_EQ(0, target_read(&t));
		EXPECT_EQ(0, dmabuf_import(fd, t.bar.size));
	}
	close(fd);
	munmap(t.map, t.bar.size);
	vfio_close(&t.dev);
}

/* The PCI core brings a device to D0 for a reset, whatever the user has chosen. */
TEST(reset_in_d3hot)
{
	struct nic nic = {};

	if (nic_find(nic.t.bdf))
		SKIP(return, "no e1000e device");
	ASSERT_EQ(0, nic_open(&nic));
	ASSERT_EQ(0, vfio_revoke(&nic.t.dev, BY_D3HOT));
	EXPECT_EQ(SIGBUS, target_read(&nic.t));
	ASSERT_EQ(0, sysfs_reset(&nic.t));
	expect_back(_metadata, &nic);
	nic_close(&nic);
}

/* A device may lose PCI_COMMAND on its way from D3hot to D0: it gets it back. */
TEST(reset_in_lossy_d3hot)
{
	struct nic nic = {};
	int ret;

	if (nic_find(nic.t.bdf))
		SKIP(return, "no e1000e device");
	ASSERT_EQ(0, nic_open(&nic));
	ret = config_load(nic.t.bdf, "forget=1");
	if (ret == -ENOENT)
		SKIP(return, "no module " MODULE);
	ASSERT_EQ(0, ret);
	EXPECT_EQ(0, vfio_revoke(&nic.t.dev, BY_D3HOT));
	EXPECT_EQ(SIGBUS, target_read(&nic.t));
	EXPECT_EQ(0, sysfs_reset(&nic.t));
	config_unload();
	expect_back(_metadata, &nic);
	nic_close(&nic);
}

/* A hot reset by somebody who does not have the device takes nothing away. */
TEST(hot_reset_refused)
{
	struct vfio_dev wrong;
	struct target t = {};
	unsigned long before;
	struct reader r;

	if (vfio_find(ID_IVSHMEM, 0, t.bdf) || vfio_bind(t.bdf))
		SKIP(return, "no ivshmem-plain device");
	ASSERT_EQ(0, target_open(&t, false, BAR2, 0));
	ASSERT_EQ(0, reader_open(&r, t.dev.iommu));
	ASSERT_EQ(0, dma_map(t.dev.iommu, t.map, IOVA, t.bar.size, DMA_RW));
	EXPECT_EQ(t.want, peek(&r, IOVA));
	before = revoked(t.bdf);
	ASSERT_EQ(0, trace_iommu());
	wrong = t.dev;
	wrong.group = r.edu.dev.group;
	EXPECT_EQ(-EINVAL, vfio_hot_reset(&wrong));
	trace_stop();
	EXPECT_EQ(0, traced("unmap"));
	EXPECT_EQ(before, revoked(t.bdf));
	EXPECT_EQ(0, target_read(&t));
	/* With the group of the device it is done. */
	EXPECT_EQ(0, hot_reset(&t));
	if (!access(PARAM, F_OK))
		EXPECT_LT(before, revoked(t.bdf));
	EXPECT_EQ(0, target_read(&t));
	EXPECT_EQ(t.want, peek(&r, IOVA));
	edu_close(&r.edu);
	munmap(t.map, t.bar.size);
	vfio_close(&t.dev);
}

/* A device that wakes up is still one whose memory decoding is off. */
TEST(wakeup_while_revoked)
{
	struct nic nic = {};

	if (nic_find(nic.t.bdf))
		SKIP(return, "no e1000e device");
	ASSERT_EQ(0, nic_open(&nic));
	ASSERT_EQ(0, vfio_revoke(&nic.t.dev, BY_COMMAND));
	ASSERT_EQ(0, trace_iommu());
	ASSERT_EQ(0, vfio_sleep_and_wake(&nic.t.dev));
	trace_stop();
	EXPECT_EQ(0, traced("map"));
	EXPECT_EQ(SIGBUS, target_read(&nic.t));
	EXPECT_EQ(-ENODEV, dmabuf_import(nic.fd, nic.t.bar.size));
	ASSERT_EQ(0, vfio_restore(&nic.t.dev, BY_COMMAND));
	expect_back(_metadata, &nic);
	nic_close(&nic);
}

/* A device that nobody has open has nothing to lose. */
TEST(reset_while_closed)
{
	struct target t = {};
	unsigned long before;

	if (nic_find(t.bdf))
		SKIP(return, "no e1000e device");
	before = revoked(t.bdf);
	ASSERT_EQ(0, sysfs_reset(&t));
	EXPECT_EQ(before, revoked(t.bdf));
	ASSERT_EQ(0, target_open(&t, false, 0, 0x5400));
	EXPECT_EQ(0, target_read(&t));
	munmap(t.map, t.bar.size);
	vfio_close(&t.dev);
}

static int open_step(struct worker *w, unsigned int n)
{
	struct target t = {};
	int ret;

	snprintf(t.bdf, sizeof(t.bdf), "%s", (const char *)w->arg);
	ret = target_open(&t, n & 1, 0, 0x5400);
	/* A reset is under way. */
	if (ret == -EAGAIN)
		return 0;
	if (!ret && target_read(&t))
		ret = -EILSEQ;
	if (!ret)
		race_bump(&w->race->seen[w->who].ok);
	if (t.map)
		munmap(t.map, t.bar.size);
	vfio_close(&t.dev);
	return ret;
}

/* Users come and go while somebody else resets the device. */
TEST(open_races_reset)
{
	struct race *race = race_alloc();
	struct worker w = { .race = race, .step = open_step };
	struct target t = {};
	int i;

	if (nic_find(t.bdf))
		SKIP(return, "no e1000e device");
	if (access(PARAM, F_OK))
		SKIP(return, "%s", unheard);
	w.arg = t.bdf;
	ASSERT_EQ(0, worker_start(&w));
	for (i = 0; i < rounds(24); i++) {
		EXPECT_EQ(0, sysfs_reset(&t));
		if (!(i % 8))
			EXPECT_TRUE(race_wait_ok(race, 1));
	}
	EXPECT_TRUE(race_wait_ok(race, 1));
	EXPECT_EQ(0, worker_join(&w));
}

/* All devices are suspended, and resumed at once. */
static int suspend_system(void)
{
	int ret;

	write_file("/sys/module/suspend/parameters/pm_test_delay", "0");
	ret = write_file(POWER "pm_test", "platform");
	ret = ret ?: write_file(POWER "state", "freeze");
	write_file(POWER "pm_test", "none");
	return ret;
}

/*
 * While the system suspends, its devices lose power, and processes are frozen.
 * Before one of them runs again, all is back: nothing is revoked.
 */
TEST(suspend)
{
	struct nic nic = {};
	unsigned long before;

	if (!getenv("MR_SUSPEND"))
		SKIP(return, "suspends the system: set MR_SUSPEND");
	if (nic_find(nic.t.bdf))
		SKIP(return, "no e1000e device");
	ASSERT_EQ(0, nic_open(&nic));
	before = revoked(nic.t.bdf);
	ASSERT_EQ(0, suspend_system());
	expect_back(_metadata, &nic);
	EXPECT_EQ(before, revoked(nic.t.bdf));
	nic_close(&nic);
}

/* When the system resumes, a device is in D0, also if it was in D3hot. */
TEST(suspend_in_d3hot)
{
	struct nic nic = {};

	if (!getenv("MR_SUSPEND"))
		SKIP(return, "suspends the system: set MR_SUSPEND");
	if (nic_find(nic.t.bdf))
		SKIP(return, "no e1000e device");
	ASSERT_EQ(0, nic_open(&nic));
	ASSERT_EQ(0, vfio_revoke(&nic.t.dev, BY_D3HOT));
	EXPECT_EQ(SIGBUS, target_read(&nic.t));
	ASSERT_EQ(0, suspend_system());
	expect_back(_metadata, &nic);
	nic_close(&nic);
}

/* The same with one device, while the rest of the system goes on. */
TEST(resume_in_d3hot)
{
	struct nic nic = {};
	int ret;

	if (nic_find(nic.t.bdf))
		SKIP(return, "no e1000e device");
	ASSERT_EQ(0, nic_open(&nic));
	ASSERT_EQ(0, vfio_revoke(&nic.t.dev, BY_D3HOT));
	EXPECT_EQ(SIGBUS, target_read(&nic.t));
	ret = config_load(nic.t.bdf, "suspend=1");
	if (ret == -ENOENT)
		SKIP(return, "no module " MODULE);
	ASSERT_EQ(0, ret);
	config_unload();
	expect_back(_metadata, &nic);
	nic_close(&nic);
}

/* For the tests of a VF that need no event of the fixture. */
static int vf_open(struct target *t, bool cdev)
{
	return vf_make(t->pf, t->bdf) ?: vfio_bind(t->bdf) ?:
	       target_open(t, cdev, 0, 0x1c);
}

static int command_step(struct worker *w, unsigned int n)
{
	return n & 1 ? vfio_restore(w->arg, BY_COMMAND) :
		       vfio_revoke(w->arg, BY_COMMAND);
}

/*
 * Thousands of reads of a VF by DMA while its PCI_COMMAND is written, which does
 * not disable its memory: the IOMMU lets all of them through. Unlike a real VF,
 * that of QEMU's nvme does not answer while the bit is off.
 */
TEST(vf_dma)
{
	enum { TRANSFERS = 20, WORDS = EDU_SLOTS };
	struct race *race = race_alloc();
	struct worker w = { .race = race, .step = command_step };
	struct target t = {};
	unsigned long before;
	struct reader r;
	int kmsg, i;

	if (vf_open(&t, false))
		SKIP(return, "QEMU's nvme makes no VF, or no pci-pf-stub");
	ASSERT_EQ(0, reader_open(&r, t.dev.iommu));
	ASSERT_EQ(0, dma_map(t.dev.iommu, t.map, IOVA, t.bar.size, DMA_RW));
	ASSERT_EQ(t.want, peek(&r, IOVA + 0x1c));
	before = revoked(t.bdf);
	kmsg = kmsg_open();
	ASSERT_EQ(0, trace_iommu());
	w.arg = &t.dev;
	ASSERT_EQ(0, worker_start(&w));
	for (i = 0; i < TRANSFERS || (i < 50 * TRANSFERS && TRANSFERS >=
	     __atomic_load_n(&race->seen[0].steps, __ATOMIC_RELAXED)); i++) {
		ASSERT_EQ(0, edu_load_words(&r.edu, IOVA + 0x1c, 0, WORDS));
		EXPECT_NE(SIGBUS, target_read(&t));
	}
	ASSERT_EQ(0, worker_join(&w));
	ASSERT_EQ(0, vfio_restore(&t.dev, BY_COMMAND));
	trace_stop();
	EXPECT_EQ(0, target_read(&t));
	EXPECT_EQ(t.want, peek(&r, IOVA + 0x1c));
	EXPECT_LT(TRANSFERS, race->seen[0].steps);
	EXPECT_EQ(0, traced("unmap"));
	EXPECT_EQ(0, count_lines(TRACING "trace", " unmap: "));
	EXPECT_FALSE(edu_was_blocked(&r.edu, kmsg, IOVA));
	EXPECT_EQ(before, revoked(t.bdf));
	close(kmsg);
	edu_close(&r.edu);
	munmap(t.map, t.bar.size);
	vfio_close(&t.dev);
	EXPECT_EQ(0, vf_drop(t.pf));
}

/*
 * Who takes a VF away, as who removes or unplugs a device, asks the user. Until
 * the user lets go, nothing is taken away.
 */
TEST(vf_removed)
{
	struct pollfd pfd = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
	struct target t = {};
	struct reader r;
	char path[64];
	bool revokes;
	int status, fd;
	pid_t pid;

	if (vf_open(&t, false))
		SKIP(return, "QEMU's nvme makes no VF, or no pci-pf-stub");
	revokes = !access(PARAM, F_OK);
	ASSERT_EQ(0, vfio_request_eventfd(&t.dev, pfd.fd));
	ASSERT_EQ(0, reader_open(&r, t.dev.iommu));
	ASSERT_EQ(0, dma_map(t.dev.iommu, t.map, IOVA, t.bar.size, DMA_RW));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		munmap(t.map, t.bar.size);
		vfio_close(&t.dev);
		_exit(vf_drop(t.pf) ? 1 : 0);
	}
	ASSERT_EQ(1, poll(&pfd, 1, 20000));
	EXPECT_EQ(0, target_read(&t));
	EXPECT_EQ(t.want, peek(&r, IOVA + 0x1c));
	fd = dmabuf_export(&t.dev, 0, t.bar.size);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, dmabuf_import(fd, t.bar.size));

	ASSERT_EQ(0, munmap(t.map, t.bar.size));
	close(t.dev.fd);
	if (revokes)
		EXPECT_TRUE(edu_is_blocked(&r.edu, IOVA + 0x1c, RAM_IOVA,
					   false));
	EXPECT_EQ(-ENODEV, dmabuf_import(fd, t.bar.size));
	close(fd);
	close(t.dev.group);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", t.bdf);
	EXPECT_NE(0, access(path, F_OK));
	EXPECT_EQ(t.bar.size, dma_unmap(t.dev.iommu, IOVA, t.bar.size, 0));
	edu_close(&r.edu);
	close(t.dev.iommu);
	if (!revokes)
		SKIP(return, "%s", hole);
}

/* A dma-buf outlives the device, revoked for good. */
TEST(dmabuf_closed)
{
	struct vfio_dev dev;
	int fd;

	if (vfio_open_id(&dev, ID_IVSHMEM, 0, true))
		SKIP(return, "no ivshmem-plain device");
	fd = dmabuf_export(&dev, BAR2, MB(2));
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, dmabuf_import(fd, MB(2)));
	vfio_close(&dev);
	EXPECT_EQ(-ENODEV, dmabuf_import(fd, MB(2)));
	ASSERT_EQ(0, vfio_open_id(&dev, ID_IVSHMEM, 0, true));
	EXPECT_EQ(-ENODEV, dmabuf_import(fd, MB(2)));
	ASSERT_EQ(0, vfio_revoke(&dev, BY_COMMAND));
	ASSERT_EQ(0, vfio_restore(&dev, BY_COMMAND));
	EXPECT_EQ(-ENODEV, dmabuf_import(fd, MB(2)));
	close(fd);
	vfio_close(&dev);
}

TEST_HARNESS_MAIN
