#!/usr/bin/env bash
# Makes a tarball of a minimal Debian, of this machine's release, from where this
# machine's apt takes its packages and as it is configured to.
#
#   debian.sh TARBALL INSTALLED DOWNLOADED
#
# INSTALLED are packages that it has, DOWNLOADED such as its apt can install
# without a network; both are lists with spaces. It mounts: run it in a mount namespace
# of its own.
set -euo pipefail
tarball=$1 installed=$2 downloaded=$3
# shellcheck disable=SC1091 # it is the machine's
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sources() {
	# shellcheck disable=SC2016 # apt fills them in
	apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
		grep -E " $codename(-updates|-security)? "
}
if ! sources >"$work/sources.list"; then
	apt-get update -q >&2
	sources >"$work/sources.list"
fi
# Proxies and the like.
apt-config dump | grep -E '^Acquire::(http|https|Check-|Retries|ForceIPv)' >"$work/apt.conf" || true

options=()
if [[ -d /usr/share/keyrings ]]; then options+=(--keyring=/usr/share/keyrings); fi
# For apt to find without a network: these packages, and not what is installed.
# shellcheck disable=SC2016 # it is for mmdebstrap's shell
hook='export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"; apt-get clean
apt-get -qq --yes --download-only -o APT::Install-Recommends=true install '$downloaded
# The tarball is written beside its place first: one that is there is whole.
mmdebstrap --quiet --variant=minbase --mode=root "${options[@]}" \
	--aptopt="$work/apt.conf" --include="${installed// /,}" --customize-hook="$hook" --skip=cleanup/apt --format=tar \
	"$codename" "$tarball.new" "$work/sources.list" >&2
mv "$tarball.new" "$tarball"
