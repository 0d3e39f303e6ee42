package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weightfs/prefetch/arena"
)

const (
	// capShare is the part of the memory that all clients together may hold:
	// readers of the mount need room, and what is fetched ahead too.
	capShare = 4
	// maxClients, maxWants and maxFiles bound what a server keeps for its clients:
	// about 10 MiB in all.
	maxClients = 128
	maxWants   = 256
	maxFiles   = 1024
	// userShare is the part of the clients that one user may have.
	userShare = 2
	// maxLooks is how many leases of one client are waited for at once, and
	// maxAllLooks of all. They come before what anybody has fetched ahead, readers of
	// the mount too, so they are few; what lies behind is fetched ahead itself.
	maxLooks    = 8
	maxAllLooks = 512
	// maxOpening is how many OPENs of one client are under way at once.
	maxOpening = 16
	// helloTime is how long a client may take for its first message.
	helloTime = 10 * time.Second
	// maxRefusals is how many clients are told at once that they are refused, each
	// for refusalTime.
	maxRefusals = 16
	refusalTime = time.Second
	// DefaultGrace is how long a client waits for its share before those are cut
	// off who keep more than theirs.
	DefaultGrace = 10 * time.Second
)

// Range is a range of an object's bytes.
type Range struct{ Offset, Length int64 }

// Store is where leases come from. Its methods are safe for concurrent use, as are
// those of its files. Errors wrap the errno that the client gets; without one that
// is EIO.
type Store interface {
	// Open opens the current version of the object at a path of the mount, for a
	// client.
	Open(ctx context.Context, client Peer, path string) (File, error)
}

// File is an open version of an object.
type File interface {
	Size() int64
	Version() string
	// Inode is the number that stat shows through the mount: another version has
	// another one.
	Inode() uint64
	// ByKernel says that the kernel reads the file by itself, from where it is: a
	// client gains nothing.
	ByKernel() bool
	// Expect says that the ranges will be leased, in this order; each ends with an
	// Unexpect.
	Expect(ranges []Range)
	Unexpect(r Range)
	// Lease waits for the bytes of a range.
	Lease(ctx context.Context, r Range) (Lease, error)
	Close() error
}

// Lease keeps bytes where they are until it is released.
type Lease interface {
	AppendPieces(to []arena.Piece) []arena.Piece
	Release()
}

// Config says what a server serves. All but Keep, Defect, Grace and Logger must be set.
type Config struct {
	Memory    arena.Shared
	Watermark func() int64 // end of the memory that was ever used
	MaxLength int64        // the longest Lease of a File
	Store     Store
	Rule      Rule
	// Keep is called before a client gets the memory writable, and its release once
	// the connection has ended. Until then the same pages stay behind the memory: a
	// device may have them page-locked. nil: they always do.
	Keep func() (release func())
	// Defect is told of a panic of the Store's. The client that met it gets EIO from an
	// Open or a Lease, and from an Expect, which has no answer, the end of its
	// connection. nil: it is not recovered.
	Defect func(cause any)
	Grace  time.Duration // 0: DefaultGrace
	Logger *slog.Logger  // nil: nothing is logged
}

// Server serves the clients of one mount.
type Server struct {
	cfg       Config
	welcome   welcome
	quota     *quota
	looks     chan struct{} // a slot for each lease that is waited for
	refusals  chan struct{} // a slot for each client that is being refused
	ctx       context.Context
	stop      context.CancelFunc
	listener  *net.UnixListener
	wg        sync.WaitGroup
	served    atomic.Int64 // bytes leased
	refused   atomic.Int64
	cut       atomic.Int64
	mu        sync.Mutex
	closed    bool                  // guarded by mu
	sessions  map[*session]struct{} // guarded by mu
	sinceMark [2]time.Time          // of the last two marks; guarded by mu
}

// Serve serves clients of a listener, which is of the network "unixpacket" and
// becomes the server's, until Close.
func Serve(listener *net.UnixListener, cfg Config) (*Server, error) {
	limit := cfg.Memory.Size / arena.BlockSize / capShare
	if limit < 2 {
		return nil, fmt.Errorf("hand-off: %d bytes of memory are too few to share", cfg.Memory.Size)
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg,
		welcome: welcome{
			Version: Version, BlockSize: arena.BlockSize, MaxWants: maxWants, MaxFiles: maxFiles,
			MaxLength: uint32(min(cfg.MaxLength, (limit-1)*arena.BlockSize)),
			Size:      uint64(cfg.Memory.Size), Cap: uint64(limit * arena.BlockSize),
		},
		quota:    newQuota(limit, cfg.Grace),
		looks:    make(chan struct{}, maxAllLooks),
		refusals: make(chan struct{}, maxRefusals),
		listener: listener,
		sessions: map[*session]struct{}{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.wg.Add(1)
	go s.acceptAll()
	return s, nil
}

// Close ends all connections, and returns when nothing is leased any more.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	err := s.listener.Close()
	s.wg.Wait()
	return err
}

// acceptPause is how long to wait after a failed accept, as when descriptors have
// run out: they may come back.
const acceptPause = 100 * time.Millisecond

func (s *Server) acceptAll() {
	defer s.wg.Done()
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.cfg.Logger.Debug("cannot accept a client of the memory", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		s.admit(conn)
	}
}

// admit begins a session, or refuses it.
func (s *Server) admit(conn *net.UnixConn) {
	peer, err := PeerOf(conn)
	errno := syscall.Errno(0)
	switch {
	case err != nil:
		errno = syscall.EACCES
	case !s.cfg.Rule.MayRead(peer):
		errno = syscall.EACCES
	}
	se := newSession(s, conn, peer)
	if errno == 0 && !s.enter(se) {
		errno = syscall.EUSERS
	}
	if errno != 0 {
		s.refused.Add(1)
		s.cfg.Logger.Debug("a client of the memory is refused", "pid", peer.PID, "uid", peer.UID, "errno", errno, "err", err)
		s.refuse(conn, errno)
		return
	}
	go func() {
		defer s.wg.Done()
		se.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sessions, se)
	}()
}

// refuse answers a client that is not served, and waits a moment for its hello:
// what it had sent, and nobody read, would take the answer away.
func (s *Server) refuse(conn *net.UnixConn, errno syscall.Errno) {
	select {
	case s.refusals <- struct{}{}:
	default: // a flood of them
		_ = conn.Close()
		return
	}
	s.wg.Go(func() {
		defer func() { <-s.refusals }()
		defer conn.Close()
		defer context.AfterFunc(s.ctx, func() { _ = conn.CloseRead() })()
		_ = conn.SetDeadline(time.Now().Add(refusalTime))
		_, _ = conn.Write(appendFields(header(typeWelcome, 0), welcome{Errno: uint32(errno), Version: Version}))
		_, _ = conn.Read(make([]byte, maxMessage))
	})
}

// enter makes a session one of the server's, if there is room.
func (s *Server) enter(se *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofUser := 0
	for other := range s.sessions {
		if other.peer.UID == se.peer.UID {
			ofUser++
		}
	}
	if s.closed || len(s.sessions) >= maxClients || ofUser >= maxClients/userShare {
		return false
	}
	s.sessions[se] = struct{}{}
	s.wg.Add(1)
	return true
}

// ClientStats are of a connection as of now.
type ClientStats struct {
	PID    int32  // 0: of another PID namespace
	UID    uint32 // of who connected
	Mode   Mode
	Since  time.Time
	Files  int     // open
	Wants  int     // ranges asked for and not yet leased
	Leases int     // ranges
	Held   int64   // bytes of the blocks that these keep
	Bytes  int64   // leased so far
	Rate   float64 // bytes per second of late
}

// Stats are counters since Serve, and the clients as of now.
type Stats struct {
	Bytes   int64 // leased
	Refused int64 // connections
	Cut     int64 // connections that broke the protocol, or kept more than their share
	Held    int64 // bytes of blocks
	Cap     int64 // that may be held
	Clients []ClientStats
}

// Stats returns a snapshot, the busiest client first.
func (s *Server) Stats() Stats {
	st := Stats{Bytes: s.served.Load(), Refused: s.refused.Load(), Cut: s.cut.Load(), Cap: int64(s.welcome.Cap)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for se := range s.sessions {
		c := se.describe(s.sinceMark)
		st.Held += c.Held
		st.Clients = append(st.Clients, c)
	}
	slices.SortFunc(st.Clients, func(a, b ClientStats) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), a.Since.Compare(b.Since))
	})
	return st
}

// Leased is Stats.Bytes alone, which takes no lock.
func (s *Server) Leased() int64 { return s.served.Load() }

// Mark has the rates of Stats begin now, or at the mark before if this was a moment
// ago. It is called every few seconds.
func (s *Server) Mark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinceMark[1], s.sinceMark[0] = s.sinceMark[0], time.Now()
	for se := range s.sessions {
		se.marks[1], se.marks[0] = se.marks[0], se.bytes.Load()
	}
}

// guard calls the Store. The error of a panic is EIO, see Config.Defect.
func (s *Server) guard(call func() error) (err error) {
	if s.cfg.Defect != nil {
		defer func() {
			if cause := recover(); cause != nil {
				s.cfg.Defect(cause)
				err = fmt.Errorf("a defect: %w", syscall.EIO)
			}
		}()
	}
	return call()
}

// descriptor is the one for a mode.
func (s *Server) descriptor(mode Mode) *os.File {
	if mode == Writable {
		return s.cfg.Memory.Writable
	}
	return s.cfg.Memory.ReadOnly
}
