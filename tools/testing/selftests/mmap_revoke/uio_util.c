// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "sys_util.h"
#include "uio_util.h"

#define MODULE	"test_uio_mmap"
#define DRIVER	"/sys/bus/platform/drivers/" MODULE "/"
#define DEVICE	"/sys/bus/platform/devices/" MODULE
#define PARAMS	"/sys/module/" MODULE "/parameters/"

int uio_unbind(void)
{
	return write_file(DRIVER "unbind", MODULE);
}

int uio_bind(const char *pci, __u64 phys)
{
	char text[32];
	int ret = 0;

	if (access(DRIVER, F_OK))
		ret = module_load(MODULE, "MR_UIO_MODULE", "");
	if (ret)
		return ret;
	if (!access(DRIVER MODULE, F_OK))
		ret = uio_unbind();
	snprintf(text, sizeof(text), "%#llx", phys);
	ret = ret ?: write_file(PARAMS "phys", text);
	ret = ret ?: write_file(PARAMS "dma", pci ?: "");
	return ret ?: write_file(DRIVER "bind", MODULE);
}

int uio_still_mapped(void)
{
	int val, ret = scan_file(PARAMS "mapped", "%d", &val);

	return ret ?: val;
}

int uio_path(const char *parent, char path[32])
{
	char sys[128], name[16];
	int ret;

	snprintf(sys, sizeof(sys), "%s/uio", parent);
	ret = dir_entry(sys, "uio", name, sizeof(name));
	if (ret)
		return ret;
	snprintf(path, 32, "/dev/%s", name);
	return file_wait(path, true);
}

int uio_test_path(char path[32])
{
	return uio_path(DEVICE, path);
}

void *uio_map(int fd, enum uio_map m, size_t pages)
{
	return mmap(NULL, pages * getpagesize(), PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, m * getpagesize());
}

int uio_ptes(const void *addr, size_t pages, unsigned long *prot)
{
	char text[64];
	int ret, n;
	FILE *f;

	snprintf(text, sizeof(text), "%p %zu", addr, pages);
	ret = write_file(DEVICE "/ptes", text);
	if (ret)
		return ret;
	f = fopen(DEVICE "/ptes", "r");
	if (!f)
		return -errno;
	n = fscanf(f, "%lx %d", prot, &ret);
	fclose(f);
	return n == 2 ? ret : -EIO;
}
