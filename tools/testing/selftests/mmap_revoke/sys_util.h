/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Files of the kernel: sysfs, the log, traces, fault injection; and the clock.
 *
 * Functions return 0 (or a descriptor) or a negative errno unless noted.
 */
#ifndef MMAP_REVOKE_SYS_UTIL_H
#define MMAP_REVOKE_SYS_UTIL_H

#include <stdbool.h>
#include <time.h>
#include <linux/types.h>

#define TRACING		"/sys/kernel/tracing/"
#define OBJECTS		"/sys/kernel/debug/mmap_revoke/objects"

int write_file(const char *path, const char *text);
/* The attribute @name of a PCI device. */
int pci_write(const char *bdf, const char *name, const char *text);
/* The one value of a file that @format, of fscanf(), is for. */
int scan_file(const char *path, const char *format, void *val);
/* What the first line that matches @format has, a number; -1: there is none. */
long proc_number(const char *path, const char *format);
/* The entry of a directory whose name begins with @prefix; -ENODEV: there is none. */
int dir_entry(const char *path, const char *prefix, char *name, size_t size);
/* How many of a file's lines have @text. */
int count_lines(const char *path, const char *text);

/*
 * Load a module from the file that the environment variable @where names, or
 * where there is none by modprobe; -ENOENT if that does not find it.
 */
int module_load(const char *name, const char *where, const char *parameters);

static inline __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/*
 * Fault injection into this thread, through a descriptor from fail_open(): the
 * @nth allocation from now on fails. fail_left() calls it off and tells how far
 * away that still was, 0 if it has happened.
 */
int fail_open(void);
/* The same, and pages count, too: page tables are pages. */
int fail_open_pages(void);
int fail_nth(int fd, long nth);
long fail_left(int fd);
/*
 * All page allocations of this thread fail from a write of "1" to the
 * descriptor to a write of "0": opening a file takes memory.
 */
int fail_all_pages(void);

/* The kernel's log from here on. */
int kmsg_open(void);
bool kmsg_has(int fd, const char *text);

/*
 * One line to the machine that emulates the devices; see workbench/boot.
 * -EOPNOTSUPP where nobody listens.
 */
int host_request(const char *request);
/* How the machine calls a device. */
int host_name(const char *bdf, char name[64]);
/* The addresses of a BAR, both 0 where it has none; @end is its last byte. */
int pci_bar(const char *bdf, int nr, __u64 *start, __u64 *end);
/* Pull a device, and put one into the same slot; these wait for it. */
int pci_unplug(const char *bdf);
int pci_plug(const char *bdf);
/* Until a file is there, or is not, for at most 30 s. */
int file_wait(const char *path, bool exists);

#endif
