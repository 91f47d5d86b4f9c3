/* SPDX-License-Identifier: GPL-2.0-only */
/* What /dev/mem and the files of PCI have mapped; see kernel/resource.c. */
#ifndef _LINUX_IOMEM_MMAP_H
#define _LINUX_IOMEM_MMAP_H

#include <linux/types.h>

struct mmap_revoke;
struct resource;

struct mmap_revoke *iomem_mmap_revoke(void);
bool iomem_shares_page(const struct resource *res);

#endif
