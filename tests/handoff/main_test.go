// Package handoff tests the second door of a running mountd from outside: clients
// in processes of their own, a real mount and a real S3 server.
package handoff

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weightfs/handoff"
	"weightfs/handoff/handofftest"
	"weightfs/tests/rig"
)

const (
	bucket = "handoff"
	object = "model.safetensors"
	size   = 160 << 20
	limit  = 64 << 20
)

// roleVariable says what the test binary is to be: a client of the file or
// of the socket that follows, or an attacker of the process.
const roleVariable = "HANDOFF_TEST_ROLE"

// stage is what the tests share.
type stage struct {
	*rig.Stage
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
	rig.Main(m, "handoff", rig.ServerOptions{}, prepare)
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

func prepare(ctx context.Context, shared *rig.Stage) error {
	s := &stage{Stage: shared, self: filepath.Join(shared.Scratch, "client")}
	if out, err := exec.Command("cp", os.Args[0], s.self).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if _, err := rig.WriteCheckpoint(s.Scratch, rig.Checkpoint{Size: size, TensorSize: 4 << 20}); err != nil {
		return err
	}
	original := filepath.Join(s.Scratch, object)
	var err error
	if s.content, err = os.ReadFile(original); err != nil {
		return err
	}
	if err := s.Server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	theStage = s
	return s.Server.PutFile(ctx, bucket, object, original)
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
		Source: "s3://" + bucket, Env: theStage.Server.Env(), Cgroup: cgroup,
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
