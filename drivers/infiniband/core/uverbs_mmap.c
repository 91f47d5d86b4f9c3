// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device memory that uverbs files map: one revocable mmap object per file, one
 * map per rdma_user_mmap_io(), with the mmap entry as its cookie.
 *
 * When a device goes, or takes back its memory, the mappings read as zeros from
 * then on. A bus error would kill programs that only poll a doorbell page, and
 * on some machines an access to a BAR that is gone is worse. All writable
 * mappings of a file share one page, which keeps what is written. What drivers
 * map by other means, such as queues in kernel memory, stays.
 */
#include <linux/mmap_revoke.h>
#include <rdma/ib_verbs.h>
#include "rdma_core.h"

static int uverbs_map(struct mmap_revoke *mr, void *cookie)
{
	struct rdma_user_mmap_entry *entry = cookie;

	/*
	 * The entry may have been removed after the driver looked it up.
	 * rdma_user_mmap_entry_revoke() sets this before it looks for maps: it
	 * either finds the new map or is seen here.
	 */
	if (READ_ONCE(entry->driver_removed))
		return -EINVAL;
	kref_get(&entry->ref);
	return 0;
}

static void uverbs_unmap(struct mmap_revoke *mr, void *cookie)
{
	rdma_user_mmap_entry_put(cookie);
}

static const struct mmap_revoke_ops uverbs_mmap_ops = {
	.name = "uverbs",
	.zero_page = true,
	.map = uverbs_map,
	.unmap = uverbs_unmap,
};

/* The object of a new file, with a reference for the caller; or NULL. */
struct mmap_revoke *uverbs_mmap_alloc(struct ib_uverbs_file *ufile,
				      const char *device)
{
	return mmap_revoke_alloc(&uverbs_mmap_ops, device, ufile);
}
