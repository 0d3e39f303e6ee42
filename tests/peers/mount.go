package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// How long a peer may take to mount and to end; and how often a mount and a cache
// are looked at: some files are gone as soon as the reader closes the mount's.
const (
	mountLimit = 30 * time.Second
	endLimit   = 20 * time.Second
	mountTick  = 20 * time.Millisecond
	cacheTick  = 100 * time.Millisecond
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
	if m.dir, err = os.MkdirTemp(c.local, "mnt-"); err != nil {
		return nil, err
	}
	cache, err := os.MkdirTemp(c.local, "cache-")
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

// watchCache returns a function that ends the watch and returns the most that
// the peer's files held at once, in bytes.
func (m *mount) watchCache(ctx context.Context) (most func() int64) {
	var peak int64
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(cacheTick)
		defer tick.Stop()
		for ctx.Err() == nil {
			peak = max(peak, m.cached())
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
		peak = max(peak, m.cached())
	})
	return func() int64 {
		cancel()
		done.Wait()
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

// lastLine is the end of what a program said.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
