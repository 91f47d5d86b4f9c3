/* SPDX-License-Identifier: GPL-2.0 */
/*
 * UIO devices: that of lib/test_uio_mmap.c, and those of uio_pci_generic.
 *
 * Functions return 0 (or a descriptor) or a negative errno unless noted.
 */
#ifndef MMAP_REVOKE_UIO_UTIL_H
#define MMAP_REVOKE_UIO_UTIL_H

#include <stddef.h>
#include <linux/types.h>

/* Maps of the test device, and how many pages they have. */
enum uio_map { UIO_LOGICAL, UIO_VIRTUAL, UIO_IOVA, UIO_COHERENT, UIO_PHYS };

#define UIO_MAPS	5

static inline size_t uio_pages(enum uio_map m)
{
	return m == UIO_VIRTUAL ? 8 : 4;
}

/*
 * Bind the test device anew. Its coherent memory is that of a PCI device, which
 * may be NULL, and the last map is device memory at @phys, if that is not 0.
 */
int uio_bind(const char *pci, __u64 phys);
int uio_unbind(void);
/* Returns how many pages were still mapped after that. */
int uio_still_mapped(void);
/* The device node below the sysfs directory of its parent. */
int uio_path(const char *parent, char path[32]);
int uio_test_path(char path[32]);
void *uio_map(int fd, enum uio_map m, size_t pages);
/* Of PFNs: how many of @pages are in page tables, and the pgprot of the first. */
int uio_ptes(const void *addr, size_t pages, unsigned long *prot);

#endif
