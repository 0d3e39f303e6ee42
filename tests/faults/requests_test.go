package faults

import (
	"cmp"
	"slices"
	"time"

	"weightfs/tests/proxy"
)

const (
	// refetchLimit is how many times the object may be fetched in a fault that
	// passes, beside what faults waste: a reader who begins in the middle of a part
	// splits it.
	refetchLimit = 1.1
	// maxAttempts is how often a request is made without a byte of progress.
	maxAttempts = 10
	// suspects is how often of these it may be answered with another range.
	suspects = 3
)

// beginCounting forgets the requests so far.
func (r *scene) beginCounting() {
	r.proxy.ResetStats()
	if r.names != nil {
		r.names.Refused.Store(0)
	}
}

// checkFired holds that the fault met somebody.
func (r *scene) checkFired() {
	r.t.Helper()
	faults := r.proxy.Stats().Faults
	if r.names != nil {
		faults = r.names.Refused.Load()
	}
	r.t.Logf("%d faults", faults)
	if faults == 0 {
		r.t.Error("nothing met the fault")
	}
}

// checkRefetched holds that the store was asked for little more than the object.
// What lies in a connection that is reset is lost, and so may be the body of an
// answer that the client does not want.
func (r *scene) checkRefetched(c storageCase) {
	r.t.Helper()
	limit := int64(refetchLimit * float64(theStage.size))
	for _, record := range r.proxy.Log() {
		faulted := record.Rule != nil
		broken := record.Err != "" && !(faulted && record.Rule.End == proxy.Stall)
		if broken || c.wasted && faulted {
			limit += record.Bytes
		}
	}
	fetched := r.proxy.Stats().Bytes["GET"]
	r.t.Logf("fetched %.2fx", float64(fetched)/float64(theStage.size))
	if fetched > limit {
		r.t.Errorf("fetched %d bytes of an object of %d, at most %d allowed", fetched, theStage.size, limit)
	}
}

// checkAttempts holds that no request was made more often than so many times
// without progress, and, where the fault answers it, not again before its pause.
// A mount may make more than one request for a range, if the first one was given
// up or is not wanted any more: as many as it says that it made fetches.
func (r *scene) checkAttempts(c storageCase, way string, attempts int) {
	r.t.Helper()
	type part struct{ off, length int64 }
	count, last := map[part]int{}, map[part]time.Time{}
	gets, most, hasty, late := 0, 0, 0, 0
	log := r.proxy.Log()
	slices.SortFunc(log, func(a, b proxy.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, record := range log {
		if record.Op != "GET" {
			continue
		}
		p := part{record.Offset, record.Length}
		if at, again := last[p]; again && record.Start.Sub(at) < c.pause {
			hasty++
		}
		if max(record.FirstByte, record.Duration) >= time.Second {
			late++ // on a busy machine, it may have been given up as silent
		}
		count[p]++
		gets, most = gets+1, max(most, count[p])
		delete(last, p)
		if record.Rule != nil {
			last[p] = record.Start
		}
	}
	anew := 0 // fetches of what was asked for before
	if way != direct {
		anew = max(0, int(measures(r.t, r.mount.Dir)["fetches_total"])-len(count))
	}
	r.t.Logf("%d GETs, at most %d for one range, %d fetched anew", gets, most, anew)
	if limit := attempts*(1+anew) + late; most > limit {
		r.t.Errorf("%d requests for one range, at most %d allowed", most, limit)
	}
	if hasty > anew {
		r.t.Errorf("%d requests came without a pause, %d allowed", hasty, anew)
	}
}
