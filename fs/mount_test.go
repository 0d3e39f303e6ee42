package fs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
	"weightfs/tests/memstore"
)

func TestMain(m *testing.M) {
	if code, ok := asChild(os.Args[1:]); ok {
		os.Exit(code)
	}
	// A child under the race detector waits for a second at its end.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}

// mounted is a store mounted for a test.
type mounted struct {
	*fs.Server
	cache *prefetch.Cache
	dir   string
	log   *logBuffer
}

// path is where the object key is seen.
func (m mounted) path(key string) string { return filepath.Join(m.dir, filepath.FromSlash(key)) }

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// options are what differs between the mounts of the tests.
type options struct {
	fs       fs.Config
	prefetch prefetch.Config
	ttl      time.Duration
	dir      string // "" is a fresh one
	keep     bool   // what the server knows is kept for another one
}

// mount shows store for the time of the test.
func mount(t testing.TB, store remote.Store, o options) mounted {
	t.Helper()
	m, err := tryMount(t, store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // whatever is open is cut off
		if err := m.Unmount(ctx); err != nil && !errors.Is(err, fs.ErrAborted) {
			t.Errorf("unmount: %v", err)
		}
		m.Wait()
	})
	return m
}

// tryMount is mount that may fail. The test's end closes what the mount stands
// on, so the caller unmounts in a Cleanup of its own.
func tryMount(t testing.TB, store remote.Store, o options) (mounted, error) {
	t.Helper()
	log := &logBuffer{}
	o.fs.Logger = slog.New(slog.NewTextHandler(log, nil))
	if o.fs.FileMode|o.fs.DirMode == 0 {
		o.fs.FileMode, o.fs.DirMode = fs.DefaultFileMode, fs.DefaultDirMode
	}
	if o.prefetch.MemoryLimit == 0 {
		o.prefetch.MemoryLimit = 64 << 20
	}
	cache, err := prefetch.New(store, o.prefetch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(); err != nil {
			t.Errorf("close the cache: %v", err)
		}
	})
	known, err := names.New(store, names.Config{TTL: o.ttl})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { known.Close() })
	if o.dir == "" {
		o.dir = t.TempDir()
	}
	if !o.keep {
		server, err := fs.Mount(o.dir, store, cache, known, o.fs)
		return mounted{server, cache, o.dir, log}, err
	}
	a, err := fs.Attach(o.dir, o.fs)
	if err != nil {
		return mounted{}, err
	}
	if err := a.Keep(); err != nil {
		return mounted{}, errors.Join(err, a.Detach(), a.Close())
	}
	server, err := fs.Serve(a, store, cache, known, o.fs)
	return mounted{server, cache, o.dir, log}, err
}

// output runs a command and returns what it writes to stdout. The process that
// serves the mount must not look into it: others do.
func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return stdout.String()
}

// complaint runs a command that must fail, and returns its stderr.
func complaint(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err == nil {
		t.Fatalf("%s %s succeeded", name, strings.Join(args, " "))
	}
	return stderr.String()
}

// randomBytes are n bytes that differ from block to block.
func randomBytes(n int) []byte {
	data := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(data)
	return data
}

// gate is what the ranges of a store wait at.
type gate struct {
	open    func()
	waiting chan struct{} // gets a value, if there is room, when a range waits
	ended   chan struct{} // likewise, when a range that waits is not wanted any more
}

// hold keeps every range of store back until the gate is opened.
func hold(store *memstore.Store) gate {
	opened := make(chan struct{})
	g := gate{sync.OnceFunc(func() { close(opened) }), make(chan struct{}, 1), make(chan struct{}, 1)}
	store.Hook(memstore.Hooks{Range: func(ctx context.Context, _ string, _ int64) error {
		signal(g.waiting)
		select {
		case <-opened:
			return nil
		case <-ctx.Done():
			signal(g.ended)
			return ctx.Err()
		}
	}})
	return g
}

// signal puts a value into a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
