/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helper processes, which map and touch device memory as they are told.
 *
 * Functions return 0 or a negative errno unless noted, accesses the signal that
 * they got.
 */
#ifndef MMAP_REVOKE_PROC_UTIL_H
#define MMAP_REVOKE_PROC_UTIL_H

#include <stddef.h>
#include <sys/types.h>
#include <linux/types.h>

#include "race_util.h"

/* A helper process that does as it is told over a unix socket. */
struct proc {
	pid_t pid;
	int sock;
};

int proc_start(struct proc *p);
int proc_fork(struct proc *parent, struct proc *child);
/*
 * Returns the wait status. Once it does, everything that the process mapped or
 * had open has been released.
 */
int proc_stop(struct proc *p);
/* Returns the number that the descriptor has over there. */
int proc_send_fd(struct proc *p, int fd);
int proc_close_fd(struct proc *p, int fd);
void *proc_map(struct proc *p, int fd, __u64 offset, size_t size);
int proc_unmap(struct proc *p, void *addr, size_t size);
int proc_populate(struct proc *p, void *addr, size_t size);
int proc_read32(struct proc *p, void *addr, __u32 *val);
int proc_write32(struct proc *p, void *addr, __u32 val);
/* Have the process probe @addr for ever, and stop it. */
int proc_hammer(struct proc *p, struct race *race, int who, void *addr,
		__u32 want);
int proc_calm(struct proc *p);

#endif
