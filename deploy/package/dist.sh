#!/usr/bin/env bash
# Writes the release into the folder DIST: for each architecture a tarball with the
# static programs and what belongs to them, the layout of /usr/local in it, and
# for each program what it is made of (CycloneDX); then the sums of it all.
#
# VERSION, DATE, LDFLAGS and TOOLS come from package.mk. The same commit gives the
# same bytes.
set -euo pipefail
umask 022
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${VERSION:?}" "${DATE:?}" "${LDFLAGS:?}" "${TOOLS:?}" "${DIST:?}"
package=deploy/package
mkdir -p "$DIST"
out=$(realpath "$DIST")
rm -f "$out"/weightfs-*.{tar.gz,cdx.json} "$out/SHA256SUMS"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$(date -d "$DATE" +%s)
export SOURCE_DATE_EPOCH

$package/pages.sh "$work/share"
for arch in amd64 arm64; do
	name=weightfs-$VERSION-linux-$arch
	$package/programs.sh $arch "$work/$arch"
	DESTDIR=$work/tree PREFIX=/usr/local HELPERDIR=/sbin BIN=$work/$arch SHARE=$work/share $package/install.sh stage
	mv "$work/tree/usr/local" "$work/$name"
	rm -r "$work/tree" # the helper's links and /etc/weightfs, which are outside of the prefix
	tar -C "$work" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
		-cf - "$name" | gzip -9n >"$out/$name.tar.gz"
	for program in mountd gpuload; do
		"$TOOLS/cyclonedx-gomod" bin -json -noserial -notimestamp -version "$VERSION" \
			-output "$out/$name.$program.cdx.json" "$work/$arch/$program"
	done
done
cd "$out"
sha256sum weightfs-*.tar.gz weightfs-*.cdx.json >SHA256SUMS
