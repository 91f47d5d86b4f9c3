# SPDX-License-Identifier: GPL-2.0
# The front door; the work is done by the scripts in workbench/.
#
# KSRC=<dir|tarball>  use this kernel instead of Debian's; remembered in build/
# STOCK=1             make demo, make shell: on the kernel without the series
# T=<program[:test]>  make test: only these selftests, e.g. T=dma_test:closed
# KERNEL=<name>       with T=: patched (default), debug, kcsan, stock or userland; with K=: uml (default), debug, kcsan or arm64
# K=<glob>            make kunit: only these suites, e.g. K='mmap_revoke_vma.*'
# ONLY=<name>         make bench: only this, e.g. ONLY=gone
# M=<glob>            make mutants: only these, or those of one kernel, e.g. M='range*'
# C=<client>          make clients: only these, e.g. C=rping
# FORCE=1             make test: run again what already passed; make clients: a new image
# FULL=1              make check: build all RDMA drivers, on x86-64 and arm64, and look for data races, too
# V=<number>          make series: the version that the mails say they are
# ACCEL=kvm           boot guests under KVM instead of emulation
export KSRC FORCE FULL ACCEL KERNEL
kernel := $(if $(STOCK),stock,patched)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12
	@sed -n 's/^# \([A-Z]*=\)/  \1/p' Makefile

demo: $(kernel) ## boot a guest and watch device mappings being revoked
	workbench/demo/show $(kernel)

test: tree ## KUnit, selftests in guests, the kernel's own tests on both kernels; or T=
	workbench/test $(T)

kunit: tree ## the KUnit suites on UML, or some of them: K=
	workbench/test kunit '$(or $(K),*)'

mutants: tree ## break the code in one place after the other: a test must notice; or M=
	workbench/mutate $(if $(M),'$(M)')

check: tree ## what a reviewer's tools say: checkpatch, sparse, kernel-doc, builds
	workbench/install workbench/packages.check workbench/packages.arm64
	workbench/check

bench: stock patched ## what the series costs and saves, against stock: a table and plots; or ONLY=
	workbench/install workbench/packages.bench
	workbench/bench/compare $(ONLY)

clients: stock patched ## rdma-core, perftest and DPDK in a Debian guest, on both kernels: 5 minutes; or C=
	workbench/install workbench/packages.clients
	workbench/clients/compare $(C)

kernel: patched ## the guest kernel with the series: build/patched
patched: tree
	workbench/kernel patched

stock: source ## the guest kernel without it: build/stock
	workbench/kernel stock

debug: tree ## the guest kernel with all run-time checks: build/debug
	workbench/kernel debug

userland: tree ## the guest kernel with what a Debian root file system needs: build/userland
	workbench/kernel userland

shell: $(kernel) ## a guest with a prompt
	workbench/boot --kernel $(kernel)

tree: source ## the series as commits in build/tree, the place to work in
	workbench/series tree

refresh: ## carry commits made in build/tree back to patches/ and the new files
	workbench/series refresh

series: source ## mailable patches in build/series, and who gets them
	workbench/series mail $(V:%=-v%)

source: packages
	workbench/fetch

packages:
	workbench/install workbench/packages

.SILENT:
.NOTPARALLEL:
.PHONY: help demo test kunit mutants check bench clients kernel patched stock debug userland shell tree refresh series source packages
