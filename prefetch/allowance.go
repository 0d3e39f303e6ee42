package prefetch

// allowance is how much of an arena of so many blocks speculation may have, and
// each stream of it. Pure.
type allowance struct{ slots int }

// ahead is how many blocks may be in flight or unread: half, since what was
// read will be read again by the next rank; of a small arena three quarters,
// since a distant store needs 120 MiB in flight for 500 MB/s.
func (a allowance) ahead() int {
	const small = 256
	return min(max(a.slots/2, small/2), a.slots*3/4)
}

// share is the longest window of one of so many streams, in bytes.
func (a allowance) share(streams int64) int64 {
	return int64(a.ahead()) * blockSize / max(streams, 1)
}
