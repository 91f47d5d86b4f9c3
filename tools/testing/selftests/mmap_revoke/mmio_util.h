/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mapped device memory: touch it without dying of SIGBUS or SIGSEGV.
 */
#ifndef MMAP_REVOKE_MMIO_UTIL_H
#define MMAP_REVOKE_MMIO_UTIL_H

#include <stddef.h>
#include <sys/resource.h>
#include <linux/types.h>

/* Returns an address that is @align aligned, or MAP_FAILED. */
void *vfio_map(int fd, __u64 offset, size_t size, size_t align);

/* These return 0 or the signal that the access got. */
int mmio_populate(const void *addr, size_t size);
int mmio_read32(const void *addr, __u32 *val);
int mmio_write32(void *addr, __u32 val);

/* Page faults that this thread, or this process, has taken. */
static inline long faults(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return usage.ru_minflt;
}

#endif
