# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced after lib.sh: Debian packages by way of the mirror this machine uses.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/mmap_revoke # what was downloaded
# shellcheck disable=SC2034 # for who sources this, as mirror and release are
signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
state=build/apt # of apt, apart from the system's
apt() { "apt-$1" -q -c "$PWD/$state/apt.conf" "${@:2}"; }

# Sets mirror, and release, which is the first of Debian's in this machine's sources.
find_mirror() {
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$cache/partial"
	cat >"$state/apt.conf" <<-END
		Dir::State::lists "$PWD/$state/lists";
		Dir::Cache "$PWD/$state/cache";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::Retries "3";
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
	END
	targets() {
		# shellcheck disable=SC2016
		apt-get "$@" indextargets --format '$(ORIGIN)/$(LABEL) $(REPO_URI) $(CODENAME)' \
			'Created-By: Packages' | awk '$1 == "Debian/Debian" && $3 !~ /-/ { print $2, $3; exit }'
	}
	mirror=$(targets)
	if [ -z "$mirror" ]; then # the system's package lists were deleted
		apt get update >build/logs/fetch 2>&1 || true
		mirror=$(targets -c "$state/apt.conf")
	fi
	[ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources" "$@"
	# shellcheck disable=SC2034
	read -r mirror release <<<"$mirror"
}
