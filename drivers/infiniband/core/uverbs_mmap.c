// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device memory that uverbs files map: one revocable mmap object per file, one
 * map per rdma_user_mmap_io(), with the mmap entry as its cookie.
 *
 * When a device goes, or takes back its memory, user space finds zeros in it
 * from then on: a bus error would kill programs that only poll a doorbell
 * page, and some machines do worse at an access to a BAR that is gone. What it
 * writes goes to a page that the writable mappings of the file share, and is
 * read there. What drivers map by other means, such as queues in kernel memory,
 * stays.
 */
#include <linux/export.h>
#include <linux/mmap_revoke.h>
#include <rdma/ib_verbs.h>
#include <rdma/uverbs_types.h>
#include "core_priv.h"

static int uverbs_map(void *cookie)
{
	struct rdma_user_mmap_entry *entry = cookie;

	/*
	 * Removed after the driver looked it up. rdma_user_mmap_entry_revoke()
	 * sets this before it looks for maps, and has either found this one or
	 * is seen here.
	 */
	if (READ_ONCE(entry->driver_removed))
		return -EINVAL;
	kref_get(&entry->ref);
	return 0;
}

static void uverbs_unmap(void *cookie)
{
	rdma_user_mmap_entry_put(cookie);
}

static const struct mmap_revoke_ops uverbs_mmap_ops = {
	.name = "uverbs",
	.zero_page = true,
	.map = uverbs_map,
	.unmap = uverbs_unmap,
};

/* The object of a new file, or NULL; the caller owns the reference. */
struct mmap_revoke *uverbs_mmap_alloc(struct ib_uverbs_file *ufile,
				      const char *device)
{
	return mmap_revoke_alloc(&uverbs_mmap_ops, device, ufile);
}
EXPORT_SYMBOL_NS_GPL(uverbs_mmap_alloc, "rdma_core");

/**
 * rdma_user_mmap_entry_revoke() - Take back what an entry maps, now
 * @entry: the entry; NULL is ignored
 *
 * As rdma_user_mmap_entry_remove(), for drivers that cannot wait until user
 * space unmaps: when this returns, no process reaches the device by way of a
 * mapping of @entry, and each reads zeros, or what was written to mappings that
 * the file has lost. Then its dma-bufs are revoked, which waits for their
 * importers. The entry is freed, with ops->mmap_free(), before this returns, or
 * when the last of its dma-bufs goes, or an mmap() or export that has looked it
 * up is over.
 *
 * Context: Process context, may sleep. Takes no mmap_lock. Must not be called
 * from ops->mmap_free(), or with a lock held that it takes.
 */
void rdma_user_mmap_entry_revoke(struct rdma_user_mmap_entry *entry)
{
	if (!entry)
		return;

	/* Mappings first: they need not wait for whoever has a dma-buf. */
	xa_lock(&entry->ucontext->mmap_xa);
	entry->driver_removed = true;
	xa_unlock(&entry->ucontext->mmap_xa);
	mmap_revoke_kill_maps(entry->ucontext->ufile->mmap_revoke, entry);
	rdma_user_mmap_entry_remove(entry);
}
EXPORT_SYMBOL_GPL(rdma_user_mmap_entry_revoke);
