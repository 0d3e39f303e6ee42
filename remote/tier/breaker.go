package tier

import "time"

const (
	// maxStrikes is how many answers in a row may be bad before an instance is
	// left alone.
	maxStrikes = 3
	// firstBreak and longestBreak bound for how long: each break that follows
	// another within calm is twice as long, half of it jitter, so that nodes do
	// not come back together.
	firstBreak   = time.Second
	longestBreak = 15 * time.Second
	calm         = time.Minute
)

// State is that of a breaker.
type State uint8

// The states of a breaker.
const (
	// Closed: the instance is asked.
	Closed State = iota
	// Open: it is not.
	Open
	// Probing: a probe is under way that decides, and it is not asked meanwhile.
	Probing
)

// String is the state's name in metrics.
func (s State) String() string { return [...]string{"closed", "open", "probing"}[s] }

// breaker decides whether an instance is asked. It is pure: times go in. jitter
// picks from [0, d).
type breaker struct {
	jitter  func(d time.Duration) time.Duration
	state   State
	strikes int       // bad answers since the last good one
	good    time.Time // when an answer was last read to its end
	until   time.Time // its end
	length  time.Duration
}

// admit says whether the instance may be asked, or whether it is time for a probe,
// whose outcome probed must be told.
func (b *breaker) admit(now time.Time) (ask, probe bool) {
	if b.state == Open && !now.Before(b.until) {
		b.state = Probing
		return false, true
	}
	return b.state == Closed, false
}

// served notes an answer that was read to its end.
func (b *breaker) served(now time.Time) { b.strikes, b.good = 0, now }

// failed notes a request, made at the time asked, that came to nothing; opened says
// that the instance is left alone from now on. Silence opens at once, unless others
// were served meanwhile: then it is one block that is slow, and not the instance.
func (b *breaker) failed(asked, now time.Time, silent bool) (opened bool) {
	if b.state != Closed {
		return false
	}
	b.strikes++
	if b.strikes < maxStrikes && !(silent && b.good.Before(asked)) {
		return false
	}
	b.open(now)
	return true
}

// probed ends a probe.
func (b *breaker) probed(now time.Time, good bool) {
	if !good {
		b.open(now)
		return
	}
	b.state = Closed
	b.served(now)
}

// unasked ends a probe that could not be made: the next one decides.
func (b *breaker) unasked() { b.state = Open }

// open begins a break.
func (b *breaker) open(now time.Time) {
	if b.length == 0 || now.Sub(b.until) > calm {
		b.length = firstBreak
	} else {
		b.length = min(2*b.length, longestBreak)
	}
	b.state, b.strikes = Open, 0
	b.until = now.Add(b.length/2 + b.jitter(b.length-b.length/2))
}
