package lab

import (
	"encoding/json"
	"fmt"
	"math"
)

// Pair is one sample of each side, taken one after the other, so that what else
// the machine does falls on both.
type Pair struct{ Base, Load float64 }

// Traffic is what one sample of the load asked of the store and of the daemon.
type Traffic struct {
	GETs  int64 `json:"gets"`
	LISTs int64 `json:"lists"`
	HEADs int64 `json:"heads"`
	// Bytes were received from the store.
	Bytes int64 `json:"bytes"`
	// READs reached the daemon.
	READs int64 `json:"reads"`
}

// numbers are all of t.
func (t *Traffic) numbers() [5]*int64 {
	return [...]*int64{&t.GETs, &t.LISTs, &t.HEADs, &t.Bytes, &t.READs}
}

// Less returns t without what was there before.
func (t Traffic) Less(before Traffic) Traffic {
	for i, n := range before.numbers() {
		*t.numbers()[i] -= *n
	}
	return t
}

// Plus returns the sum of both.
func (t Traffic) Plus(other Traffic) Traffic {
	for i, n := range other.numbers() {
		*t.numbers()[i] += *n
	}
	return t
}

// Spec says what is compared, and what must come out.
type Spec struct {
	// Name tells the figure from the others of its row; "" where there is one.
	Name string `json:"name"`
	// Unit is that of the samples of both sides.
	Unit Unit `json:"unit"`
	// Baseline names what the load is compared with.
	Baseline string `json:"baseline"`
	Target   Target `json:"target"`
}

// Figure is one line of the result: a Spec with its samples.
type Figure struct {
	// Row is the name of the row, State says what was cold or warm.
	Row   string `json:"row"`
	State string `json:"state"`
	Spec
	Pairs []Pair `json:"pairs"`
	// Traffic is of the load; empty where it was not counted.
	Traffic []Traffic `json:"traffic"`
}

// Title is the name of the row and, where it has several, of the figure.
func (f Figure) Title() string {
	if f.Name == "" {
		return f.Row
	}
	return f.Row + ": " + f.Name
}

// Base is the median of the baseline's samples.
func (f Figure) Base() float64 { return MedianOf(f.Pairs, func(p Pair) float64 { return p.Base }) }

// Load is the median of the load's samples.
func (f Figure) Load() float64 { return MedianOf(f.Pairs, func(p Pair) float64 { return p.Load }) }

// Ratio is the median of the pairs' ratios, load to baseline; NaN where nothing
// was measured. The ratio of the medians would be of two different times where
// the machine changes its pace in between.
func (f Figure) Ratio() float64 { return MedianOf(f.Pairs, Pair.ratio) }

func (p Pair) ratio() float64 { return p.Load / p.Base }

// Spread is the lowest and the highest ratio of a single pair.
func (f Figure) Spread() (lowest, highest float64) {
	lowest, highest = math.NaN(), math.NaN()
	for i, p := range f.Pairs {
		if i == 0 {
			lowest, highest = p.ratio(), p.ratio()
		}
		lowest, highest = min(lowest, p.ratio()), max(highest, p.ratio())
	}
	return lowest, highest
}

// Met says whether the ratio meets the target. What is only printed is met.
func (f Figure) Met() bool { return f.Target.Met(f.Ratio()) }

// Usual is the median of each number of the samples' traffic, of which there is one.
func (f Figure) Usual() (usual Traffic) {
	for i, n := range usual.numbers() {
		*n = int64(MedianOf(f.Traffic, func(t Traffic) float64 { return float64(*t.numbers()[i]) }))
	}
	return usual
}

// Target is what a ratio must be. The zero value is nothing: the figure is only
// printed.
type Target struct {
	sense sense
	bound float64
}

type sense uint8

const (
	printed sense = iota
	atLeast
	atMost
)

// AtLeast is met by ratios of bound and more.
func AtLeast(bound float64) Target { return Target{atLeast, bound} }

// AtMost is met by ratios of bound and less.
func AtMost(bound float64) Target { return Target{atMost, bound} }

// Met says whether ratio is good enough. NaN never is where something is asked.
func (t Target) Met(ratio float64) bool {
	switch t.sense {
	case atLeast:
		return ratio >= t.bound
	case atMost:
		return ratio <= t.bound
	default:
		return true
	}
}

// String is how tables show the target.
func (t Target) String() string {
	switch t.sense {
	case atLeast:
		return fmt.Sprintf("≥ %.4g", t.bound)
	case atMost:
		return fmt.Sprintf("≤ %.4g", t.bound)
	default:
		return ""
	}
}

// MarshalJSON writes the target as tables show it.
func (t Target) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// Unit is what samples count.
type Unit uint8

// The units. Samples are in the plain unit, bytes and seconds; tables scale.
const (
	Count       Unit = iota
	Rate             // bytes per second
	Time             // seconds
	Bytes            // bytes
	MemoryBytes      // bytes, shown in MiB
)

// Format returns a sample as tables show it.
func (u Unit) Format(v float64) string {
	switch u {
	case Rate:
		return fmt.Sprintf("%.2f GB/s", v/1e9)
	case Time:
		if v < 1 {
			return fmt.Sprintf("%.1f ms", v*1e3)
		}
		return fmt.Sprintf("%.2f s", v)
	case Bytes:
		return fmt.Sprintf("%.1f MB", v/1e6)
	case MemoryBytes:
		return fmt.Sprintf("%.0f MiB", v/(1<<20))
	default:
		return fmt.Sprintf("%.4g", v)
	}
}

// MarshalText writes the unit's name.
func (u Unit) MarshalText() ([]byte, error) {
	names := map[Unit]string{Count: "count", Rate: "bytes/s", Time: "s", Bytes: "bytes", MemoryBytes: "bytes"}
	return []byte(names[u]), nil
}
