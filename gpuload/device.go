package gpuload

import (
	"context"
	"errors"
)

// ErrOutOfMemory says that a device or its staging has no memory left for the
// allocation; the wrapping error names how much was asked and what is free.
var ErrOutOfMemory = errors.New("device out of memory")

// Device is where tensors are loaded to. All methods are safe for concurrent
// use. Close frees everything that was taken from it and not freed yet.
type Device interface {
	// Name is "cpu" or "cuda:N".
	Name() string
	// Describe is one line for a person: model, memory, driver.
	Describe() string
	// Alloc takes n bytes of device memory, aligned to 256 bytes at least.
	// n is at least 1. Errors wrap ErrOutOfMemory where that is the cause.
	Alloc(n int64) (Memory, error)
	// NewStaging takes n bytes of host memory outside the Go heap that copies
	// to the device may read from asynchronously: page-locked for a GPU, and
	// aligned to 4096 bytes, so that O_DIRECT reads may land in it.
	NewStaging(n int) (Staging, error)
	// NewStream makes an ordered queue of copies to this device. It waits until that
	// is ready.
	NewStream() (Stream, error)
	// Advice says how copies to the device are best made.
	Advice() Advice
	Close() error
}

// Advice is what copies to a device are best made by.
type Advice struct {
	// PieceBytes is the least size of a copy that runs at full speed.
	PieceBytes int64
	// Streams is how many streams are needed for that, at least 1.
	Streams int
	// ByProcessor says that the host's processors make the copies, quickest of what
	// their caches hold.
	ByProcessor bool
	// Ready is closed once memory is to be had and copies are made, or never will be;
	// nil for a device of which that holds from the start.
	Ready <-chan struct{}
}

// Memory is one allocation on a device. The owner frees it, once, after the
// last copy into it is done.
type Memory interface {
	// Addr is the device address of the first byte: for the CPU device an
	// address of this process.
	Addr() uintptr
	// Size is in bytes.
	Size() int64
	// ReadAt reads back from the device, synchronously, as io.ReaderAt does.
	ReadAt(p []byte, off int64) (int, error)
	Free() error
}

// Borrower is a Device that copies from memory of somebody else's too.
type Borrower interface {
	// Borrow is memory as Staging, of which each lies behind the one before. They are
	// not freed. ok is false where copies cannot read from there, or not yet.
	Borrow(memory []byte) (all []Staging, ok bool)
}

// Registrar is a Borrower of what it has page-locked.
type Registrar interface {
	Borrower
	// Register page-locks memory, whole pages of a mapping that can be written, for
	// Borrow. It waits until the device is ready. The error is errors.ErrUnsupported
	// where the device page-locks no memory but its own.
	Register(memory []byte) error
	// Unregister undoes it, once no copy reads from there. Close of the device does so
	// too.
	Unregister(memory []byte) error
}

// Staging is host memory that copies read from. It must not be written or
// freed before the event recorded after its last copy is done.
type Staging interface {
	// Bytes is the memory. A copy from it may move it: what was returned before then
	// is no longer to be read or written.
	Bytes() []byte
	Free() error
}

// Stream is an ordered queue of copies to one device.
type Stream interface {
	// Copy enqueues a copy of n bytes of src from begin on, staging of the same
	// device, to dst at off bytes. It may return before the copy is done.
	Copy(dst Memory, off int64, src Staging, begin, n int) error
	// Record returns an event that is done when every copy enqueued so far is.
	Record() (Event, error)
	// Sync waits until every copy enqueued so far is done.
	Sync() error
	// Close waits for the queue to drain and frees the stream.
	Close() error
}

// Event is a point in a Stream's queue. Waiting returns the error of the
// copies before it, or ctx's. It is used by one goroutine at a time and is
// spent after Wait returned or Done said true.
type Event interface {
	Done() (bool, error)
	Wait(ctx context.Context) error
}
