package fs

import (
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// pendingReads are the READs that are being answered, to be found by an
// INTERRUPT.
type pendingReads struct {
	mu         sync.Mutex
	interrupts map[uint64]chan struct{} // guarded by mu; nil once closed
}

// begin returns the channel that is closed if the request unique is
// interrupted before end.
func (p *pendingReads) begin(unique uint64) <-chan struct{} {
	interrupted := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupts[unique] = interrupted
	return interrupted
}

// end forgets the request unique.
func (p *pendingReads) end(unique uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.interrupts, unique)
}

// interrupt passes an INTERRUPT on, and tells whether its request is here. It
// may be elsewhere, not be here yet, or have been answered.
func (p *pendingReads) interrupt(req []byte) bool {
	if len(req) < int(unsafe.Sizeof(fuse.InterruptIn{})) {
		return false
	}
	unique := (*fuse.InterruptIn)(unsafe.Pointer(&req[0])).Unique
	p.mu.Lock()
	defer p.mu.Unlock()
	interrupted, ok := p.interrupts[unique]
	if interrupted != nil {
		close(interrupted)
		p.interrupts[unique] = nil
	}
	return ok
}
