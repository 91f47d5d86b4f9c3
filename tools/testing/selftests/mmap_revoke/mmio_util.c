// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>
#include <sys/mman.h>

#include "mmio_util.h"

void *vfio_map(int fd, __u64 offset, size_t size, size_t align)
{
	size_t room = size + align;
	char *base, *addr;

	base = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return MAP_FAILED;
	addr = (char *)(((unsigned long)base + align - 1) & ~(align - 1));
	if (mmap(addr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 offset) == MAP_FAILED) {
		munmap(base, room);
		return MAP_FAILED;
	}
	if (addr > base)
		munmap(base, addr - base);
	if (base + room > addr + size)
		munmap(addr + size, base + room - addr - size);
	return addr;
}

static __thread sigjmp_buf fault_env;
static __thread sig_atomic_t fault_armed;

static void fault_handler(int sig)
{
	if (!fault_armed) {
		signal(sig, SIG_DFL);
		return;
	}
	fault_armed = 0;
	siglongjmp(fault_env, sig);
}

static __attribute__((constructor)) void fault_init(void)
{
	/* SA_NODEFER: no signal mask to save and restore on every access. */
	struct sigaction sa = {
		.sa_handler = fault_handler,
		.sa_flags = SA_NODEFER,
	};

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

static void fault_arm(bool armed)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&fault_armed, armed, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

int mmio_read32(const void *addr, __u32 *val)
{
	int sig = sigsetjmp(fault_env, 0);

	if (!sig) {
		fault_arm(true);
		*val = __atomic_load_n((const __u32 *)addr, __ATOMIC_RELAXED);
		fault_arm(false);
	}
	return sig;
}

int mmio_write32(void *addr, __u32 val)
{
	int sig = sigsetjmp(fault_env, 0);

	if (!sig) {
		fault_arm(true);
		__atomic_store_n((__u32 *)addr, val, __ATOMIC_RELAXED);
		fault_arm(false);
	}
	return sig;
}

int mmio_populate(const void *addr, size_t size)
{
	const char *p = addr;
	__u32 val;
	int sig = 0;

	for (; size && !sig; size -= getpagesize(), p += getpagesize())
		sig = mmio_read32(p, &val);
	return sig;
}
