// Package retry makes the failures of a store that pass invisible. It knows
// requests, their bytes and what their errors mean, which the store tells it by
// a [Failure]; it knows no store and no protocol.
//
// [Retrier.Do] repeats a request that has one answer, and [Retrier.Open] one
// that has a body, which is resumed at its last byte. Both replace what has gone
// silent (stall.go, watch.go) or is far slower than its peers (slow.go), pause as
// schedule.go says, and are paced together, so that an outage is not answered by
// a storm. A store that answers again after a silence wakes who sleeps (revival.go).
package retry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// interval spaces the retries of all requests together, 200 a second, so that an
// outage met by hundreds of requests at once is not answered by a storm.
const interval = 5 * time.Millisecond

// listFactor is how much longer than a read a listing may be silent: its first
// byte comes when a thousand keys are found.
const listFactor = 5

// usualFraction of the stall time-out is enough for a body, whose bytes come
// steadily once they come, when it is known how the others came: a new request
// goes on at its last byte, and costs a round trip. A reader that is cut off in
// one connection in ten waits this often, so it is worth being short; a packet
// that is lost twice takes less.
const usualFraction = 4

// ErrStalled ends an attempt that waited too long for a byte.
var ErrStalled = errors.New("no byte in time")

// Request is a kind of request.
type Request uint8

// The kinds of request, which differ in how soon an answer is usual.
const (
	Range Request = iota
	Stat
	List
	requestKinds
)

// Policy says what a Retrier does. The zero value means the defaults.
type Policy struct {
	// Attempts is how often one request is tried without a byte of progress; 0
	// is 10. Progress starts the count anew.
	Attempts int
	// BaseDelay and MaxDelay bound the exponential back-off, half of it jitter; 0 is
	// 100 ms and 20 s. A Failure.After is honoured up to MaxDelay.
	BaseDelay, MaxDelay time.Duration
	// StallTimeout is the least time without a byte after which a request is
	// replaced by a new one at its last byte; the effective value follows the
	// observed times (several times their 99th percentile). 0 is 2 s. A quarter
	// of it is the least time for a body that has begun when it is known how the
	// last ones came: for one that is silent, and for one that is eight times
	// slower than their median.
	StallTimeout time.Duration
	// MinRate, if not 0, has fixed rules in place of those that follow what was
	// observed: a request is replaced after StallTimeout without a byte, and a body
	// that was waited for that long if it came with fewer bytes per second than
	// this. It is for a store where a request may wait for what another one fills.
	MinRate int64
	// ReadTimeout is how long a request may be waited for without a byte, all its
	// attempts and the pauses between them together; 0 leaves it to Attempts. The
	// time that a reader takes with what it got does not count.
	ReadTimeout time.Duration
	// Logger gets one warning per request that failed three times, and all
	// retries at the level of debugging; nil discards.
	Logger *slog.Logger
}

func (p Policy) withDefaults() Policy {
	p.Attempts = cmp.Or(max(p.Attempts, 0), 10)
	p.BaseDelay = cmp.Or(max(p.BaseDelay, 0), 100*time.Millisecond)
	p.MaxDelay = cmp.Or(max(p.MaxDelay, 0), 20*time.Second)
	p.StallTimeout = cmp.Or(max(p.StallTimeout, 0), 2*time.Second)
	p.Logger = cmp.Or(p.Logger, slog.New(slog.DiscardHandler))
	return p
}

// Stats counts what a [Retrier] has done since it was made.
type Stats struct {
	// Gets, Heads and Lists are requests by kind, each attempt counted.
	Gets, Heads, Lists int64
	// Retries are the attempts after a request's first; Stalls those of them
	// that replaced a request which had gone silent or far slower than others.
	Retries, Stalls int64
	// Bytes were delivered to readers.
	Bytes int64
}

// Retrier repeats the requests to one store. What it gives up on has the number
// of attempts in its error. It is safe for concurrent use.
type Retrier struct {
	classify func(error) Failure
	policy   Policy
	pace     *rate.Limiter // of retries
	revival  revival

	firstByte [requestKinds]latencies
	gaps      latencies // longest wait between bytes, of each body
	rates     rates     // of the bodies

	requests               [requestKinds]atomic.Int64
	retries, stalls, bytes atomic.Int64
}

// New makes the Retrier of a store that judges the errors of its requests by
// classify.
func New(policy Policy, classify func(error) Failure) *Retrier {
	r := &Retrier{classify: classify, policy: policy.withDefaults(), pace: rate.NewLimiter(rate.Every(interval), 1)}
	floor := r.policy.StallTimeout
	for kind := range r.firstByte {
		r.firstByte[kind].floor, r.firstByte[kind].usual = floor, floor
	}
	r.firstByte[List].floor, r.firstByte[List].usual = listFactor*floor, listFactor*floor
	r.gaps.floor, r.gaps.usual = floor, floor/usualFraction
	return r
}

// timeout is how long a wait may last before it is a stall, by what was observed
// of others or by the fixed rule.
func (r *Retrier) timeout(l *latencies, stalls int) time.Duration {
	if r.policy.MinRate > 0 {
		return r.policy.StallTimeout
	}
	return l.timeout(stalls)
}

// Stats returns the counters so far.
func (r *Retrier) Stats() Stats {
	return Stats{
		Gets: r.requests[Range].Load(), Heads: r.requests[Stat].Load(), Lists: r.requests[List].Load(),
		Retries: r.retries.Load(), Stalls: r.stalls.Load(), Bytes: r.bytes.Load(),
	}
}

// Do runs one request without a body until it succeeds or is not worth
// repeating. try makes one attempt.
func (r *Retrier) Do(ctx context.Context, kind Request, try func(context.Context) error) error {
	sched := schedule{policy: r.policy}
	for {
		w := newWatch(ctx)
		err := r.attempt(w, kind, &sched, try)
		f, err := r.judge(w, err)
		w.stop()
		if err == nil {
			return nil
		}
		if err := r.pause(ctx, &sched, f, err); err != nil {
			return err
		}
	}
}

// attempt runs one request up to its answer, under the watch w.
func (r *Retrier) attempt(w *watch, kind Request, sched *schedule, try func(context.Context) error) error {
	r.requests[kind].Add(1)
	est := &r.firstByte[kind]
	w.arm(sched.patience(r.timeout(est, sched.stalls)))
	err := try(w.ctx)
	waited := w.disarm()
	sched.silent += waited
	if err == nil {
		est.observe(waited)
		r.revival.answered(time.Now())
	}
	return err
}

// judge judges the error that ended an attempt. That of a stall is the stall and
// not the cancelling that it led to.
func (r *Retrier) judge(w *watch, err error) (Failure, error) {
	switch {
	case err == nil:
		return Failure{}, nil
	case errors.Is(err, ErrSlow):
		return Failure{Kind: stalled}, err
	case !w.fired():
		f := r.classify(err)
		if f.Answered {
			r.revival.answered(time.Now())
		}
		return f, err
	case !errors.Is(err, ErrStalled):
		err = fmt.Errorf("%w: %v", ErrStalled, err)
	}
	return Failure{Kind: stalled}, err
}

// pause waits before the next attempt after cause. It returns an error when
// there shall be none: cause with the number of attempts, or ctx's.
func (r *Retrier) pause(ctx context.Context, sched *schedule, f Failure, cause error) error {
	if ctx.Err() != nil {
		if errors.Is(cause, ctx.Err()) {
			return cause
		}
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	early := r.revival.end()
	if f.Answered {
		early = nil // the store lives, and wants to be left alone
	}
	delay, ok := sched.next(f, rand.N[time.Duration])
	if !ok {
		if sched.tries > 1 {
			return fmt.Errorf("%w (after %d attempts)", cause, sched.tries)
		}
		return cause
	}
	r.count(ctx, sched, f, cause)
	began := time.Now()
	defer func() { sched.silent += time.Since(began) }()
	if err := sleep(ctx, delay, early); err != nil {
		return err
	}
	// Reserved ahead, a moment after a long delay would hold up all the others.
	return sleep(ctx, r.pace.Reserve().Delay(), nil)
}

// outOfOrdinary is after how many failures a request is worth a warning: one is
// replaced or answered with an overload every day, and nobody can do anything
// about it.
const outOfOrdinary = 3

// count records a retry that is about to be made.
func (r *Retrier) count(ctx context.Context, sched *schedule, f Failure, cause error) {
	r.retries.Add(1)
	Report(ctx, cause)
	if f.Kind == stalled {
		r.stalls.Add(1)
	}
	if f.Kind == Expired && f.Renew != nil {
		f.Renew()
	}
	level := slog.LevelDebug // one warning for each request, not for each attempt
	if sched.tries == outOfOrdinary {
		level = slog.LevelWarn
	}
	r.policy.Logger.Log(context.Background(), level, "retrying a request", "failed", sched.tries, "cause", cause)
}

// troubleKey is the key of WithTrouble's function.
type troubleKey struct{}

// WithTrouble returns a context under which a [Retrier] passes to report the
// error of each attempt that it is going to repeat, so that who tires of waiting
// can say of what. report is called by the goroutine that makes the request, and
// must not block.
func WithTrouble(ctx context.Context, report func(cause error)) context.Context {
	return context.WithValue(ctx, troubleKey{}, report)
}

// Report tells whoever waits under WithTrouble why an attempt failed in whose place
// another one is made.
func Report(ctx context.Context, cause error) {
	if report, ok := ctx.Value(troubleKey{}).(func(error)); ok {
		report(cause)
	}
}
