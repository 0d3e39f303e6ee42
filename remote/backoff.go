package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"
)

// verdict says what to do about a failed request.
type verdict uint8

const (
	giveUp   verdict = iota // asking again would fail again
	tryAgain                // transient
	refresh                 // credentials or clock are stale: renew them, once
	suspect                 // another answer than asked for: a few times at most
	stalled                 // no byte for too long: replace it at once
)

// maxSuspect is how often one request may be answered with another range. A
// proxy that ignores ranges does so always; one that is restarting, once.
const maxSuspect = 3

// classify judges the error of one attempt. Sentinels that callers branch on
// are final, and so is what is not known to be transient.
func classify(err error) verdict {
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, fs.ErrInvalid):
		return giveUp
	case errors.Is(err, errDoubtful) || errors.Is(err, ErrBadRange):
		return suspect
	case errors.Is(err, ErrChanged):
		return giveUp
	}
	if req, ok := errors.AsType[*requestError](err); ok && req.status != 0 {
		return classifyAnswer(req.status, req.code)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return giveUp
	}
	return classifyTransport(err)
}

// classifyAnswer judges an answer of the store.
func classifyAnswer(status int, code string) verdict {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestTimeTooSkewed":
		return refresh
	case "RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable",
		"Throttling", "ThrottlingException", "RequestLimitExceeded", "IDPCommunicationError":
		return tryAgain // also where a store sends them as 400 or 200, and STS the latter as 400
	}
	switch {
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests ||
		status == http.StatusTemporaryRedirect:
		return tryAgain
	case status == http.StatusNotImplemented:
		return giveUp
	case status >= 500 || status < 300: // below 300: the answer could not be read to its end
		return tryAgain
	}
	return giveUp
}

// classifyTransport judges a failure without an answer.
func classifyTransport(err error) verdict {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return giveUp
	}
	if _, ok := errors.AsType[*requestError](err); ok {
		return tryAgain
	}
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return tryAgain
	}
	return giveUp
}

// schedule is the state of one request's attempts since its last progress: when
// to try again and when to give up. It does no waiting itself.
type schedule struct {
	policy    RetryPolicy
	tries     int // attempts that failed since the last byte
	stalls    int // of which for want of a byte
	suspects  int
	refreshed bool
	silent    time.Duration // waited since the last byte
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
func (s *schedule) next(v verdict, retryAfter time.Duration, jitter func(d time.Duration) time.Duration) (delay time.Duration, ok bool) {
	s.tries++
	if s.tries >= s.policy.Attempts {
		return 0, false
	}
	switch v {
	case giveUp:
		return 0, false
	case stalled:
		s.stalls++
		return 0, s.patience(1) > 0
	case refresh:
		if s.refreshed {
			return 0, false
		}
		s.refreshed = true
		return 0, true
	case suspect:
		s.suspects++
		if s.suspects >= maxSuspect {
			return 0, false
		}
	}
	longest := ceiling(s.policy.BaseDelay, s.policy.MaxDelay, s.tries)
	delay = longest/2 + jitter(longest-longest/2)
	delay = max(delay, min(retryAfter, s.policy.MaxDelay))
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
