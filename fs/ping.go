// Whether the mount answers, asked by the daemon of itself. Not here: what the
// store answers.

package fs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"weightfs/remote"
)

const (
	// notifyRetrieve asks the kernel to send what it has cached of an inode: FUSE's
	// one message to which the kernel replies by a request.
	notifyRetrieve = 5
	// pingPoll is how often what a ping waits for is looked at.
	pingPoll = time.Millisecond
	// pingTries bounds how many nodes are looked at for a file.
	pingTries = 100
)

// pingMessage is that message for no byte of a file: of a directory, newer kernels
// (6.18) send nothing.
type pingMessage struct {
	fuse.OutHeader
	unique, node, offset uint64
	size, _              uint32
}

// pings are the messages to the kernel whose echo has not come yet. The echo is a
// request like any other: it takes the kernel's queue, a worker that waits for
// requests, and the table of nodes. No task waits for it within the kernel, so a
// loop that hangs takes nobody with it, as it would a stat(2) of its own mount.
type pings struct {
	mu      sync.Mutex
	closed  bool                     // guarded by mu, as are all below: fd is no longer ours
	last    uint64                   // number
	waiting map[uint64]chan struct{} // closed by the echo
}

// send writes a message about a node to fd and returns its number, and what is
// closed by its echo.
func (p *pings) send(fd int, node uint64) (number uint64, echo <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, nil, ErrLost
	}
	p.last++
	message := pingMessage{
		OutHeader: fuse.OutHeader{Length: uint32(unsafe.Sizeof(pingMessage{})), Status: notifyRetrieve},
		unique:    p.last, node: node,
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&message)), unsafe.Sizeof(message))
	if _, err := unix.Write(fd, bytes); err != nil {
		return 0, nil, err
	}
	if p.waiting == nil {
		p.waiting = map[uint64]chan struct{}{}
	}
	awaited := make(chan struct{})
	p.waiting[p.last] = awaited
	return p.last, awaited, nil
}

// echoed ends the wait for a message.
func (p *pings) echoed(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if awaited, ok := p.waiting[number]; ok {
		close(awaited)
		delete(p.waiting, number)
	}
}

// forget is for who does not wait any longer.
func (p *pings) forget(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, number)
}

// close has nothing sent any more.
func (p *pings) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// Ping returns once the mount is seen to answer: look-ups are not held up, a worker
// waits for requests, and, if the kernel knows a file, it has sent a request that
// was taken. It asks the store nothing, and does not outlast ctx. The error is
// ErrLost where the mount is gone.
func (s *Server) Ping(ctx context.Context) error {
	nodes := s.tree.nodes
	if err := s.until(ctx, nodes.mu.TryLock); err != nil {
		return fmt.Errorf("look-ups are held up: %w", err)
	}
	file, known := nodes.anyFile()
	nodes.mu.Unlock()
	if err := s.until(ctx, s.device.idle.any); err != nil {
		return fmt.Errorf("no worker waits for requests: %w", err)
	}
	if !known {
		return nil
	}
	return s.echo(ctx, file)
}

// until waits for ok.
func (s *Server) until(ctx context.Context, ok func() bool) error {
	for tick := time.Tick(pingPoll); ; {
		select {
		case <-s.conn.gone:
			return ErrLost
		default:
		}
		if ok() {
			return nil
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// echo has the kernel send a request about a file, and waits until it was taken.
func (s *Server) echo(ctx context.Context, file uint64) error {
	number, echo, err := s.device.pings.send(s.device.fd, file)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return nil // it has just forgotten the file, or does not send such requests
	case errors.Is(err, ErrLost), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOTCONN):
		return ErrLost
	case err != nil:
		return fmt.Errorf("ask the kernel: %w", err)
	}
	defer s.device.pings.forget(number)
	select {
	case <-echo:
		return nil
	case <-s.conn.gone:
		return ErrLost
	case <-ctx.Done():
		return fmt.Errorf("no worker has taken a request: %w", context.Cause(ctx))
	}
}

// anyFile is a file that the kernel knows, if one is soon found. mu is held.
func (t *table) anyFile() (id uint64, ok bool) {
	tries := 0
	for id, n := range t.byID {
		if tries++; tries > pingTries {
			break
		}
		if n.entry.Kind == remote.KindFile {
			return id, true
		}
	}
	return 0, false
}
