package stream

// Allowance is how much of so many blocks of memory speculation may have, and
// each stream of it.
type Allowance struct{ Blocks int64 }

// Ahead is how many blocks may be in flight or unread: half, since what was
// read will be read again by the next rank; of a small memory three quarters,
// since a distant store needs 120 MiB in flight for 500 MB/s.
func (a Allowance) Ahead() int64 {
	const small = 256
	return min(max(a.Blocks/2, small/2), a.Blocks*3/4)
}

// Share is the longest window of one of so many streams, in bytes.
func (a Allowance) Share(streams int64) int64 { return a.Ahead() * block / max(streams, 1) }
