package fs_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/tests/memstore"
)

// What one process mounts another serves, and who mounted can take it away.
func TestAttachmentIsPassedOn(t *testing.T) {
	dir := t.TempDir() + "/no UTF-8: \xff"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	made, err := fs.Attach(dir, fs.Config{Source: "weights", Options: []string{"noexec"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Detach() }) // after a failure: whoever looks would wait
	ours, theirs, err := fs.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	conn, err := net.FileConn(theirs)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(made.Send(ours), made.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := fs.Receive(conn.(*net.UnixConn))
	conn.Close()
	if err != nil || got.Dir != dir {
		t.Fatalf("received %+v, %v", got, err)
	}
	store := memstore.New(map[string][]byte{"f": []byte("x")})
	cache, err := prefetch.New(store, prefetch.Config{MemoryLimit: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	known, err := names.New(store, names.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	server, err := fs.Serve(got, store, cache, known, fs.Config{FileMode: fs.DefaultFileMode, DirMode: fs.DefaultDirMode})
	if err != nil {
		t.Fatal(err)
	}
	if text := output(t, "cat", dir+"/f"); text != "x" || server.Mountpoint() != dir {
		t.Errorf("at %s: %q", server.Mountpoint(), text)
	}
	if options := output(t, "findmnt", "--noheadings", "--output", "FSTYPE,SOURCE,OPTIONS", dir); !regexp.MustCompile(`^fuse\.weightfs +weights .*\bnoexec\b`).MatchString(options) {
		t.Errorf("mounted is %q", options)
	}
	if err := made.Detach(); err != nil {
		t.Error(err)
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
	if exec.Command("mountpoint", "-q", dir).Run() == nil {
		t.Error("the mount is still there")
	}
}

// Two messages of a socket, one of which has no descriptor.
func TestReceiveNothing(t *testing.T) {
	ours, theirs, err := fs.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if _, err := theirs.Write([]byte("r/mnt")); err != nil {
		t.Fatal(err)
	}
	if a, err := fs.Receive(ours); err == nil {
		t.Errorf("a message without a descriptor: %+v", a)
	}
	theirs.Close()
	if a, err := fs.Receive(ours); err == nil {
		t.Errorf("after the end: %+v", a)
	}
	if err := ours.Close(); err != nil {
		t.Error(err)
	}
}
