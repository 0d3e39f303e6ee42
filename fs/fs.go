// Package fs shows a store as a read-only POSIX tree, through FUSE.
//
// Data flow: the kernel asks, a [names.Cache] answers what is about names and
// attributes, and a [prefetch.Cache] leases the bytes of a READ, which go to
// the kernel by one writev from the cache's memory; the lease ends with the
// write. A file of this host is given to the kernel to read by itself, where
// the kernel can.
//
// It stands on go-fuse's protocol layer rather than on its node layer: that one
// turns passthrough off for the whole mount at the first file that cannot have
// it, and looks each entry of a READDIRPLUS up again. Requests are read from
// /dev/fuse by a loop of this package's, which answers READ without any buffer
// of its own: what waits for the store holds nothing.
//
// An inode is one version of one object: a new version has a new inode, and
// what the kernel has cached of the old one is never taken for it. A handle
// opened before a change reads the old version, or gets ESTALE. The package
// owns errno: one table chooses it.
//
// Who owns what: the Server owns the mount and its goroutines; the store, the
// cache and the names stay the caller's, to be closed after [Server.Wait].
// A process never reads what it serves: it would wait for itself.
package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"weightfs/fs/state"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
)

const (
	// DefaultReadAhead is how far the kernel reads ahead. At 4 MiB one buffered
	// reader got 2.0 GB/s, and 0.6 at the kernel's 128 KiB; a miss reads as much
	// around it.
	DefaultReadAhead = 4 << 20
	// maxBackground bounds the kernel's readahead requests in flight, those that
	// readers wait for among them. At its own 12 it skips readahead under load. At
	// 128 a third of 64 readers of a store that does not answer were asked for only
	// when the others had failed, and waited twice as long.
	maxBackground = 1024
	// congestionThreshold is where the kernel starts to skip readahead that nobody
	// waits for yet.
	congestionThreshold = 120
	// stackDepth lets files on overlayfs be passed through, as in containers. It
	// is all that the kernel allows, so that nothing can be stacked on the mount.
	stackDepth = 2
	// freeDepth is the least that go-fuse sets. It leaves overlayfs a level above
	// a mount that passes nothing through.
	freeDepth = 1
)

// Default permissions of the tree, which cannot be written to anyway.
const (
	DefaultFileMode = 0o644
	DefaultDirMode  = 0o755
)

// Config says how the tree is mounted. Owner and permissions are as given; the
// zero value of the rest means the defaults.
type Config struct {
	// Source is shown as the mounted device: s3://BUCKET/PREFIX or a folder.
	Source string
	// AllowOther lets other users in. Not root needs user_allow_other in
	// /etc/fuse.conf.
	AllowOther bool
	// Options are more options of the mount, as mount(8) writes them: noexec,
	// nosymfollow, and SELinux' context=, fscontext=, defcontext= and rootcontext=.
	// Where the kernel has no SELinux the latter are left out, as mount(8) does.
	Options []string
	// UID and GID own everything.
	UID, GID uint32
	// FileMode and DirMode are permission bits; nothing is replaced by a
	// default, so that 0 is 0.
	FileMode, DirMode uint32
	// ReadAhead is how far the kernel reads ahead, in bytes; 0 is
	// [DefaultReadAhead].
	ReadAhead int64
	// NoPassthrough has the daemon serve even files of this host.
	NoPassthrough bool
	// Mounted, where not nil, is called once when the mount is in place, before
	// its first request is answered: until it returns, who looks into the mount
	// waits. An error ends the mount, and is Mount's. Where the mount is taken over,
	// it is called when requests are answered, and an error is logged.
	Mounted func(*Server) error
	// NoResend has the kernel not asked for the requests that the last server had
	// taken, as if it could not do so: it is for tests.
	NoResend bool
	// Logger gets the mount's values, failed reads and panics; nil discards
	// them.
	Logger *slog.Logger
}

// complete checks cfg and fills in the defaults.
func (cfg Config) complete() (Config, error) {
	if cfg.FileMode&^0o777 != 0 || cfg.DirMode&^0o777 != 0 {
		return cfg, fmt.Errorf("modes %o and %o: permission bits are at most 777", cfg.FileMode, cfg.DirMode)
	}
	if cfg.ReadAhead < 0 {
		return cfg, fmt.Errorf("readahead of %d bytes: must be positive", cfg.ReadAhead)
	}
	if cfg.ReadAhead == 0 {
		cfg.ReadAhead = DefaultReadAhead
	}
	if cfg.Source == "" {
		cfg.Source = "weightfs"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// ErrAborted says that files were still open when the time to close them was
// over: their readers got an error.
var ErrAborted = errors.New("open files were cut off")

// ErrLost says that the mount ended without an unmount: its connection to the
// kernel was aborted, or broke.
var ErrLost = errors.New("the connection to the kernel was aborted")

// Server serves one mount, from Mount until it is unmounted by whomever, or from
// where another server has died.
type Server struct {
	tree   *tree
	conn   *connection
	device *device
	logger *slog.Logger
	done   chan struct{}          // closed when nothing is served any more
	err    error                  // why the mount ended; set before done is closed
	set    atomic.Pointer[limits] // nil until they are known
}

// Mount shows store at dir, an existing directory, or through the descriptor N
// of /dev/fuse for a dir /dev/fd/N: it is [Attach] and [Serve]. On an error nothing
// is left mounted.
func Mount(dir string, store remote.Store, cache *prefetch.Cache, names *names.Cache, cfg Config) (*Server, error) {
	a, err := Attach(dir, cfg)
	if err != nil {
		return nil, err
	}
	s, err := Serve(a, store, cache, names, cfg)
	if err != nil {
		return nil, errors.Join(err, a.Detach())
	}
	return s, nil
}

// Serve shows store through a, whose descriptors it closes. Where another process
// has served it ([Attachment.Keep]) and has died, with all its threads, it goes on
// there; ErrOther says that it cannot. It returns once requests are answered. From
// then on the mount is the server's; after an error it is dead, and has still to be
// detached by whoever made it. Serve does not look at the path of the mount, behind
// which an automounter may let nobody pass before it knows that the mount answers.
func Serve(a *Attachment, store remote.Store, cache *prefetch.Cache, names *names.Cache, cfg Config) (*Server, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	keep, err := a.openState()
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	conn, err := adopt(a)
	if err != nil {
		return nil, errors.Join(err, keep.Close())
	}
	t := newTree(store, cache, names, conn, keep, cfg)
	request, _ := keep.Handshake()
	d, err := newDevice(conn.fd, t, t.options(cfg), cfg.Logger, conn.end)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount at %s: %w", conn.dir, err), conn.close(), keep.Close())
	}
	s := &Server{tree: t, conn: conn, device: d, logger: cfg.Logger, done: make(chan struct{})}
	if request != nil {
		s.takeOver(cfg)
		return s, nil
	}
	if cfg.Mounted != nil {
		if err := cfg.Mounted(s); err != nil {
			d.pings.close()
			return nil, errors.Join(err, conn.close(), keep.Close())
		}
	}
	s.set.Store(tune(conn, cfg, "mounted"))
	go s.run(nil)
	return s, nil
}

// takeOver serves from where the last server died. Readers wait: they come first.
func (s *Server) takeOver(cfg Config) {
	go s.run(s.device.takeRequests(!cfg.NoResend))
	s.set.Store(tune(s.conn, cfg, "serving on"))
	if cfg.Mounted == nil {
		return
	}
	if err := cfg.Mounted(s); err != nil {
		s.logger.Error("readers are served, but not all else is as it was", "err", err)
	}
}

// run serves until the mount is gone, and first what was found under way.
func (s *Server) run(found []state.Slot) {
	defer close(s.done)
	s.device.serve(found)
	s.tree.closeAll()
	s.err = s.clearAway()
	s.device.pings.close()
	if err := errors.Join(s.conn.close(), s.device.keep.Close()); err != nil {
		s.logger.Warn("cannot close /dev/fuse", "err", err)
	}
}

// An unmount by force aborts the connection first, and gets a moment for the rest.
const (
	forceGrace = 200 * time.Millisecond
	forcePoll  = 5 * time.Millisecond
)

// clearAway takes away a mount that nobody unmounted although its connection is
// over, which otherwise would answer everybody with ENOTCONN.
func (s *Server) clearAway() error {
	for end := time.Now().Add(forceGrace); ; time.Sleep(forcePoll) {
		if remains, err := s.conn.remains(); err != nil || !remains {
			return err
		}
		if time.Now().After(end) {
			return errors.Join(ErrLost, s.conn.detach())
		}
	}
}

func newTree(store remote.Store, cache *prefetch.Cache, names *names.Cache, conn *connection, keep *state.File, cfg Config) *tree {
	born := time.Now()
	if keep != nil {
		born = keep.Born()
	}
	t := &tree{
		readOnly: readOnly{fuse.NewDefaultRawFileSystem()},
		cache:    cache,
		names:    names,
		owner: owner{
			uid: cfg.UID, gid: cfg.GID,
			fileMode: cfg.FileMode, dirMode: cfg.DirMode,
			born: born,
		},
		nodes:    newTable(remote.Entry{Kind: remote.KindDir}, keep),
		patience: newPatience(conn, cfg.Logger),
		logger:   cfg.Logger,
		failures: &failureLog{logger: cfg.Logger, now: time.Now},

		firstHandle: firstHandle(keep),
	}
	t.lastHandle.Store(t.firstHandle)
	if files, ok := store.(remote.FileOpener); ok && !cfg.NoPassthrough {
		t.passthrough = &passthrough{files: files, nodes: t.nodes, logger: cfg.Logger}
	}
	return t
}

// options are what is agreed with the kernel at the handshake.
func (t *tree) options(cfg Config) *fuse.MountOptions {
	depth := freeDepth
	if t.passthrough != nil {
		depth = stackDepth
	}
	return &fuse.MountOptions{
		MaxWrite:                 maxRead,
		MaxBackground:            maxBackground,
		CongestionThreshold:      congestionThreshold,
		MaxStackDepth:            depth,
		ExplicitDataCacheControl: true,
		EnableSymlinkCaching:     true,
		DisableXAttrs:            true, // the kernel asks once and never again
		DisableSplice:            true,
		Logger:                   slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		PanicHandler:             t.defect,
	}
}

// defect counts and logs a panic, where it is recovered, and is the answer to
// the request.
func (t *tree) defect(cause any) fuse.Status {
	t.counters.panics.Add(1)
	t.logger.Error("request failed by a defect", "cause", cause, "stack", string(debug.Stack()))
	return fuse.EIO
}

// Defect counts and logs a panic that somebody else recovered, whose part of the mount
// is not served by the kernel's requests.
func (s *Server) Defect(cause any) { s.tree.defect(cause) }

// closeAll ends the handles whose RELEASE never came, as after an abort.
func (t *tree) closeAll() {
	t.files.Range(func(fh, _ any) bool {
		t.Release(nil, &fuse.ReleaseIn{Fh: fh.(uint64)})
		return true
	})
}

// Done is closed when the mount is gone and nothing is served any more.
func (s *Server) Done() <-chan struct{} { return s.done }

// Wait waits until the mount is gone and nothing is served any more. The error is
// ErrLost where nobody unmounted it; it was taken away then.
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

// Since is when the mount was made.
func (s *Server) Since() time.Time { return s.tree.owner.born }

// Stats counts what was asked.
func (s *Server) Stats() Stats { return s.tree.counters.snapshot(s.tree.nodes.size()) }

// Unmount ends the mount. Where files are open, the mount is detached at once
// and serves them until they are closed or ctx ends; then it is aborted and
// the error is ErrAborted. Mounted through a descriptor, it can only be aborted
// by the end of the process.
func (s *Server) Unmount(ctx context.Context) error {
	if s.conn.dir == "" {
		return fmt.Errorf("%w: somebody else mounted, and unmounts", ErrAborted)
	}
	if err := s.conn.unmount(); err != nil {
		why := "cannot unmount"
		if errors.Is(err, unix.EBUSY) {
			why = "files are open"
		}
		s.logger.Warn(why+": the mount is detached, and goes on until all are closed", "mountpoint", s.conn.dir, "err", err)
		if err := s.conn.detach(); err != nil {
			return err
		}
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	if err := s.conn.abort(); err != nil {
		return fmt.Errorf("%w: %w", ErrAborted, err)
	}
	<-s.done
	return ErrAborted
}

// Mountpoint is where the tree is seen, absolute and free of links; "" where it
// was mounted by somebody else.
func (s *Server) Mountpoint() string { return s.conn.dir }
