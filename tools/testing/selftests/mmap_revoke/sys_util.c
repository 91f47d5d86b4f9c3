// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "sys_util.h"

#define FAIL_SLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGES	"/sys/kernel/debug/fail_page_alloc/"
#define HOST		"/dev/virtio-ports/org.mmap_revoke.host"

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int pci_write(const char *bdf, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	return write_file(path, text);
}

int module_load(const char *name, const char *where, const char *parameters)
{
	const char *file = getenv(where);
	char command[128];
	int fd, ret;

	if (!file) {
		snprintf(command, sizeof(command), "modprobe -q %s %s", name,
			 parameters);
		return system(command) ? -ENOENT : 0;
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, parameters, 0) ? -errno : 0;
	close(fd);
	return ret;
}

int scan_file(const char *path, const char *format, void *val)
{
	FILE *f = fopen(path, "r");
	int n;

	if (!f)
		return -errno;
	n = fscanf(f, format, val);
	fclose(f);
	return n == 1 ? 0 : -EIO;
}

long proc_number(const char *path, const char *format)
{
	FILE *f = fopen(path, "r");
	char line[128];
	long val = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, format, &val) == 1)
			break;
	if (f)
		fclose(f);
	return val;
}

int dir_entry(const char *path, const char *prefix, char *name, size_t size)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int ret = -ENODEV;

	if (!dir)
		return -errno;
	while (ret && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix))) {
			snprintf(name, size, "%s", entry->d_name);
			ret = 0;
		}
	closedir(dir);
	return ret;
}

int count_lines(const char *path, const char *text)
{
	char line[1024];
	int n = 0;
	FILE *f;

	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		n += !!strstr(line, text);
	if (f)
		fclose(f);
	return n;
}

int fail_open(void)
{
	int ret;

	/* Allocations that may sleep, too; not a word of them in the log. */
	ret = write_file(FAIL_SLAB "ignore-gfp-wait", "N") ?:
	      write_file(FAIL_SLAB "verbose", "0");
	if (ret)
		return ret;
	/* Pages are not counted: how many caches take is different each time. */
	write_file(FAIL_PAGES "ignore-gfp-wait", "Y");
	write_file(FAIL_PAGES "verbose", "0");
	ret = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}

int fail_open_pages(void)
{
	int fd = fail_open(), ret;

	if (fd < 0)
		return fd;
	ret = write_file(FAIL_PAGES "min-order", "0") ?:
	      write_file(FAIL_PAGES "ignore-gfp-wait", "N");
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

int fail_nth(int fd, long nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%ld", nth);

	return pwrite(fd, text, n, 0) == n ? 0 : -errno;
}

long fail_left(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) < 0 || fail_nth(fd, 0))
		return -errno;
	return atol(text);
}

int fail_all_pages(void)
{
	/* First of all that none of another thread does. */
	int ret = write_file(FAIL_PAGES "task-filter", "Y") ?:
		  write_file(FAIL_PAGES "times", "-1") ?:
		  write_file(FAIL_PAGES "verbose", "0") ?:
		  write_file(FAIL_PAGES "min-order", "0") ?:
		  write_file(FAIL_PAGES "ignore-gfp-wait", "N") ?:
		  write_file(FAIL_PAGES "probability", "100");

	if (ret)
		return ret;
	ret = open("/proc/thread-self/make-it-fail", O_WRONLY | O_CLOEXEC);
	return ret < 0 ? -errno : ret;
}

int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	lseek(fd, 0, SEEK_END);
	return fd;
}

bool kmsg_has(int fd, const char *text)
{
	char line[1024];
	ssize_t n;
	int i;

	for (i = 0; i < 50; i++) {
		while ((n = read(fd, line, sizeof(line) - 1)) > 0 ||
		       (n < 0 && errno == EPIPE)) {
			line[n < 0 ? 0 : n] = '\0';
			if (strstr(line, text))
				return true;
		}
		usleep(10000);
	}
	return false;
}

int host_request(const char *request)
{
	char answer[128];
	int fd, n;

	if (access(HOST, F_OK))
		return -EOPNOTSUPP;
	while ((fd = open(HOST, O_RDWR | O_CLOEXEC)) < 0) {
		if (errno != EBUSY)
			return -errno;
		usleep(10000);
	}
	n = write(fd, request, strlen(request)) < 0 ? -1 :
	    read(fd, answer, sizeof(answer) - 1);
	close(fd);
	return n > 1 && !strncmp(answer, "ok", 2) ? 0 : -EIO;
}

int host_name(const char *bdf, char name[64])
{
	char line[128], address[32];
	int ret = -EOPNOTSUPP;
	FILE *f;

	f = fopen("/run/devices", "r");
	while (f && ret && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %31s", name, address) == 2 &&
		    !strcmp(address, bdf))
			ret = 0;
	if (f)
		fclose(f);
	return ret;
}

int file_wait(const char *path, bool exists)
{
	int n;

	for (n = 0; n < 3000; n++) {
		if (!access(path, F_OK) == exists)
			return 0;
		usleep(10000);
	}
	return -ETIME;
}

/* The request with the machine's name for the device, until it is done. */
static int pci_request(const char *bdf, const char *request, int tries)
{
	char name[64], text[128];
	int ret = host_name(bdf, name);

	if (ret)
		return ret;
	snprintf(text, sizeof(text), "%s %s\n", request, name);
	while ((ret = host_request(text)) && --tries)
		usleep(100000);
	return ret;
}

int pci_bar(const char *bdf, int nr, __u64 *start, __u64 *end)
{
	char path[128];
	int n, ret = 0;
	FILE *f;

	*start = *end = 0;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", bdf);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	for (n = 0; !ret && n <= nr; n++)
		if (fscanf(f, "%llx %llx %*x", start, end) != 2)
			ret = -EIO;
	fclose(f);
	return ret;
}

int pci_unplug(const char *bdf)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", bdf);
	return pci_request(bdf, "device_del", 1) ?: file_wait(path, false);
}

int pci_plug(const char *bdf)
{
	char path[128];

	/* The slot is powered off some time after the device went. */
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", bdf);
	return pci_request(bdf, "device_back", 100) ?: file_wait(path, true);
}

