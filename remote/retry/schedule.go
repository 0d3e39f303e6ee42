package retry

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"time"
)

// Kind says what a failure means for asking again.
type Kind uint8

const (
	// Final: asking again would fail again. The object is gone or another one,
	// access is refused, the request or the store is wrong.
	Final Kind = iota
	// Transient: it passes, as an overload or a broken connection does.
	Transient
	// Expired: what the request was signed with is stale. It is renewed, once a
	// request, and asked again at once.
	Expired
	// Doubtful: another answer than asked for. It is asked again a few times.
	Doubtful
	// stalled: no byte for too long. It is replaced at once.
	stalled
)

// Failure is what a store says of the error of one attempt.
type Failure struct {
	Kind Kind
	// After is how long the store wants to be left alone; 0 where it did not say.
	After time.Duration
	// Answered says that the store itself answered, so that it is there.
	Answered bool
	// Renew renews what has expired; nil where nothing can be.
	Renew func()
}

// Classify judges the errors that any store may have: connections break, and
// bodies end early, for a while; all else stays.
func Classify(err error) Failure {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return Failure{}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Failure{Kind: Transient}
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return Failure{Kind: Transient}
	}
	return Failure{}
}

// maxDoubtful is how often one request may be answered with another range. A
// proxy that ignores ranges does so always; one that is restarting, once.
const maxDoubtful = 3

// schedule is the state of one request's attempts since its last progress: when
// to try again and when to give up. It does no waiting itself.
type schedule struct {
	policy   Policy
	tries    int // attempts that failed since the last byte
	stalls   int // of which for want of a byte
	doubtful int
	renewed  bool
	silent   time.Duration // waited since the last byte
}

// progress records that bytes arrived. Renewed credentials and wrong ranges
// stay counted, for a request that gets both bytes and these goes nowhere.
func (s *schedule) progress() { s.tries, s.stalls, s.silent = 0, 0, 0 }

// patience is how much of the wait d the read time-out leaves.
func (s *schedule) patience(d time.Duration) time.Duration {
	if s.policy.ReadTimeout <= 0 {
		return d
	}
	return min(d, s.policy.ReadTimeout-s.silent)
}

// next records a failed attempt and says how long to wait before the next one;
// ok is false when there shall be none. jitter picks from [0, d). Half of each
// delay is fixed: with luck alone between them, one outage of 10 s in ten would
// outlast the ten attempts of some request.
func (s *schedule) next(f Failure, jitter func(d time.Duration) time.Duration) (delay time.Duration, ok bool) {
	s.tries++
	if s.tries >= s.policy.Attempts {
		return 0, false
	}
	switch f.Kind {
	case Final:
		return 0, false
	case stalled:
		s.stalls++
		return 0, s.patience(1) > 0
	case Expired:
		again := !s.renewed
		s.renewed = true
		return 0, again
	case Doubtful:
		if s.doubtful++; s.doubtful >= maxDoubtful {
			return 0, false
		}
	}
	longest := ceiling(s.policy.BaseDelay, s.policy.MaxDelay, s.tries)
	delay = longest/2 + jitter(longest-longest/2)
	delay = max(delay, min(f.After, s.policy.MaxDelay))
	return delay, s.patience(delay) == delay
}

// ceiling is base doubled for each try after the first, at most limit.
func ceiling(base, limit time.Duration, tries int) time.Duration {
	d := base
	for range tries - 1 {
		if d >= limit/2 {
			return limit
		}
		d *= 2
	}
	return min(d, limit)
}
