package fs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"weightfs/fs/state"
	"weightfs/remote"
)

func TestTable(t *testing.T) {
	nodes := newTable(remote.Entry{Kind: remote.KindDir}, nil)
	file := func(key, version string) remote.Entry {
		return remote.Entry{Object: remote.Object{Key: key, Version: version}}
	}
	a := nodes.lookup(file("a", "1"))
	if again := nodes.lookup(file("a", "1")); again != a {
		t.Errorf("the same version has the nodes %d and %d", a, again)
	}
	newer, other := nodes.lookup(file("a", "2")), nodes.lookup(file("b", "1"))
	dir := nodes.lookup(remote.Entry{Object: remote.Object{Key: "a", Version: "1"}, Kind: remote.KindDir})
	if all, _ := nodes.size(); newer == a || other == a || dir == a || all != 5 {
		t.Errorf("nodes %d, %d, %d, %d; %d in all", a, newer, other, dir, all)
	}
	nodes.forget(a, 1)
	if _, _, ok := nodes.node(a); !ok {
		t.Error("forgotten with a reference left")
	}
	nodes.forget(a, 1)
	nodes.forget(a, 1) // late, and harmless
	nodes.forget(fuse.FUSE_ROOT_ID, 100)
	if _, _, ok := nodes.node(a); ok {
		t.Error("still there without a reference")
	}
	if _, _, ok := nodes.node(fuse.FUSE_ROOT_ID); !ok {
		t.Error("the root was forgotten")
	}
	if fresh := nodes.lookup(file("a", "1")); fresh == a {
		t.Errorf("the number %d was used twice", a)
	}
}

func TestInodeNumbers(t *testing.T) {
	numbers := map[uint64]identity{}
	for i := range 10_000 {
		for _, ident := range []identity{
			{key: fmt.Sprint("k", i), version: "v"}, {key: "k", version: fmt.Sprint("v", i)},
			{key: fmt.Sprint("k", i), kind: remote.KindDir},
		} {
			n := ident.inodeNumber()
			if before, ok := numbers[n]; ok && before != ident || n <= fuse.FUSE_ROOT_ID || n == 1<<64-1 {
				t.Fatalf("%+v and %+v have the number %d", before, ident, n)
			}
			numbers[n] = ident
		}
	}
}

func TestFailureLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		comm, err := os.ReadFile("/proc/self/comm")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		log := &failureLog{logger: slog.New(slog.NewTextHandler(&out, nil)), now: time.Now}
		for range 1000 {
			log.report(uint32(os.Getpid()), "read", "model", 4096, errors.New("no route"))
		}
		if got := strings.Count(out.String(), "\n"); got != failureBurst {
			t.Errorf("%d lines, want %d", got, failureBurst)
		}
		time.Sleep(failurePeriod)
		log.report(uint32(os.Getpid()), "read", "model", 4096, errors.New("no route"))
		for _, want := range []string{"more_before=990", "process=" + strings.TrimSpace(string(comm)), "file=model", "offset=4096", `err="no route"`, fmt.Sprint("pid=", os.Getpid())} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in the log", want)
			}
		}
	})
}

// The kernel names the thread that reads; who looks for the culprit wants its process.
func TestFailureNamesTheProcess(t *testing.T) {
	log := &failureLog{logger: slog.New(slog.DiscardHandler), now: time.Now}
	asked, over := make(chan int), make(chan struct{})
	defer close(over)
	for range 2 { // of which one at most is the process's first thread
		go func() {
			runtime.LockOSThread()
			log.report(uint32(unix.Gettid()), "read", "model", 0, errors.New("no route"))
			asked <- unix.Gettid()
			<-over
		}()
	}
	if a, b := <-asked, <-asked; a == b {
		t.Fatalf("one thread, %d, asked twice", a)
	}
	if got := log.last(); len(got) != 1 || got[0].Count != 2 || got[0].PID != uint32(os.Getpid()) {
		t.Errorf("%+v, want two failures of %d", got, os.Getpid())
	}
}

// A handshake that fails must leave no mount behind.
func TestFailedHandshake(t *testing.T) {
	dir := t.TempDir()
	a, err := Attach(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	device := a.fd
	defer unix.Close(device)
	if a.fd, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil { // says nothing when the handshake is read
		t.Fatal(err)
	}
	if _, err := Serve(a, nil, nil, nil, Config{}); err == nil {
		t.Error("the handshake succeeded")
	}
	if err := a.Detach(); err != nil {
		t.Error(err)
	}
	if entry, ok, err := mountAt(dir); ok || err != nil {
		t.Errorf("left behind: %+v, %v", entry, err)
	}
}

// Contexts go to a kernel with SELinux alone, as they are.
func TestFittingOptions(t *testing.T) {
	var log strings.Builder
	cfg := Config{Options: []string{"noexec", `context="u:r:t:s0:c1,c2"`, "rootcontext=u:r:t:s0"}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if got := fittingOptions(cfg, "nodev\tsysfs\nnodev\tselinuxfs\n"); !slices.Equal(got, cfg.Options) || log.Len() != 0 {
		t.Errorf("with SELinux %q, and the log says %q", got, &log)
	}
	if got := fittingOptions(cfg, "nodev\tsysfs\n"); !slices.Equal(got, []string{"noexec"}) || strings.Count(log.String(), "no SELinux") != 2 {
		t.Errorf("without SELinux %q, and the log says %q", got, &log)
	}
}

// BenchmarkNodes measures what an inode takes that the kernel knows, as B/op,
// its strings included.
func BenchmarkNodes(b *testing.B) {
	nodes := newTable(remote.Entry{Kind: remote.KindDir}, nil)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		nodes.lookup(remote.Entry{Object: remote.Object{
			Key:     fmt.Sprintf("models/llama/model-%09d.safetensors", i),
			Version: fmt.Sprintf("\"%032d\"", i),
		}})
	}
}

// BenchmarkLookup is what a node costs in the table, of one that is known and of one
// that is not, where it is kept for another server and where it is not.
func BenchmarkLookup(b *testing.B) {
	file, err := state.Create()
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	keep, err := state.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer keep.Close()
	for name, keep := range map[string]*state.File{"alone": nil, "kept": keep} {
		b.Run(name, func(b *testing.B) {
			nodes := newTable(remote.Entry{Kind: remote.KindDir}, keep)
			entry := remote.Entry{Object: remote.Object{Key: "models/meta-llama/model-00001-of-00191.safetensors", Version: `"d41d8cd98f00b204e9800998ecf8427e"`, Size: 4 << 30}}
			nodes.lookup(entry)
			b.Run("known", func(b *testing.B) {
				for b.Loop() {
					nodes.lookup(entry)
				}
			})
			b.Run("fresh", func(b *testing.B) {
				other := entry
				other.Version = "other"
				for b.Loop() {
					nodes.forget(nodes.lookup(other), 1)
				}
			})
		})
	}
}
