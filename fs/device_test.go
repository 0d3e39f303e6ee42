package fs

import (
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"weightfs/fs/state"
	"weightfs/prefetch"
	"weightfs/remote"
)

// fakeKernel is the other end of a device: a socket that keeps messages whole,
// as /dev/fuse does.
type fakeKernel struct {
	t      testing.TB
	fd     int
	device *device
	tree   *tree
	conn   *connection
	cfg    Config
	agreed fuse.InitOut
	log    *strings.Builder // to be read after hangUp
	done   chan struct{}    // closed when the device has ended
}

// newFakeKernel has a device of an empty tree shake hands with it, and serve
// for the time of the test.
func newFakeKernel(t testing.TB) *fakeKernel {
	t.Helper()
	k := connectKernel(t, nil, nil)
	k.send(message(fuse.InitIn{
		InHeader: fuse.InHeader{Opcode: opInit, Unique: 1}, Major: 7, Minor: 41,
		MaxReadAhead: 128 << 10, Flags: fuse.CAP_ASYNC_READ | fuse.CAP_MAX_PAGES,
	}, ""))
	k.serve(true)
	if _, body := k.receive(); len(body) == int(unsafe.Sizeof(k.agreed)) {
		k.agreed = *(*fuse.InitOut)(unsafe.Pointer(&body[0]))
	}
	return k
}

// connectKernel has a tree over cache, and what is kept, for a device.
func connectKernel(t testing.TB, cache *prefetch.Cache, keep *state.File) *fakeKernel {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	k := &fakeKernel{t: t, fd: pair[0], log: &strings.Builder{}, done: make(chan struct{})}
	cfg, err := Config{Logger: slog.New(slog.NewTextHandler(k.log, nil))}.complete()
	if err != nil {
		t.Fatal(err)
	}
	k.conn, k.cfg = &connection{fd: pair[1], gone: make(chan struct{})}, cfg
	k.tree = newTree(nil, cache, nil, k.conn, keep, cfg)
	return k
}

// serve has the device serve for the length of the test, and ask for what is under
// way if it may.
func (k *fakeKernel) serve(mayResend bool) {
	k.t.Helper()
	var err error
	if k.device, err = newDevice(k.conn.fd, k.tree, k.tree.options(k.cfg), k.cfg.Logger, k.conn.end); err != nil {
		k.t.Fatal(err)
	}
	go func() {
		defer close(k.done)
		var found []state.Slot
		if k.device.takeover != (Takeover{}) {
			found = k.device.takeRequests(mayResend)
		}
		k.device.serve(found)
	}()
	k.t.Cleanup(func() {
		k.hangUp()
		unix.Close(k.fd)
		unix.Close(k.conn.fd)
	})
}

// message is the request that begins with the struct in, and then has payload.
func message[T any](in T, payload string) []byte {
	msg := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in))...)
	msg = append(msg, payload...)
	header(msg).Length = uint32(len(msg))
	return msg
}

func (k *fakeKernel) send(msg []byte) {
	k.t.Helper()
	if _, err := unix.Write(k.fd, msg); err != nil {
		k.t.Fatal(err)
	}
}

// receive waits for a reply.
func (k *fakeKernel) receive() (head fuse.OutHeader, body []byte) {
	k.t.Helper()
	buf := make([]byte, 1<<20)
	n, err := unix.Read(k.fd, buf)
	if err != nil {
		k.t.Fatal(err)
	}
	head = *(*fuse.OutHeader)(unsafe.Pointer(&buf[0]))
	if int(head.Length) != n {
		k.t.Errorf("a reply of %d bytes says that it has %d", n, head.Length)
	}
	return head, buf[sizeOfReplyHeader:n]
}

// want receives the reply to the request unique, which must have that errno.
func (k *fakeKernel) want(unique uint64, errno syscall.Errno) []byte {
	k.t.Helper()
	head, body := k.receive()
	if head.Unique != unique || head.Status != -int32(errno) {
		k.t.Errorf("request %d is answered %v, want %d and %v", head.Unique, syscall.Errno(-head.Status), unique, errno)
	}
	return body
}

// hangUp ends the connection, and waits for the device to end. No reply may be
// left.
func (k *fakeKernel) hangUp() {
	k.t.Helper()
	unix.Shutdown(k.fd, unix.SHUT_WR)
	<-k.done
	if n, _, err := unix.Recvfrom(k.fd, make([]byte, requestSize), unix.MSG_DONTWAIT); n > 0 || err != unix.EAGAIN {
		k.t.Errorf("after the last reply: %d bytes, %v", n, err)
	}
}

// in is the header of a request about the root.
func in(op uint32, unique uint64) fuse.InHeader {
	return fuse.InHeader{Opcode: op, Unique: unique, NodeId: fuse.FUSE_ROOT_ID}
}

func TestHandshake(t *testing.T) {
	k := newFakeKernel(t)
	got := k.agreed
	if got.MaxWrite != maxWrite || int(got.MaxPages)*os.Getpagesize() != maxRead {
		t.Errorf("writes of up to %d bytes, reads of up to %d pages", got.MaxWrite, got.MaxPages)
	}
	if got.MaxBackground != maxBackground || got.CongestionThreshold != congestionThreshold {
		t.Errorf("%d requests in the background, congested at %d", got.MaxBackground, got.CongestionThreshold)
	}
	if want := uint64(fuse.CAP_ASYNC_READ | fuse.CAP_MAX_PAGES); got.Flags64()&want != want {
		t.Errorf("capabilities %x, want %x", got.Flags64(), want)
	}
}

// A defect must not leave a reader hanging, nor end the daemon.
func TestDefectInARead(t *testing.T) {
	k := newFakeKernel(t)
	k.tree.files.Store(uint64(5), &openFile{obj: remote.Object{Size: 100}}) // without a reader
	for unique := range uint64(3) {
		k.send(message(fuse.ReadIn{InHeader: in(opRead, unique+2), Fh: 5, Size: 10}, ""))
		k.want(unique+2, syscall.EIO)
	}
	if got := k.tree.counters.panics.Load(); got != 3 {
		t.Errorf("%d panics were counted", got)
	}
	if left := len(k.device.reads.interrupts); left != 0 {
		t.Errorf("%d reads are still pending", left)
	}
	k.hangUp()
	for _, want := range []string{"nil pointer", "answerRead"} { // the cause, and the stack
		if !strings.Contains(k.log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, k.log)
		}
	}
}

// Every request gets one reply, however odd it is, but for those without.
func TestOddRequests(t *testing.T) {
	k := newFakeKernel(t)
	cases := []struct {
		name string
		msg  []byte
		want syscall.Errno
	}{
		{"a READ of no handle", message(fuse.ReadIn{InHeader: in(opRead, 7), Fh: 1, Size: 10}, ""), syscall.EBADF},
		{"a READ cut short", message(in(opRead, 7), ""), syscall.EIO},
		{"a READDIR cut short", message(in(opReaddir, 7), ""), syscall.EIO},
		{"an INTERRUPT cut short", message(in(opInterrupt, 7), ""), syscall.EIO},
		{"an INTERRUPT of nothing", message(fuse.InterruptIn{InHeader: in(opInterrupt, 7), Unique: 1000}, ""), syscall.EAGAIN},
		{"an IOCTL that wants too much", message(fuse.IoctlIn{InHeader: in(opIoctl, 7), OutSize: 1 << 31}, ""), syscall.EIO},
		{"a kind of request to come", message(in(77, 7), ""), syscall.ENOSYS},
		{"a kind of request beyond all", message(in(1<<31, 7), ""), syscall.ENOSYS},
		{"the root's attributes", message(fuse.GetAttrIn{InHeader: in(3, 7)}, ""), 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k.send(c.msg)
			k.want(7, c.want)
		})
	}
	for range 100 {
		k.send(message(fuse.ForgetIn{InHeader: fuse.InHeader{Opcode: opForget, NodeId: 9}, Nlookup: 1}, ""))
	}
	k.send(message(in(opRead, 8), ""))
	k.want(8, syscall.EIO)
}

// A reply that the kernel refuses must not leave its task hanging.
func TestRefusedReply(t *testing.T) {
	k := newFakeKernel(t)
	tooLong := make([]byte, 64<<20) // for a socket
	k.device.reply(9, fuse.OK, [][]byte{tooLong})
	k.want(9, syscall.EIO)
	k.hangUp()
	if !strings.Contains(k.log.String(), "refused a reply") {
		t.Errorf("the log:\n%s", k.log)
	}
}

func TestPendingReads(t *testing.T) {
	p := pendingReads{interrupts: map[uint64]chan struct{}{}}
	interrupt := func(unique uint64) bool {
		return p.interrupt(message(fuse.InterruptIn{InHeader: in(opInterrupt, unique|1), Unique: unique}, ""))
	}
	first, second := p.begin(2), p.begin(4)
	for range 2 {
		if !interrupt(2) {
			t.Error("the first is not found")
		}
	}
	select {
	case <-first:
	default:
		t.Error("the first is not interrupted")
	}
	select {
	case <-second:
		t.Error("the second is interrupted")
	default:
	}
	p.end(2)
	if interrupt(2) {
		t.Error("the first is found after its end")
	}
}

// FuzzReplySpace has requests of any kind and length measured: what is allotted
// stays bounded, and nothing beyond the request is looked at.
func FuzzReplySpace(f *testing.F) {
	for op := range uint32(60) {
		f.Add(op, []byte(nil))
		f.Add(op, []byte(strings.Repeat("\xff", 100)))
	}
	f.Fuzz(func(t *testing.T, op uint32, rest []byte) {
		msg := message(in(op, 1), string(rest))
		limitReply(msg)
		space := replySpace(msg[:len(msg):len(msg)])
		if space < fixedReply || space > fixedReply+maxRead {
			t.Errorf("%d bytes for the reply to a request of kind %d", space, op)
		}
	})
}
