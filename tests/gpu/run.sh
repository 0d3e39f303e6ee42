#!/usr/bin/env bash
# Checks and measures weightfs on a machine with an NVIDIA GPU: run it as root
# from the folder that make gpu-bundle made. Needs python3 and /dev/fuse; no Go,
# no network. The report goes into $OUT too, where that is set. Flags go to gputest,
# see run.sh --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
tar -C "$programs" -xzf "$here/programs.tar.gz"
# Other loaders, to compare with; one that cannot be installed is a line of the table.
for wheel in "$here"/wheels/*.whl; do
	python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$programs/site" "$wheel" ||
		echo "not installed: ${wheel##*/}"
done
export PYTHONPATH=$programs/site${PYTHONPATH:+:$PYTHONPATH}
[ -e /dev/fuse ] || mknod /dev/fuse c 10 229
"$programs/gputest" --bin "$programs" "$@"
