package tests

import (
	"path/filepath"
	"testing"

	"weightfs/tests/rig"
)

// What mountd promises of its memory: the limit and 128 MiB.
const (
	memoryLimit   = 256 << 20
	memoryPromise = memoryLimit + 128<<20
)

// TestMemoryStaysBelowTheLimit reads eight times the limit through a mount, by
// several readers at once and by mapping, and holds resident memory and the
// charge of mountd's cgroup to the promise.
func TestMemoryStaysBelowTheLimit(t *testing.T) {
	dir := t.TempDir()
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: 4, Size: 2 << 30, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	const bucket = "large"
	theStage.server.Fill(t, bucket, nil)
	if err := theStage.server.PutDir(t.Context(), bucket, "", dir); err != nil {
		t.Fatal(err)
	}
	group, err := rig.NewCgroup("weightfs-memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	m := mountWith(t, rig.MountOptions{Source: "s3://" + bucket, Args: []string{"--memory-limit", "256Mi"}, Cgroup: group})
	if got, want := sums(t, m.Dir), sums(t, dir); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	output(t, "sh", "-c", `cd "$0" && for i in 1 2 3 4 5 6 7 8; do for f in *.safetensors; do
		dd if="$f" of=/dev/null bs=1M iflag=direct status=none & done; done; wait`, m.Dir)
	output(t, theStage.Python, filepath.Join(theStage.Scripts, "mapped_sum.py"), filepath.Join(m.Dir, names[0]))
	checkMemory(t, m.PID(), group)
}

// checkMemory holds what a process has used to the promise.
func checkMemory(t *testing.T, pid int, group *rig.Cgroup) {
	t.Helper()
	resident, err := rig.PeakRSS(pid)
	if err != nil {
		t.Fatal(err)
	}
	charged, err := group.Peak()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak resident %d MiB, charged %d MiB", resident>>20, charged>>20)
	if resident > memoryPromise || charged > memoryPromise {
		t.Errorf("peak resident %d MiB, charged %d MiB, promised %d MiB", resident>>20, charged>>20, memoryPromise>>20)
	}
}
