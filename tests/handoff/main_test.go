// Package handoff tests the second door of a running mountd from outside: clients
// in processes of their own, a real mount and a real S3 server.
package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weightfs/handoff"
	"weightfs/handoff/handofftest"
	"weightfs/tests/rig"
)

const (
	bucket = "handoff"
	object = "model.safetensors"
	size   = 160 << 20
	limit  = 64 << 20
	// patience bounds a hang.
	patience = 3 * time.Minute
)

// roleVariable says what the test binary is to be: a client of the file or
// of the socket that follows, or an attacker of the process.
const roleVariable = "HANDOFF_TEST_ROLE"

// stage is what the tests share.
type stage struct {
	*rig.Programs
	scratch string
	server  *rig.Server
	content []byte
	self    string // the test binary, where everybody reaches it
}

var theStage *stage // set before the first test runs

func TestMain(m *testing.M) {
	if role, what, ok := strings.Cut(os.Getenv(roleVariable), ":"); ok {
		if err := play(role, what); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "handoff:", err)
		code = 1
	}
	os.Exit(code)
}

func play(role, what string) error {
	if role == "attack" {
		return attack(what)
	}
	if role == "socket" {
		return handofftest.RunClient(what, os.Stdin, os.Stdout)
	}
	place, err := handoff.Find(what)
	if err != nil {
		return err
	}
	return handofftest.RunClient(place.Socket, os.Stdin, os.Stdout)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	s := &stage{}
	if s.scratch, err = os.MkdirTemp("", "weightfs-handoff-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.scratch)) }()
	if err := os.Chmod(s.scratch, 0o755); err != nil { // for programs that others run
		return 1, err
	}
	if s.Programs, err = rig.Build(ctx, s.scratch); err != nil {
		return 1, err
	}
	s.self = filepath.Join(s.scratch, "client")
	if out, err := exec.Command("cp", os.Args[0], s.self).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("%w: %s", err, out)
	}
	if _, err := rig.WriteCheckpoint(s.scratch, rig.Checkpoint{Size: size, TensorSize: 4 << 20}); err != nil {
		return 1, err
	}
	original := filepath.Join(s.scratch, object)
	if s.content, err = os.ReadFile(original); err != nil {
		return 1, err
	}
	if s.server, err = rig.NewServer(ctx, rig.ServerOptions{}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, s.server.Close()) }()
	if err := s.server.CreateBucket(ctx, bucket); err != nil {
		return 1, err
	}
	if err := s.server.PutFile(ctx, bucket, object, original); err != nil {
		return 1, err
	}
	theStage = s
	return m.Run(), nil
}

// mount is start of a mount that ends well.
func mount(t *testing.T, cgroup *rig.Cgroup, args ...string) *rig.Mount {
	t.Helper()
	m := start(t, cgroup, args...)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// start mounts the bucket, and has its memory shared.
func start(t *testing.T, cgroup *rig.Cgroup, args ...string) *rig.Mount {
	t.Helper()
	m, err := theStage.Mount(t.Context(), rig.MountOptions{
		Source: "s3://" + bucket, Env: theStage.server.Env(), Cgroup: cgroup,
		Args: append([]string{"--memory-limit", fmt.Sprint(limit), "--log-level", "info"}, args...),
	})
	if err != nil {
		t.Fatal(err)
	}
	if why := m.Output(); strings.Contains(why, "the cache's memory is of this process alone") && !strings.Contains(why, "not asked for") {
		_ = m.Close()
		t.Fatal("the memory is not shared: ", m.Output())
	}
	return m
}

// role is a command of the test binary, as root or, with a user, as that one
// without capabilities.
func role(role, what string, user *syscall.Credential) *exec.Cmd {
	cmd := exec.Command(theStage.self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role+":"+what)
	if user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	}
	return cmd
}
