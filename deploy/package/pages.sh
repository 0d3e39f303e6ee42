#!/usr/bin/env bash
# Writes what is shipped beside the programs and is made from their --help:
#
#   pages.sh DIR      man pages into DIR/man, completions into DIR/completions
#   pages.sh flags    docs/flags.md, on stdout
#
# The names of the pages keep clear of mountd(8), which is NFS's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -tags docs -trimpath -o "$work/" ./cmd/mountd ./cmd/gpuload ./cmd/csi

if [[ $1 == flags ]]; then
	cat <<-'END'
		# Flags

		Written by `make docs` from what `--help` prints: change it there. A flag beats its variable, and a variable the default. Sizes are as Kubernetes reads them: `Mi` and `MiB` binary, `M` and `MB` decimal, plain bytes.
	END
	"$work/mountd" docs flags
	"$work/gpuload" docs flags
	"$work/csi" docs flags
	exit
fi

mkdir -p "$1/man/man1" "$1/man/man8" "$1/completions"
"$work/gpuload" docs man gpuload 1 "$1/man/man1"
"$work/mountd" docs man weightfs-mountd 8 "$1/man/man8"
# Under that name it has what mount(8) passes.
ln "$work/mountd" "$work/mount.weightfs"
"$work/mount.weightfs" docs man mount.weightfs 8 "$1/man/man8"
for program in mountd gpuload; do
	"$work/$program" docs completion "$1/completions"
done
