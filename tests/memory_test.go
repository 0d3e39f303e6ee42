package tests

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// mountLimited mounts with a memory limit of 64 MiB, in a cgroup. check holds the
// peaks of memory to what mountd promises with so many objects known.
func mountLimited(t *testing.T, source string, env ...string) (m *rig.Mount, check func(objects int64)) {
	t.Helper()
	group := rig.CgroupFor(t, strings.TrimPrefix(source, "s3://"))
	m = mountWith(t, rig.MountOptions{Source: source, Args: []string{"--memory-limit", "64Mi"}, Env: env, Cgroup: group})
	return m, func(objects int64) {
		t.Helper()
		t.Log(rig.CheckMemory(t, m, group, 64<<20, objects))
	}
}

// TestMemoryStaysBelowTheLimit reads eight times the limit through a mount, by
// several readers at once and by mapping.
func TestMemoryStaysBelowTheLimit(t *testing.T) {
	t.Parallel()
	dir, name := t.TempDir(), "large"
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: 4, Size: 512 << 20, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	theStage.Server.Fill(t, name, nil)
	if err := theStage.Server.PutDir(t.Context(), name, "", dir); err != nil {
		t.Fatal(err)
	}
	m, check := mountLimited(t, "s3://"+name)
	if got, want := sums(t, m.Dir), sums(t, dir); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	output(t, "sh", "-c", `cd "$0" && for i in 1 2 3 4; do for f in *.safetensors; do
		dd if="$f" of=/dev/null bs=1M iflag=direct status=none & done; done; wait`, m.Dir)
	output(t, theStage.Python, filepath.Join(theStage.Scripts, "mapped_sum.py"), filepath.Join(m.Dir, names[0]))
	check(5) // with the index
}

// TestMemoryOfManyObjects fills the cache, and then has the kernel know 200,000
// objects: half of them in one folder, half in a thousand.
func TestMemoryOfManyObjects(t *testing.T) {
	t.Parallel()
	const objects = 200_000
	var keys rig.KeyServer
	keys.Put("big", rig.Zeroes(64<<20))
	for i := range objects / 2 {
		keys.Put(fmt.Sprintf("flat/shard-%06d.safetensors", i), rig.Zeroes(1))
		keys.Put(fmt.Sprintf("models/%03d/shard-%03d.safetensors", i/100, i%100), rig.Zeroes(1))
	}
	m, check := mountLimited(t, "s3://objects", "AWS_ENDPOINT_URL="+keys.Start(t))
	output(t, "cat", filepath.Join(m.Dir, "big"))
	if got := output(t, "sh", "-c", `find "$0" -type f -size -2 | wc -l`, m.Dir); got != fmt.Sprintln(objects) {
		t.Errorf("%s files were found, want %d", got, objects)
	}
	output(t, "cat", filepath.Join(m.Dir, "big"))
	check(objects)
}
