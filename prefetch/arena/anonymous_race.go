//go:build race

package arena

// reserveAnonymous takes Go heap under the race detector, which does not see memory
// that mmap returned.
func reserveAnonymous(size int64, _ bool) (memory, error) {
	return memory{bytes: make([]byte, size), heap: true}, nil
}

// poison overwrites memory that goes back to the arena, so that the race
// detector and content checks catch a reader that still holds it.
func poison(memory []byte) {
	memory[0] = 0xDB
	for n := 1; n < len(memory); n *= 2 {
		copy(memory[n:], memory[:n])
	}
}
