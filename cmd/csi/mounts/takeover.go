package mounts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"weightfs/cmd/csi/volume"
)

// A driver that starts beside another one, in the pod that follows that one's, has the
// mounts served by mountds of its own (mountd --take-over), since those of the other
// pod end with it. Its readers notice nothing. The mountds of its own container, which
// a driver before it has started, serve on.

const (
	// statusTimeout bounds how long a mountd may take to say who it is.
	statusTimeout = 20 * time.Second
	// takeOverTimeout bounds a take-over, which the other mountd refuses after two
	// minutes. Until then the other driver is not ready: its liveness probe must wait
	// for longer.
	takeOverTimeout = 4 * time.Minute
)

// takeOverAll takes over, all at once, what mountds of another container serve. What
// cannot be taken over is served on by them, for as long as they live.
func (p *Pool) takeOverAll() error {
	table, err := p.table()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, mount := range table {
		if mount.Digest == "" || mount.Path != p.mountpoint(mount.Digest) {
			continue
		}
		wg.Go(func() {
			if err := p.takeOver(mount.Digest); err != nil {
				p.cfg.Logger.Error("a mount is not taken over: who serves it, if anybody, serves on", "source", mount.Source, "mount", mount.Digest, "err", err)
			}
		})
	}
	wg.Wait()
	return nil
}

// takeOver has a mountd of this container serve the mount of that digest, where another
// container's does.
func (p *Pool) takeOver(digest string) error {
	pid, err := p.keeper(digest)
	if err != nil {
		return err
	}
	switch here, err := inThisContainer(pid); {
	case err != nil:
		return err
	case here:
		return nil
	}
	spec, err := p.recall(digest, pid)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeOverTimeout)
	defer cancel()
	return p.start(ctx, digest, spec, "took a mount over", "--take-over")
}

// keeper is the process id of the mountd of that digest, which need not be ours.
func (p *Pool) keeper(digest string) (pid int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.cfg.Mountd, "status", "--json", p.mountpoint(digest))
	cmd.Env = []string{}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("find its mountd: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var report struct{ PID int }
	if err := json.Unmarshal(text, &report); err != nil {
		return 0, fmt.Errorf("find its mountd: %w", err)
	}
	return report.PID, nil
}

// inThisContainer tells whether a process is of our container: each has a mount
// namespace of its own.
func inThisContainer(pid int) (bool, error) {
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return false, fmt.Errorf("where its mountd runs: %w", err)
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	return theirs == ours, err
}

// recall is the spec of that digest, whose mountd is the process pid.
func (p *Pool) recall(digest string, pid int) (volume.Spec, error) {
	text, err := os.ReadFile(filepath.Join(p.folder(digest), "spec"))
	if err != nil {
		return volume.Spec{}, fmt.Errorf("what it was started for: %w", err)
	}
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return volume.Spec{}, fmt.Errorf("the credentials of its mountd: %w", err)
	}
	spec, err := volume.Recall(text, strings.Split(string(environment), "\x00"))
	if err == nil && spec.Digest() != digest {
		err = errors.New("what is known of it belongs to another one")
	}
	return spec, err
}
