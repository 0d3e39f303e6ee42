#!/usr/bin/env bash
# Installs the Debian packages that the tests need and that are missing, with
# "peers" those that build what "make peers" measures beside us, with "fleet" those of
# "make fleet", with "deploy" those of "make deploy-test", and with "kernel" those of
# "make kernel-test". It needs root for that; without, it says what to install.
set -euo pipefail

missing=()
need() { # COMMAND... -- PACKAGE...: PACKAGEs are missing if a COMMAND fails
	if ! eval "$1" >/dev/null 2>&1; then missing+=("${@:2}"); fi
}
need 'command -v fusermount3' fuse3
need 'command -v gcc && echo "#include <stdio.h>" | gcc -E -' gcc libc6-dev # for go test -race
need 'python3 -c "import ensurepip, venv"' python3-venv
need 'command -v setpriv' util-linux
need 'command -v rsync' rsync
need 'command -v fio' fio
need 'command -v s3fs' s3fs
need 'command -v strace' strace
need 'command -v shellcheck' shellcheck
need 'test -d /etc/ssl/certs' ca-certificates
need 'command -v nginx || test -x /usr/sbin/nginx' nginx
if [[ ${1-} == peers ]]; then
	need 'command -v cmake && command -v pkg-config && pkg-config fuse3' cmake pkg-config libfuse3-dev
	need 'ls /usr/lib/llvm-*/lib/libclang.so' libclang-dev
fi
if [[ ${1-} == fleet ]]; then
	need 'command -v ip && command -v tc' iproute2
fi
if [[ ${1-} == deploy ]]; then
	need 'command -v mmdebstrap' mmdebstrap
	need 'command -v automount' autofs
	need 'command -v systemd-analyze' systemd
	need 'command -v pgrep' procps
	need 'command -v chromium' chromium fonts-dejavu-core # the page is looked at
fi
if [[ ${1-} == kernel ]]; then
	need 'command -v qemu-system-x86_64' qemu-system-x86
	need 'command -v busybox' busybox-static
	need 'command -v cpio' cpio
	need 'command -v mkfs.ext4' e2fsprogs
fi

if ((${#missing[@]} == 0)); then exit 0; fi
if [[ $(id -u) -ne 0 ]]; then
	echo "missing: apt-get install ${missing[*]}" >&2
	exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
if [[ ! -e /usr/sbin/policy-rc.d ]]; then # or nginx would serve at port 80
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
