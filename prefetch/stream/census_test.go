package stream

import (
	"testing"

	"pgregory.net/rapid"
)

// The census agrees with a count of the streams by the epochs of their last reads.
func TestCensusAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Census
		clock := uint64(0)
		var epochs [8]uint64 // as the streams remember them
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			i := rapid.IntRange(0, len(epochs)-1).Draw(t, "stream")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				clock += rapid.Uint64Range(0, 3*ActiveBytes).Draw(t, "fetched") / 2
			case 1:
				epochs[i] = c.seen(epochs[i], clock)
			case 2:
				epochs[i] = c.gone(epochs[i])
			}
			want := int64(0)
			for _, epoch := range epochs {
				if epoch > 0 && epoch+liveEpochs > epochOf(clock) {
					want++
				}
			}
			if got := c.Live(clock); got != max(want, 1) {
				t.Fatalf("%d live streams, want %d", got, want)
			}
		}
	})
}
