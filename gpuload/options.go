package gpuload

import "fmt"

// Special values of Options.MemoryLimit.
const (
	// MemoryUnlimited takes as much staging as the readers can use.
	MemoryUnlimited int64 = -1
	// MemoryMinimum takes as little as keeps every reader busy.
	MemoryMinimum int64 = -2
)

// MaxConcurrency is the largest Options.Concurrency: more than any store or disk
// takes profit from, where each reader has a stream of the device.
const MaxConcurrency = 1024

// DefaultMemoryLimit is Options.MemoryLimit where that is 0.
const DefaultMemoryLimit = 40_000_000_000

const (
	// defaultPartSize is the size at which a copy to a GPU and a ranged GET
	// both run at full speed.
	defaultPartSize = 8 << 20
	// largestPart is beyond any file, and far from overflowing.
	largestPart = 1 << 50
	// pathReaders saturate a local disk.
	pathReaders = 16
	// storeReaders are more, since one connection to an object store brings
	// less than 100 MB/s.
	storeReaders = 32
)

// mountReaders is for a FUSE mount, which fetches ahead on its own: two for each
// processor, since more only take processors from its daemon. On two of them 16,
// 8 and 4 readers got 0.82, 0.87 and 0.92 of what plain readers get.
func mountReaders(processors int) int { return max(4, min(2*processors, pathReaders)) }

// Options says how a load is done. The zero value means the defaults.
type Options struct {
	// Concurrency is how many parts are read at a time; 0 is 16 for paths, 32
	// where a file comes from a bucket, and 4 to 16 where all are on a mount,
	// two for each processor. MaxConcurrency is the most.
	Concurrency int
	// MemoryLimit is the most staging memory in bytes, MemoryUnlimited or
	// MemoryMinimum; 0 is 40 GB. What is copied from leases at a time counts as
	// such. A small one shrinks the pieces in which the bytes are copied; one that
	// is too small for two of them is an error.
	MemoryLimit int64
	// PartSize is how many bytes a reader asks for at a time, rounded up to
	// 4096, and of a lease at most what the daemon leases at a time; 0 is 8 MiB, and
	// up to sixteen times that from a bucket as long as enough is left for the other
	// readers.
	PartSize int64
	// Stagger picks the part that the load begins with, by its remainder: loads of
	// several nodes through a cache that they share then ask for different bytes. 0
	// is the first part. A load that leases of a mount begins with the first part
	// always.
	Stagger uint64
	// Deliver gets each tensor as soon as all of it is on the device and the
	// headers of all files are known to fit each other and the index, in no
	// particular order, one call at a time; it should return soon, since copies
	// wait for it. Its error fails the load; what else still can is a file that
	// cannot be read or has changed, the device, and ctx. The tensors delivered
	// are gone then. nil does nothing.
	Deliver func(*Tensor) error
	// Progress gets the number of bytes that arrived on the device since its
	// last call, headers counted as arrived: they add up to Source.Bytes. It is
	// called by many goroutines at once. nil does nothing.
	Progress func(n int64)

	joinParts bool // PartSize was not set
}

// Check returns an error that names what Load would refuse, and the value that
// would do.
func (o Options) Check() error {
	switch {
	case o.Concurrency < 0 || o.Concurrency > MaxConcurrency:
		return fmt.Errorf("concurrency of %d: must be from 1 to %d", o.Concurrency, MaxConcurrency)
	case o.PartSize < 0 || o.PartSize > largestPart:
		return fmt.Errorf("part size of %d bytes: must be from 1 to %d", o.PartSize, int64(largestPart))
	case o.MemoryLimit < MemoryMinimum:
		return fmt.Errorf("memory limit of %d bytes: must be positive", o.MemoryLimit)
	}
	o = o.withDefaults(1)
	_, err := newBudget(o.MemoryLimit, o.PartSize, o.Concurrency)
	return err
}

// For returns the options as a load of src uses them, with the defaults filled
// in.
func (o Options) For(src *Source) Options { return o.withDefaults(src.readers()) }

// withDefaults fills in the defaults.
func (o Options) withDefaults(concurrency int) Options {
	if o.Concurrency == 0 {
		o.Concurrency = concurrency
	}
	if o.MemoryLimit == 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	if o.PartSize == 0 {
		o.PartSize, o.joinParts = defaultPartSize, true
	}
	o.PartSize = (o.PartSize + pageSize - 1) / pageSize * pageSize
	if o.Deliver == nil {
		o.Deliver = func(*Tensor) error { return nil }
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	return o
}
