package gpuload

import (
	"context"
	"errors"
	"sync"

	"weightfs/handoff"
)

// registrations are what a load has a device page-lock of the memory of mounts'
// daemons, so that copies read it in place. Whole segments are, beside the copying:
// until one is, what is leased there is copied into staging. Which ones follows from
// the leases; while nobody wants one, the next behind the last is, since a daemon fills
// its memory from the front. The zero value registers nothing.
type registrations struct {
	device Registrar
	of     map[*handoff.Client]*registration
}

const (
	// A segment has a 512th of the memory, within these bounds: page-locking takes
	// 3 ms for the smallest, and a device has few of them.
	smallestSegment = 64 << 20
	largestSegment  = 256 << 20
	segments        = 512
)

// registration is that of one daemon's memory.
type registration struct {
	client  *handoff.Client
	device  Registrar
	tell    func(why error) // that it is refused
	segment int64           // bytes
	cancel  context.CancelFunc
	done    chan struct{} // closed when nothing is registered any more

	more chan struct{} // has room for a token: something is wanted

	mu     sync.Mutex
	wanted []int64            // guarded by mu, as is below; segments, the first first
	state  map[int64]progress // of segments
}

// progress is how far a segment is.
type progress int

const (
	untouched progress = iota
	asked
	locked // page-locked
)

// errNotGranted says that the daemon gave read-only memory.
var errNotGranted = errors.New("mountd lets its own user page-lock its memory, and that of --share-dma-uid")

// newRegistrations begins to register what is leased of files. close ends it.
func newRegistrations(dev Device, files []*File) registrations {
	r := registrations{of: map[*handoff.Client]*registration{}}
	var ok bool
	if r.device, ok = dev.(Registrar); !ok {
		return r
	}
	for _, f := range files {
		b, ok := f.blob.(*leaseBlob)
		switch {
		case !ok || r.of[b.client] != nil:
		case b.client.Mode() != handoff.Writable:
			b.daemons.tellPinning(errNotGranted)
		default:
			r.of[b.client] = newRegistration(b.client, r.device, b.daemons.tellPinning)
		}
	}
	return r
}

// newRegistration registers from the first want on.
func newRegistration(client *handoff.Client, device Registrar, tell func(error)) *registration {
	ctx, cancel := context.WithCancel(context.Background())
	size := int64(len(client.Memory()))
	r := &registration{
		client: client, device: device, tell: tell, cancel: cancel, done: make(chan struct{}),
		segment: min(max(size/segments/smallestSegment*smallestSegment, smallestSegment), largestSegment),
		state:   map[int64]progress{}, more: make(chan struct{}, 1),
	}
	go r.run(ctx)
	return r
}

// want asks for the segments of some memory that a daemon leased.
func (r registrations) want(client *handoff.Client, memory []byte) {
	if of := r.of[client]; of != nil {
		of.want(memory)
	}
}

// close ends it. No copy reads from there any more.
func (r registrations) close() error {
	var errs []error
	for _, of := range r.of {
		of.cancel()
		<-of.done
		errs = append(errs, of.unlock())
	}
	return errors.Join(errs...)
}

func (r *registration) want(memory []byte) {
	off := r.client.Offset(memory)
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := off / r.segment; n*r.segment < off+int64(len(memory)); n++ {
		if r.state[n] == untouched {
			r.state[n] = asked
			r.wanted = append(r.wanted, n)
		}
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// run registers segments until ctx ends or one is refused.
func (r *registration) run(ctx context.Context) {
	defer close(r.done)
	last := int64(-1)
	for ctx.Err() == nil {
		n, ok := r.next(last)
		if !ok {
			select {
			case <-r.more:
			case <-ctx.Done():
			}
			continue
		}
		off, size := r.rangeOf(n)
		if err := r.client.WhileWritable(off, size, r.device.Register); err != nil {
			r.tell(err)
			return
		}
		r.mu.Lock()
		r.state[n] = locked
		r.mu.Unlock()
		last = n
	}
}

// next is the segment that is registered next: one that is wanted, or the one behind
// the last. Only memory that was used is: all else would be made resident by it.
func (r *registration) next(last int64) (n int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := r.client.Watermark()
	ready := func(n int64) bool {
		off, size := r.rangeOf(n)
		return size > 0 && off+size <= used && r.state[n] != locked
	}
	for len(r.wanted) > 0 {
		n, r.wanted = r.wanted[0], r.wanted[1:]
		if ready(n) {
			return n, true
		}
		if r.state[n] == asked {
			r.state[n] = untouched // until all of it was used
		}
	}
	return last + 1, last >= 0 && ready(last+1)
}

// rangeOf is where a segment lies: the last may be shorter, and one beyond has no
// bytes.
func (r *registration) rangeOf(n int64) (off, size int64) {
	off = n * r.segment
	return off, max(min(r.segment, int64(len(r.client.Memory()))-off), 0)
}

func (r *registration) unlock() error {
	var errs []error
	for n, state := range r.state {
		if off, size := r.rangeOf(n); state == locked {
			errs = append(errs, r.device.Unregister(r.client.Memory()[off:off+size]))
		}
	}
	return errors.Join(errs...)
}
