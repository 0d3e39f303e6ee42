// Package kubernetes tests what a Kubernetes node runs of weightfs, without a
// Kubernetes: the CSI driver by the calls that kubelet makes, mounts as pods see
// them, from mount namespaces of their own, and the manifests by the tools that
// render and validate them.
//
// All of it runs in a mount and a PID namespace made for it: whatever a test
// leaves ends with them. It takes root.
package kubernetes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

const (
	// limit bounds every wait for what comes by itself: past it somebody hangs.
	limit = 3 * time.Minute
	// bucket holds the object.
	bucket = "models"
	// object is its key, below prefix.
	prefix, object = "llama", "model.safetensors"
)

// stage is what the tests share: it is set up once, by TestMain, and read only.
type stage struct {
	*rig.Stage
	// base is on a file system whose mounts travel, as kubelet's are.
	base   string
	csi    string // the driver
	size   int64  // of the object
	digest string // its SHA-256
}

// theStage is set before the first test runs.
var theStage *stage

func TestMain(m *testing.M) {
	if code, again := rig.RunInside(); again {
		os.Exit(code)
	}
	rig.Main(m, "kubernetes", rig.ServerOptions{Accounts: true}, prepare)
}

// prepare builds the driver, makes the file system and fills a bucket.
func prepare(ctx context.Context, shared *rig.Stage) error {
	s := &stage{Stage: shared, base: filepath.Join(shared.Scratch, "node"), csi: filepath.Join(shared.Scratch, "weightfs-csi")}
	if err := rig.BuildCommand(ctx, s.Scratch, filepath.Base(s.csi), "./cmd/csi"); err != nil {
		return err
	}
	if err := os.Mkdir(s.base, 0o755); err != nil {
		return err
	}
	if err := errors.Join(unix.Mount("node", s.base, "tmpfs", 0, "mode=0755"), unix.Mount("", s.base, "", unix.MS_SHARED, "")); err != nil {
		return err
	}
	s.AtEnd(func() error { return unix.Unmount(s.base, unix.MNT_DETACH) })
	dir := filepath.Join(s.base, "original")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if _, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: 24 << 20}); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dir, object))
	if err != nil {
		return err
	}
	s.size = info.Size()
	if s.digest, err = rig.Output(ctx, nil, "sh", "-c", `sha256sum <"$0"`, filepath.Join(dir, object)); err != nil {
		return err
	}
	if err := s.Server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	theStage = s
	return s.Server.PutDir(ctx, bucket, prefix+"/", dir)
}

// tool is the path of a tool, which make builds where it is missing.
func tool(t *testing.T, name string) string {
	t.Helper()
	root, err := rig.Root()
	noError(t, err)
	path := filepath.Join(root, ".tools", name)
	if _, err := os.Stat(path); err != nil {
		rig.Succeed(t, nil, "make", "-C", root, path)
	}
	return path
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
