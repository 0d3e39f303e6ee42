package gpuload

import (
	"fmt"
	"runtime"
)

const (
	// pageSize is what O_DIRECT wants offsets, lengths and addresses to be
	// multiples of.
	pageSize = 4096
	// minimumPiece is the piece under MemoryMinimum: below it the cost of
	// a read and of a copy shows (a GPU copies pieces of 256 KiB, 1 and 8 MiB
	// at 33, 46 and 52 GB/s).
	minimumPiece = 1 << 20
	// largestPiece is where larger copies gain nothing (a GPU copies pieces of
	// 8 and of 64 MiB at 52 GB/s), whatever the parts are.
	largestPiece = 64 << 20
	// smallestPiece is how far a memory limit may shrink a piece before it
	// takes away readers instead.
	smallestPiece = 256 << 10
	// fewestSlots let one piece be copied while the next one is read.
	fewestSlots = 2
	// hotPiece is how much is read at a time where more brings nothing, so that the
	// processor's caches still hold it when it is copied on.
	hotPiece = 1 << 20
)

// budget is how staging is divided: at most slots pieces of piece bytes each, and
// early more until the device is ready.
type budget struct {
	slots int
	piece int
	early int
}

// fit makes the budget that of a load.
//
// Where processors copy what they have just read from memory, each reads one piece
// and copies one, so that their caches hold these: on two cores 16 readers of a
// cached file got 5.8 GB/s by pieces of 8 MiB each, and 8.2 so.
//
// Until the device is ready all of the memory limit is filled, or half of what the
// host has, since the context of a GPU takes as long as it takes to read gigabytes.
func (b budget) fit(limit int64, src *Source, device Advice) budget {
	if device.ByProcessor && src.inMemory() {
		b.slots = max(min(b.slots, 2*runtime.GOMAXPROCS(0)), fewestSlots)
	}
	if device.Ready == nil || limit == MemoryMinimum {
		return b
	}
	piece := int64(b.piece)
	most := src.Bytes()/piece + int64(len(src.files))
	if limit != MemoryUnlimited {
		most = min(most, limit/piece)
	}
	if available, err := availableMemory(); err == nil {
		most = min(most, available/2/piece)
	}
	b.early = int(max(most-int64(b.slots), 0))
	return b
}

// newBudget divides limit bytes, or MemoryUnlimited, or MemoryMinimum, among
// readers that fetch parts of so many bytes (a multiple of pageSize). Every
// reader has a slot to read into, and half as many more are being copied.
// A limit too small for that first shrinks the pieces, then the readers.
func newBudget(limit, part int64, concurrency int) (budget, error) {
	part = min(part, largestPiece)
	b := budget{slots: concurrency + max(concurrency/2, 1), piece: int(part)}
	switch {
	case limit == MemoryUnlimited:
		return b, nil
	case limit == MemoryMinimum:
		b.piece = int(min(part, minimumPiece))
		return b, nil
	}
	smallest := min(part, smallestPiece)
	if limit < fewestSlots*smallest {
		return budget{}, fmt.Errorf("memory limit of %d bytes is below the minimum of %d", limit, fewestSlots*smallest)
	}
	if limit/int64(b.slots) >= part {
		return b, nil
	}
	piece := max(limit/int64(b.slots)/pageSize*pageSize, smallest)
	return budget{slots: int(min(limit/piece, int64(b.slots))), piece: int(piece)}, nil
}

// readers is how many of the readers asked for the budget keeps busy.
func (b budget) readers(concurrency int) int { return max(min(concurrency, b.slots-1), 1) }
