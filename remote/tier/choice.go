package tier

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"weightfs/remote"
)

// group is how many bytes of an object in a row belong to one instance: whole
// blocks, as many as the largest GETs of a mount, which are seldom cut then.
const group = 4 * Block

// groupEnd is where the group ends that off lies in.
func groupEnd(off int64) int64 { return off - off%group + group }

// instance is one server of a tier. Safe for concurrent use.
type instance struct {
	url  *url.URL
	name string // the URL as it may be shown

	requests, failures, breaks atomic.Int64

	mu      sync.Mutex
	breaker breaker // guarded by mu
}

// order is in which order the instances are asked for the group that off lies in:
// for all nodes the same, and of each instance that is not there the groups go to
// all the others alike.
func (t *Tier) order(obj remote.Object, off int64) []*instance {
	if len(t.instances) == 1 {
		return t.instances
	}
	type weighed struct {
		*instance
		weight uint64
	}
	all := make([]weighed, len(t.instances))
	for i, in := range t.instances {
		place := make([]byte, 0, 256)
		for _, part := range []string{in.name, obj.Key, obj.Version} {
			place = append(append(place, part...), 0)
		}
		for n := off / group; n > 0; n >>= 8 {
			place = append(place, byte(n))
		}
		all[i] = weighed{in, xxh3.Hash(place)}
	}
	slices.SortFunc(all, func(a, b weighed) int { return cmp.Compare(b.weight, a.weight) })
	ordered := make([]*instance, len(all))
	for i, w := range all {
		ordered[i] = w.instance
	}
	return ordered
}

// admit says whether the instance may be asked, or is to be probed.
func (in *instance) admit() (ask, probe bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.breaker.admit(time.Now())
}

// state is that of the instance's breaker.
func (in *instance) state() State {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.breaker.state
}

// served notes an answer of the instance that was read to its end.
func (in *instance) served() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.breaker.served(time.Now())
}

// failed notes a request that came to nothing, for the cause err.
func (t *Tier) failed(in *instance, asked time.Time, cause Cause, err error) {
	in.failures.Add(1)
	now := time.Now()
	in.mu.Lock()
	opened := in.breaker.failed(asked, now, cause.silent())
	in.mu.Unlock()
	if !opened {
		return
	}
	in.breaks.Add(1)
	t.logger.Warn("an instance of the shared cache is left alone for a while", "url", in.name, "cause", err)
	if !slices.ContainsFunc(t.instances, func(in *instance) bool { return in.state() == Closed }) {
		t.budget.lost(now)
	}
}

// probe asks the instance for one byte, beside the readers: none waits for it.
func (s *tiered) probe(in *instance, obj remote.Object, off int64) {
	t := s.tier
	t.probes.Add(1)
	go func() {
		defer t.probes.Done()
		err := s.byURL(t.ctx, obj, func(signed string) error { return t.ask(in, signed, obj, off) })
		in.mu.Lock()
		if err != nil && causeOf(err, false) == Unsigned {
			in.breaker.unasked()
		} else {
			in.breaker.probed(time.Now(), err == nil)
		}
		in.mu.Unlock()
		if err == nil {
			t.logger.Info("an instance of the shared cache is used again", "url", in.name)
		} else {
			t.logger.Debug("an instance of the shared cache is left alone for longer", "url", in.name, "cause", err)
		}
	}()
}

// ask asks the instance for one byte.
func (t *Tier) ask(in *instance, signed string, obj remote.Object, off int64) error {
	ctx, cancel := context.WithTimeout(t.ctx, t.patience)
	defer cancel()
	answer, err := t.get(ctx, in, signed, obj, off, 1)
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = answer.Read(make([]byte, 1))
	return err
}

// jitter picks from [0, d).
func jitter(d time.Duration) time.Duration { return rand.N(max(d, 1)) }
