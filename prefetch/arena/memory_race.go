//go:build race

package arena

// reserve takes Go heap under the race detector, which does not see memory that
// mmap returned.
func reserve(size int64, _ bool) ([]byte, error) { return make([]byte, size), nil }

func unreserve([]byte) error { return nil }

func populate([]byte) {}

func discard(memory []byte) { poison(memory) }

// poison overwrites memory that goes back to the arena, so that the race
// detector and content checks catch a reader that still holds it.
func poison(memory []byte) {
	memory[0] = 0xDB
	for n := 1; n < len(memory); n *= 2 {
		copy(memory[n:], memory[:n])
	}
}
