package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// retryInterval spaces the retries of all requests together, 200 a second, so
// that an outage met by hundreds of requests at once is not answered by a storm.
const retryInterval = 5 * time.Millisecond

// listStallFactor is how much longer than a read a listing may be silent: its
// first byte comes when a thousand keys are found.
const listStallFactor = 5

// usualFraction of the stall time-out is enough for a body, whose bytes come
// steadily once they come, when it is known how the others came: a new request
// goes on at its last byte, and costs a round trip. A reader that is cut off in
// one connection in ten waits this often, so it is worth being short; a packet
// that is lost twice takes less.
const usualFraction = 4

// errStalled cancels an attempt that waited too long for a byte.
var errStalled = errors.New("no byte in time")

// request is a kind of request.
type request uint8

const (
	requestGet request = iota
	requestHead
	requestList
	requestKinds
)

// Stats counts what a [Retrying] store has done since it was made.
type Stats struct {
	// Gets, Heads and Lists are requests by kind, each attempt and each page of
	// a listing counted.
	Gets, Heads, Lists int64
	// Retries are the attempts after a request's first; Stalls those of them
	// that replaced a request which had gone silent or far slower than others.
	Retries, Stalls int64
	// Bytes were delivered to readers.
	Bytes int64
	// Hidden are the names that listings left out.
	Hidden int64
}

// Retrying is a [Store] whose transient failures are invisible: requests are
// repeated, and bodies that break or stall are resumed at their last byte,
// with the same version check and never by two requests at once. What it gives
// up on names the object, the range, the answer and the number of attempts.
// It is safe for concurrent use.
type Retrying struct {
	store   Store
	policy  RetryPolicy
	log     *slog.Logger
	pace    *rate.Limiter // of retries
	revival revival

	firstByte [requestKinds]latencies
	gaps      latencies // longest wait between bytes, of each body
	rates     rates     // of the bodies

	requests               [requestKinds]atomic.Int64
	retries, stalls, bytes atomic.Int64
}

// WithRetry wraps store.
func WithRetry(store Store, policy RetryPolicy) *Retrying {
	r := &Retrying{store: store, policy: policy.withDefaults(), pace: rate.NewLimiter(rate.Every(retryInterval), 1)}
	r.log = r.policy.Logger
	for kind := range r.firstByte {
		floor := r.policy.StallTimeout
		if request(kind) == requestList {
			floor *= listStallFactor
		}
		r.firstByte[kind].floor, r.firstByte[kind].usual = floor, floor
	}
	r.gaps.floor, r.gaps.usual = r.policy.StallTimeout, r.policy.StallTimeout/usualFraction
	return r
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.Attempts <= 0 {
		p.Attempts = 10
	}
	if p.BaseDelay <= 0 {
		p.BaseDelay = 100 * time.Millisecond
	}
	if p.MaxDelay <= 0 {
		p.MaxDelay = 20 * time.Second
	}
	if p.StallTimeout <= 0 {
		p.StallTimeout = 2 * time.Second
	}
	if p.Logger == nil {
		p.Logger = slog.New(slog.DiscardHandler)
	}
	return p
}

// Stats returns the counters so far.
func (r *Retrying) Stats() Stats {
	s := Stats{
		Gets:    r.requests[requestGet].Load(),
		Heads:   r.requests[requestHead].Load(),
		Lists:   r.requests[requestList].Load(),
		Retries: r.retries.Load(),
		Stalls:  r.stalls.Load(),
		Bytes:   r.bytes.Load(),
	}
	if h, ok := r.store.(interface{ Hidden() int64 }); ok {
		s.Hidden = h.Hidden()
	}
	return s
}

// Stat implements [Store].
func (r *Retrying) Stat(ctx context.Context, key string) (Object, error) {
	var obj Object
	err := r.do(ctx, requestHead, func(ctx context.Context) (err error) {
		obj, err = r.store.Stat(ctx, key)
		return err
	})
	return obj, err
}

// ListPage implements [Store].
func (r *Retrying) ListPage(ctx context.Context, dir, token string, limit int) (Page, error) {
	var page Page
	err := r.do(ctx, requestList, func(ctx context.Context) (err error) {
		page, err = r.store.ListPage(ctx, dir, token, limit)
		return err
	})
	return page, err
}

// OpenRange implements [Store]. The body must be used by one goroutine at a
// time; cancelling ctx ends a Read from outside.
func (r *Retrying) OpenRange(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	if n <= 0 { // nothing to resume: the store has its own word on it
		return r.store.OpenRange(ctx, obj, off, n)
	}
	b := &resumingBody{r: r, ctx: ctx, obj: obj, pos: off, end: off + n, sched: schedule{policy: r.policy}}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// Close implements [Store].
func (r *Retrying) Close() error { return r.store.Close() }

// do runs one request without a body until it succeeds or is not worth
// repeating.
func (r *Retrying) do(ctx context.Context, kind request, try func(context.Context) error) error {
	sched := schedule{policy: r.policy}
	for {
		w := newWatch(ctx)
		err := r.attempt(w, kind, &sched, try)
		v, err := w.judge(err)
		w.stop()
		if err == nil {
			return nil
		}
		if err := r.pause(ctx, &sched, v, err); err != nil {
			return err
		}
	}
}

// attempt runs one request up to its answer, under the watch w.
func (r *Retrying) attempt(w *watch, kind request, sched *schedule, try func(context.Context) error) error {
	r.requests[kind].Add(1)
	est := &r.firstByte[kind]
	w.arm(sched.patience(est.timeout(sched.stalls)))
	err := try(w.ctx)
	waited := w.disarm()
	sched.silent += waited
	if err == nil {
		est.observe(waited)
	}
	if req, ok := errors.AsType[*requestError](err); err == nil || ok && req.status != 0 {
		r.revival.answered(time.Now())
	}
	return err
}

// pause waits before the next attempt after cause. It returns an error when
// there shall be none: cause with the number of attempts, or ctx's.
func (r *Retrying) pause(ctx context.Context, sched *schedule, v verdict, cause error) error {
	if ctx.Err() != nil {
		if errors.Is(cause, ctx.Err()) {
			return cause
		}
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	var retryAfter time.Duration
	early := r.revival.end()
	if req, ok := errors.AsType[*requestError](cause); ok {
		retryAfter = req.retryAfter
		if req.status != 0 {
			early = nil // the store lives, and wants to be left alone
		}
	}
	delay, ok := sched.next(v, retryAfter, rand.N[time.Duration])
	if !ok {
		if sched.tries > 1 {
			return fmt.Errorf("%w (after %d attempts)", cause, sched.tries)
		}
		return cause
	}
	r.count(ctx, sched, v, cause)
	began := time.Now()
	defer func() { sched.silent += time.Since(began) }()
	if err := sleep(ctx, delay, early); err != nil {
		return err
	}
	// Reserved ahead, a moment after a long delay would hold up all the others.
	return sleep(ctx, r.pace.Reserve().Delay(), nil)
}

// outOfOrdinary is after how many failures a request is worth a warning: one is
// replaced or answered with 503 every day, and nobody can do anything about it.
const outOfOrdinary = 3

// count records a retry that is about to be made.
func (r *Retrying) count(ctx context.Context, sched *schedule, v verdict, cause error) {
	r.retries.Add(1)
	if report, ok := ctx.Value(troubleKey{}).(func(error)); ok {
		report(cause)
	}
	switch v {
	case stalled:
		r.stalls.Add(1)
	case refresh:
		if c, ok := r.store.(interface{ refreshCredentials(signer) }); ok {
			var refused signer
			if req, ok := errors.AsType[*requestError](cause); ok {
				refused = req.signer
			}
			c.refreshCredentials(refused)
		}
	}
	level := slog.LevelDebug // one warning for each request, not for each attempt
	if sched.tries == outOfOrdinary {
		level = slog.LevelWarn
	}
	r.log.Log(context.Background(), level, "retrying a request", "failed", sched.tries, "cause", cause)
}

// troubleKey is the key of WithTrouble's function.
type troubleKey struct{}

// WithTrouble returns a context under which a [Retrying] store passes to report
// the error of each attempt that it is going to repeat, so that who tires of
// waiting can say of what. report is called by the goroutine that makes the
// request, and must not block.
func WithTrouble(ctx context.Context, report func(cause error)) context.Context {
	return context.WithValue(ctx, troubleKey{}, report)
}
