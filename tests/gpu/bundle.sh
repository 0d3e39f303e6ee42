#!/usr/bin/env bash
# Makes bin/gpu: run.sh, and the programs it runs on a machine with a GPU,
# without Go or a network. 45 MB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$PWD/bin/gpu
rm -rf "$out"
mkdir -p "$out/programs"
flags=(-trimpath -ldflags "-s -w")

export CGO_ENABLED=0
go build "${flags[@]}" -o "$out/programs/" ./cmd/mountd ./cmd/gpuload ./tests/cmd/mkcheckpoint ./tests/gpu/gputest
GOBIN=$out/programs GOFLAGS='' go install "${flags[@]}" "$(cat tests/s3test/VERSITYGW)"

# The oldest header, so that the programs start with every driver since 11.8.
settings=$(tests/tools/cuda.sh env 11.8)
eval "$settings"
export CGO_ENABLED=1
flags+=(-tags cuda)
go build "${flags[@]}" -o "$out/programs/gpuload-cuda" ./cmd/gpuload
go build "${flags[@]}" -o "$out/programs/" ./tests/gpu/bareloop
go test -c "${flags[@]}" -o "$out/programs/cuda.test" ./gpuload/cuda

tar -C "$out/programs" -cz -f "$out/programs.tar.gz" .
rm -r "$out/programs"
cp tests/gpu/run.sh "$out/"
du -h "$out/programs.tar.gz"
