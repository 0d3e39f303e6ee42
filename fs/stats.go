package fs

import (
	"math/bits"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/prefetch/latency"
)

// Stats counts what the kernel asked of a mount since it began.
type Stats struct {
	Lookups int64 `json:"lookups"`
	// DirectoryReads are replies to getdents.
	DirectoryReads int64 `json:"directory_reads"`
	Opens          int64 `json:"opens"`
	// PassthroughOpens are those that the kernel serves from the file itself:
	// their reads are not seen here.
	PassthroughOpens int64 `json:"passthrough_opens"`
	// PassthroughFallbacks are those that could have been and were not.
	PassthroughFallbacks int64 `json:"passthrough_fallbacks"`
	Reads                int64 `json:"reads"`
	ReadBytes            int64 `json:"read_bytes"`
	// ReadErrors are the reads answered with an errno, but for those of killed
	// tasks.
	ReadErrors int64 `json:"read_errors"`
	// Killed are the waits ended because the task was being killed.
	Killed int64 `json:"killed"`
	// Panics are requests that failed by a defect and got EIO.
	Panics int64 `json:"panics"`
	// ReadSizes counts the reads by size: those of up to [ReadSizeBound] of the
	// index, 4 KiB, 8 KiB and so on to 1 MiB, that no lower index counts.
	ReadSizes [readSizeClasses]int64 `json:"read_sizes"`
	// HitTimes and WaitTimes are how long READs took from their arrival to the
	// reply: those whose bytes were there, and those that waited.
	HitTimes  latency.Counts `json:"-"`
	WaitTimes latency.Counts `json:"-"`
	// Errors counts the requests that were answered with an errno, but for those
	// of killed tasks and for names that do not exist; see [ErrorLabels].
	Errors [errorOps][errorErrnos]int64 `json:"-"`
	// OpenFiles and Inodes are as of now.
	OpenFiles int64 `json:"open_files"`
	Inodes    int64 `json:"inodes"`
	// UnkeptInodes are those of them that a server which takes over will not know,
	// for want of room.
	UnkeptInodes int64 `json:"unkept_inodes"`
}

const (
	smallestReadClass = 12 // 4 KiB
	readSizeClasses   = 9  // up to 1 MiB, which is maxRead
)

// ReadSizeBound is the size in bytes of the largest read that
// Stats.ReadSizes[class] counts.
func ReadSizeBound(class int) int64 { return 1 << (smallestReadClass + class) }

// readSizeClass is the index into ReadSizes for a read of n bytes.
func readSizeClass(n int64) int {
	class := bits.Len64(uint64(max(n, 1)-1)) - smallestReadClass
	return min(max(class, 0), readSizeClasses-1)
}

// counters are Stats while they are counted.
type counters struct {
	lookups, directoryReads, opens, passthroughOpens, passthroughFallbacks,
	reads, readBytes, readErrors, killed, panics, openFiles atomic.Int64
	readSizes           [readSizeClasses]atomic.Int64
	hitTimes, waitTimes latency.Histogram
	errors              [errorOps][errorErrnos]atomic.Int64
}

// countRead counts a read that was answered with n bytes.
func (c *counters) countRead(n int64) {
	c.reads.Add(1)
	c.readBytes.Add(n)
	c.readSizes[readSizeClass(n)].Add(1)
}

// snapshot returns the counts; inodes are not counted here.
func (c *counters) snapshot(inodes int, unkept int64) Stats {
	s := Stats{
		Lookups:              c.lookups.Load(),
		DirectoryReads:       c.directoryReads.Load(),
		Opens:                c.opens.Load(),
		PassthroughOpens:     c.passthroughOpens.Load(),
		PassthroughFallbacks: c.passthroughFallbacks.Load(),
		Reads:                c.reads.Load(),
		ReadBytes:            c.readBytes.Load(),
		ReadErrors:           c.readErrors.Load(),
		Killed:               c.killed.Load(),
		Panics:               c.panics.Load(),
		OpenFiles:            c.openFiles.Load(),
		Inodes:               int64(inodes),
		UnkeptInodes:         unkept,
	}
	for i := range c.readSizes {
		s.ReadSizes[i] = c.readSizes[i].Load()
	}
	s.HitTimes, s.WaitTimes = c.hitTimes.Counts(), c.waitTimes.Counts()
	for op := range c.errors {
		for i := range c.errors[op] {
			s.Errors[op][i] = c.errors[op][i].Load()
		}
	}
	return s
}

// The sizes of Stats.Errors.
const (
	errorOps    = 3
	errorErrnos = 5
)

// errorOpNames are what may fail, as the log calls it.
func errorOpNames() [errorOps]string { return [...]string{"list", "open", "read"} }

// countedErrnos are those of the table in errno.go and its last resort, and 0 for
// all others.
func countedErrnos() [errorErrnos]syscall.Errno {
	return [...]syscall.Errno{syscall.EIO, syscall.EACCES, syscall.ESTALE, syscall.ENOENT, 0}
}

// ErrorLabels says what Stats.Errors[op][errno] counts: the operation, which is
// list (names), open or read, and the errno's name, or "other".
func ErrorLabels(op, errno int) (operation, name string) {
	name = "other"
	if n := countedErrnos()[errno]; n != 0 {
		name = unix.ErrnoName(n)
	}
	return errorOpNames()[op], name
}

// countError counts a request, called op in the log, that gets errno.
func (c *counters) countError(op string, errno syscall.Errno) {
	for i, known := range errorOpNames() {
		for j, number := range countedErrnos() {
			if op == known && (errno == number || j == errorErrnos-1) {
				c.errors[i][j].Add(1)
				return
			}
		}
	}
}

// countTime counts how long a READ took that was answered with bytes. With the two
// reads of the clock it takes 61 ns of a processor (BenchmarkObserve), of a READ
// that takes 20 us at least.
func (c *counters) countTime(took time.Duration, waited bool) {
	if waited {
		c.waitTimes.Observe(took)
	} else {
		c.hitTimes.Observe(took)
	}
}
