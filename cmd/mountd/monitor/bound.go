package monitor

import (
	"fmt"
	"time"
)

// Bottleneck is what holds readers back.
type Bottleneck string

// The bottlenecks.
const (
	Nothing Bottleneck = "nothing" // nobody reads
	Reader  Bottleneck = "reader"  // bytes are there before they are asked for
	Memory  Bottleneck = "memory"  // the limit keeps readers, or what is fetched ahead, short
	Store   Bottleneck = "store"   // it is slow to answer, or fails
	Line    Bottleneck = "line"    // bytes come, and readers want them faster
	// SharedCache: the cache of --cache-url fails, and the store is read in its place.
	SharedCache Bottleneck = "shared cache"
)

// Bound says what holds readers back now, and by what it is known.
type Bound struct {
	By  Bottleneck `json:"by"`
	Why string     `json:"why"`
}

// load is what boundOf decides by: what happened over the last seconds, and what is
// under way now.
type load struct {
	span            time.Duration
	served, fetched int64         // bytes
	direct          int64         // the part of fetched that came from the store in place of the shared cache
	waited          time.Duration // by readers, summed over them
	forMemory       time.Duration // the part of it for memory
	getting         time.Duration // that GETs took, summed over them
	unanswered      time.Duration // the part of it before their first bytes

	gets, limit, queued int64 // GETs under way, how many may be, and how many have to wait
	repeated            int64 // GETs whose last attempt failed
	trouble             string
	cacheLost           bool  // no instance of the shared cache is asked
	ahead, aheadLimit   int64 // blocks in flight or unread, and how many may be
	open, byKernel      int64 // files open, and those among them that the kernel reads by itself
}

const (
	// minWait is the share of the time from which on readers are held back: below
	// it one of a hundred READs of a fast reader waits for its first byte.
	minWait = 0.1
	// nearlyFull is the share of what may be fetched ahead from which on memory
	// keeps windows short.
	nearlyFull = 0.9
	// mostlyUnanswered is the share of the time of GETs that goes by before their
	// first bytes, from which on more bytes a second would not help.
	mostlyUnanswered = 0.5
	// mostlyDirect is the share of the bytes that come from the store in place of the
	// shared cache, from which on that cache is why readers wait.
	mostlyDirect = 0.5
)

// boundOf is the one place where it is decided what holds readers back.
func boundOf(l load) Bound {
	waits := share(l.waited, l.span)
	switch {
	case share(l.forMemory, l.span) >= minWait:
		return Bound{Memory, "readers wait for memory: a larger memory limit would help"}
	case waits < minWait && l.served == 0 && l.fetched == 0:
		return Bound{Nothing, idleReason(l)}
	case waits < minWait:
		return Bound{Reader, "what is read is there before it is asked for"}
	case l.cacheLost, l.direct > 0 && float64(l.direct) >= mostlyDirect*float64(l.fetched):
		return Bound{SharedCache, "it fails, and readers wait for the store in its place, within --cache-direct-rate"}
	case 2*l.repeated >= max(l.gets, 1):
		return Bound{Store, fmt.Sprintf("GETs failed and are repeated, %d of %d: %s", l.repeated, l.gets, l.trouble)}
	case share(l.unanswered, l.getting) >= mostlyUnanswered:
		return Bound{Store, fmt.Sprintf("readers wait, and %.0f%% of the time of GETs goes by before their first bytes", 100*share(l.unanswered, l.getting))}
	case float64(l.ahead) >= nearlyFull*float64(l.aheadLimit) && l.gets < l.limit:
		return Bound{Memory, "what may be fetched ahead is full: a larger memory limit would let it reach further"}
	case l.gets >= l.limit:
		return Bound{Line, fmt.Sprintf("readers wait while %s come by all of %d GETs that may be under way", formatRate(perSecond(l.fetched, l.span)), l.limit)}
	default:
		return Bound{Line, fmt.Sprintf("readers wait while %s come by %s", formatRate(perSecond(l.fetched, l.span)), count(max(l.gets, 1), "GET"))}
	}
}

func idleReason(l load) string {
	switch {
	case l.byKernel > 0:
		return fmt.Sprintf("the kernel reads %s by itself, which is not seen here", count(l.byKernel, "file"))
	case l.open > 0:
		return fmt.Sprintf("%s open, and nobody reads", count(l.open, "file"))
	default:
		return "no file is open"
	}
}

// share is the part of a span, 0 for an empty one.
func share(part, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return float64(part) / float64(span)
}

// perSecond is the rate of n bytes in a span.
func perSecond(n int64, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return float64(n) / span.Seconds()
}
