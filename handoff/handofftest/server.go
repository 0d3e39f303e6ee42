package handofftest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"weightfs/handoff"
	"weightfs/prefetch"
	"weightfs/remote"
	"weightfs/tests/memstore"
)

// Server is a daemon's hand-off over a real cache of a store in memory.
type Server struct {
	*handoff.Server
	Socket string
	Store  *memstore.Store
	Cache  *prefetch.Cache
}

// Start serves these files from a cache with a memory limit. change, unless it is
// nil, changes the server's configuration.
func Start(t *testing.T, limit int64, files map[string][]byte, change func(*handoff.Config)) *Server {
	t.Helper()
	s := &Server{Store: memstore.New(files), Socket: filepath.Join(t.TempDir(), "s")}
	var err error
	s.Cache, err = prefetch.New(s.Store, prefetch.Config{MemoryLimit: limit, Share: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Cache.Close(); err != nil {
			t.Error(err)
		}
	})
	shared, err := s.Cache.Shared()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: s.Socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := handoff.Config{
		Memory: shared, Watermark: s.Cache.Watermark, Keep: s.Cache.Keep, MaxLength: prefetch.MaxView, Store: store{s},
		Rule: handoff.Rule{Mounter: uint32(os.Geteuid()), MounterGroup: uint32(os.Getegid()), UID: uint32(os.Geteuid()), FileMode: 0o644, DirMode: 0o755},
	}
	if change != nil {
		change(&cfg)
	}
	s.Server, err = handoff.Serve(listener, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Server.Close() })
	return s
}

// Until waits until a condition on the server's numbers holds.
func (s *Server) Until(t *testing.T, what string, holds func(handoff.Stats) bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !holds(s.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s: %+v", what, s.Stats())
		}
	}
}

type store struct{ *Server }

func (s store) Open(ctx context.Context, _ handoff.Peer, path string) (handoff.File, error) {
	obj, err := s.Store.Stat(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", syscall.ENOENT, err)
	}
	if err != nil {
		return nil, err
	}
	return file{s.Cache.Open(obj), obj}, nil
}

type file struct {
	reader *prefetch.Reader
	obj    remote.Object
}

func (f file) Size() int64     { return f.obj.Size }
func (f file) Version() string { return f.obj.Version }
func (f file) Inode() uint64   { return 4711 }
func (f file) ByKernel() bool  { return false }
func (f file) Close() error    { return f.reader.Close() }

func (f file) Expect(ranges []handoff.Range) {
	all := make([]prefetch.Range, len(ranges))
	for i, r := range ranges {
		all[i] = prefetch.Range(r)
	}
	f.reader.Expect(all...)
}

func (f file) Unexpect(r handoff.Range) { f.reader.Unexpect(prefetch.Range(r)) }

func (f file) Lease(ctx context.Context, r handoff.Range) (handoff.Lease, error) {
	v, err := f.reader.ViewExpected(ctx, r.Offset, int(r.Length))
	switch {
	case err == nil:
		return v, nil
	case errors.Is(err, remote.ErrChanged):
		return nil, fmt.Errorf("%w: %w", syscall.ESTALE, err)
	}
	return nil, err
}
