/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the uverbs ABI that the mmap_revoke tests and demo need, on the
 * device of lib/test_rdma_mmap.c: mmap entries, mappings, and the ways in which
 * a device takes them back.
 *
 * Functions return 0 (or a descriptor) or a negative errno unless noted.
 */
#ifndef MMAP_REVOKE_RDMA_UTIL_H
#define MMAP_REVOKE_RDMA_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#include "../../../../lib/test_rdma_mmap_uapi.h"

struct rdma_dev {
	char bdf[16];
	char path[64];		/* /dev/infiniband/uverbsN */
	int fd;
	char soft;		/* first letter of the type of a software device */
};

struct rdma_entry {
	__u32 pd;
	__u64 offset;		/* for mmap() */
};

/* Bind a PCI device to the test driver, and wait for its uverbs device. */
int rdma_bind(struct rdma_dev *dev, const char *bdf);
int rdma_open(struct rdma_dev *dev);
/* With a descriptor for asynchronous events, which rdma_open() closes. */
int rdma_open_async(struct rdma_dev *dev, int *async);
void rdma_close(struct rdma_dev *dev);
int rdma_entry(struct rdma_dev *dev, struct rdma_entry *entry, __u32 page,
	       __u32 nr_pages, enum test_rdma_mmap_type type, __u32 flags);
int rdma_entry_end(struct rdma_dev *dev, struct rdma_entry *entry);
/* Returns a descriptor of a dma-buf. */
int rdma_dmabuf(struct rdma_dev *dev, const struct rdma_entry *entry);
/* What the page table of this process has at @addr; -ENOENT: nothing. */
int rdma_pgprot(struct rdma_dev *dev, const void *addr, unsigned long *prot);
/*
 * How many of @nr pages from @addr on are in the page tables of this process,
 * without a touch, and are page @page of the BAR and the pages after it.
 */
int rdma_mapped(struct rdma_dev *dev, const void *addr, __u32 page,
		unsigned int nr);
/*
 * Entries that were "created" or "freed" since the module was loaded, mmap()
 * calls that are "waiting".
 */
int rdma_count(const char *counter);

/* Returns the address of a writable mapping, or MAP_FAILED. */
void *rdma_map(struct rdma_dev *dev, __u64 offset, size_t size);

/*
 * Software RDMA, "rxe" or "siw", on a network device of its own: queues in
 * kernel memory, which both sides map.
 */
struct rdma_queue {
	__u64 offset;
	size_t size;
};

int rdma_soft_new(struct rdma_dev *dev, const char *type);
int rdma_soft_delete(void);
int rdma_soft_queues(struct rdma_dev *dev, struct rdma_queue queue[3]);

/*
 * How a device goes: its memory only, for a reset; its driver; the device, by
 * sysfs or for real. The last two leave it away until rdma_back().
 */
enum rdma_how {
	BY_DISASSOCIATE, BY_UNBIND, BY_MODULE, BY_REMOVE, BY_UNPLUG,
};

/* -EOPNOTSUPP where this machine has no way to do it. */
int rdma_gone(struct rdma_dev *dev, enum rdma_how how);
int rdma_back(struct rdma_dev *dev, enum rdma_how how);

#endif
