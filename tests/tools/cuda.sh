#!/usr/bin/env bash
# Finds, or fetches, what it takes to compile the cuda build: one header.
#
#   cuda.sh env [VERSION]    print CGO_ENABLED, CGO_CFLAGS, CGO_LDFLAGS, WEIGHTFS_TAGS
#                            (for -tags) and WEIGHTFS_CUDA (where the header is)
#                            for eval. Without VERSION: of the toolkit of this
#                            machine, else of a fetched 11.8.
#   cuda.sh driver           print the folder of a libcuda.so.1 that needs no GPU
#                            (cudadriver/), for LD_LIBRARY_PATH
#   cuda.sh versions         print the versions that can be fetched
#
# The header comes from NVIDIA's wheels on PyPI (1 to 4 MB; Debian's package of
# the same header is 774 MB) and is kept in .cuda/. Linking needs only the names
# of the driver's functions, and those are in the header, so libcuda.so is made
# from it: functions that fail. At run time the driver's own takes its place.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=$root/.cuda
shim=$root/gpuload/cuda/include

die() { echo "cuda.sh: $*" >&2; exit 1; }

versions="11.8 12 13"
wheel() { # the pinned wheel of a version
	case $1 in
	11.8) echo "nvidia-cuda-runtime-cu11==11.8.89 --hash=sha256:f587bd726eb2f7612cf77ce38a2c1e65cf23251ff49437f6161ce0d647f64f7c" ;;
	12) echo "nvidia-cuda-runtime-cu12==12.9.79 --hash=sha256:25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3" ;;
	13) echo "nvidia-cuda-runtime==13.5.37 --hash=sha256:df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d" ;;
	*) die "no CUDA version '$1' to fetch: one of $versions" ;;
	esac
}

# toolkit prints the include folder of an installed toolkit, or nothing.
toolkit() {
	local home nvcc
	nvcc=$(command -v nvcc || true)
	for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda /opt/cuda \
		"${nvcc:+$(dirname "$(dirname "$(readlink -f "${nvcc:-/}")")")}" /usr; do
		if [ -n "$home" ] && [ -f "$home/include/cuda.h" ]; then
			echo "$home/include"
			return
		fi
	done
}

# python prints an interpreter that has pip.
python() {
	local p
	for p in "$root/.venv/bin/python" python3; do
		if "$p" -m pip --version >/dev/null 2>&1; then
			echo "$p"
			return
		fi
	done
	die "no CUDA toolkit here, and no python3 with pip to fetch its header with"
}

# fetch unpacks the header of a version into its include folder, once.
fetch() {
	local want dir tmp py
	want=$(wheel "$1")
	dir=$cache/$1
	[ -f "$dir/include/cuda.h" ] && return
	py=$(python)
	mkdir -p "$cache"
	tmp=$(mktemp -d "$cache/fetch.XXXXXX")
	# shellcheck disable=SC2064 # the folder of this call
	trap "rm -rf '$tmp'" EXIT
	echo "$want" >"$tmp/requirements.txt"
	"$py" -m pip download --quiet --no-deps --require-hashes --only-binary=:all: \
		--platform manylinux1_x86_64 --platform manylinux2014_x86_64 \
		--dest "$tmp" -r "$tmp/requirements.txt" >&2 ||
		die "could not fetch CUDA $1's header from PyPI"
	"$py" - "$tmp" <<-'PY'
		import glob, sys, zipfile
		wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
		name = next(n for n in wheel.namelist() if n.endswith("/include/cuda.h"))
		open(sys.argv[1] + "/cuda.h", "wb").write(wheel.read(name))
	PY
	mkdir -p "$dir/include"
	mv "$tmp/cuda.h" "$dir/include/cuda.h"
}

# stub makes DIR/libcuda.so for the header in INCLUDE: every function that it
# declares, failing with CUDA_ERROR_STUB_LIBRARY. Further sources may define
# some of them in earnest.
stub() { # INCLUDE DIR [SOURCE...]
	local include=$1 dir=$2 cc=${CC:-cc}
	shift 2
	mkdir -p "$dir"
	{
		echo '#define STUB(name) __attribute__((weak)) int name(void) { return 34; }'
		echo '#include <cuda.h>' | $cc -E -P -I"$shim" -I"$include" - |
			grep -oE '\bcu[A-Z][A-Za-z0-9_]* *\(' | tr -d ' (' | sort -u |
			sed 's/.*/STUB(&)/'
	} >"$dir/stub.c"
	$cc -O2 -fPIC -w -c -o "$dir/stub.o" "$dir/stub.c"
	$cc -O2 -fPIC -Wall -Wextra -Werror -shared -pthread -I"$shim" -I"$include" \
		-Wl,-soname,libcuda.so.1 -Wl,-Bsymbolic -o "$dir/libcuda.so.new" "$dir/stub.o" "$@"
	mv "$dir/libcuda.so.new" "$dir/libcuda.so"
	ln -sf libcuda.so "$dir/libcuda.so.1"
}

env_() { # [VERSION]
	local include lib
	include=$([ $# -gt 0 ] || toolkit)
	if [ -n "$include" ]; then
		lib=$cache/toolkit-$(sed -n 's/^#define CUDA_VERSION //p' "$include/cuda.h")
	else
		fetch "${1:-11.8}"
		include=$cache/${1:-11.8}/include
		lib=$cache/${1:-11.8}/lib
	fi
	[ "$lib/libcuda.so" -nt "$include/cuda.h" ] || stub "$include" "$lib"
	# Only the driver is called by cgo: names are looked up as in the other builds,
	# whose packages need not be built again.
	printf 'export CGO_ENABLED=1 WEIGHTFS_TAGS=cuda,netgo,osusergo\n'
	printf 'export CGO_CFLAGS=%q\n' "-O2 -g -I$shim -I$include"
	printf 'export CGO_LDFLAGS=%q\n' "-O2 -g -L$lib"
	printf 'export WEIGHTFS_CUDA=%q\n' "$include"
}

driver() {
	local source=$root/tests/tools/cudadriver dir=$cache/driver
	fetch 11.8
	if [ ! -f "$dir/libcuda.so" ] || [ -n "$(find "$source" -newer "$dir/libcuda.so")" ]; then
		stub "$cache/11.8/include" "$dir" "$source"/*.c
	fi
	echo "$dir"
}

case ${1:-} in
env) shift && env_ "$@" ;;
driver) driver ;;
versions) echo "$versions" ;;
*) die "usage: cuda.sh env [VERSION] | driver | versions" ;;
esac
