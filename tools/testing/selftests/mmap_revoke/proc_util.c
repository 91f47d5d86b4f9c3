// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "mmio_util.h"
#include "proc_util.h"

enum proc_op {
	PROC_TAKE_FD, PROC_CLOSE_FD, PROC_MAP, PROC_UNMAP, PROC_POPULATE,
	PROC_READ, PROC_WRITE, PROC_FORK, PROC_HAMMER, PROC_CALM,
};

struct proc_msg {
	enum proc_op op;
	int ret;		/* 0, a signal, or a negative errno */
	int fd;			/* a descriptor of the process */
	int who;
	__u32 val;
	__u64 addr;
	__u64 offset;
	__u64 size;
	struct race *race;
};

static int msg_send(int sock, struct proc_msg *msg, int fd)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { .iov_base = msg, .iov_len = sizeof(*msg) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(int));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL) == sizeof(*msg) ? 0 : -EPIPE;
}

static int msg_recv(int sock, struct proc_msg *msg, int *fd)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { .iov_base = msg, .iov_len = sizeof(*msg) };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	if (recvmsg(sock, &mh, MSG_CMSG_CLOEXEC) != sizeof(*msg))
		return -EPIPE;
	if (fd && CMSG_FIRSTHDR(&mh))
		memcpy(fd, CMSG_DATA(&control.hdr), sizeof(int));
	return 0;
}

static void proc_serve(int sock)
{
	struct race_word word;
	struct worker worker;
	struct proc_msg msg;
	int got, spare;
	void *map;
	pid_t pid;

	/* Never outlive the test: that would keep the device open. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		got = -1;
		if (msg_recv(sock, &msg, &got))
			_exit(0);
		msg.ret = 0;
		spare = -1;
		switch (msg.op) {
		case PROC_TAKE_FD:
			msg.fd = got;
			break;
		case PROC_CLOSE_FD:
			msg.ret = close(msg.fd) ? -errno : 0;
			break;
		case PROC_MAP:
			map = mmap(NULL, msg.size, PROT_READ | PROT_WRITE,
				   MAP_SHARED, msg.fd, msg.offset);
			msg.ret = map == MAP_FAILED ? -errno : 0;
			msg.addr = (unsigned long)map;
			break;
		case PROC_UNMAP:
			msg.ret = munmap((void *)msg.addr, msg.size) ?
				  -errno : 0;
			break;
		case PROC_POPULATE:
			msg.ret = mmio_populate((void *)msg.addr, msg.size);
			break;
		case PROC_READ:
			msg.ret = mmio_read32((void *)msg.addr, &msg.val);
			break;
		case PROC_WRITE:
			msg.ret = mmio_write32((void *)msg.addr, msg.val);
			break;
		case PROC_FORK:
			/* The new process answers on the socket that came. */
			signal(SIGCHLD, SIG_IGN);
			pid = fork();
			if (!pid) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				close(sock);
				sock = got;
				continue;
			}
			spare = got;
			msg.ret = pid < 0 ? -errno : 0;
			msg.who = pid;
			break;
		case PROC_HAMMER:
			word = (struct race_word){
				.addr = (void *)msg.addr, .want = msg.val,
			};
			worker = (struct worker){
				.race = msg.race, .who = msg.who,
				.step = race_step_probe, .arg = &word,
			};
			msg.ret = worker_start(&worker);
			break;
		case PROC_CALM:
			msg.ret = worker_join(&worker);
			break;
		}
		if (spare >= 0)
			close(spare);
		if (msg_send(sock, &msg, -1))
			_exit(0);
	}
}

static int proc_call(struct proc *p, struct proc_msg *msg, int fd)
{
	int ret = msg_send(p->sock, msg, fd);

	return ret ?: msg_recv(p->sock, msg, NULL) ?: msg->ret;
}

int proc_start(struct proc *p)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (!p->pid) {
		close(sv[0]);
		proc_serve(sv[1]);
	}
	close(sv[1]);
	p->sock = sv[0];
	return 0;
}

int proc_fork(struct proc *parent, struct proc *child)
{
	struct proc_msg msg = { .op = PROC_FORK };
	int sv[2], ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	ret = proc_call(parent, &msg, sv[1]);
	close(sv[1]);
	child->pid = msg.who;
	child->sock = sv[0];
	return ret;
}

int proc_stop(struct proc *p)
{
	int status = 0;

	shutdown(p->sock, SHUT_RDWR);
	if (waitpid(p->pid, &status, 0) < 0)
		/* A grandchild: its parent reaps it as soon as it exits. */
		while (!kill(p->pid, 0))
			usleep(1000);
	close(p->sock);
	p->sock = -1;
	return status;
}

int proc_send_fd(struct proc *p, int fd)
{
	struct proc_msg msg = { .op = PROC_TAKE_FD };

	return proc_call(p, &msg, fd) ?: msg.fd;
}

int proc_close_fd(struct proc *p, int fd)
{
	struct proc_msg msg = { .op = PROC_CLOSE_FD, .fd = fd };

	return proc_call(p, &msg, -1);
}

void *proc_map(struct proc *p, int fd, __u64 offset, size_t size)
{
	struct proc_msg msg = {
		.op = PROC_MAP, .fd = fd, .offset = offset, .size = size,
	};

	return proc_call(p, &msg, -1) ? MAP_FAILED : (void *)msg.addr;
}

int proc_unmap(struct proc *p, void *addr, size_t size)
{
	struct proc_msg msg = {
		.op = PROC_UNMAP, .addr = (unsigned long)addr, .size = size,
	};

	return proc_call(p, &msg, -1);
}

int proc_populate(struct proc *p, void *addr, size_t size)
{
	struct proc_msg msg = {
		.op = PROC_POPULATE, .addr = (unsigned long)addr, .size = size,
	};

	return proc_call(p, &msg, -1);
}

int proc_read32(struct proc *p, void *addr, __u32 *val)
{
	struct proc_msg msg = { .op = PROC_READ, .addr = (unsigned long)addr };
	int ret = proc_call(p, &msg, -1);

	*val = msg.val;
	return ret;
}

int proc_write32(struct proc *p, void *addr, __u32 val)
{
	struct proc_msg msg = {
		.op = PROC_WRITE, .addr = (unsigned long)addr, .val = val,
	};

	return proc_call(p, &msg, -1);
}

int proc_hammer(struct proc *p, struct race *race, int who, void *addr,
		__u32 want)
{
	struct proc_msg msg = {
		.op = PROC_HAMMER, .race = race, .who = who,
		.addr = (unsigned long)addr, .val = want,
	};

	return proc_call(p, &msg, -1);
}

int proc_calm(struct proc *p)
{
	struct proc_msg msg = { .op = PROC_CALM };

	return proc_call(p, &msg, -1);
}
