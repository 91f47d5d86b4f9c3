// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/netlink.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_netlink.h>
#include <rdma/rdma_user_ioctl.h>
#include <rdma/rdma_user_rxe.h>
#include <rdma/siw-abi.h>

#include "rdma_util.h"
#include "sys_util.h"

#define MODULE	"test_rdma_mmap"
#define DEVICES	"/sys/bus/pci/devices/"
#define DRIVER	"/sys/bus/pci/drivers/" MODULE
#define PARAMS	"/sys/module/" MODULE "/parameters/"

int rdma_bind(struct rdma_dev *dev, const char *bdf)
{
	char path[128], bound[128], name[32];
	int ret, n;

	memset(dev, 0, sizeof(*dev));
	dev->fd = -1;
	snprintf(dev->bdf, sizeof(dev->bdf), "%.15s", bdf);
	pci_write(dev->bdf, "driver_override", MODULE);
	ret = access(DRIVER, F_OK) ? module_load(MODULE, "MR_MODULE", "") : 0;
	if (ret)
		return ret;
	snprintf(bound, sizeof(bound), DRIVER "/%s", bdf);
	/* A device that was just plugged in is not complete at first. */
	for (n = 0; access(bound, F_OK); n++) {
		pci_write(dev->bdf, "driver/unbind", bdf);
		ret = write_file(DRIVER "/bind", bdf);
		if (ret && n == 500)
			return ret;
		usleep(ret ? 10000 : 0);
	}

	snprintf(path, sizeof(path), DEVICES "%s/infiniband_verbs", bdf);
	/* Where it was bound as it was plugged in, the driver is still at it. */
	for (n = 0; (ret = dir_entry(path, "uverbs", name, sizeof(name))); n++) {
		if (n == 3000)
			return ret;
		usleep(10000);
	}
	snprintf(dev->path, sizeof(dev->path), "/dev/infiniband/%s", name);
	return file_wait(dev->path, true);
}

/* A command with its response; words on both sides. */
static int command(int fd, __u32 number, void *in, size_t in_size, void *out,
		   size_t out_size)
{
	struct ib_uverbs_cmd_hdr *hdr = in;
	__u64 *response = (__u64 *)(hdr + 1);

	hdr->command = number;
	hdr->in_words = in_size / 4;
	hdr->out_words = out_size / 4;
	if (out)
		*response = (unsigned long)out;
	return write(fd, in, in_size) == (ssize_t)in_size ? 0 : -errno;
}

int rdma_open_async(struct rdma_dev *dev, int *async)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_get_context cmd;
	} in = {};
	struct {
		struct ib_uverbs_get_context_resp resp;
		struct siw_uresp_alloc_ctx siw;
	} out;
	int ret;

	dev->fd = open(dev->path, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0)
		return -errno;
	ret = command(dev->fd, IB_USER_VERBS_CMD_GET_CONTEXT, &in, sizeof(in),
		      &out, sizeof(out));
	if (ret)
		rdma_close(dev);
	else
		*async = out.resp.async_fd;
	return ret;
}

int rdma_open(struct rdma_dev *dev)
{
	int async, ret = rdma_open_async(dev, &async);

	if (!ret)
		close(async);
	return ret;
}

void rdma_close(struct rdma_dev *dev)
{
	if (dev->fd >= 0)
		close(dev->fd);
	dev->fd = -1;
}

int rdma_entry(struct rdma_dev *dev, struct rdma_entry *entry, __u32 page,
	       __u32 nr_pages, enum test_rdma_mmap_type type, __u32 flags)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_alloc_pd cmd;
		struct test_rdma_mmap_alloc_pd_req req;
	} in = {
		.req = {
			.page = page,
			.nr_pages = nr_pages,
			.type = type,
			.flags = flags,
		},
	};
	/* Of uverbs and, not aligned after that, of the driver. */
	__u32 out[(sizeof(struct ib_uverbs_alloc_pd_resp) +
		   sizeof(struct test_rdma_mmap_alloc_pd_resp)) / 4];
	struct test_rdma_mmap_alloc_pd_resp resp;
	int ret;

	ret = command(dev->fd, IB_USER_VERBS_CMD_ALLOC_PD, &in, sizeof(in),
		      out, sizeof(out));
	if (ret)
		return ret;
	entry->pd = ((struct ib_uverbs_alloc_pd_resp *)out)->pd_handle;
	memcpy(&resp, out + 1, sizeof(resp));
	entry->offset = resp.offset;
	return 0;
}

int rdma_entry_end(struct rdma_dev *dev, struct rdma_entry *entry)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_dealloc_pd cmd;
	} in = { .cmd.pd_handle = entry->pd };

	return command(dev->fd, IB_USER_VERBS_CMD_DEALLOC_PD, &in, sizeof(in),
		       NULL, 0);
}

int rdma_dmabuf(struct rdma_dev *dev, const struct rdma_entry *entry)
{
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr attr[2];
	} arg = {
		.hdr = {
			.length = sizeof(arg),
			.object_id = UVERBS_OBJECT_DMABUF,
			.method_id = UVERBS_METHOD_DMABUF_ALLOC,
			.num_attrs = 2,
		},
		.attr = {
			{
				.attr_id = UVERBS_ATTR_ALLOC_DMABUF_HANDLE,
				.flags = UVERBS_ATTR_F_MANDATORY,
			},
			{
				.attr_id = UVERBS_ATTR_ALLOC_DMABUF_PGOFF,
				.len = sizeof(__u64),
				.flags = UVERBS_ATTR_F_MANDATORY,
				.data = entry->offset,
			},
		},
	};

	return ioctl(dev->fd, RDMA_VERBS_IOCTL, &arg) ? -errno :
							(int)arg.attr[0].data_s64;
}

struct ptes {
	unsigned long prot, page, mapped;
};

static int read_ptes(struct rdma_dev *dev, const void *addr, unsigned int nr,
		     struct ptes *ptes)
{
	char path[128], text[64];
	FILE *f;
	int n;

	snprintf(text, sizeof(text), "%p %u", addr, nr);
	n = pci_write(dev->bdf, "ptes", text);
	if (n)
		return n;
	snprintf(path, sizeof(path), DEVICES "%s/ptes", dev->bdf);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	n = fscanf(f, "%lx %lu %lu", &ptes->prot, &ptes->page, &ptes->mapped);
	fclose(f);
	return n == 3 ? 0 : -EINVAL;
}

int rdma_pgprot(struct rdma_dev *dev, const void *addr, unsigned long *prot)
{
	struct ptes ptes = {};
	int ret = read_ptes(dev, addr, 1, &ptes);

	*prot = ptes.prot;
	return ret ?: ptes.mapped ? 0 : -ENOENT;
}

int rdma_mapped(struct rdma_dev *dev, const void *addr, __u32 page,
		unsigned int nr)
{
	struct ptes ptes = {};
	int ret = read_ptes(dev, addr, nr, &ptes);

	return ret ?: ptes.page == page ? (int)ptes.mapped : 0;
}

int rdma_count(const char *counter)
{
	char path[128];
	int val, ret;

	snprintf(path, sizeof(path), PARAMS "%s", counter);
	ret = scan_file(path, "%d", &val);
	return ret ?: val;
}

void *rdma_map(struct rdma_dev *dev, __u64 offset, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, dev->fd,
		    offset);
}

#define SOFT_NDEV	"mr_soft"
#define SOFT_NAME	"mr_soft0"

static size_t put_attr(char *buf, size_t len, int type, const char *text)
{
	struct nlattr *attr = (struct nlattr *)(buf + len);

	attr->nla_type = type;
	attr->nla_len = NLA_HDRLEN + strlen(text) + 1;
	strcpy(buf + len + NLA_HDRLEN, text);
	return len + NLA_ALIGN(attr->nla_len);
}

/* As "rdma link add NAME type TYPE netdev NDEV". */
static int soft_link(const char *type)
{
	struct {
		struct nlmsghdr hdr;
		union {
			char attrs[256];
			struct nlmsgerr err;
		};
	} msg = {
		.hdr.nlmsg_type = RDMA_NL_GET_TYPE(RDMA_NL_NLDEV,
						   RDMA_NLDEV_CMD_NEWLINK),
		.hdr.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
	};
	size_t len = 0;
	int fd, ret;

	len = put_attr(msg.attrs, len, RDMA_NLDEV_ATTR_DEV_NAME, SOFT_NAME);
	len = put_attr(msg.attrs, len, RDMA_NLDEV_ATTR_LINK_TYPE, type);
	len = put_attr(msg.attrs, len, RDMA_NLDEV_ATTR_NDEV_NAME, SOFT_NDEV);
	msg.hdr.nlmsg_len = NLMSG_HDRLEN + len;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA);
	if (fd < 0)
		return -errno;
	if (send(fd, &msg, msg.hdr.nlmsg_len, 0) < 0 ||
	    recv(fd, &msg, sizeof(msg), 0) < 0)
		ret = -errno;
	else
		ret = msg.hdr.nlmsg_type == NLMSG_ERROR ? msg.err.error :
							  -EPROTO;
	close(fd);
	return ret;
}

int rdma_soft_new(struct rdma_dev *dev, const char *type)
{
	char path[128], name[64];
	int n;

	memset(dev, 0, sizeof(*dev));
	dev->fd = -1;
	dev->soft = type[0];
	if (system("ip link add " SOFT_NDEV " type dummy") ||
	    system("ip link set " SOFT_NDEV " up"))
		return -ENODEV;
	n = soft_link(type);
	if (n)
		return n;
	/* Which of the uverbs devices is it? */
	for (n = 0; n < 16; n++) {
		snprintf(path, sizeof(path),
			 "/sys/class/infiniband_verbs/uverbs%d/ibdev", n);
		if (!scan_file(path, "%63s", name) &&
		    !strcmp(name, SOFT_NAME)) {
			snprintf(dev->path, sizeof(dev->path),
				 "/dev/infiniband/uverbs%d", n);
			return file_wait(dev->path, true);
		}
	}
	return -ENODEV;
}

/* The network device goes, and the RDMA device with it. */
int rdma_soft_delete(void)
{
	if (system("ip link del " SOFT_NDEV))
		return -ENODEV;
	return file_wait("/sys/class/infiniband/" SOFT_NAME, false);
}

/* A CQ and a QP; the queues are the CQ's, the send and the receive queue. */
int rdma_soft_queues(struct rdma_dev *dev, struct rdma_queue queue[3])
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_alloc_pd cmd;
	} pd = {};
	struct {
		struct ib_uverbs_alloc_pd_resp resp;
		__u32 driver[8];
	} pd_out;
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_create_cq cmd;
	} cq = { .cmd = { .cqe = 64, .comp_channel = -1 } };
	struct {
		struct ib_uverbs_create_cq_resp resp;
		union {
			struct rxe_create_cq_resp rxe;
			struct siw_uresp_create_cq siw;
		};
	} cq_out = {};
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_create_qp cmd;
	} qp = {
		.cmd = {
			.max_send_wr = 64,
			.max_recv_wr = 64,
			.max_send_sge = 1,
			.max_recv_sge = 1,
			.qp_type = IB_UVERBS_QPT_RC,
		},
	};
	struct {
		struct ib_uverbs_create_qp_resp resp;
		union {
			struct rxe_create_qp_resp rxe;
			struct siw_uresp_create_qp siw;
		};
	} qp_out = {};
	bool siw = dev->soft == 's';
	int ret;

	ret = command(dev->fd, IB_USER_VERBS_CMD_ALLOC_PD, &pd, sizeof(pd),
		      &pd_out, sizeof(pd_out)) ?:
	      command(dev->fd, IB_USER_VERBS_CMD_CREATE_CQ, &cq, sizeof(cq),
		      &cq_out, sizeof(cq_out));
	if (ret)
		return ret;
	qp.cmd.pd_handle = pd_out.resp.pd_handle;
	qp.cmd.send_cq_handle = cq_out.resp.cq_handle;
	qp.cmd.recv_cq_handle = cq_out.resp.cq_handle;
	ret = command(dev->fd, IB_USER_VERBS_CMD_CREATE_QP, &qp, sizeof(qp),
		      &qp_out, sizeof(qp_out));
	if (ret)
		return ret;
	if (siw) {
		queue[0].offset = cq_out.siw.cq_key;
		queue[0].size = cq_out.siw.num_cqe * sizeof(struct siw_cqe);
		queue[1].offset = qp_out.siw.sq_key;
		queue[1].size = qp_out.siw.num_sqe * sizeof(struct siw_sqe);
		queue[2].offset = qp_out.siw.rq_key;
		queue[2].size = qp_out.siw.num_rqe * sizeof(struct siw_rqe);
	} else {
		queue[0].offset = cq_out.rxe.mi.offset;
		queue[0].size = cq_out.rxe.mi.size;
		queue[1].offset = qp_out.rxe.sq_mi.offset;
		queue[1].size = qp_out.rxe.sq_mi.size;
		queue[2].offset = qp_out.rxe.rq_mi.offset;
		queue[2].size = qp_out.rxe.rq_mi.size;
	}
	return 0;
}

int rdma_gone(struct rdma_dev *dev, enum rdma_how how)
{
	switch (how) {
	case BY_DISASSOCIATE:
		return pci_write(dev->bdf, "disassociate", "1");
	case BY_UNBIND:
		return write_file(DRIVER "/unbind", dev->bdf);
	case BY_MODULE:
		return syscall(SYS_delete_module, MODULE, O_NONBLOCK) ?
		       -errno : 0;
	case BY_REMOVE:
		return pci_write(dev->bdf, "remove", "1");
	case BY_UNPLUG:
		return pci_unplug(dev->bdf);
	}
	return -EINVAL;
}

int rdma_back(struct rdma_dev *dev, enum rdma_how how)
{
	char path[128], bdf[16];
	int ret = 0;

	strcpy(bdf, dev->bdf);
	snprintf(path, sizeof(path), DEVICES "%s", bdf);
	if (how == BY_REMOVE)
		ret = write_file("/sys/bus/pci/rescan", "1");
	else if (how == BY_UNPLUG)
		ret = pci_plug(bdf);
	if (ret)
		return ret;
	return file_wait(path, true) ?: rdma_bind(dev, bdf);
}
