package faults

import (
	"os"
	"testing"

	"weightfs/tests/rig"
)

// unprivileged mounts, reads, unmounts and reads what is left, all as a user
// without rights. Everybody may open the FUSE device, as Debian has it; where
// the machine does not, a private one stands in its place.
const unprivileged = `
set -eu
mountd=$1 source=$2 dir=$3 object=$4
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
	mount -t tmpfs -o mode=755 none /mnt
	mknod -m 666 /mnt/fuse c 10 229
	chmod 666 /mnt/fuse
	mount --bind /mnt/fuse /dev/fuse
fi
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all"
$nobody "$mountd" --log-level info "$source" "$dir" >&2 &
pid=$!
for i in $(seq 300); do
	grep -q " $dir fuse.weightfs " /proc/self/mounts && break
	kill -0 $pid
	sleep 0.1
done
$nobody sha256sum "$dir/$object" | cut -d' ' -f1
cat "$dir/$object" >/dev/null 2>&1 && echo "root was let in" # without allow_other
$nobody fusermount3 -u "$dir"
code=0
wait $pid || code=$?
echo "exit $code"
grep " $dir " /proc/self/mounts || true
`

// TestUnprivilegedMount holds that a user without rights can mount, by way of
// fusermount3, read every byte, and unmount, and that nothing stays behind.
func TestUnprivilegedMount(t *testing.T) {
	dir, err := os.MkdirTemp("", "mnt-")
	noError(t, err)
	t.Cleanup(func() {
		checkUnmounted(t, dir)
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	noError(t, os.Chown(dir, 65534, 65534))
	result := runUnder(t, rig.OwnMounts(),
		"bash", "-c", unprivileged, "unprivileged", theStage.Mountd, "s3://"+bucket, dir, object)
	if want := theStage.digest + "\nexit 0\n"; result.Stdout != want || result.Code != 0 {
		t.Errorf("got %+v, want %q", result, want)
	}
}
