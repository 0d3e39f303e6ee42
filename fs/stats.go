package fs

import (
	"math/bits"
	"sync/atomic"
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
	// OpenFiles and Inodes are as of now.
	OpenFiles int64 `json:"open_files"`
	Inodes    int64 `json:"inodes"`
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
	readSizes [readSizeClasses]atomic.Int64
}

// countRead counts a read that was answered with n bytes.
func (c *counters) countRead(n int64) {
	c.reads.Add(1)
	c.readBytes.Add(n)
	c.readSizes[readSizeClass(n)].Add(1)
}

// snapshot returns the counts; inodes is not counted here.
func (c *counters) snapshot(inodes int) Stats {
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
	}
	for i := range c.readSizes {
		s.ReadSizes[i] = c.readSizes[i].Load()
	}
	return s
}
