package gpuload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// cpuStreamDepth is how many operations a stream queues before Copy blocks.
const cpuStreamDepth = 64

// errStreamClosed is what a closed stream answers.
var errStreamClosed = errors.New("cpu: stream is closed")

// cpuStream performs the operations of its queue in order, in one goroutine.
type cpuStream struct {
	device *CPU
	ops    chan cpuOp
	done   chan struct{} // closed when the goroutine has ended

	mu     sync.RWMutex // held for reading while sending to ops
	closed bool         // guarded by mu
}

// cpuOp is a copy of src to dst, or, where event is set, a point in the queue.
type cpuOp struct {
	dst, src []byte
	event    *cpuEvent
}

func newCPUStream(d *CPU) *cpuStream {
	s := &cpuStream{device: d, ops: make(chan cpuOp, cpuStreamDepth), done: make(chan struct{})}
	go s.run()
	return s
}

func (s *cpuStream) run() {
	defer close(s.done)
	for op := range s.ops {
		copyInPieces(op.dst, op.src)
		if op.event != nil {
			close(op.event.done)
		}
	}
}

// cachedCopy is below the 1 MiB from which Go's memmove for amd64 stores past
// the processor's caches. The kernel has just cleared the destination, which
// lies in them: loads of 1 GiB of cached pages took 1 to 6% longer by pieces whole.
const cachedCopy = 256 << 10

// copyInPieces copies src to dst, which is no shorter.
func copyInPieces(dst, src []byte) {
	for len(src) > 0 {
		n := copy(dst, src[:min(cachedCopy, len(src))])
		dst, src = dst[n:], src[n:]
	}
}

func (s *cpuStream) Copy(dst Memory, off int64, src Staging, begin, n int) error {
	to, ok := dst.(*mapping)
	from, ok2 := s.device.memoryOf(src)
	if !ok || !ok2 || to.device != s.device {
		return fmt.Errorf("cpu: copy from %T to %T: not of this device", src, dst)
	}
	out, in := to.Bytes(), from
	if off < 0 || off > int64(len(out)) || int64(n) > int64(len(out))-off {
		return fmt.Errorf("cpu: copy to [%d,%d) of %d bytes", off, off+int64(n), len(out))
	}
	if n < 0 || begin < 0 || begin > len(in) || n > len(in)-begin {
		return fmt.Errorf("cpu: copy from [%d,%d) of %d bytes", begin, begin+n, len(in))
	}
	return s.enqueue(cpuOp{dst: out[off:], src: in[begin:][:n]})
}

func (s *cpuStream) Record() (Event, error) {
	e := &cpuEvent{done: make(chan struct{})}
	if err := s.enqueue(cpuOp{event: e}); err != nil {
		return nil, err
	}
	return e, nil
}

func (s *cpuStream) Sync() error {
	e, err := s.Record()
	if err != nil {
		return err
	}
	return e.Wait(context.Background())
}

func (s *cpuStream) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errStreamClosed
	}
	s.closed = true
	close(s.ops)
	s.mu.Unlock()
	<-s.done
	s.device.mu.Lock()
	defer s.device.mu.Unlock()
	delete(s.device.streams, s)
	return nil
}

func (s *cpuStream) enqueue(op cpuOp) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errStreamClosed
	}
	s.ops <- op
	return nil
}

// cpuEvent is done when its channel is closed. Copies in memory cannot fail.
type cpuEvent struct{ done chan struct{} }

func (e *cpuEvent) Done() (bool, error) {
	select {
	case <-e.done:
		return true, nil
	default:
		return false, nil
	}
}

func (e *cpuEvent) Wait(ctx context.Context) error {
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readAt is io.ReaderAt's contract over the bytes b.
func readAt(b, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at negative offset %d", off)
	}
	if off > int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
