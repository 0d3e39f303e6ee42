//go:build race

package prefetch

// reserveMemory takes Go heap under the race detector, which does not see
// memory that mmap returned.
func reserveMemory(size int64) ([]byte, error) { return make([]byte, size), nil }

func releaseMemory([]byte) error { return nil }

// touch has nothing to do: the Go heap was cleared when it was made.
func touch([]byte) {}

// poison overwrites a block that goes back to the arena, so that the race
// detector and content checks catch a reader that still holds it.
func poison(memory []byte) {
	memory[0] = 0xDB
	for n := 1; n < len(memory); n *= 2 {
		copy(memory[n:], memory[:n])
	}
}
