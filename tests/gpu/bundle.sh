#!/usr/bin/env bash
# Makes bin/gpu: run.sh, and what it runs on a machine with a GPU, without Go or a
# network: our programs, and the wheels of other loaders. 55 MiB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$PWD/bin/gpu
rm -rf "$out"
mkdir -p "$out/programs"
flags=(-trimpath -ldflags "-s -w")

export CGO_ENABLED=0
go build "${flags[@]}" -o "$out/programs/" ./cmd/mountd ./cmd/gpuload ./tests/gpu/gputest
GOBIN=$out/programs GOFLAGS='' go install "${flags[@]}" "$(cat tests/rig/VERSITYGW)"

# The oldest header, so that the programs start with every driver since 11.8.
settings=$(tests/tools/cuda.sh env 11.8)
eval "$settings"
flags+=(-tags "$WEIGHTFS_TAGS")
go build "${flags[@]}" -o "$out/programs/gpuload-cuda" ./cmd/gpuload
go build "${flags[@]}" -o "$out/programs/" ./tests/gpu/bareloop ./tests/gpu/leaseloop
go test -c "${flags[@]}" -o "$out/programs/cuda.test" ./gpuload/cuda

# Other loaders, for a Python of that version. What cannot be had is a line of the
# table there.
mkdir "$out/wheels"
.venv/bin/pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps -w "$out/wheels" ./python
for wheel in safetensors==0.8.0 runai-model-streamer==0.17.1 humanize==4.17.0 fastsafetensors==0.5.0 instanttensor==0.2.2; do
	.venv/bin/pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
		--python-version "${GPU_PYTHON:-3.12}" --platform manylinux_2_30_x86_64 --platform manylinux_2_28_x86_64 \
		--platform manylinux_2_17_x86_64 -d "$out/wheels" "$wheel" || echo "left out: $wheel"
done

tar -C "$out/programs" -cz -f "$out/programs.tar.gz" .
rm -r "$out/programs"
cp tests/gpu/run.sh "$out/"
du -sh "$out"
