package remote

import (
	"context"
	"io"

	"weightfs/remote/retry"
)

// RetryPolicy says what WithRetry does. The zero value means the defaults.
type RetryPolicy = retry.Policy

// Stats counts what a [Retrying] store has done since it was made.
type Stats struct {
	retry.Stats
	// Hidden are the names that listings left out.
	Hidden int64
	// Errors are the attempts that failed, by class; stalls are among TimedOut.
	Errors [ErrorClasses]int64
}

// Retrying is a [Store] whose transient failures are invisible: requests are
// repeated, and bodies that break or stall are resumed at their last byte, with
// the same version check. It is safe for concurrent use.
type Retrying struct {
	backend Backend
	retrier *retry.Retrier
	errors  errorCounts
}

// WithRetry wraps a back end.
func WithRetry(backend Backend, policy RetryPolicy) *Retrying {
	r := &Retrying{backend: backend}
	r.retrier = retry.New(policy, func(err error) retry.Failure {
		r.errors.count(err)
		return backend.Classify(err)
	})
	return r
}

// Stats returns the counters so far.
func (r *Retrying) Stats() Stats {
	s := Stats{Stats: r.retrier.Stats()}
	if h, ok := r.backend.(interface{ Hidden() int64 }); ok {
		s.Hidden = h.Hidden()
	}
	for class := range r.errors {
		s.Errors[class] = r.errors[class].Load()
	}
	s.Errors[TimedOut] += s.Stalls
	return s
}

// Stat implements [Store].
func (r *Retrying) Stat(ctx context.Context, key string) (obj Object, err error) {
	err = r.retrier.Do(ctx, retry.Stat, func(ctx context.Context) (err error) {
		obj, err = r.backend.Stat(ctx, key)
		return err
	})
	return obj, err
}

// ListPage implements [Store].
func (r *Retrying) ListPage(ctx context.Context, dir, token string, limit int) (page Page, err error) {
	err = r.retrier.Do(ctx, retry.List, func(ctx context.Context) (err error) {
		page, err = r.backend.ListPage(ctx, dir, token, limit)
		return err
	})
	return page, err
}

// OpenRange implements [Store]. The body must be used by one goroutine at a
// time; cancelling ctx ends a Read from outside.
func (r *Retrying) OpenRange(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	if n <= 0 { // nothing to resume: the store has its own word on it
		return r.backend.OpenRange(ctx, obj, off, n)
	}
	return r.retrier.Open(ctx, off, n, func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		return r.backend.OpenRange(ctx, obj, off, n)
	})
}

// Close implements [Store].
func (r *Retrying) Close() error { return r.backend.Close() }

// WithTrouble returns a context under which report is told the error of each
// attempt that is going to be repeated: see [retry.WithTrouble].
func WithTrouble(ctx context.Context, report func(cause error)) context.Context {
	return retry.WithTrouble(ctx, report)
}
