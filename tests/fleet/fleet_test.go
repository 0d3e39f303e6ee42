package fleet

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// TestOnce holds that nodes which read the same object at the same time ask the
// store for it once, and that nodes which come later ask it for nothing.
func TestOnce(t *testing.T) {
	s := newScene(t, 3)
	s.readAll(s.mounts(8), nil)
	s.holds(1.05, 0)
	s.readAll(s.mounts(2), nil)
	s.load()
	s.holds(0, 0)
}

// TestSmallFile holds that an object of less than a block comes by the cache too.
func TestSmallFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	noError(t, os.WriteFile(file, []byte(`{"architectures": ["LlamaForCausalLM"]}`), 0o644))
	s := newSceneOf(t, file, 2)
	s.readAll(s.mounts(2), nil)
	s.holds(1, 0)
}

// TestLittleMemory holds that blocks of the cache fit in the smallest mount.
func TestLittleMemory(t *testing.T) {
	s := newSmallScene(t, 1)
	s.readAll(s.mounts(2, "--memory-limit", "16Mi"), nil)
	s.holds(1.05, 0)
}

// TestOnceByLoader is TestOnce of gpuload, without a mount.
func TestOnceByLoader(t *testing.T) {
	s := newScene(t, 3)
	var loads sync.WaitGroup
	for range 3 {
		loads.Go(func() { s.load() })
	}
	loads.Wait()
	s.holds(1.05, 0)
	s.load()
	s.holds(0, 0)
}

// TestInstanceKilled holds that an instance which is gone costs the store some of
// its blocks, and no reader anything.
func TestInstanceKilled(t *testing.T) {
	s := newScene(t, 3)
	s.readAll(s.mounts(4), func() { s.kill(s.tier[1]) })
	s.holds(1.25, size/4)
}

// TestInstanceHung holds that an instance which is there and does not answer is
// passed over, and that nodes stay within their budget meanwhile.
func TestInstanceHung(t *testing.T) {
	t.Parallel()
	const nodes, rate = 2, 16 << 20
	s := newScene(t, 3, "OWNER_TIMEOUT=1s")
	mounts := s.mounts(nodes, "--read-timeout", "16s", "--cache-direct-rate", "16Mi") // 4 s for the cache to answer
	began := time.Now()
	s.readAll(mounts, func() { s.signal(s.tier[2], syscall.SIGSTOP) })
	took := time.Since(began)
	s.signal(s.tier[2], syscall.SIGKILL)
	s.holds(nodes+1, nodes*(block+int64(took.Seconds()*rate)))
}

// TestTierHung holds that a cache which takes connections and does not answer costs
// time alone, and that its nodes then ask the store for no more than their budget.
func TestTierHung(t *testing.T) {
	t.Parallel()
	const nodes, rate = 2, 2 << 20
	s := newSmallScene(t, 1)
	mounts := s.mounts(nodes, "--read-timeout", "40s", "--cache-direct-rate", "2Mi")
	s.signal(s.tier[0], syscall.SIGSTOP)
	began := time.Now()
	s.readAll(mounts, nil)
	took := time.Since(began)
	s.signal(s.tier[0], syscall.SIGKILL)
	_, direct := s.asked()
	if direct < nodes*s.size {
		t.Errorf("%d bytes by nodes, which read %d", direct, nodes*s.size)
	}
	s.holds(nodes*1.5, nodes*(block+int64(took.Seconds()*rate)))
}

// TestTierGone holds that nodes read from the store when no instance is there, and
// through the cache again when it is back.
func TestTierGone(t *testing.T) {
	s := newScene(t, 2)
	mounts := s.mounts(2)
	s.readAll(mounts, func() {
		for _, in := range s.tier {
			s.kill(in)
		}
	})
	if _, direct := s.asked(); direct == 0 {
		t.Error("nothing was read from the store itself")
	}
	for _, in := range s.tier {
		s.start(in)
	}
	s.store.ResetStats()
	// A break is of 15 s at most, and what is read then decides that it is over.
	rig.Await(t, "the cache is used again", func() bool {
		noError(t, touch(mounts[0]))
		byTier, _ := s.asked()
		return byTier > 0
	})
}

// touch reads the object's first block, with nothing of it in the memory of mountd:
// there is room for a third of the object.
func touch(m *rig.Mount) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := rig.Output(ctx, nil, "dd", "if="+filepath.Join(m.Dir, object), "of=/dev/null", "bs=1M", "iflag=direct")
	return err
}

// TestReplaced holds that a reader gets the version that it opened to its end, or an
// error, whatever the cache has of either.
func TestReplaced(t *testing.T) {
	s := newScene(t, 3)
	m := s.mount()
	file, err := os.ReadFile(theStage.original)
	noError(t, err)
	// The cache has the first half of the old version, and then all of the new one.
	half := rig.Succeed(t, nil, "head", "-c", "64M", filepath.Join(m.Dir, object))
	if half != string(file[:64<<20]) {
		t.Error("the first half is wrong")
	}
	changed := bytes.Clone(file)
	for i := 0; i < len(changed); i += 4096 {
		changed[i] ^= 0xff
	}
	next := filepath.Join(t.TempDir(), object)
	noError(t, os.WriteFile(next, changed, 0o644))
	s.put(next)
	fresh := s.mount()
	rig.Succeed(t, nil, "cmp", next, filepath.Join(fresh.Dir, object))
	result, err := rig.Run(t.Context(), nil, "cat", filepath.Join(m.Dir, object))
	noError(t, err)
	switch {
	case !strings.HasPrefix(string(file), result.Stdout):
		t.Errorf("%d bytes, and not those of the old version", len(result.Stdout))
	case result.Code == 0 && len(result.Stdout) != len(file):
		t.Errorf("it ends after %d bytes, and no error", len(result.Stdout))
	case result.Code != 0 && !strings.Contains(result.Stderr, "Stale file handle"):
		t.Errorf("error %q", result.Stderr)
	case result.Code == 0:
		t.Error("the cache had half of the old version, and the store none: all of it was read")
	}
	if _, direct := s.asked(); direct > 2*block {
		t.Errorf("%d bytes by nodes", direct)
	}
}
