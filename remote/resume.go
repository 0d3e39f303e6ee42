package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// resumingBody yields a range by as many requests as it takes, one at a time:
// the next is made, from the last byte on, after the one before was closed.
type resumingBody struct {
	r        *Retrying
	ctx      context.Context // of OpenRange
	obj      Object
	pos, end int64
	sched    schedule

	body     io.ReadCloser // nil between attempts and after Close
	watch    *watch        // of body
	patience time.Duration // how long body may be silent
	longest  time.Duration // longest wait for a byte of body
	began    time.Time     // of body
	got      int64         // bytes that it gave
	waited   time.Duration // for them
	slows    int           // bodies replaced for being slow
	broken   error         // why body must be replaced; nil while it is sound
	final    error         // sticky
}

// open makes requests until one answers with the range from pos on.
func (b *resumingBody) open() error {
	for {
		w := newWatch(b.ctx)
		err := b.r.attempt(w, requestGet, &b.sched, func(ctx context.Context) (err error) {
			b.body, err = b.r.store.OpenRange(ctx, b.obj, b.pos, b.end-b.pos)
			return err
		})
		if err == nil {
			b.watch, b.longest = w, 0
			b.patience = b.r.gaps.timeout(max(b.sched.stalls, b.slows))
			b.began, b.got, b.waited = time.Now(), 0, 0
			return nil
		}
		v, err := w.judge(err)
		w.stop()
		if err := b.r.pause(b.ctx, &b.sched, v, err); err != nil {
			return err
		}
	}
}

// Read goes straight to the body of the request under way.
func (b *resumingBody) Read(p []byte) (int, error) {
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
func (b *resumingBody) readOnce(p []byte) (int, error) {
	b.watch.arm(b.sched.patience(b.patience))
	n, err := b.body.Read(p[:min(int64(len(p)), b.end-b.pos)])
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
		err = errSlow
	}
	if b.pos < b.end {
		b.broken = err
	}
	return n, err
}

// slow says whether the body shall be replaced for its speed: not before it
// was waited for as long as it may be silent, which is twice as long each time, so
// that a store that is slow altogether is not asked for everything again and again.
func (b *resumingBody) slow() bool {
	return b.pos < b.end && b.waited >= b.patience && b.r.rates.slow(b.got, b.waited)
}

// replace closes the broken body and opens the next from the last byte on.
func (b *resumingBody) replace() error {
	v, cause := b.watch.judge(b.broken)
	b.closeBody()
	if err := b.r.pause(b.ctx, &b.sched, v, cause); err != nil {
		return err
	}
	b.broken = nil
	return b.open()
}

func (b *resumingBody) closeBody() error {
	if b.body == nil {
		return nil
	}
	b.r.gaps.observe(b.longest)
	b.r.rates.observe(b.got, time.Since(b.began))
	err := b.body.Close()
	b.watch.stop()
	b.body = nil
	return err
}

// Close ends the request under way.
func (b *resumingBody) Close() error {
	if b.final == nil && b.pos < b.end {
		b.final = fmt.Errorf("read %s: %w", b.obj.Key, errClosed)
	}
	return b.closeBody()
}

// errClosed is the error of reading a closed body.
var errClosed = errors.New("body is closed")
