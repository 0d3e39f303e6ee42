package handoff

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unprivileged mounts, has a client read, and unmounts, all as a user without
// rights. Everybody may open the FUSE device, as Debian has it; where the machine
// does not, a private one stands in its place.
const unprivileged = `
set -eu
mountd=$1 source=$2 dir=$3 client=$4 object=$5
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
	mount -t tmpfs -o mode=755 none /mnt
	mknod -m 666 /mnt/fuse c 10 229
	chmod 666 /mnt/fuse
	mount --bind /mnt/fuse /dev/fuse
fi
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all"
$nobody "$mountd" --log-level info --memory-limit 64Mi "$source" "$dir" >&2 &
pid=$!
for i in $(seq 600); do
	grep -q " $dir fuse.weightfs " /proc/self/mounts && break
	kill -0 $pid
	sleep 0.1
done
echo "read $object 0 $(stat -c %s "$source/$object")" |
	HANDOFF_TEST_ROLE="client:$dir/$object" $nobody "$client"
HANDOFF_TEST_ROLE="attack:$pid" $nobody "$client"
$nobody fusermount3 -u "$dir"
wait $pid
`

// A mountd of an ordinary user shares its memory too, by a helper in namespaces of
// its own, and lets no other process of that user look into it.
func TestUnprivileged(t *testing.T) {
	dir, err := os.MkdirTemp("", "weightfs-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	mountpoint := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, mountpoint} {
		if err := os.Chown(name, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "-m", "sh", "-c", unprivileged, "sh",
		theStage.Mountd, theStage.Scratch, mountpoint, theStage.self, object)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	want := fmt.Sprintf("ok connected\nok %x\n", sha256.Sum256(theStage.content))
	if err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q: %s", err, out, want, said.String())
	}
}
