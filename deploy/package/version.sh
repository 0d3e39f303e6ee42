#!/usr/bin/env bash
# Prints the version of this tree, its commit and the commit's date.
#
#   1.2.0                              at the tag v1.2.0
#   1.2.0+5.0123abc                    5 commits past it
#   0.1.0~git20260131120000.0123abc    where there is no tag: before 0.1.0
#   0.0.0                              outside a repository
#
# dpkg sorts them in the order of history. Uncommitted changes append +dirty.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! commit=$(git rev-parse HEAD 2>/dev/null) || [[ $(git rev-parse --show-prefix) ]]; then
	echo 0.0.0 unknown 1970-01-01T00:00:00Z
	exit
fi
at() { TZ=UTC0 git log -1 --format=%cd --date="format-local:$1"; }
short=${commit:0:7}
if tag=$(git describe --tags --long --abbrev=7 --match 'v[0-9]*' 2>/dev/null); then
	past=${tag%-g*} # v1.2.0-5
	version=${past%-*}
	version=${version#v}
	past=${past##*-}
	if ((past)); then version+=+$past.$short; fi
else
	version=0.1.0~git$(at %Y%m%d%H%M%S).$short
fi
if [[ $(git status --porcelain --untracked-files=no) ]]; then version+=+dirty; fi
echo "$version" "$commit" "$(at %Y-%m-%dT%H:%M:%SZ)"
