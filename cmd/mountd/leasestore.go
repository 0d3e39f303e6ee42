package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	weightfs "weightfs/fs"
	"weightfs/handoff"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
)

// leaseStore has the mount's files leased: it finds them as the mount does, by the
// same names, and their bytes are of the same cache. It implements handoff.Store.
type leaseStore struct {
	names    *names.Cache
	cache    *prefetch.Cache
	byKernel func() bool // the kernel reads files by itself
	failed   func(pid uint32, op, key string, off int64, err error)
}

// Open implements handoff.Store. The path has no links: the client has followed
// them.
func (s *leaseStore) Open(ctx context.Context, client handoff.Peer, name string) (handoff.File, error) {
	entry, err := s.find(ctx, name)
	if err == nil && entry.Archived {
		err = remote.ErrArchived
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) {
			s.failed(uint32(client.PID), "open", name, 0, err)
		}
		return nil, fmt.Errorf("open %s: %w: %w", name, weightfs.NameErrno(err), err)
	}
	return &leaseFile{store: s, pid: uint32(client.PID), obj: entry.Object, inode: weightfs.InodeNumber(entry), reader: s.cache.Open(entry.Object)}, nil
}

// find looks up one component of the path after the other, as the kernel does.
func (s *leaseStore) find(ctx context.Context, name string) (entry remote.Entry, err error) {
	dir := ""
	for rest := name; rest != ""; {
		component, behind, _ := strings.Cut(rest, "/")
		answer, err := s.names.Lookup(ctx, dir, component)
		if err != nil {
			return entry, err
		}
		wanted := remote.KindDir
		if behind == "" {
			wanted = remote.KindFile
		}
		if !answer.Found || answer.Entry.Kind != wanted {
			return entry, fs.ErrNotExist
		}
		entry, dir, rest = answer.Entry, answer.Entry.Key, behind
	}
	return entry, nil
}

// leaseFile is a version of an object. It implements handoff.File.
type leaseFile struct {
	store  *leaseStore
	pid    uint32 // who has it open
	obj    remote.Object
	inode  uint64
	reader *prefetch.Reader
}

func (f *leaseFile) Size() int64     { return f.obj.Size }
func (f *leaseFile) Version() string { return f.obj.Version }
func (f *leaseFile) Inode() uint64   { return f.inode }
func (f *leaseFile) ByKernel() bool  { return f.store.byKernel() }
func (f *leaseFile) Close() error    { return f.reader.Close() }

func (f *leaseFile) Expect(ranges []handoff.Range) {
	expected := make([]prefetch.Range, len(ranges))
	for i, r := range ranges {
		expected[i] = prefetch.Range(r)
	}
	f.reader.Expect(expected...)
}

func (f *leaseFile) Unexpect(r handoff.Range) { f.reader.Unexpect(prefetch.Range(r)) }

// Lease waits for a range. A version that is gone has its folder listed anew, as a
// read of the mount does.
func (f *leaseFile) Lease(ctx context.Context, r handoff.Range) (handoff.Lease, error) {
	view, err := f.reader.ViewExpected(ctx, r.Offset, int(r.Length))
	if err == nil {
		return view, nil
	}
	if ctx.Err() == nil { // otherwise nobody waits for it any more
		f.store.failed(f.pid, "read", f.obj.Key, r.Offset, err)
	}
	if errors.Is(err, remote.ErrChanged) {
		dir := path.Dir(f.obj.Key)
		f.store.names.Invalidate(strings.TrimSuffix(strings.TrimPrefix(dir, "."), "/"))
	}
	return nil, fmt.Errorf("%w: %w", weightfs.ReadErrno(err), err)
}
