/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* The interface between test_rdma_mmap.c and its tests. */
#ifndef _LIB_TEST_RDMA_MMAP_UAPI_H
#define _LIB_TEST_RDMA_MMAP_UAPI_H

#include <linux/types.h>

enum test_rdma_mmap_type {
	TEST_RDMA_MMAP_UC,
	TEST_RDMA_MMAP_WC,
	TEST_RDMA_MMAP_WB,
	/* only without an entry: a page of kernel memory that holds zeros */
	TEST_RDMA_MMAP_KERNEL,
	/*
	 * likewise: mmap() waits so many milliseconds as the page has for a
	 * number, or for a signal, and fails
	 */
	TEST_RDMA_MMAP_WAIT,
};

/* The page offset of mmap() without an entry: what, and which page of it. */
#define TEST_RDMA_MMAP_PGOFF(type, page)	(((type) + 1) << 24 | (page))

/*
 * Flags of an entry. At the end it is revoked, and not removed; mmap() fails
 * after the driver has mapped it; when mmap() has made the VMA, and user space
 * does not run yet, rdma_user_mmap_disassociate() is called, or munmap().
 */
#define TEST_RDMA_MMAP_REVOKE		1
#define TEST_RDMA_MMAP_FAIL		2
#define TEST_RDMA_MMAP_DISASSOCIATE	4
#define TEST_RDMA_MMAP_UNMAP		8

/* Driver data of ALLOC_PD: a PD is an mmap entry. */
struct test_rdma_mmap_alloc_pd_req {
	__u32 page;	/* of BAR 2 */
	__u32 nr_pages;
	__u32 type;
	__u32 flags;
};

struct test_rdma_mmap_alloc_pd_resp {
	__aligned_u64 offset;	/* for mmap(), in bytes */
};

#endif /* _LIB_TEST_RDMA_MMAP_UAPI_H */
