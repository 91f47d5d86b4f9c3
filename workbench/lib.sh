# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by the shell scripts of the workbench: where things are, and how to
# say what is going on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
mkdir -p build/logs

say() { printf '== %s\n' "$*"; }

# die WHAT [WHY-OR-WHAT-NEXT]...
die() {
	printf '%s: error: %s\n' "${0##*/}" "$1" >&2
	shift
	[ $# = 0 ] || printf '  %s\n' "$@" >&2
	exit 1
}

# One at a time in build/: two builds in one directory break each other. What the
# holder of the lock starts works under it.
lock() {
	[ -z "${WORKBENCH_LOCK-}" ] || return 0
	exec 9>build/.lock
	if ! flock -n 9; then
		say "waiting for another make that works in build/"
		flock 9
	fi
	export WORKBENCH_LOCK=$$
}

need_space() { # GIGABYTES WHAT
	local have
	have=$(df -Pk build | awk 'NR == 2 { print int($4 / 1048576) }')
	[ "$have" -ge "$1" ] ||
		die "not enough disk space for $2: $have GB free in $PWD/build, $1 GB needed" \
		    "Free some space, or make build/ a symbolic link to a directory on a larger disk."
}

# the same source gives the same kernel, whoever builds it, at whatever time
export KBUILD_BUILD_TIMESTAMP=1 KBUILD_BUILD_USER=user KBUILD_BUILD_HOST=host KBUILD_BUILD_VERSION=1
# Preprocessing everything once more, to find by its text what was compiled with
# another .config, makes a build from nothing half as long again.
export CCACHE_DEPEND=1
kbuild=(CC="${CROSS_COMPILE-}gcc")
! command -v ccache >/dev/null || kbuild=(CC="$PWD/workbench/cc ${CROSS_COMPILE-}gcc")

# configure SOURCE OUT FRAGMENT...: OUT/.config has the options of the fragments
# and what these need, nothing else (base=allmodconfig: and all others). kconfig
# drops without a word what it cannot give, so every option is checked. With
# SAME_CONFIG in the environment it has them: only C code has changed.
configure() {
	local src=$1 out=$2 dir=$1/$2
	shift 2
	mkdir -p "$dir"
	[ -n "${SAME_CONFIG-}" ] || make_config "$@"

	# A kernel that differs in the options of the series alone shares its objects
	# with the others: only makefiles ask for these, or C code that no other kernel
	# has. So ccache has to look at the other options, and not at the header with
	# all of them.
	grep -vE '^(# )?CONFIG_(MMAP_REVOKE|UVERBS_MMAP|TEST_(RDMA_MMAP|PCI_CONFIG|UIO_MMAP)|SAMPLE_MMAP_REVOKE|COPY_HUGE_PMD)' \
		"$dir/.config" >"$dir/ccache.config" || true
	export CCACHE_IGNOREHEADERS=include/generated/autoconf.h:./include/generated/autoconf.h
	export CCACHE_EXTRAFILES=$PWD/$dir/ccache.config
}

# make_config FRAGMENT...: for configure, which knows the rest
make_config() {
	local lost
	cat "$@" >"$dir/requested.config"
	KCONFIG_ALLCONFIG=requested.config make -C "$src" O="$out" "${kbuild[@]}" "${base:-allnoconfig}" \
		>build/logs/config 2>&1 ||
		die "make ${base:-allnoconfig} failed: $(tail -n 1 build/logs/config)" "All of its output: build/logs/config"
	lost=$(awk -F= '
		NR == FNR { if (/^CONFIG_/) want[$1] = substr($0, length($1) + 2); next }
		/^CONFIG_/ { have[$1] = substr($0, length($1) + 2) }
		END { for (o in want) if (want[o] != (o in have ? have[o] : "n"))
			print o "=" want[o] " is " (o in have ? have[o] : "n") }
		' "$dir/requested.config" "$dir/.config")
	[ -z "$lost" ] ||
		die "options that were asked for are not in the final $dir/.config:" "${lost//$'\n'/$'\n  '}" \
		    "A dependency is off (look with: make -C $src O=$out menuconfig, '/'), or the name changed." \
		    "Asked for in: $*"
}
