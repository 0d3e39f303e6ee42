package gpuload

import "fmt"

const (
	// pageSize is what O_DIRECT wants offsets, lengths and addresses to be
	// multiples of.
	pageSize = 4096
	// minimumChunk is the chunk under MemoryMinimum: below it the cost of
	// a read and of a copy shows (a GPU copies chunks of 256 KiB, 1 and 8 MiB
	// at 33, 46 and 52 GB/s).
	minimumChunk = 1 << 20
	// largestChunk is where larger copies gain nothing (a GPU copies chunks of
	// 8 and of 64 MiB at 52 GB/s), whatever the parts are.
	largestChunk = 64 << 20
	// smallestChunk is how far a memory limit may shrink a chunk before it
	// takes away readers instead.
	smallestChunk = 256 << 10
	// fewestSlots let one chunk be copied while the next one is read.
	fewestSlots = 2
)

// budget is how staging is divided: at most slots chunks of chunk bytes each.
type budget struct {
	slots int
	chunk int
}

// newBudget divides limit bytes, or MemoryUnlimited, or MemoryMinimum, among
// readers that fetch parts of so many bytes (a multiple of pageSize). Every
// reader has a slot to read into, and half as many more are being copied.
// A limit too small for that first shrinks the chunks, then the readers.
func newBudget(limit, part int64, concurrency int) (budget, error) {
	part = min(part, largestChunk)
	b := budget{slots: concurrency + max(concurrency/2, 1), chunk: int(part)}
	switch {
	case limit == MemoryUnlimited:
		return b, nil
	case limit == MemoryMinimum:
		b.chunk = int(min(part, minimumChunk))
		return b, nil
	}
	smallest := min(part, smallestChunk)
	if limit < fewestSlots*smallest {
		return budget{}, fmt.Errorf("memory limit of %d bytes is below the minimum of %d", limit, fewestSlots*smallest)
	}
	if limit/int64(b.slots) >= part {
		return b, nil
	}
	chunk := max(limit/int64(b.slots)/pageSize*pageSize, smallest)
	return budget{slots: int(min(limit/chunk, int64(b.slots))), chunk: int(chunk)}, nil
}

// readers is how many of the readers asked for the budget keeps busy.
func (b budget) readers(concurrency int) int { return max(min(concurrency, b.slots-1), 1) }
