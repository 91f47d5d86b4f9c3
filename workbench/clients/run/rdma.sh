# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by the RDMA clients. A client says how its two sides are started, both in
# this guest: serve DEVICE LONG?, connect DEVICE LONG?, and listens DEVICE, which tells
# whether the server is ready. With LONG they go on until somebody stops them.
# shellcheck source=workbench/clients/run/tap.sh
. ./tap.sh
declare -A address=([rxe0]=192.0.2.1 [siw0]=198.51.100.1) # RoCE, iWARP
declare -A netdev=([rxe0]=dummy0 [siw0]=dummy1)
sides=(client server) # which of them it is told whether they end when the device goes
cd "$(mktemp -d)" || exit

make_device() {
	local net=${netdev[$1]}
	[ -e "/sys/class/net/$net" ] || ip link add "$net" type dummy || return
	ip address replace "${address[$1]}/24" dev "$net" && ip link set "$net" up &&
		rdma link add "$1" type "${1%0}" netdev "$net" &&
		within 10 grep -q ACTIVE "/sys/class/infiniband/$1/ports/1/state" &&
		{ [ "$1" = siw0 ] || within 10 gid "$1" >/dev/null; }
}

gid() { # index of the one that is made of the IPv4 address
	local a b c d hex file
	IFS=. read -r a b c d <<<"${address[$1]}"
	hex=$(printf 'ffff:%02x%02x:%02x%02x' "$a" "$b" "$c" "$d")
	file=$(grep -ls "$hex" "/sys/class/infiniband/$1/ports/1/gids"/* | head -n 1)
	[ -n "$file" ] && basename "$file"
}

# siw listens with a TCP socket, which shows there
rdma_listens() { rdma resource show cm_id | grep -q LISTEN || tcp_listens "$1"; } # PORT
tcp_listens() { grep -qE ": [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:0000 0A" /proc/net/tcp; } # PORT

start_both() {
	serve "$@" >server 2>&1 &
	server=$!
	within 20 listens "$1" || return
	connect "$@" >client 2>&1 &
	client=$!
}

stop() { # PID...: kill what is left, take the exit status of each
	kill -9 "$@" 2>/dev/null
	wait "$@" 2>/dev/null
}

# Both sides run to their ends, and are content.
complete() {
	local status=1
	start_both "$1" && within 30 gone "$client" && within 10 gone "$server" &&
		wait "$client" && wait "$server" && status=0
	stop "$server" "$client"
	[ $status = 0 ] || shown server client
	return $status
}

# siw stalls at times, on either kernel
tries() { "$@" || "$@" || "$@"; }

packets() { # that the device has moved
	case $1 in
	rxe0) cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts ;;
	siw0) cat /sys/class/net/lo/statistics/rx_packets ;; # that is TCP
	esac
}
moved() { [ "$(packets "$1")" -gt "$2" ]; }

# Both sides run, and go on.
at_work() {
	local before
	before=$(packets "$1")
	start_both "$1" long && within 30 moved "$1" $((before + 200)) && return
	stop "$server" "$client"
	shown server client
	return 1
}

# The device is deleted while both sides are at work, and made again.
deleted() {
	local dev=$1 deleter side
	ok "$dev.deleted.at_work" tries at_work "$dev"
	rdma link delete "$dev" &
	deleter=$!
	if within 10 gone $deleter; then
		ok "$dev.deleted.at_once" wait $deleter
	else
		ok "$dev.deleted.waits_for_programs" true
	fi
	for side in "${sides[@]}"; do
		if within 10 gone "${!side}"; then
			ok "$dev.deleted.${side}_ends" true
		else
			ok "$dev.deleted.${side}_goes_on" true
		fi
	done
	stop "$client" "$server"
	shown server client | tail -n 20
	ok "$dev.deleted.gone" within 10 gone $deleter
	ok "$dev.deleted.no_device" test ! -e "/sys/class/infiniband/$dev"
	ok "$dev.made_again" make_device "$dev"
	ok "$dev.works_again" tries complete "$dev"
}

# run DEVICE...: all of it
run() {
	local dev
	for dev; do
		ok "$dev.made" make_device "$dev"
		ok "$dev.works" tries complete "$dev"
		deleted "$dev"
		ok "$dev.removed" rdma link delete "$dev"
	done
	done_testing
}
