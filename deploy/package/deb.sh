#!/usr/bin/env bash
# Writes the Debian package into the folder DIST, for ARCH (amd64, arm64; this
# machine's where it is empty), and prints its path. VERSION, DATE, LDFLAGS,
# MAINTAINER and TOOLS come from package.mk.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
package=deploy/package
: "${ARCH:=$(go env GOARCH)}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$(date -d "$DATE" +%s)
export SOURCE_DATE_EPOCH ARCH VERSION MAINTAINER

$package/programs.sh "$ARCH" "$work/bin"
STAGE=$work/tree
export STAGE
DESTDIR=$STAGE PREFIX=/usr HELPERDIR=/usr/sbin ZSHDIR=/usr/share/zsh/vendor-completions \
	BIN=$work/bin SHARE=bin/share $package/install.sh stage
doc=$STAGE/usr/share/doc/weightfs # with the names that Debian has
mv "$doc/LICENSE" "$doc/copyright"
mv "$doc/CHANGELOG.md" "$doc/changelog"
gzip -9n "$doc/changelog" "$STAGE"/usr/share/man/*/*
mkdir -p "$DIST"
deb=$DIST/weightfs_${VERSION}_$ARCH.deb
"$TOOLS/nfpm" package --config $package/nfpm.yaml --packager deb --target "$deb" >&2
echo "$deb"
