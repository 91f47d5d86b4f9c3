/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DMA through a container, and a device that does some.
 *
 * Functions return 0 or a negative errno unless noted.
 */
#ifndef MMAP_REVOKE_DMA_UTIL_H
#define MMAP_REVOKE_DMA_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "vfio_util.h"

/* DMA mappings of a container; dma_unmap() returns the size. */
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

/*
 * A transfer takes a tenth of a second: to read many words, load them into
 * slots of edu's buffer first, then store all slots at once.
 */
#define EDU_SLOTS	512

int edu_load(struct edu *edu, __u64 iova, unsigned int slot);
int edu_load_words(struct edu *edu, __u64 iova, unsigned int slot,
		   unsigned int nr);
int edu_store(struct edu *edu, __u64 iova, unsigned int slot, unsigned int nr);

/* Did the IOMMU block an access to @iova since kmsg_open()? */
bool edu_was_blocked(struct edu *edu, int kmsg, __u64 iova);
/* Does it block one that is made now? */
bool edu_is_blocked(struct edu *edu, __u64 iova, __u64 bounce_iova, bool write);

#endif
