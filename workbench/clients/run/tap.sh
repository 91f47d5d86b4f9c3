# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by the clients, which run in a Debian guest: tests in TAP, and waiting.
# A client names what it saw: two kernels must give the same names.
tests=0 failed=0

# ok NAME COMMAND...: a test, which passes if the command does
ok() {
	tests=$((tests + 1))
	if "${@:2}"; then
		echo "ok $tests - $1"
	else
		echo "not ok $tests - $1"
		failed=1
		return 1
	fi
}

# within SECONDS COMMAND...: wait until the command succeeds
within() {
	local end=$((SECONDS + $1))
	until "${@:2}"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

# gone PID...: these children have ended
gone() { ! kill -0 "$@" 2>/dev/null; }

# shown NAME...: files with what a program said, for somebody who wonders
shown() {
	local name
	for name; do
		sed "s/^/# $name: /" "$name"
	done
}

# the last line of a client
done_testing() {
	echo "1..$tests"
	[ $failed = 0 ]
}
