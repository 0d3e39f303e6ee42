package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// How long a peer may take to mount and to end.
const (
	mountLimit = 30 * time.Second
	endLimit   = 20 * time.Second
	mountTick  = 20 * time.Millisecond
)

// mounter is a peer that mounts.
type mounter struct {
	name string
	// version and flags are what the table says of it.
	version func(ctx context.Context, l *lab) (string, error)
	flags   string
	// command mounts the bucket at dir and stays in the foreground. cache is an
	// empty folder for it. nil is a local file in the place of a mount.
	command func(l *lab, endpoint, dir, cache string) (*exec.Cmd, error)
	// folder of the mount is where the bucket's objects are; "" is the mount.
	folder string
}

// mount is a mounted peer.
type mount struct {
	dir, cache string
	object     string // the path of the object
	proc       *rig.Process
}

// mount starts a peer and returns once its mount answers. The caller closes it.
func (l *lab) mount(ctx context.Context, p mounter, endpoint string) (_ *mount, err error) {
	if p.command == nil {
		return &mount{object: l.copied}, nil
	}
	m := &mount{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("mount: %w", err), m.close())
		}
	}()
	if m.cache, err = os.MkdirTemp(l.scratch, "cache-"); err != nil {
		return nil, err
	}
	if m.dir, err = os.MkdirTemp(l.local, "mnt-"); err != nil {
		return nil, err
	}
	m.object = filepath.Join(m.dir, p.folder, l.key)
	cmd, err := p.command(l, endpoint, m.dir, m.cache)
	if err != nil {
		return nil, err
	}
	cmd.Env = l.environment(endpoint)
	if m.proc, err = rig.StartProcess(cmd); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, mountLimit, errors.New("it does not answer"))
	defer cancel()
	if err := m.await(ctx); err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine(m.proc.Output()))
	}
	return m, nil
}

// await returns once the object is seen through the mount, by a child.
func (m *mount) await(ctx context.Context) error {
	tick := time.NewTicker(mountTick)
	defer tick.Stop()
	for {
		if mounted(m.dir) && exec.CommandContext(ctx, "stat", m.object).Run() == nil {
			return nil
		}
		select {
		case <-m.proc.Done():
			return fmt.Errorf("it ended with %d", m.proc.Wait())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// mounted says whether dir is a mountpoint of anything.
func mounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

// peak is the daemon's largest resident set so far, in bytes.
func (m *mount) peak() (int64, error) {
	if m.proc == nil {
		return 0, nil
	}
	return rig.PeakRSS(m.proc.PID())
}

// close ends the peer whatever state it is in, and removes what it cached.
func (m *mount) close() error {
	var errs []error
	if m.dir != "" {
		if mounted(m.dir) {
			errs = append(errs, unix.Unmount(m.dir, unix.MNT_DETACH))
		}
		if m.proc != nil {
			m.end()
		}
		errs = append(errs, os.Remove(m.dir))
	}
	if m.cache != "" {
		errs = append(errs, os.RemoveAll(m.cache))
	}
	return errors.Join(errs...)
}

// end waits for the peer, which ends with its mount, or makes it end. How it
// ends is its own affair.
func (m *mount) end() {
	timer := time.NewTimer(endLimit)
	defer timer.Stop()
	select {
	case <-m.proc.Done():
	case <-timer.C:
		_ = m.proc.Stop(endLimit)
	}
}

// lastLine is the end of what a program said.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
