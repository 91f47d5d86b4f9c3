// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device memory that vfio maps into processes: one revocable mmap object for
 * each device, to which all its files are bound.
 *
 * The object lives as long as the vfio_device and serves one generation of
 * users after the other: the first open begins a generation, and the last close
 * ends it. In between the driver suspends and resumes the object as its memory
 * goes and comes.
 *
 * IOMMU backends get PFNs from the object and follow its state, without knowing
 * vfio: see mmap_revoke_range_add(). Memory whose driver gives no PFN is not for
 * them.
 *
 * See Documentation/driver-api/vfio-mmap.rst.
 */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/mmap_revoke.h>
#include <linux/pagemap.h>
#include <linux/vfio.h>
#include "vfio.h"

/* The VMA keeps the device open, and with that registered. */
static int vfio_mmap_pfn(struct mmap_revoke *mr, struct vm_area_struct *vma,
			 unsigned long addr, unsigned long *pfn)
{
	struct vfio_device *device = mmap_revoke_priv(mr);

	/* What is seen in a private mapping may be a copy. */
	if (!device->ops->vma_to_pfn || vma_is_cow_mapping(vma))
		return -EPERM;
	return device->ops->vma_to_pfn(device, vma, addr, pfn);
}

static const struct mmap_revoke_ops vfio_mmap_ops = {
	.name = "vfio",
	.contiguous = true,	/* as vma_to_pfn() must be */
	.pfn = vfio_mmap_pfn,
};

int vfio_mmap_alloc(struct vfio_device *device)
{
	device->mmap_revoke = mmap_revoke_alloc(&vfio_mmap_ops,
						dev_name(device->dev), device);
	return device->mmap_revoke ? 0 : -ENOMEM;
}

/* Bound files and backends have references of their own. */
void vfio_mmap_free(struct vfio_device *device)
{
	mmap_revoke_put(device->mmap_revoke);
}

/* Of a file that nobody has mapped yet; undone by vfio_mmap_unbind(). */
void vfio_mmap_bind(struct vfio_device *device, struct file *file)
{
	mmap_revoke_bind_file(device->mmap_revoke, file);
}

void vfio_mmap_unbind(struct file *file)
{
	mmap_revoke_unbind_file(file);
}

/*
 * A generation begins, before the driver opens the device. Mappings that are
 * left of the last one are a bug, and nobody may use the device then.
 */
int vfio_mmap_open(struct vfio_device *device)
{
	return mmap_revoke_renew(device->mmap_revoke);
}

/* It ends, before the driver touches the device for its next user. */
void vfio_mmap_close(struct vfio_device *device)
{
	mmap_revoke_kill(device->mmap_revoke);
}

/**
 * vfio_pgoff_to_pfn - vma_to_pfn() of drivers that map by vm_pgoff
 * @device: ignored
 * @vma: a VMA for which mmap() has set vm_pgoff to its first PFN
 * @addr: user address in @vma
 * @pfn: where the PFN goes
 *
 * Context: The mmap_lock of the VMA's mm is held.
 * Return: 0.
 */
int vfio_pgoff_to_pfn(struct vfio_device *device, struct vm_area_struct *vma,
		      unsigned long addr, unsigned long *pfn)
{
	*pfn = linear_page_index(vma, addr);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_pgoff_to_pfn);
