#!/bin/bash
# Runs a command on another kernel: boot.sh PACKAGE COMMAND, with the kernel of a package of
# Debian, by its own name or that of the newest one (linux-image-amd64). It runs in a virtual
# machine whose processor is emulated: that needs no KVM, and is 10 times as slow.
#
# The command, for bash, is root there and sees this machine's files: what it writes is
# lost. Some things differ: TMPDIR and /dev/shm lie on an ext4 of 6 GiB, since the tmpfs of
# older kernels has no extended attributes of users. Exits with the command's status.
set -euo pipefail

package=$1 command=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ ! $package =~ [0-9]\. ]]; then
	package=$(apt-cache depends "$package" | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p')
fi
(cd "$work" && apt-get download -q "$package" >/dev/null 2>&1) || { echo "cannot download $package" >&2 && exit 1; }
dpkg-deb -x "$work"/*.deb "$work/kernel"

# An initial file system of busybox and of what the kernel has as modules, each after
# those that it needs.
modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk
	9pnet 9pnet_virtio netfs fscache 9p fuse overlay
	crc32c_generic libcrc32c crc16 mbcache jbd2 ext4)
mkdir -p "$work/root/modules"
cp "$(command -v busybox)" "$work/root/busybox"
for module in "${modules[@]}"; do
	found=$(find "$work/kernel" -name "$module.ko*" -print -quit)
	if [[ $found ]]; then # otherwise it is built in
		case $found in
		*.xz) xz -dc "$found" ;;
		*) cat "$found" ;;
		esac >"$work/root/modules/$module.ko"
		echo "$module.ko" >>"$work/root/modules/order"
	fi
done
printf '%s\n' "$command" >"$work/root/command"
cat >"$work/root/init" <<-'EOF'
	#!/busybox sh
	/busybox mkdir -p /bin && /busybox --install -s /bin
	mkdir -p /proc /sys /dev /host /new /memory
	mount -t proc proc /proc && mount -t devtmpfs dev /dev
	for module in $(cat /modules/order); do insmod /modules/$module || echo "no module $module"; done
	mount -t tmpfs -o mode=755 memory /memory && mkdir /memory/upper /memory/work
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,ro,cache=loose host /host &&
		mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /new || poweroff -f
	cp /command /new/command
	mount -t proc proc /new/proc && mount -t sysfs sys /new/sys && mount -t devtmpfs dev /new/dev
	mount -t tmpfs run /new/run
	mkdir -p /new/scratch /new/dev/shm && mount -t ext4 /dev/vda /new/scratch
	mkdir -p /new/scratch/tmp /new/scratch/shm && mount --bind /new/scratch/shm /new/dev/shm
	ip link set lo up
	TMPDIR=/scratch/tmp HOME=/scratch/tmp chroot /new /bin/bash /command
	echo "the command has ended: $?"
	poweroff -f
EOF
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc --quiet | gzip) >"$work/initrd"
truncate -s 6G "$work/disk"
mkfs.ext4 -q "$work/disk"

# Where it hangs, it is given up after an hour.
timeout 1h qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 6144 -smp "$(nproc)" -no-reboot \
	-display none -serial stdio -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd" \
	-append "console=ttyS0 panic=-1 quiet mitigations=off" \
	-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
	-device virtio-9p-pci,fsdev=host,mount_tag=host \
	-drive file="$work/disk",format=raw,if=virtio,cache=unsafe </dev/null |
	tee "$work/out"
exit "$(sed -n 's/^the command has ended: \([0-9]*\)\r*$/\1/p' "$work/out" | grep . || echo 1)"
