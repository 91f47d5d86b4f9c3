// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/pci_regs.h>

#include "dma_util.h"

int dma_map(int container, const void *vaddr, __u64 iova, size_t size,
	    __u32 flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = flags,
		.vaddr = (unsigned long)vaddr, .iova = iova, .size = size,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

ssize_t dma_unmap(int container, __u64 iova, size_t size, __u32 flags)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .flags = flags,
		.iova = iova, .size = size,
	};

	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) ? -errno :
	       (ssize_t)unmap.size;
}

/* Registers of edu's DMA engine in BAR 0, and the buffer that it sees. */
#define EDU_DMA_SRC		0x80
#define EDU_DMA_DST		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_CMD		0x98
#define EDU_DMA_RUN		1
#define EDU_DMA_TO_MEMORY	2
#define EDU_BUFFER		0x40000

int edu_open(struct edu *edu, const char *bdf, int container)
{
	return vfio_open_in(&edu->dev, bdf, container) ?: edu_start(edu);
}

int edu_start(struct edu *edu)
{
	struct vfio_region_info bar;
	__u32 cmd;
	int ret;

	ret = vfio_region(&edu->dev, 0, &bar) ?:
	      vfio_config_read(&edu->dev, PCI_COMMAND, 2, &cmd) ?:
	      vfio_config_write(&edu->dev, PCI_COMMAND, 2,
				cmd | PCI_COMMAND_MASTER);
	if (!ret) {
		edu->size = bar.size;
		edu->regs = vfio_map(edu->dev.fd, bar.offset, bar.size,
				     getpagesize());
		ret = edu->regs == MAP_FAILED ? -errno : 0;
	}
	if (ret)
		vfio_close(&edu->dev);
	return ret;
}

void edu_close(struct edu *edu)
{
	munmap(edu->regs, edu->size);
	vfio_close(&edu->dev);
}

static int edu_transfer(struct edu *edu, __u32 src, __u32 dst, __u32 size,
			__u32 cmd)
{
	__u32 val = 0;
	int ret, i;

	ret = mmio_write32(edu->regs + EDU_DMA_SRC, src) ?:
	      mmio_write32(edu->regs + EDU_DMA_DST, dst) ?:
	      mmio_write32(edu->regs + EDU_DMA_COUNT, size) ?:
	      mmio_write32(edu->regs + EDU_DMA_CMD, cmd | EDU_DMA_RUN);
	/* It takes a tenth of a second. */
	for (i = 0; !ret && i < 10000; i++) {
		ret = mmio_read32(edu->regs + EDU_DMA_CMD, &val);
		if (ret || !(val & EDU_DMA_RUN))
			break;
		usleep(1000);
	}
	return ret ? -EFAULT : val & EDU_DMA_RUN ? -ETIMEDOUT : 0;
}

int edu_load_words(struct edu *edu, __u64 iova, unsigned int slot,
		   unsigned int nr)
{
	return edu_transfer(edu, iova, EDU_BUFFER + 4 * slot, 4 * nr, 0);
}

int edu_load(struct edu *edu, __u64 iova, unsigned int slot)
{
	return edu_load_words(edu, iova, slot, 1);
}

int edu_store(struct edu *edu, __u64 iova, unsigned int slot, unsigned int nr)
{
	return edu_transfer(edu, EDU_BUFFER + 4 * slot, iova, 4 * nr,
			    EDU_DMA_TO_MEMORY);
}

/* To see what the engine read, it has to write that to @bounce_iova. */
int edu_read32(struct edu *edu, __u64 iova, __u64 bounce_iova)
{
	return edu_load(edu, iova, 0) ?: edu_store(edu, bounce_iova, 0, 1);
}

int edu_write32(struct edu *edu, __u64 iova, __u64 bounce_iova)
{
	return edu_load(edu, bounce_iova, 0) ?: edu_store(edu, iova, 0, 1);
}

bool edu_was_blocked(struct edu *edu, int kmsg, __u64 iova)
{
	char text[64];

	snprintf(text, sizeof(text), "[%s] fault addr 0x%llx ",
		 edu->dev.bdf, (unsigned long long)iova & ~0xfffULL);
	return kmsg_has(kmsg, text);
}

/* The kernel reports at most 10 faults in 5 seconds: try longer than that. */
bool edu_is_blocked(struct edu *edu, __u64 iova, __u64 bounce_iova, bool write)
{
	int fd = kmsg_open(), i;
	bool seen = false;

	for (i = 0; fd >= 0 && !seen && i < 20; i++) {
		if (write ? edu_write32(edu, iova, bounce_iova) :
			    edu_load(edu, iova, 0))
			break;
		seen = edu_was_blocked(edu, fd, iova);
	}
	close(fd);
	return seen;
}
