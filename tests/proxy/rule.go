package proxy

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Rule says which requests get which fault. The zero value of a condition
// matches everything; all of them must match.
type Rule struct {
	// Op is "GET", "LIST", "HEAD" or another method, see Request.Op.
	Op string
	// Key is a part of the object's key; of the prefix for a LIST.
	Key string
	// Skip is how many requests that match otherwise are let pass first, Count
	// how many then get the fault; 0 is all.
	Skip, Count int
	// Probability is in (0,1]; 0 is 1.
	Probability float64
	// OneIn takes only every Nth connection, counted from the first one.
	OneIn int
	// When, if set, is asked last. It is called with a lock held.
	When func(Request) bool

	Fault
}

// Fault says what happens to a request. Several parts may be set.
type Fault struct {
	// Latency is waited before the request is forwarded, and then the end of Hold,
	// if that is set.
	Latency time.Duration
	Hold    <-chan struct{} `json:"-"`
	// Status answers without asking the server, with an S3 error document of
	// Code; RetryAfter, if set, is the value of that header.
	Status     int
	Code       string
	RetryAfter string
	// Request and Response set header fields on the way; "" removes one.
	Request, Response map[string]string
	// Edit, if set, may change the status code and the header of the server's response.
	Edit func(*http.Response)
	// End says how the body ends, after After bytes of it.
	End   End
	After int64
	// Bandwidth is the rate of this one body in bytes per second.
	Bandwidth int64
}

// End is how a body ends.
type End string

// The ends of a body. For Reset with After 0 not even the head is sent.
const (
	Whole    End = ""         // as the server sends it
	Reset    End = "reset"    // the connection is reset
	Stall    End = "stall"    // nothing more comes, the connection stays open
	Truncate End = "truncate" // the connection is closed in order, too early
	Shorten  End = "shorten"  // Content-Length says that it was all
)

// ruleSet decides which rule a request meets: the first one that applies.
type ruleSet struct {
	mu      sync.Mutex
	rules   []Rule
	matched []int // requests that met the conditions, by rule
	random  *rand.Rand
}

// SetRules replaces the rules; their counts start anew. The seed decides what rules
// with a probability do: the same makes the same choices for the same sequence of
// requests.
func (s *ruleSet) SetRules(seed uint64, rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = rules
	s.matched = make([]int, len(rules))
	s.random = rand.New(rand.NewPCG(seed, 0))
}

// pick returns the first rule that applies to req.
func (s *ruleSet) pick(req Request) (Rule, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.rules {
		if !r.matches(req) {
			continue
		}
		if r.Probability > 0 && s.random.Float64() >= r.Probability {
			continue
		}
		s.matched[i]++
		if n := s.matched[i] - r.Skip; n > 0 && (r.Count == 0 || n <= r.Count) {
			return r, true
		}
	}
	return Rule{}, false
}

func (r *Rule) matches(req Request) bool {
	return (r.Op == "" || r.Op == req.Op) &&
		(r.Key == "" || strings.Contains(req.Key, r.Key)) &&
		(r.OneIn == 0 || (req.Conn-1)%int64(r.OneIn) == 0) &&
		(r.When == nil || r.When(req))
}
