package names

import (
	"fmt"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// singles remembers the answers for names of large directories that were asked for
// alone, for their time-to-live. What ristretto refuses or drops costs a round trip
// when it is asked for again, and nothing else. Safe for concurrent use.
type singles struct {
	cached *ristretto.Cache[string, Answer]
	ttl    time.Duration // 0: for ever
}

const (
	// singlesShare is the part of the names remembered that may be such answers,
	// which take about four times what an entry of a listing does.
	singlesShare = 16
	// leastSingles works also where hardly anything is to be remembered.
	leastSingles = 64
)

func newSingles(maxEntries int, ttl time.Duration) (singles, error) {
	most := int64(max(maxEntries/singlesShare, leastSingles))
	cached, err := ristretto.NewCache(&ristretto.Config[string, Answer]{
		NumCounters:        10 * most,
		MaxCost:            most,
		BufferItems:        64,
		IgnoreInternalCost: true, // cost is in answers
	})
	if err != nil {
		return singles{}, fmt.Errorf("names: memory for single answers: %w", err)
	}
	return singles{cached, max(ttl, 0)}, nil
}

// find returns the answer for name in the directory whose era that is.
func (s singles) find(era uint64, name string) (Answer, bool) {
	answer, ok := s.cached.Get(singleKey(era, name))
	return answer, ok && fresh(answer.expires, time.Now())
}

// remember keeps an answer; it is found as soon as remember returns.
func (s singles) remember(era uint64, name string, answer Answer) {
	s.cached.SetWithTTL(singleKey(era, name), answer, 1, s.ttl)
	s.cached.Wait()
}

func (s singles) close() { s.cached.Close() }

func singleKey(era uint64, name string) string { return fmt.Sprintf("%d/%s", era, name) }
