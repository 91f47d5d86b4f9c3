/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the vfio uAPI that the mmap_revoke tests and demo need: find and
 * open a PCI device, revoke and restore its mappings in every way a user can,
 * touch mapped words without dying of SIGBUS, and drive helper processes.
 *
 * Functions return 0 (or a descriptor) or a negative errno unless noted.
 */
#ifndef MMAP_REVOKE_VFIO_UTIL_H
#define MMAP_REVOKE_VFIO_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <linux/types.h>
#include <linux/vfio.h>

#define PCI_ID(vendor, device)	((__u32)(vendor) << 16 | (device))
#define ID_EDU			PCI_ID(0x1234, 0x11e8)
#define ID_IVSHMEM		PCI_ID(0x1af4, 0x1110)
#define ID_E1000E		PCI_ID(0x8086, 0x10d3)
#define ID_TESTDEV		PCI_ID(0x1b36, 0x0005)

#define EDU_LIVENESS		4	/* BAR0: reads back ~written */

struct vfio_dev {
	char bdf[16];
	char path[64];		/* what was opened: the cdev or the group */
	bool cdev;
	int fd;
	int group;		/* -1 when opened through the cdev */
	int iommu;		/* type1 container or iommufd */
};

int write_file(const char *path, const char *text);
/* How many of a file's lines have @text. */
int count_lines(const char *path, const char *text);

#define TRACING		"/sys/kernel/tracing/"
#define OBJECTS		"/sys/kernel/debug/mmap_revoke/objects"

/*
 * Fault injection into this thread, through a descriptor from fail_open(): the
 * @nth allocation from now on fails. fail_left() calls it off and tells how far
 * away that still was, 0 if it has happened.
 */
int fail_open(void);
int fail_nth(int fd, long nth);
long fail_left(int fd);

int vfio_find(__u32 id, int nth, char bdf[16]);
int vfio_bind(const char *bdf);
int vfio_path(const char *bdf, bool cdev, char path[64]);
int vfio_open(struct vfio_dev *dev, const char *bdf, bool cdev);
int vfio_open_in(struct vfio_dev *dev, const char *bdf, int container);
int vfio_open_id(struct vfio_dev *dev, __u32 id, int nth, bool cdev);
void vfio_close(struct vfio_dev *dev);

int vfio_region(struct vfio_dev *dev, int index, struct vfio_region_info *info);
bool vfio_can_reset(struct vfio_dev *dev);
int vfio_reset(struct vfio_dev *dev);
int vfio_hot_reset(struct vfio_dev *dev);
int vfio_config_read(struct vfio_dev *dev, int off, int size, __u32 *val);
int vfio_config_write(struct vfio_dev *dev, int off, int size, __u32 val);
int vfio_request_eventfd(struct vfio_dev *dev, int efd);

/* Ways in which a user can have the mappings of a device revoked. */
enum vfio_how { BY_COMMAND, BY_LOW_POWER, BY_D3HOT };

int vfio_revoke(struct vfio_dev *dev, enum vfio_how how);
int vfio_restore(struct vfio_dev *dev, enum vfio_how how);
int vfio_sleep_and_wake(struct vfio_dev *dev);

/* DMA mappings of a type1 container; dma_unmap() returns the size. */
#define DMA_R		VFIO_DMA_MAP_FLAG_READ
#define DMA_W		VFIO_DMA_MAP_FLAG_WRITE
#define DMA_RW		(DMA_R | DMA_W)

int dma_map(int container, const void *vaddr, __u64 iova, size_t size,
	    __u32 flags);
ssize_t dma_unmap(int container, __u64 iova, size_t size, __u32 flags);

/*
 * QEMU's edu device as a DMA engine that moves a word between its buffer and
 * an IOVA below 256 MiB. What it reads goes to, and what it writes comes from,
 * a word of memory that is mapped at @bounce_iova.
 */
#define EDU_IOVA_END	0x10000000UL

struct edu {
	struct vfio_dev dev;
	char *regs;
	size_t size;
};

int edu_open(struct edu *edu, const char *bdf, int container);
/* The same for a device that is open already, and closed if this fails. */
int edu_start(struct edu *edu);
void edu_close(struct edu *edu);
int edu_read32(struct edu *edu, __u64 iova, __u64 bounce_iova);
int edu_write32(struct edu *edu, __u64 iova, __u64 bounce_iova);
bool edu_is_blocked(struct edu *edu, __u64 iova, __u64 bounce_iova, bool write);

/* The kernel's log from here on. */
int kmsg_open(void);
bool kmsg_has(int fd, const char *text);

/* Returns an address that is @align aligned, or MAP_FAILED. */
void *vfio_map(int fd, __u64 offset, size_t size, size_t align);

/* These return 0 or the signal that the access got. */
int mmio_populate(const void *addr, size_t size);
int mmio_read32(const void *addr, __u32 *val);
int mmio_write32(void *addr, __u32 val);

/*
 * A race: workers (threads or processes) access device memory while somebody
 * revokes and restores it. @phase is odd from the moment a revoke has returned
 * to the moment before the restore is called, so an access that succeeds with
 * the same odd phase before and after it has broken the guarantee.
 * Lives in shared memory.
 */
#define RACE_WORKERS	8

struct race_seen {
	__u64 ok;		/* accesses that succeeded */
	__u64 fault;		/* accesses that got SIGBUS, or EIO */
	__u64 ok_off;		/* succeeded while revoked: a violation */
	__u64 fault_off;	/* failed while revoked */
	__u64 bad;		/* succeeded with the wrong value: a violation */
	__u64 slowest;		/* longest access, ns */
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
static inline bool race_over(struct race *race)
{
	return __atomic_load_n(&race->stop, __ATOMIC_SEQ_CST);
}

static inline void race_stop(struct race *race)
{
	__atomic_store_n(&race->stop, 1, __ATOMIC_SEQ_CST);
}

/* A helper process that does as it is told over a unix socket. */
struct proc {
	pid_t pid;
	int sock;
};

int proc_start(struct proc *p);
int proc_fork(struct proc *parent, struct proc *child);
int proc_stop(struct proc *p);
int proc_send_fd(struct proc *p, int fd);
int proc_close_fd(struct proc *p, int fd);
void *proc_map(struct proc *p, int fd, __u64 offset, size_t size);
int proc_unmap(struct proc *p, void *addr, size_t size);
int proc_populate(struct proc *p, void *addr, size_t size);
int proc_read32(struct proc *p, void *addr, __u32 *val);
int proc_write32(struct proc *p, void *addr, __u32 val);
/* Have the process probe @addr for ever, and stop it. */
int proc_hammer(struct proc *p, struct race *race, int who, void *addr,
		__u32 want);
int proc_calm(struct proc *p);

#endif
