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
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

const (
	// insideVariable says that the namespaces are there.
	insideVariable = "_WEIGHTFS_KUBERNETES_TEST"
	// limit bounds every wait for what comes by itself: past it somebody hangs.
	limit = 3 * time.Minute
	// bucket holds the object.
	bucket = "models"
	// object is its key, below prefix.
	prefix, object = "llama", "model.safetensors"
)

// stage is what the tests share: it is set up once, by TestMain, and read only.
type stage struct {
	// base is on a file system whose mounts travel, as kubelet's are.
	base   string
	bin    string // the programs
	server *rig.Server
	size   int64  // of the object
	digest string // its SHA-256
}

// theStage is set before the first test runs.
var theStage *stage

func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) == "" {
		os.Exit(runInside())
	}
	code, err := runOnStage(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubernetes:", err)
		code = 1
	}
	os.Exit(code)
}

// runInside runs this program again in namespaces of its own.
func runInside() int {
	args := append(rig.OwnMounts("--pid", "--fork", "--kill-child", "--mount-proc"), os.Args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
			return exit.ExitCode()
		}
		fmt.Fprintln(os.Stderr, "kubernetes: namespaces:", err)
		return 1
	}
	return 0
}

func runOnStage(m *testing.M) (code int, err error) {
	ctx := context.Background()
	base, err := os.MkdirTemp("", "k8s-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base)) }()
	if err := errors.Join(unix.Mount("node", base, "tmpfs", 0, "mode=0755"), unix.Mount("", base, "", unix.MS_SHARED, "")); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(base, unix.MNT_DETACH)) }()
	if theStage, err = newStage(ctx, base); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, theStage.server.Close()) }()
	return m.Run(), nil
}

// newStage builds what is not built, and fills a bucket.
func newStage(ctx context.Context, base string) (*stage, error) {
	s := &stage{base: base, bin: os.Getenv("WEIGHTFS_BIN"), size: 24 << 20}
	if s.bin == "" {
		s.bin = filepath.Join(base, "bin")
		if err := build(ctx, s.bin); err != nil {
			return nil, err
		}
	}
	var err error
	if s.server, err = rig.NewServer(ctx, rig.ServerOptions{Accounts: true}); err != nil {
		return nil, err
	}
	dir := filepath.Join(base, "original")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: s.size}); err != nil {
		return nil, err
	}
	info, err := os.Stat(filepath.Join(dir, object))
	if err != nil {
		return nil, err
	}
	s.size = info.Size()
	if s.digest, err = rig.Output(ctx, nil, "sh", "-c", `sha256sum <"$0"`, filepath.Join(dir, object)); err != nil {
		return nil, err
	}
	if err := s.server.CreateBucket(ctx, bucket); err != nil {
		return nil, err
	}
	return s, s.server.PutDir(ctx, bucket, prefix+"/", dir)
}

// build builds the programs into dir.
func build(ctx context.Context, dir string) error {
	root, err := rig.Root()
	if err != nil {
		return err
	}
	for program, source := range map[string]string{"mountd": "mountd", "weightfs-csi": "csi"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, program), "./cmd/"+source)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", program, err, out)
		}
	}
	return nil
}

func (s *stage) program(name string) string { return filepath.Join(s.bin, name) }

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

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}
