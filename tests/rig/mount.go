package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a mount may take: to answer, and to go.
const (
	mountLimit   = 60 * time.Second
	unmountLimit = 60 * time.Second
)

// MountOptions say what to mount.
type MountOptions struct {
	// Source is mountd's SOURCE.
	Source string
	// Args are flags of mountd, Env more variables.
	Args, Env []string
	// Dir is the mountpoint; "" makes one, which Close removes.
	Dir string
	// Under is a command that becomes mountd, such as setpriv or nsenter.
	Under []string
	// Cgroup, if set, is where mountd runs.
	Cgroup *Cgroup
}

// Mount is a running mountd. Close ends it.
type Mount struct {
	// Dir is the mountpoint.
	Dir string
	// Process is mountd: its keeper, which ends with the mount and takes signals. PID
	// is another process.
	*Process

	made  bool // Dir was made by us
	stale bool // Dir had a mount before, whose daemon is gone
}

// Mount starts mountd and returns once the mount answers. At a Dir that has a dead
// mount, mountd must log at the level of its default.
func (p *Programs) Mount(ctx context.Context, opts MountOptions) (*Mount, error) {
	m := &Mount{Dir: opts.Dir}
	if m.Dir == "" {
		var err error
		if m.Dir, err = os.MkdirTemp("", "mnt-"); err != nil {
			return nil, err
		}
		m.made = true
	}
	var err error
	if m.stale, err = IsMounted(m.Dir); err != nil {
		return nil, errors.Join(err, m.removeDir())
	}
	args := slices.Concat(opts.Under, []string{p.Mountd}, opts.Args, []string{opts.Source, m.Dir})
	cmd := exec.Command(args[0], args[1:]...)
	if opts.Cgroup != nil {
		cmd = opts.Cgroup.Command(args[0], args[1:]...)
	}
	cmd.Env = append(os.Environ(), opts.Env...)
	// A test that Ctrl-C ends leaves no stale mount: mountd unmounts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if m.Process, err = StartProcess(cmd); err != nil {
		return nil, errors.Join(err, m.removeDir())
	}
	ctx, cancel := context.WithTimeout(ctx, mountLimit)
	defer cancel()
	if err := m.waitReady(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", opts.Source, err), m.Close())
	}
	return m, nil
}

// waitReady waits for the mount in the kernel's table and then for its answer. A
// dead mount is in the table until mountd has taken it away.
func (m *Mount) waitReady(ctx context.Context) error {
	if m.stale {
		if _, err := m.AwaitOutput(ctx, regexp.MustCompile("msg=mounted")); err != nil {
			return err
		}
	}
	if err := m.awaitMount(ctx); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "ls", "-d", m.Dir+"/").CombinedOutput(); err != nil {
		return fmt.Errorf("the mount does not answer: %w: %s", err, out)
	}
	return nil
}

// Close unmounts by SIGTERM and fails where that takes mountd too long, where it
// exits with anything but 0, or leaves the mount behind. It may be called again.
func (m *Mount) Close() error {
	err := m.Stop(unmountLimit)
	if code := m.Wait(); code != 0 && err == nil {
		err = fmt.Errorf("mountd exited with %d: %s", code, m.Output())
	}
	mounted, tableErr := IsMounted(m.Dir)
	if mounted {
		err = errors.Join(err, fmt.Errorf("%s is still mounted", m.Dir), unix.Unmount(m.Dir, unix.MNT_DETACH))
	}
	return errors.Join(err, tableErr, m.removeDir())
}

func (m *Mount) removeDir() error {
	if !m.made {
		return nil
	}
	if err := os.Remove(m.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// IsMounted says whether dir is a mountpoint of weightfs.
func IsMounted(dir string) (bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	return inTable(string(table), dir)
}

// inTable looks dir up in the text of a mountinfo file.
func inTable(table, dir string) (bool, error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir)) // dir itself may hang
	if err != nil {
		return false, err
	}
	want := filepath.Join(parent, filepath.Base(dir))
	for line := range strings.Lines(table) {
		mount, super, _ := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if len(fields) > 4 && fields[4] == want && strings.HasPrefix(super, "fuse.weightfs ") {
			return true, nil
		}
	}
	return false, nil
}

// awaitMount waits until Dir is in the table of mounts, at whose changes the
// kernel wakes it.
func (m *Mount) awaitMount(ctx context.Context) error {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer table.Close()
	for {
		if mounted, err := IsMounted(m.Dir); mounted || err != nil {
			return err
		}
		select {
		case <-m.Done():
			return fmt.Errorf("mountd ended: %s", strings.TrimSpace(m.Output()))
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		poll := []unix.PollFd{{Fd: int32(table.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(poll, 50); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll mountinfo: %w", err)
		}
	}
}
