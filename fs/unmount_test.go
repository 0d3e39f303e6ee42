package fs_test

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

	"weightfs/fs"
	"weightfs/tests/memstore"
)

func TestUnmount(t *testing.T) {
	m := mount(t, memstore.New(map[string][]byte{"f": []byte("x")}), options{})
	output(t, "cat", m.path("f"))
	if err := m.Unmount(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.Wait()
	if err := m.Unmount(context.Background()); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if err := exec.Command("test", "-e", m.path("f")).Run(); err == nil {
		t.Error("the file is still there")
	}
}

// Mounted is called while nobody is answered yet, and its error ends the mount.
func TestMountedHook(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": []byte("x")})
	var seen fs.Stats
	var early *exec.Cmd
	dir := t.TempDir()
	m := mount(t, store, options{dir: dir, fs: fs.Config{Mounted: func(s *fs.Server) error {
		early = exec.Command("cat", filepath.Join(dir, "f"))
		if err := early.Start(); err != nil {
			return err
		}
		waits := 0
		eventually(t, func() bool { // it has ended, or goes on waiting
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", early.Process.Pid))
			if strings.Contains(string(status), "State:\tS") {
				waits++
			}
			return waits == 1000 || strings.Contains(string(status), "State:\tZ")
		})
		seen = s.Stats()
		return nil
	}}})
	if err := early.Wait(); err != nil || seen.Lookups != 0 {
		t.Errorf("a reader that was early: %v; %d look-ups before", err, seen.Lookups)
	}
	boom := errors.New("boom")
	other := t.TempDir()
	if _, err := tryMount(t, store, options{dir: other, fs: fs.Config{Mounted: func(*fs.Server) error { return boom }}}); !errors.Is(err, boom) {
		t.Errorf("got %v, want boom", err)
	}
	if exec.Command("mountpoint", "-q", other).Run() == nil {
		t.Error("the mount is still there")
	}
	if m.Mountpoint() != dir {
		t.Errorf("mounted at %s", m.Mountpoint())
	}
}

func TestUnmountByOthers(t *testing.T) {
	for _, args := range [][]string{nil, {"-f"}} {
		m := mount(t, memstore.New(map[string][]byte{"f": []byte("x")}), options{})
		output(t, "umount", append(args, m.dir)...)
		if err := m.Wait(); err != nil {
			t.Errorf("umount %q: %v", args, err)
		}
	}
}

// By force, a mount with open files is aborted and stays, and answers nobody: it
// is taken away.
func TestAbortByOthers(t *testing.T) {
	m := mount(t, memstore.New(map[string][]byte{"f": []byte("x")}), options{})
	h := openInChild(t, m.path("f"))
	defer h.close()
	if err := exec.Command("umount", "-f", m.dir).Run(); err == nil {
		t.Fatal("a mount with open files was unmounted")
	}
	if err := m.Wait(); !errors.Is(err, fs.ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
	if exec.Command("mountpoint", "-q", m.dir).Run() == nil {
		t.Error("the mount is still there")
	}
}

func TestUnmountServesOpenFiles(t *testing.T) {
	data := randomBytes(3 << 20)
	m := mount(t, memstore.New(map[string][]byte{"f": data}), options{})
	h := openInChild(t, m.path("f"))
	unmounted := make(chan error)
	go func() { unmounted <- m.Unmount(context.Background()) }()
	eventually(t, func() bool { return exec.Command("test", "-e", m.path("f")).Run() != nil })
	if got := h.read(1<<20, 2<<20); got != digest(data[1<<20:]) {
		t.Errorf("the open handle reads %s", got)
	}
	h.close()
	if err := <-unmounted; err != nil {
		t.Error(err)
	}
}

func TestUnmountCutsOff(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": randomBytes(1 << 20)})
	m := mount(t, store, options{})
	gate := hold(store)
	defer gate.open()
	h := openInChild(t, m.path("f"))
	h.ask(0, 10)
	<-gate.waiting
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Unmount(ctx); !errors.Is(err, fs.ErrAborted) {
		t.Errorf("got %v, want ErrAborted", err)
	}
	if got := h.answer(); got != "ECONNABORTED" && got != "ENOTCONN" {
		t.Errorf("the reader gets %s", got)
	}
}

func TestDeadMountIsCleanedUp(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": []byte("x")})
	dir := t.TempDir()
	leaveDeadMount(t, dir)
	if got := complaint(t, "ls", dir); !strings.Contains(got, "not connected") {
		t.Fatalf("the mount is not dead: %s", got)
	}
	m := mount(t, store, options{dir: dir})
	if got := output(t, "cat", m.path("f")); got != "x" {
		t.Errorf("cat: %q", got)
	}
	if !strings.Contains(m.log.String(), "daemon is gone") {
		t.Errorf("the log does not tell:\n%s", m.log)
	}
}

// leaveDeadMount mounts at dir and closes the device at once.
func leaveDeadMount(t *testing.T, dir string) {
	t.Helper()
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())
	if err := syscall.Mount("gone", dir, "fuse.weightfs", 0, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

func TestWrongMountpoints(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": []byte("x")})
	m := mount(t, store, options{fs: fs.Config{Source: "s3://bucket"}})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		m.dir:           "s3://bucket is mounted there already",
		file:            "not a directory",
		file + "-none":  "no such directory",
		"/dev/fd/x":     "descriptor",
		"/dev/fd/99999": "descriptor",
	} {
		other, err := tryMount(t, store, options{dir: dir})
		if err == nil {
			other.Unmount(context.Background())
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) && !strings.HasPrefix(dir, "/dev/") {
			t.Errorf("at %s: %v, want %q", dir, err, want)
		}
	}
}
