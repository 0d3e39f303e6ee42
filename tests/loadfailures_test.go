package tests

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// failingLoad loads source by two readers, which must fail with one line that
// has all of want in it, and leave no manifest behind.
func failingLoad(t *testing.T, env []string, source string, want ...string) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), childLimit)
	defer cancel()
	r, err := rig.Run(ctx, append(theStage.server.Env(), env...), theStage.Gpuload,
		"load", "--device", "cpu", "--concurrency", "2", "--json", "--manifest", filepath.Join(dir, "manifest"), source)
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 1 || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("exit %d, printed %q, standard error %q", r.Code, r.Stdout, r.Stderr)
	}
	for _, part := range want {
		if !strings.Contains(r.Stderr, part) {
			t.Errorf("%q is not in %s", part, r.Stderr)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// twin is a bucket with a checkpoint that can be replaced by another one of the
// same size.
type twin struct {
	name  string
	proxy *proxy.Proxy
	env   []string
	again string     // path of the other file
	done  chan error // gets what became of the replacement
}

const twinFile = "model.safetensors"

func newTwin(t *testing.T, name string) *twin {
	t.Helper()
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		if _, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: 64 << 20, TensorSize: 6 << 20, Seed: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	theStage.server.Fill(t, name, nil)
	if err := theStage.server.PutDir(t.Context(), name, "", dirs[0]); err != nil {
		t.Fatal(err)
	}
	w := &twin{name: name, again: filepath.Join(dirs[1], twinFile), done: make(chan error, 1)}
	w.proxy, w.env = proxied(t)
	return w
}

// failAt replaces the object when so many GETs of it have been answered to the
// load of source, which must fail for that.
func (w *twin) failAt(t *testing.T, gets int, env []string, source string, want ...string) {
	t.Helper()
	ctx := t.Context()
	replace := func(*http.Response) {
		w.done <- theStage.server.PutFile(ctx, w.name, twinFile, w.again)
		w.proxy.SetShape(proxy.Shape{})
	}
	// Until then it is so slow that no part is over, and the next one asked for,
	// before the object was replaced.
	w.proxy.SetShape(proxy.Shape{Total: 10e6})
	w.proxy.SetRules(1, proxy.Rule{Op: "GET", Skip: gets, Count: 1, Fault: proxy.Fault{Edit: replace}})
	failingLoad(t, env, source, want...)
	select {
	case err := <-w.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(childLimit):
		t.Error("the object was not replaced")
	}
}

// TestReplacedWhileLoading replaces an object in the middle of a load, from the
// bucket and through a mount.
func TestReplacedWhileLoading(t *testing.T) {
	t.Parallel()
	t.Run("bucket", func(t *testing.T) {
		w := newTwin(t, "replaced-bucket")
		w.failAt(t, 2, w.env, "s3://"+w.name, "gpuload: load s3://"+w.name+"/"+twinFile+" [", ` "model.layers.0.`, "changed")
	})
	t.Run("mount", func(t *testing.T) {
		w := newTwin(t, "replaced-mount")
		mnt := mountWith(t, rig.MountOptions{Source: "s3://" + w.name, Env: w.env, Args: []string{"--memory-limit", "32Mi"}})
		w.failAt(t, 2, nil, mnt.Dir, "gpuload: load "+filepath.Join(mnt.Dir, twinFile)+" [", ` "model.layers.0.`, "stale")
	})
}
