/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mmap_revoke

#if !defined(_TRACE_MMAP_REVOKE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MMAP_REVOKE_H

#include <linux/tracepoint.h>

TRACE_EVENT(mmap_revoke_bind,
	    TP_PROTO(const char *owner, const char *device),
	    TP_ARGS(owner, device),
	    TP_STRUCT__entry(__string(owner, owner)
			     __string(device, device)
	    ),
	    TP_fast_assign(__assign_str(owner);
			   __assign_str(device);
	    ),
	    TP_printk("%s %s", __get_str(owner), __get_str(device))
);

DECLARE_EVENT_CLASS(mmap_revoke_pages,
		    TP_PROTO(const char *owner, const char *device,
			     pgoff_t first, pgoff_t last, u64 ns),
		    TP_ARGS(owner, device, first, last, ns),
		    TP_STRUCT__entry(__string(owner, owner)
				     __string(device, device)
				     __field(pgoff_t, first)
				     __field(pgoff_t, last)
				     __field(u64, ns)
		    ),
		    TP_fast_assign(__assign_str(owner);
				   __assign_str(device);
				   __entry->first = first;
				   __entry->last = last;
				   __entry->ns = ns;
		    ),
		    TP_printk("%s %s pages=%#lx-%#lx duration_ns=%llu",
			      __get_str(owner), __get_str(device),
			      __entry->first, __entry->last, __entry->ns)
);

#define DEFINE_MMAP_REVOKE_EVENT(name)					\
DEFINE_EVENT(mmap_revoke_pages, name,					\
	     TP_PROTO(const char *owner, const char *device,		\
		      pgoff_t first, pgoff_t last, u64 ns),		\
	     TP_ARGS(owner, device, first, last, ns))

DEFINE_MMAP_REVOKE_EVENT(mmap_revoke_zap);
DEFINE_MMAP_REVOKE_EVENT(mmap_revoke_begin);
DEFINE_MMAP_REVOKE_EVENT(mmap_revoke_end);
DEFINE_MMAP_REVOKE_EVENT(mmap_revoke_kill);

#endif /* _TRACE_MMAP_REVOKE_H */

#include <trace/define_trace.h>
