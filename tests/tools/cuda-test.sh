#!/usr/bin/env bash
# Compiles the cuda build against each CUDA header, and runs it on a driver that
# needs no GPU: the device's tests with each, then with the first one the check
# for machines with a GPU. make cuda-test prepares what it needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cuda=tests/tools/cuda.sh
tagged="./gpuload/cuda ./cmd/gpuload ./tests/gpu/device ./tests/gpu/bareloop ./tests/gpu/leaseloop"
programs=$PWD/.cuda/programs
driver=$($cuda driver)

set_header() {
	local settings
	settings=$($cuda env "$1")
	eval "$settings"
}

for version in $($cuda versions); do
	echo "cuda $version: vet, build and test"
	set_header "$version"
	# shellcheck disable=SC2086 # a list
	{ go vet -tags "$WEIGHTFS_TAGS" $tagged && .tools/staticcheck -tags "$WEIGHTFS_TAGS" $tagged; }
	go build -tags "$WEIGHTFS_TAGS" -o .cuda/gpuload-cuda "./cmd/gpuload"
	LD_LIBRARY_PATH=$driver go test -count=1 -tags "$WEIGHTFS_TAGS" ./gpuload/cuda
done

set_header 11.8
mkdir -p "$programs"
go build -tags "$WEIGHTFS_TAGS" -o "$programs/gpuload-cuda" ./cmd/gpuload
go build -tags "$WEIGHTFS_TAGS" -o "$programs/" ./tests/gpu/bareloop ./tests/gpu/leaseloop
go test -c -tags "$WEIGHTFS_TAGS" -o "$programs/cuda.test" ./gpuload/cuda
CGO_ENABLED=0 go build -o "$programs/" ./cmd/mountd ./cmd/gpuload ./tests/gpu/gputest
ln -sf "$PWD/.tools/versitygw" "$programs/versitygw"
if ! LD_LIBRARY_PATH=$driver "$programs/gputest" --bin "$programs" --python .venv/bin/python \
	--size 64MiB --runs 1 --any-rate --allow-unjudged --out .cuda >.cuda/gputest.log 2>&1; then
	cat .cuda/gputest.log
	exit 1
fi
tail -n 1 .cuda/gputest.log

# A wrong bit on the device is found out by --verify.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
.venv/bin/python -c 'import sys, numpy, safetensors.numpy as s
s.save_file({"weight": numpy.arange(300000, dtype="float32")}, sys.argv[1])' "$scratch/model.safetensors"
verify() {
	LD_LIBRARY_PATH=$driver "$programs/gpuload-cuda" load "$scratch/model.safetensors" \
		--device cuda:0 --json --verify --manifest "$scratch/manifest" >"$scratch/out" 2>&1
}
verify && rm "$scratch/manifest"
if CUDADRIVER_WRONG=1 verify || [[ -e $scratch/manifest ]] || ! grep -q 'verify against .*weight' "$scratch/out"; then
	echo "a wrong bit on the device passes --verify:"
	cat "$scratch/out"
	exit 1
fi
echo "a wrong bit on the device fails --verify"

# Where the driver page-locks no memory but its own, one line says so, and tensors
# are right.
if ! CUDADRIVER_NO_REGISTER=1 LD_LIBRARY_PATH=$driver "$programs/gpuload-cuda" load "$scratch/model.safetensors" \
	--device cuda:0 --json --verify >"$scratch/out" 2>"$scratch/err" ||
	[[ $(wc -l <"$scratch/err") != 1 ]] || ! grep -q 'page-locks no memory but its own' "$scratch/err"; then
	echo "a driver that refuses registration:"
	cat "$scratch/out" "$scratch/err"
	exit 1
fi
echo "a driver that refuses registration is one line, and tensors are right"

# An error of a copy comes late, with an event, and names what was copied.
.venv/bin/python -c 'import sys, numpy, safetensors.numpy as s
s.save_file({f"layer{i}": numpy.arange(4 << 20, dtype="float32") for i in range(4)}, sys.argv[1])' "$scratch/layers.safetensors"
rc=0
CUDADRIVER_LATE_ERROR=1 LD_LIBRARY_PATH=$driver "$programs/gpuload-cuda" load "$scratch/layers.safetensors" \
	--device cuda:0 --json --part-size 8MiB --manifest "$scratch/late" >"$scratch/out" 2>"$scratch/err" || rc=$?
if [[ $rc != 1 || -s $scratch/out || -e $scratch/late ]] ||
	! grep -Eq '^gpuload: load .*layers.safetensors \[[0-9]+,[0-9]+\), tensors? "layer.*asynchronous copy: .*CUDA error 700' "$scratch/err"; then
	echo "a copy that fails late: exit $rc"
	cat "$scratch/out" "$scratch/err"
	exit 1
fi
echo "a copy that fails late is an error that names it"

# A driver that does not start, or that is not there, is one line on standard
# error, and standard output is the results' alone.
without() { # WHAT LD_LIBRARY_PATH VARIABLE=VALUE WANTED
	local rc=0
	env "$3" LD_LIBRARY_PATH="$2" "$programs/gpuload" load "$scratch/model.safetensors" \
		--device cuda:0 --json >"$scratch/out" 2>"$scratch/err" || rc=$?
	if [[ $rc != 1 || -s $scratch/out || $(wc -l <"$scratch/err") != 1 ]] || ! grep -Eq "^gpuload: .*cuda:0: .*$4" "$scratch/err"; then
		echo "$1: exit $rc, standard output and error:"
		cat "$scratch/out" "$scratch/err"
		exit 1
	fi
}
without "no GPU" "$driver" CUDADRIVER_DEVICES=0 "driver does not start"
if ! ldconfig -p | grep -q libcuda.so.1; then
	without "no libcuda" "$scratch" CUDADRIVER_DEVICES=1 "libcuda.so.1"
fi
without "a context that cannot be created" "$driver" CUDADRIVER_CONTEXT_FAILS=1 "create context: out of memory"
echo "a driver that does not start is one line"

# A load starts the driver once, and what needs no GPU does not.
starts() { # WANTED PROGRAM ARGUMENT...
	local wanted=$1 count
	shift
	: >"$scratch/starts"
	CUDADRIVER_STARTS=$scratch/starts LD_LIBRARY_PATH=$driver "$programs/$1" "${@:2}" >"$scratch/out" 2>&1
	count=$(wc -l <"$scratch/starts")
	if [[ $count != "$wanted" ]]; then
		echo "$*: $count starts of the driver, want $wanted"
		exit 1
	fi
}
starts 1 gpuload load "$scratch/model.safetensors" --device cuda:0
starts 0 gpuload-cuda --version
starts 0 gpuload-cuda load "$scratch/model.safetensors" --device cpu
starts 0 gpuload-cuda inspect "$scratch/model.safetensors"
echo "a load starts the driver once"

# All of a model is read while the context is being created: of 64 MiB, all have been
# when the driver goes on.
.venv/bin/python -c 'import sys, numpy, safetensors.numpy as s
s.save_file({"weight": numpy.arange(16 << 20, dtype="float32")}, sys.argv[1])' "$scratch/large.safetensors"
: >"$scratch/held"
CUDADRIVER_CONTEXT_HELD=$scratch/held LD_LIBRARY_PATH=$driver "$programs/gpuload-cuda" load "$scratch/large.safetensors" \
	--device cuda:0 --json --verify >"$scratch/out" 2>&1 &
load=$!
trap 'rm -f "$scratch/held"; wait; rm -rf "$scratch"' EXIT
read_bytes=0
for ((i = 0; i < 6000 && read_bytes < 64 << 20; i++)); do # a minute, where it hangs
	sleep 0.01
	read_bytes=$(awk '/^rchar/ { print $2 }' "/proc/$load/io" || echo 0)
done
rm "$scratch/held"
if ! wait $load || ((read_bytes < 64 << 20)); then
	echo "$read_bytes bytes were read while the context was created:"
	cat "$scratch/out"
	exit 1
fi
echo "a model is read while the context is created"
