package handoff

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/prefetch/arena"
)

// session is the daemon's side of one connection.
type session struct {
	server *Server
	conn   *net.UnixConn
	peer   Peer
	since  time.Time
	member member
	ctx    context.Context
	cancel context.CancelCauseFunc
	out    chan []byte   // answers, which the writer sends
	line   chan *want    // in the order that they came
	looks  chan struct{} // a slot for each lease that is waited for
	opens  chan struct{} // a slot for each OPEN under way
	wg     sync.WaitGroup
	bytes  atomic.Int64 // leased so far
	marks  [2]int64     // what bytes was at the server's marks; guarded by the server's mu

	release func() // of Config.Keep; nil without. Of the goroutine that runs the session, as is reuse
	reuse   int    // the eventfd of featureReuse; -1: none

	mu       sync.Mutex
	mode     Mode                 // guarded by mu, as are all below
	files    map[uint32]*openFile // by number
	lastFile uint32
	wants    map[uint32]*want // by tag: wanted or leased
}

// openFile is one that a client has opened, closed with its last want.
type openFile struct {
	File
	uses int // the client's, and those of wants that are not leased yet; guarded by the session's mu
}

// want is a range that a client asked for.
type want struct {
	tag    uint32
	file   *openFile
	r      Range
	blocks int64
	ctx    context.Context
	cancel context.CancelFunc
	lease  Lease // guarded by the session's mu; nil: not leased yet
}

var (
	errGone   = errors.New("the connection has ended")
	errGreedy = errors.New("it kept more than its share while others waited")
)

func newSession(s *Server, conn *net.UnixConn, peer Peer) *session {
	se := &session{
		server: s, conn: conn, peer: peer, since: time.Now(),
		out: make(chan []byte, 64), line: make(chan *want, maxWants),
		looks: make(chan struct{}, maxLooks), opens: make(chan struct{}, maxOpening),
		files: map[uint32]*openFile{}, wants: map[uint32]*want{}, reuse: -1,
	}
	se.ctx, se.cancel = context.WithCancelCause(s.ctx)
	se.member = member{uid: peer.UID, cut: func() { se.cancel(errGreedy) }}
	return se
}

// run serves the connection until it ends, and gives up what it had.
func (se *session) run() {
	stopped := context.AfterFunc(se.ctx, se.shutDown)
	err := se.greet()
	if err == nil {
		se.wg.Go(se.write)
		se.wg.Go(se.grant)
		err = se.read()
	}
	se.cancel(errGone)
	if stopped() {
		se.shutDown()
	}
	if cause := context.Cause(se.ctx); errors.Is(err, errProtocol) || errors.Is(cause, errGreedy) {
		se.server.cut.Add(1)
		se.server.cfg.Logger.Warn("a client of the memory is cut off", "pid", se.peer.PID, "uid", se.peer.UID, "cause", errors.Join(err, cause))
	}
	se.wg.Wait()
	se.giveUp()
}

// shutDown ends the connection for the client: whatever it sends from now on fails.
func (se *session) shutDown() {
	_ = se.conn.CloseWrite()
	_ = se.conn.CloseRead()
}

// giveUp releases everything. Nothing else runs any more, and the client cannot
// send.
func (se *session) giveUp() {
	se.shutDown() // again, in case the first is still under way in another goroutine
	if se.reuse >= 0 {
		_, _ = unix.Write(se.reuse, binary.NativeEndian.AppendUint64(nil, 1)) // it has room
	}
	for _, w := range se.wants {
		w.cancel()
		if w.lease != nil {
			w.lease.Release()
			se.server.quota.release(&se.member, w.blocks)
		} else {
			w.file.Unexpect(w.r)
			se.unuse(w.file)
		}
	}
	for _, f := range se.files {
		se.unuse(f)
	}
	_ = se.conn.Close()
	if se.reuse >= 0 {
		_ = unix.Close(se.reuse)
	}
	if se.release != nil {
		se.release()
	}
}

// unuse closes a file after its last use. mu is held, or nothing else runs.
func (se *session) unuse(f *openFile) {
	if f.uses--; f.uses > 0 {
		return
	}
	if err := f.Close(); err != nil {
		se.server.cfg.Logger.Debug("cannot close", "err", err)
	}
}

// greet exchanges HELLO and WELCOME.
func (se *session) greet() error {
	if err := se.conn.SetDeadline(time.Now().Add(helloTime)); err != nil {
		return err
	}
	message := make([]byte, maxMessage+1)
	kind, _, body, err := se.receive(message)
	if err != nil {
		return err
	}
	h, err := parseHello(body)
	if kind != typeHello || err != nil {
		return fmt.Errorf("%w: the first message is of type %d: %v", errProtocol, kind, err)
	}
	answer := se.server.welcome
	answer.Watermark = uint64(se.server.cfg.Watermark())
	if h.Oldest > Version || h.Newest < Version {
		answer = welcome{Errno: uint32(syscall.EPROTONOSUPPORT), Version: Version}
		_, _ = se.conn.Write(appendFields(header(typeWelcome, 0), answer))
		return fmt.Errorf("a client speaks versions %d to %d", h.Oldest, h.Newest)
	}
	if h.Mode == Writable && se.server.cfg.Rule.MayWrite(se.peer) {
		answer.Mode = Writable
		if se.server.cfg.Keep != nil {
			se.release = se.server.cfg.Keep()
		}
	}
	se.mu.Lock()
	se.mode = answer.Mode
	se.mu.Unlock()
	descriptors := []int{int(se.server.descriptor(answer.Mode).Fd())}
	if h.Features&featureReuse != 0 {
		if se.reuse, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			return fmt.Errorf("eventfd: %w", err)
		}
		answer.Features = featureReuse
		descriptors = append(descriptors, se.reuse)
	}
	rights := unix.UnixRights(descriptors...)
	if _, _, err := se.conn.WriteMsgUnix(appendFields(header(typeWelcome, 0), answer), rights, nil); err != nil {
		return err
	}
	return se.conn.SetDeadline(time.Time{})
}

// receive reads one message. Descriptors that come with it are not taken.
func (se *session) receive(into []byte) (kind messageType, tag uint32, body []byte, err error) {
	n, err := se.conn.Read(into)
	if err != nil {
		return 0, 0, nil, err
	}
	if n == 0 {
		return 0, 0, nil, errGone
	}
	return parseHeader(into[:n])
}

// write sends the answers. A client that does not take them stops its own session.
func (se *session) write() {
	for {
		select {
		case message := <-se.out:
			if _, err := se.conn.Write(message); err != nil {
				se.cancel(errGone)
				return
			}
		case <-se.ctx.Done():
			return
		}
	}
}

// answer has the writer send a message.
func (se *session) answer(message []byte) {
	select {
	case se.out <- message:
	case <-se.ctx.Done():
	}
}

// read takes the client's messages.
func (se *session) read() error {
	message := make([]byte, maxMessage+1)
	for {
		kind, tag, body, err := se.receive(message)
		if err != nil {
			return err
		}
		if err := se.handle(kind, tag, body); err != nil {
			return err
		}
	}
}

func (se *session) handle(kind messageType, tag uint32, body []byte) error {
	switch kind {
	case typeOpen:
		path, err := parseOpen(body)
		if err != nil {
			return err
		}
		return se.open(tag, path)
	case typeWant:
		wants, err := parseWants(body)
		if err != nil {
			return err
		}
		return se.want(wants)
	case typeGive:
		return se.eachTag(body, se.give)
	case typeCancel:
		return se.eachTag(body, se.cancelWant)
	case typeClose:
		if len(body) > 0 {
			return fmt.Errorf("%w: a CLOSE of %d bytes", errProtocol, len(body))
		}
		return se.closeFile(tag)
	}
	return fmt.Errorf("%w: type %d", errProtocol, kind)
}

func (se *session) eachTag(body []byte, do func(tag uint32) error) error {
	tags, err := parseTags(body)
	for _, tag := range tags {
		err = errors.Join(err, do(tag))
	}
	return err
}

// open opens a file while other messages are taken.
func (se *session) open(tag uint32, path string) error {
	select {
	case se.opens <- struct{}{}:
	case <-se.ctx.Done():
		return errGone
	}
	se.wg.Go(func() {
		defer func() { <-se.opens }()
		var f File
		err := se.server.guard(func() (err error) {
			f, err = se.server.cfg.Store.Open(se.ctx, se.peer, path)
			return err
		})
		if err != nil {
			se.answer(encodeFailure(typeOpened, tag, errnoOf(err), err.Error()))
			return
		}
		number, ok := se.addFile(f)
		if !ok {
			_ = f.Close()
			se.answer(encodeFailure(typeOpened, tag, syscall.EMFILE, "too many files are open"))
			return
		}
		flags := uint32(0)
		if f.ByKernel() {
			flags = flagByKernel
		}
		message := appendFields(header(typeOpened, tag), opened{File: number, Size: uint64(f.Size()), Inode: f.Inode(), Flags: flags})
		version := f.Version()
		se.answer(append(message, version[:min(len(version), 1024)]...))
	})
	return nil
}

func (se *session) addFile(f File) (number uint32, ok bool) {
	se.mu.Lock()
	defer se.mu.Unlock()
	if len(se.files) >= maxFiles {
		return 0, false
	}
	se.lastFile++
	se.files[se.lastFile] = &openFile{File: f, uses: 1}
	return se.lastFile, true
}

// closeFile ends a file for what is wanted from now on.
func (se *session) closeFile(number uint32) error {
	se.mu.Lock()
	defer se.mu.Unlock()
	f, ok := se.files[number]
	if !ok {
		return fmt.Errorf("%w: file %d is not open", errProtocol, number)
	}
	delete(se.files, number)
	se.unuse(f)
	return nil
}

// describe is the session as of now. The server's mu is held.
func (se *session) describe(marked [2]time.Time) ClientStats {
	now, mark := time.Now(), 0
	if now.Sub(marked[0]) < time.Second && !marked[1].IsZero() {
		mark = 1
	}
	since := marked[mark]
	if se.since.After(since) {
		since = se.since
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	c := ClientStats{PID: se.peer.PID, UID: se.peer.UID, Mode: se.mode, Since: se.since, Files: len(se.files), Bytes: se.bytes.Load()}
	c.Rate = float64(c.Bytes-se.marks[mark]) / max(now.Sub(since), time.Second/10).Seconds()
	for _, w := range se.wants {
		if w.lease != nil {
			c.Leases++
			c.Held += w.blocks * arena.BlockSize
		} else {
			c.Wants++
		}
	}
	return c
}
