/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dma-bufs of device memory, and iommufd, which imports them.
 *
 * Functions return 0 (or a descriptor) or a negative errno unless noted.
 */
#ifndef MMAP_REVOKE_DMABUF_UTIL_H
#define MMAP_REVOKE_DMABUF_UTIL_H

#include <stddef.h>
#include <linux/types.h>

#include "vfio_util.h"

/* The id of a new address space, 0 if there is none. */
__u32 ioas_alloc(int iommufd);
/* Map @size bytes of a dma-buf at @iova. */
int ioas_map_file(int iommufd, __u32 ioas, int fd, __u64 iova, size_t size);

/* Of the first @size bytes of a BAR; -ENOTTY if vfio-pci has no dma-bufs. */
int dmabuf_export(struct vfio_dev *dev, int bar, size_t size);
/* What importing the dma-buf gives: -ENODEV while it is revoked. */
int dmabuf_import(int fd, size_t size);

#endif
