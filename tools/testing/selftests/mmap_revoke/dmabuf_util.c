// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <linux/iommufd.h>

#include "dmabuf_util.h"

__u32 ioas_alloc(int iommufd)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	return ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc) ? 0 : alloc.out_ioas_id;
}

int ioas_map_file(int iommufd, __u32 ioas, int fd, __u64 iova, size_t size)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map), .ioas_id = ioas, .fd = fd,
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
		.iova = iova, .length = size,
	};

	return ioctl(iommufd, IOMMU_IOAS_MAP_FILE, &map) ? -errno : 0;
}

int dmabuf_export(struct vfio_dev *dev, int bar, size_t size)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_dma_buf dma_buf;
		struct vfio_region_dma_range range;
	} arg = {
		.feature.argsz = sizeof(arg),
		.feature.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_DMA_BUF,
		.dma_buf.region_index = bar,
		.dma_buf.open_flags = O_RDWR | O_CLOEXEC,
		.dma_buf.nr_ranges = 1,
		.range.length = size,
	};
	int fd = ioctl(dev->fd, VFIO_DEVICE_FEATURE, &arg);

	if (fd < 0 && errno == EOPNOTSUPP)
		return -ENOTTY;
	return fd < 0 ? -errno : fd;
}

int dmabuf_import(int fd, size_t size)
{
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	int ret;

	if (iommufd < 0)
		return -errno;
	ret = ioas_map_file(iommufd, ioas_alloc(iommufd), fd, 0x1000000, size);
	close(iommufd);
	return ret;
}
