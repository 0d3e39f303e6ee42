package rig

import (
	"context"
	"debug/buildinfo"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// versitygw is the server's package and version, as "PACKAGE@VERSION".
//
//go:embed VERSITYGW
var versitygw string

// ServerBinary returns the path of the server binary of the pinned version, which
// it builds where it is missing (a minute, once). Processes that call it at
// the same time wait for the first one.
func ServerBinary(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	tools := filepath.Join(root, ".tools")
	path := filepath.Join(tools, "versitygw")
	if isPinned(path) {
		return path, nil
	}
	unlock, err := lock(tools)
	if err != nil {
		return "", err
	}
	defer unlock()
	if isPinned(path) {
		return path, nil
	}
	if err := installVersitygw(ctx, tools); err != nil {
		return "", err
	}
	return path, nil
}

// isPinned says whether path is a build of the pinned version.
func isPinned(path string) bool {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return false
	}
	return info.Path+"@"+info.Main.Version == strings.TrimSpace(versitygw)
}

// lock serializes the installers of all processes.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { f.Close() }, nil
}

func installVersitygw(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "install", strings.TrimSpace(versitygw))
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s: %w: %s", strings.TrimSpace(versitygw), err, out)
	}
	return nil
}
