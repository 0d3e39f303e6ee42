#!/bin/sh
# Runs as the first process of a node's namespaces: makes its root, and becomes
# its init.
#
#   boot.sh SCRATCH SHARED INIT...
#
# What is in SCRATCH/files is put over the root of this machine. SHARED is a folder that the
# node has in common with it. HIERARCHIES has a line NAME OPTIONS for each hierarchy of
# control groups of version 1, and UNIFIED is where that of version 2 is mounted.
set -eu
scratch=$1 shared=$2
shift 2

mount -t tmpfs node "$scratch/own"
mkdir "$scratch/own/upper" "$scratch/own/work" "$scratch/own/root"
root=$scratch/own/root
mount -t overlay -o "lowerdir=/,upperdir=$scratch/own/upper,workdir=$scratch/own/work" node "$root"

# Of this machine's services none starts, and nothing that sets the machine up.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/usr/lib/systemd/system/*.wants
cp -a "$scratch/files/." "$root/"

mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
# What is set there holds for the whole machine.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared"

groups=$root/sys/fs/cgroup
if [ "$UNIFIED" = /sys/fs/cgroup ]; then
	mount -t cgroup2 cgroup2 "$groups"
else
	mount -t tmpfs -o mode=755 cgroup "$groups"
	echo "$HIERARCHIES" | while read -r name options; do
		[ "$name" ] || continue
		mkdir "$groups/$name"
		mount -t cgroup -o "$options" cgroup "$groups/$name"
	done
	if [ "$UNIFIED" ]; then
		mkdir "$groups/unified"
		mount -t cgroup2 cgroup2 "$groups/unified"
	fi
fi

mkdir "$root/tmp/old"
cd "$root"
pivot_root . tmp/old
umount -l /tmp/old
rmdir /tmp/old
cd /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=weightfs-test "$@"
