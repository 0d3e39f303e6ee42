//go:build !race

package arena

import "golang.org/x/sys/unix"

// reserveAnonymous maps memory of this process alone.
func reserveAnonymous(size int64, huge bool) (memory, error) {
	mapping, err := mapAligned(size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1)
	if err != nil {
		return memory{}, err
	}
	adviseHuge(mapping, huge)
	return memory{bytes: mapping}, nil
}

// poison is for race builds, whose arena is checked.
func poison([]byte) {}
