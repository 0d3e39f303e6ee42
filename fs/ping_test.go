package fs

import (
	"context"
	"errors"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"weightfs/remote"
)

// knowFile makes a file known to the kernel, and returns its node.
func (k *fakeKernel) knowFile() uint64 {
	return k.tree.nodes.lookup(remote.Entry{Object: remote.Object{Key: "f", Version: "1"}})
}

// server is one of the device of k, as Mount would make it.
func (k *fakeKernel) server() *Server {
	return &Server{tree: k.tree, device: k.device, conn: &connection{gone: make(chan struct{})}}
}

// pinged starts a Ping, and returns its outcome and the message of which the
// kernel is to send an echo.
func (k *fakeKernel) pinged(ctx context.Context, s *Server) (outcome <-chan error, ping pingMessage) {
	k.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.Ping(ctx) }()
	head, body := k.receive()
	ping.OutHeader = head
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&ping)), unsafe.Sizeof(ping))[sizeOfReplyHeader:], body)
	if head.Unique != 0 || head.Status != notifyRetrieve || ping.node == fuse.FUSE_ROOT_ID || ping.size != 0 {
		k.t.Errorf("the message is %+v", ping)
	}
	return ended, ping
}

// echo sends the request that the kernel makes of a message.
func (k *fakeKernel) echo(ping pingMessage) {
	k.t.Helper()
	k.send(message(in(opNotifyReply, ping.unique), string(make([]byte, 40))))
}

// TestPing holds that the echo ends it, each its own, and an end of the patience.
func TestPing(t *testing.T) {
	k := newFakeKernel(t)
	s := k.server()
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("while the kernel knows no file: %v", err)
	}
	k.knowFile()
	first, ping := k.pinged(t.Context(), s)
	second, other := k.pinged(t.Context(), s)
	k.echo(other)
	if err := <-second; err != nil {
		t.Error(err)
	}
	select {
	case err := <-first:
		t.Errorf("another's echo ends it: %v", err)
	default:
	}
	k.echo(ping)
	if err := <-first; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	third, ping := k.pinged(ctx, s)
	cancel()
	if err := <-third; !errors.Is(err, context.Canceled) {
		t.Errorf("without an echo: %v", err)
	}
	k.echo(ping) // late, and harmless
	k.echo(pingMessage{unique: 1 << 40})
}

// TestPingWaitsForTheLoop holds that a loop which is stuck is noticed, wherever it
// is.
func TestPingWaitsForTheLoop(t *testing.T) {
	k := newFakeKernel(t)
	s := k.server()
	brief := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*pingPoll)
		defer cancel()
		return s.Ping(ctx)
	}
	k.tree.nodes.mu.Lock()
	if err := brief(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("look-ups are stuck: %v", err)
	}
	k.tree.nodes.mu.Unlock()
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("and go on: %v", err)
	}
	k.device.idle.n.Add(-1)
	if err := brief(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no worker waits: %v", err)
	}
	k.device.idle.n.Add(1)
	k.knowFile()
	ctx, cancel := context.WithCancel(t.Context())
	outcome, ping := k.pinged(ctx, s)
	k.tree.nodes.mu.Lock()
	k.echo(ping)
	select {
	case err := <-outcome:
		t.Errorf("it is answered while look-ups are not: %v", err)
	default:
	}
	cancel()
	if err := <-outcome; !errors.Is(err, context.Canceled) {
		t.Errorf("the worker is stuck: %v", err)
	}
	k.tree.nodes.mu.Unlock()
}

// TestPingOfNothing holds that nothing is written to a descriptor that was given
// up: it may be somebody else's.
func TestPingOfNothing(t *testing.T) {
	k := newFakeKernel(t)
	k.knowFile()
	k.device.pings.close()
	if err := k.server().Ping(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("after the end: %v", err)
	}
}
