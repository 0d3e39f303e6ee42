// Package stream decides what is fetched ahead: which sequential stream a read
// belongs to ([Streams]), how far ahead of its reader a stream is fetched and in
// parts of what size ([Policy]), how much memory speculation may have
// ([Allowance]), how many streams share it ([Census]) and how many GETs may be
// under way ([Concurrency]).
//
// Everything here is pure: offsets, bytes and times in, decisions out. There is
// no lock and no I/O; whoever owns a value serialises its calls. What is in the
// cache is asked of its owner through [Fetched]. The clock is the number of bytes
// fetched so far: a slow reader is not a dead one.
//
// Glossary. A stream is a run of reads that follow each other, whatever handles
// and processes they come from. Its window is how far beyond its reader it is
// fetched. A part is one GET. A gap is a range that is neither in the cache nor
// being fetched.
package stream

const (
	// chunk is the unit in which fetched bytes become readable.
	chunk = 16 << 10
	// block is the unit of caching, and the smallest part of a stream.
	block = 1 << 20
	// ActiveBytes is how recently a stream must have been read to count: while
	// this many bytes were fetched, every live stream among 64 got a turn.
	ActiveBytes = 128 << 20
)

func roundDown(n, unit int64) int64 { return n - n%unit }

func roundUp(n, unit int64) int64 { return roundDown(n+unit-1, unit) }

func abs(n int64) int64 { return max(n, -n) }
