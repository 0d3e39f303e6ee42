//go:build cuda

package cuda

import (
	"fmt"
	"sync"
	"time"

	"gorgonia.org/cu"

	"weightfs/gpuload"
)

// opening is the creation of a GPU's context, on a goroutine that ends with it.
// All but done is set when that is closed.
type opening struct {
	done chan struct{}
	ctx  cu.CUContext
	err  error
	at   time.Time
}

func open(dev cu.Device) *opening {
	o := &opening{done: make(chan struct{})}
	go func() {
		defer close(o.done)
		var err error
		if o.ctx, err = dev.RetainPrimaryCtx(); err != nil {
			o.err = fmt.Errorf("create context: %w", deviceError(translate(err)))
		}
		o.at = time.Now()
	}()
	return o
}

// deviceError adds ErrOutOfMemory where the GPU's memory is what is short.
func deviceError(err error) error {
	if err == outOfMemory {
		return fmt.Errorf("%w (%w)", err, gpuload.ErrOutOfMemory)
	}
	return err
}

func (o *opening) wait() (cu.CUContext, error) {
	<-o.done
	return o.ctx, o.err
}

// over says whether the context is there, or cannot be, without waiting.
func (o *opening) over() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// pageLocked counts page-locked memory.
type pageLocked struct {
	mu        sync.Mutex
	now, most int64 // guarded by mu
}

func (p *pageLocked) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now += int64(n)
	p.most = max(p.most, p.now)
}

func (p *pageLocked) peak() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}
