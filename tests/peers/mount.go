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

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// How long a peer may take to mount and to end.
const (
	mountLimit = 30 * time.Second
	endLimit   = 20 * time.Second
)

// mount is a mounted peer.
type mount struct {
	dir      string
	cache    string // a tmpfs of its own for the peer's files
	limit    int64  // what it may keep, in bytes
	endpoint string
	object   string // the path of the object
	proc     *rig.Process
}

// mount starts a peer and returns once its mount answers. The caller closes it.
func (c *comparison) mount(ctx context.Context, p mounter, limit int64, endpoint string) (_ *mount, err error) {
	if p.command == nil {
		return &mount{object: c.copied}, nil
	}
	m := &mount{limit: limit, endpoint: endpoint}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("mount: %w", err), m.close())
		}
	}()
	if m.dir, err = os.MkdirTemp(c.Disk, "mnt-"); err != nil {
		return nil, err
	}
	cache, err := os.MkdirTemp(c.Disk, "cache-")
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("peers", cache, "tmpfs", 0, ""); err != nil {
		return nil, errors.Join(err, os.Remove(cache))
	}
	m.cache = cache
	m.object = filepath.Join(m.dir, p.folder, c.key)
	cmd, err := p.command(c, m, strings.Fields(m.filled(p.flags)))
	if err != nil {
		return nil, err
	}
	cmd.Env = c.environment(endpoint)
	if m.proc, err = rig.StartProcess(cmd); err != nil {
		return nil, err
	}
	if err := lab.Poll(ctx, mountLimit, "it does not answer", m.answers); err != nil {
		return nil, fmt.Errorf("%w: %s", err, lab.LastLine(m.proc.Output()))
	}
	return m, nil
}

// answers says whether the object is seen through the mount, by a child.
func (m *mount) answers(ctx context.Context) (bool, error) {
	select {
	case <-m.proc.Done():
		return false, fmt.Errorf("it ended with %d", m.proc.Wait())
	default:
		return mounted(m.dir) && exec.CommandContext(ctx, "stat", m.object).Run() == nil, nil
	}
}

// mounted says whether dir is a mountpoint of anything.
func mounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

// watchCache returns a function that ends the watch and returns the most that
// the peer's files held at once, in bytes.
func (m *mount) watchCache() (most func() int64) {
	var peak int64
	stop := lab.Watch(func() { peak = max(peak, m.cached()) })
	return func() int64 {
		stop()
		return peak
	}
}

// cached is what the peer's files take, in bytes, those among them that it has
// open and has unlinked.
func (m *mount) cached() int64 {
	var s unix.Statfs_t
	if m.cache == "" || unix.Statfs(m.cache, &s) != nil {
		return 0
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize
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
		errs = append(errs, unix.Unmount(m.cache, unix.MNT_DETACH), os.Remove(m.cache))
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
