package fs_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"weightfs/fs"
	"weightfs/tests/memstore"
)

// TestOpenFiles holds what a mount tells of files that are read.
func TestOpenFiles(t *testing.T) {
	const size = 3 << 20
	m := mount(t, memstore.New(map[string][]byte{"a": randomBytes(size), "b": randomBytes(size), "c": nil}), options{})
	m.MarkReads()
	a, b := openInChild(t, m.path("a")), openInChild(t, m.path("b"))
	openInChild(t, m.path("c"))
	b.read(0, size)
	files, open := m.OpenFiles(10)
	if len(files) != 3 || open != 3 {
		t.Fatalf("%d files of %d", len(files), open)
	}
	if f := files[0]; f.Key != "b" || f.Size != size || f.Read != size || f.Furthest != size || f.Rate <= 0 || f.Kernel {
		t.Errorf("the one that was read: %+v", f)
	}
	for i, want := range map[int]string{1: "c", 2: "a"} { // the latest first
		if f := files[i]; f.Key != want || f.Read != 0 || f.Furthest != 0 || f.Rate != 0 {
			t.Errorf("number %d: %+v", i, f)
		}
	}
	if f := files[0]; int(f.PID) != b.cmd.Process.Pid || f.Command != "fs.test" {
		t.Errorf("its reader is %d %q, want %d", f.PID, f.Command, b.cmd.Process.Pid)
	}
	m.MarkReads() // just now, and says nothing yet
	if files, open = m.OpenFiles(1); len(files) != 1 || files[0].Key != "b" || files[0].Rate <= 0 || open != 3 {
		t.Errorf("the first alone: %+v of %d", files, open)
	}
	for range 2 {
		m.MarkReads() // what was read is long ago
	}
	a.read(1<<20, 4096)
	if files, _ = m.OpenFiles(1); files[0].Key != "a" || files[0].Furthest < 1<<20+4096 {
		t.Errorf("after another was read: %+v", files[0])
	}
}

// TestFilesThatTheKernelReads holds that passed-through files are told apart.
func TestFilesThatTheKernelReads(t *testing.T) {
	store, _ := localStore(t, []byte("hello"))
	m := mount(t, store, options{})
	h := openInChild(t, m.path("f"))
	h.read(0, 5)
	if files, _ := m.OpenFiles(1); len(files) != 1 || !files[0].Kernel || !m.Kernel().Passthrough {
		t.Errorf("%+v, %+v", files, m.Kernel())
	}
}

// TestKernelSettings compares what a mount tells with what is in force.
func TestKernelSettings(t *testing.T) {
	m := mount(t, memstore.New(nil), options{fs: fs.Config{ReadAhead: 2 << 20}})
	k := m.Kernel()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != strings.TrimSpace(string(release)) || !strings.HasPrefix(k.Protocol, "7.") || k.MaxRead != 1<<20 {
		t.Errorf("%+v", k)
	}
	if k.ReadAhead != 2<<20 || k.MaxBackground <= 0 || k.CongestionThreshold <= 0 {
		t.Errorf("as root: %+v", k)
	}
}

// TestFailuresAreRemembered holds that the last failures are, the latest first, and
// those alike in a row as one.
func TestFailuresAreRemembered(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": []byte("hello"), "g": []byte("hello")})
	m := mount(t, store, options{})
	if got := m.Failures(); len(got) != 0 {
		t.Fatalf("before: %+v", got)
	}
	store.Hook(memstore.Hooks{Range: func(context.Context, string, int64) error { return errors.New("no route") }})
	f, g := openInChild(t, m.path("f")), openInChild(t, m.path("g"))
	f.read(0, 5)
	g.read(0, 5)
	g.read(0, 5)
	got := m.Failures()
	if len(got) != 2 || got[0].Key != "g" || got[1].Key != "f" {
		t.Fatalf("%+v", got)
	}
	if got[0].Count < 2 || got[0].Op != "read" || got[0].Offset != 0 || int(got[0].PID) != g.cmd.Process.Pid || got[0].Command == "" || !strings.Contains(got[0].Cause, "no route") || got[0].Time.IsZero() {
		t.Errorf("%+v", got[0])
	}
}
