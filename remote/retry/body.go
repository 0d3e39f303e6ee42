package retry

import (
	"context"
	"errors"
	"io"
	"time"
)

// Open opens bytes [off, off+n) by open, which makes one attempt at a range. The
// body must be used by one goroutine at a time; cancelling ctx ends a Read from
// outside. Bodies that break or stall are resumed at their last byte, never by
// two requests at once.
func (r *Retrier) Open(ctx context.Context, off, n int64, open func(ctx context.Context, off, n int64) (io.ReadCloser, error)) (io.ReadCloser, error) {
	b := &body{r: r, ctx: ctx, request: open, pos: off, end: off + n, sched: schedule{policy: r.policy}}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// body yields a range by as many requests as it takes, one at a time: the next is
// made, from the last byte on, after the one before was closed.
type body struct {
	r        *Retrier
	ctx      context.Context // of Open
	request  func(ctx context.Context, off, n int64) (io.ReadCloser, error)
	pos, end int64
	sched    schedule

	source   io.ReadCloser // nil between attempts and after Close
	watch    *watch        // of source
	patience time.Duration // how long source may be silent
	longest  time.Duration // longest wait for a byte of source
	began    time.Time     // of source
	got      int64         // bytes that it gave
	waited   time.Duration // for them
	slows    int           // sources replaced for being slow
	broken   error         // why source must be replaced; nil while it is sound
	final    error         // sticky
}

// open makes requests until one answers with the range from pos on.
func (b *body) open() error {
	for {
		w := newWatch(b.ctx)
		err := b.r.attempt(w, Range, &b.sched, func(ctx context.Context) (err error) {
			b.source, err = b.request(ctx, b.pos, b.end-b.pos)
			return err
		})
		if err == nil {
			b.watch, b.longest = w, 0
			b.patience = b.r.timeout(&b.r.gaps, max(b.sched.stalls, b.slows))
			b.began, b.got, b.waited = time.Now(), 0, 0
			return nil
		}
		f, err := b.r.judge(w, err)
		w.stop()
		if err := b.r.pause(b.ctx, &b.sched, f, err); err != nil {
			return err
		}
	}
}

// Read goes straight to the body of the request under way.
func (b *body) Read(p []byte) (int, error) {
	for b.final == nil && b.pos < b.end && len(p) > 0 {
		if b.broken != nil {
			b.final = b.replace()
			continue
		}
		n, err := b.readOnce(p)
		if n > 0 {
			return n, nil // an error that came with bytes is met by the next Read
		}
		b.broken = err
	}
	switch {
	case b.final != nil:
		return 0, b.final
	case b.pos == b.end:
		return 0, io.EOF
	}
	return 0, nil
}

// readOnce reads under the watch and accounts for what came.
func (b *body) readOnce(p []byte) (int, error) {
	b.watch.arm(b.sched.patience(b.patience))
	n, err := b.source.Read(p[:min(int64(len(p)), b.end-b.pos)])
	waited := b.watch.disarm()
	b.waited += waited
	b.sched.silent += waited
	if n > 0 {
		b.longest = max(b.longest, waited)
		b.pos += int64(n)
		b.got += int64(n)
		b.r.bytes.Add(int64(n))
		b.sched.progress()
	}
	if err == io.EOF && b.pos < b.end {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && b.slow() {
		b.slows++
		err = ErrSlow
	}
	if b.pos < b.end {
		b.broken = err
	}
	return n, err
}

// slow says whether the body shall be replaced for its speed: not before it
// was waited for as long as it may be silent, which is twice as long each time, so
// that a store that is slow altogether is not asked for everything again and again.
func (b *body) slow() bool {
	if b.pos == b.end || b.waited < b.patience {
		return false
	}
	if least := b.r.policy.MinRate; least > 0 {
		return float64(b.got) < float64(least)*b.waited.Seconds()
	}
	return b.r.rates.slow(b.got, b.waited)
}

// replace closes the broken body and opens the next from the last byte on.
func (b *body) replace() error {
	f, cause := b.r.judge(b.watch, b.broken)
	b.closeSource()
	if err := b.r.pause(b.ctx, &b.sched, f, cause); err != nil {
		return err
	}
	b.broken = nil
	return b.open()
}

func (b *body) closeSource() error {
	if b.source == nil {
		return nil
	}
	b.r.gaps.observe(b.longest)
	b.r.rates.observe(b.got, time.Since(b.began))
	err := b.source.Close()
	b.watch.stop()
	b.source = nil
	return err
}

// Close ends the request under way.
func (b *body) Close() error {
	if b.final == nil && b.pos < b.end {
		b.final = errClosed
	}
	return b.closeSource()
}

// errClosed is the error of reading a closed body.
var errClosed = errors.New("body is closed")
