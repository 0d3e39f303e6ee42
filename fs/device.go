package fs

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"weightfs/fs/state"
	"weightfs/prefetch"
)

const (
	// requestSize is the least buffer that the kernel takes for a request, and so
	// the size of a slot. What does not fit, it refuses by itself; nothing that is
	// read-only comes near.
	requestSize = 8 << 10
	// maxWrite is the least that the kernel agrees to. It demands a buffer for a
	// WRITE of that size with every request, and no WRITE ever comes.
	maxWrite = 4 << 10
	// maxIdle bounds the workers that wait for requests, each of them a thread:
	// one more than there are processors, so that the next request is always
	// awaited. With 8 readers by O_DIRECT on two processors neither two nor eight
	// were faster than three.
	maxIdle = 17
)

// device is the kernel's end of a mount, an open /dev/fuse: requests are read
// from it, and replies written.
//
// It answers READ by itself, by one writev of the leased cache memory, and has
// go-fuse's protocol layer answer the rest. go-fuse's own server would allocate
// a buffer as large as the READ before anybody knows whether the bytes are
// there, and hold it while the store is waited for: 1 MiB for each reader and
// for each readahead, beside the cache and its limit.
//
// Its goroutines are workers. One reads a request and answers it; whoever takes
// the last request while nobody else waits for the next one starts another
// worker first. So a cached READ is answered without a switch, and one that
// waits holds nobody up. As many requests are answered at once as the kernel
// sends. A worker reads into a slot of what is kept, so that its request outlives
// the process.
type device struct {
	fd       int
	keep     *state.File // nil: this is the only server
	takeover Takeover
	tree     *tree
	protocol *fuse.ProtocolServer // answers all but READ
	logger   *slog.Logger
	reads    pendingReads
	pings    pings
	workers  sync.WaitGroup
	idle     idlers
	end      func()       // notes that the connection is over
	born     time.Time    // the clock of READs counts from here
	agreed   Kernel       // set by the handshake
	writes   sync.RWMutex // read-locked while something is written; see HandOver
}

// newDevice shakes hands with the kernel over fd, which stays the caller's, or
// resumes what another has begun. From then on the kernel sends requests, and serve
// answers them. The function end is called as soon as the connection is over,
// perhaps more than once.
func newDevice(fd int, t *tree, options *fuse.MountOptions, logger *slog.Logger, end func()) (*device, error) {
	d := unconnected(fd, t, options, logger, end)
	if request, agreed := d.keep.Handshake(); request != nil {
		began := time.Now()
		if err := d.resume(request, agreed); err != nil {
			return nil, fmt.Errorf("take the mount over: %w", err)
		}
		d.takeover.Took = time.Since(began)
		return d, nil
	}
	if err := d.handshake(); err != nil {
		return nil, fmt.Errorf("handshake with the kernel: %w", err)
	}
	return d, nil
}

// unconnected is a device that has not agreed with the kernel on anything.
func unconnected(fd int, t *tree, options *fuse.MountOptions, logger *slog.Logger, end func()) *device {
	return &device{
		fd:       fd,
		keep:     t.nodes.keep,
		tree:     t,
		protocol: fuse.NewProtocolServer(t, options),
		logger:   logger,
		reads:    pendingReads{interrupts: map[uint64]chan struct{}{}},
		pings:    pings{last: t.firstHandle}, // an echo to the last server is nobody's
		idle:     idlers{max: int32(min(runtime.GOMAXPROCS(0)+1, maxIdle))},
		end:      end,
		born:     time.Now(),
	}
}

// handshake answers INIT, the first request.
func (d *device) handshake() error {
	req, err := d.next(make([]byte, requestSize))
	if err != nil {
		return err
	}
	if header(req).Opcode != opInit {
		return fmt.Errorf("the first request is of kind %d: %w", header(req).Opcode, unix.EPROTO)
	}
	reply, err := d.agree(req)
	if err != nil {
		return err
	}
	if err := d.keep.SetHandshake(req, reply); err != nil {
		return err
	}
	return d.write(reply)
}

// agree is the reply to an INIT, and has the protocol layer be as it says.
func (d *device) agree(req []byte) ([]byte, error) {
	reply := make([]byte, replySpace(req))
	n, status := d.protocol.HandleRequest([][]byte{req}, [][]byte{reply})
	if status.Ok() {
		status = replyStatus(reply)
	}
	if !status.Ok() {
		return nil, syscall.Errno(status)
	}
	agreed := (*fuse.InitOut)(unsafe.Pointer(&reply[sizeOfReplyHeader]))
	agreed.MaxWrite = maxWrite
	d.agreed = Kernel{Release: release(), Protocol: protocolOf(req), MaxRead: maxRead}
	if d.tree.passthrough != nil {
		d.tree.passthrough.begin(d, agreed.Flags64())
		d.agreed.Passthrough = d.tree.passthrough.device != nil
	}
	return reply[:n], nil
}

// protocolOf is the version of the protocol that the kernel offers in its INIT.
func protocolOf(req []byte) string {
	if len(req) < int(unsafe.Sizeof(fuse.InHeader{}))+8 {
		return ""
	}
	in := (*fuse.InitIn)(unsafe.Pointer(&req[0]))
	return fmt.Sprintf("%d.%d", in.Major, in.Minor)
}

// serve answers requests, those found under way first, until the connection is over
// and the last request is answered.
func (d *device) serve(found []state.Slot) {
	for _, s := range found {
		d.workers.Go(func() { d.replay(s) })
	}
	d.workers.Go(d.work)
	d.workers.Wait()
}

// work answers one request after the other, until enough others wait for
// requests, or the connection is over.
func (d *device) work() {
	slot := d.keep.Take()
	defer d.keep.Free(slot)
	for d.idle.join() {
		req, err := d.next(slot.Buffer)
		last := d.idle.leave()
		if err != nil {
			d.over(err)
			return
		}
		// FORGETs take no time, and the kernel sends them without waiting for
		// anything: to stop reading is what slows it down.
		if last && !isForget(header(req).Opcode) {
			d.workers.Go(d.work)
		}
		d.answer(req)
		slot.Clear()
	}
}

// over notes why a worker got no request.
func (d *device) over(err error) {
	if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ECONNABORTED) {
		d.logger.Error("cannot read from /dev/fuse", "err", err)
		return
	}
	d.end()
}

// next waits for a request and returns it, in buf. unix.ENODEV and
// unix.ECONNABORTED say that the connection is over.
func (d *device) next(buf []byte) ([]byte, error) {
	for {
		n, err := unix.Read(d.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			// ENOENT: the request was taken back while it was read.
		case err != nil:
			return nil, err
		case n < int(unsafe.Sizeof(fuse.InHeader{})):
			return nil, fmt.Errorf("a request of %d bytes: %w", n, io.ErrUnexpectedEOF)
		default:
			return buf[:n], nil
		}
	}
}

// answer answers req. A defect on the way is EIO: a task whose request gets no
// reply hangs, and SIGKILL does not reach it.
func (d *device) answer(req []byte) {
	in := header(req)
	defer d.answerDefect(in.Unique)
	switch {
	case isRead(req):
		read := (*fuse.ReadIn)(unsafe.Pointer(in))
		file, errno := d.tree.file(read)
		d.answerRead(read, file, errno)
	case in.Opcode == opRelease && in.Unique&resent != 0:
		d.reply(in.Unique, fuse.OK, nil) // the last server may have counted it
	case in.Opcode == opInterrupt && d.reads.interrupt(req):
		// An INTERRUPT that meets its request gets no reply.
	case in.Opcode == opNotifyReply:
		d.tree.nodes.size() // which waits for the table, as a look-up does
		d.pings.echoed(in.Unique)
	default:
		d.delegate(req)
	}
}

// answerDefect, deferred, answers the request unique where that has panicked.
func (d *device) answerDefect(unique uint64) {
	if cause := recover(); cause != nil {
		d.reply(unique, d.tree.defect(cause), nil)
	}
}

// answerRead answers a READ of a file from leased memory, or with the error in place
// of the file. The lease ends when the reply is written, or cannot be.
func (d *device) answerRead(in *fuse.ReadIn, file *openFile, errno syscall.Errno) {
	came := time.Since(d.born)
	interrupted := d.reads.begin(in.Unique)
	defer d.reads.end(in.Unique)
	var view *prefetch.View
	if errno == 0 {
		view, errno = d.tree.read(interrupted, in, file)
	}
	if errno != 0 {
		d.reply(in.Unique, fuse.Status(errno), nil)
		return
	}
	defer view.Release()
	d.reply(in.Unique, fuse.OK, view.Slices())
	d.tree.counters.countTime(time.Since(d.born)-came, view.Waited())
}

// delegate has go-fuse's protocol layer answer req.
func (d *device) delegate(req []byte) {
	limitReply(req)
	reply := make([]byte, replySpace(req))
	n, status := d.protocol.HandleRequest([][]byte{req}, [][]byte{reply})
	switch {
	case n > 0:
		if !d.sent(header(req).Unique, d.write(reply[:n])) {
			d.undo(req, reply[:n])
		}
	case !status.Ok():
		d.reply(header(req).Unique, status, nil)
	}
}

// reply answers the request unique, by a status or else by the bytes of body.
func (d *device) reply(unique uint64, status fuse.Status, body [][]byte) {
	head := fuse.OutHeader{Unique: unique, Status: -int32(status), Length: sizeOfReplyHeader}
	iov := make([][]byte, 1, 4)
	for _, part := range body {
		head.Length += uint32(len(part))
		iov = append(iov, part)
	}
	iov[0] = unsafe.Slice((*byte)(unsafe.Pointer(&head)), sizeOfReplyHeader)
	d.sent(unique, d.write(iov...))
}

// write writes one reply, which the kernel takes as a whole or not at all.
func (d *device) write(reply ...[]byte) error {
	d.writes.RLock()
	defer d.writes.RUnlock()
	for {
		if _, err := unix.Writev(d.fd, reply); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// undo ends what an answer has begun that the kernel did not take: it had another one, of
// the last server's.
func (d *device) undo(req, reply []byte) {
	if !replyStatus(reply).Ok() {
		return
	}
	in := header(req)
	number := *(*uint64)(unsafe.Pointer(&reply[sizeOfReplyHeader])) // all of these begin with one
	release := &fuse.ReleaseIn{InHeader: *in, Fh: number}
	switch in.Opcode {
	case opLookup:
		d.tree.nodes.forget(number, 1)
	case opOpen:
		d.tree.Release(nil, release)
	case opOpendir:
		d.tree.ReleaseDir(release)
	}
}

// sent sees to it that the request unique is answered although the kernel did
// not take its reply. ENOENT is no failure: nobody waits for the reply. False says
// that it was that.
func (d *device) sent(unique uint64, err error) bool {
	if err == nil || errors.Is(err, unix.ENODEV) {
		return true
	}
	if errors.Is(err, unix.ENOENT) {
		return false
	}
	d.logger.Warn("the kernel refused a reply", "err", err)
	// Where the kernel has ended the request itself, it knows it no more.
	if err := d.write(errorReply(unique)); err != nil && !errors.Is(err, unix.ENOENT) {
		d.logger.Error("a request got no reply", "err", err)
	}
	return false
}
