package prefetch

import (
	"fmt"
	"time"

	"weightfs/prefetch/arena"
	"weightfs/prefetch/stream"
	"weightfs/remote"
)

// Mode says how much is fetched before it is asked for.
type Mode = stream.Mode

// The modes.
const (
	// Auto follows the streams it recognises.
	Auto = stream.Auto
	// Sequential takes every read as the beginning of a stream.
	Sequential = stream.Sequential
	// Off fetches what is asked for and nothing else.
	Off = stream.Off
)

// Fleet says that many nodes read the same objects through a cache that they share.
type Fleet = stream.Fleet

// ParseMode reads a mode's name.
func ParseMode(name string) (Mode, error) {
	for _, mode := range []Mode{Auto, Sequential, Off} {
		if name == mode.String() {
			return mode, nil
		}
	}
	return Auto, fmt.Errorf("unknown prefetch mode %q: auto, sequential or off", name)
}

// Defaults and limits of a Config.
const (
	DefaultMemoryLimit = 256 << 20
	DefaultReadTimeout = 5 * time.Minute
	// MinMemoryLimit is the smallest cap that works: the largest View twice,
	// so that one reader's demand and another's make progress side by side.
	MinMemoryLimit = 16 << 20
	// MaxView is the longest View, in bytes.
	MaxView = 4 << 20

	blockSize = arena.BlockSize
)

// The longest View fits in a Lease, wherever it begins.
var _ [arena.MaxBlocks - MaxView/blockSize - 1]struct{}

// Config says how a Cache works. The zero value means the defaults.
type Config struct {
	// MemoryLimit is the size of the arena in bytes; 0 is DefaultMemoryLimit,
	// less than MinMemoryLimit an error.
	MemoryLimit int64
	// PartSize is the most bytes that one GET of a stream asks for, rounded up
	// to whole blocks of 1 MiB; 0 is 8 MiB, and up to 32 MiB from a store whose
	// connections are fast.
	PartSize int64
	// Concurrency is how many GETs may be under way; 0 adapts, up to 256.
	Concurrency int
	// Mode is how much is fetched ahead.
	Mode Mode
	// ReadTimeout is the longest that one View waits; 0 is DefaultReadTimeout.
	ReadTimeout time.Duration
	// Fleet is of the nodes that share a cache before the store, if there is one.
	Fleet Fleet
	// Share has the memory lie where other processes can map it, if that can be
	// had in huge pages: see [Cache.Shared].
	Share bool
	// ShareFiles makes its files; nil is [arena.MakeShared], which takes the right to
	// mount.
	ShareFiles func(size int64) (arena.Shared, error)
	// Successor names the object that is read after obj, the next shard of a
	// checkpoint. It is called without locks, from any goroutine, and must not
	// block. nil: none is known.
	Successor func(obj remote.Object) (remote.Object, bool)
}

// complete checks cfg and fills in the defaults.
func (cfg Config) complete() (Config, error) {
	if cfg.MemoryLimit == 0 {
		cfg.MemoryLimit = DefaultMemoryLimit
	}
	if cfg.MemoryLimit < MinMemoryLimit {
		return cfg, fmt.Errorf("memory limit of %d bytes is below the smallest that works, %d MiB (%d)", cfg.MemoryLimit, MinMemoryLimit>>20, int64(MinMemoryLimit))
	}
	if cfg.PartSize < 0 {
		return cfg, fmt.Errorf("part size of %d bytes: must be positive", cfg.PartSize)
	}
	cfg.PartSize = roundUp(cfg.PartSize, blockSize)
	if cfg.Concurrency < 0 || cfg.Concurrency > stream.MaxConcurrency {
		return cfg, fmt.Errorf("concurrency of %d: between 1 and %d, or 0 to adapt", cfg.Concurrency, stream.MaxConcurrency)
	}
	if cfg.Fleet.Block < 0 || cfg.Fleet.Block > 0 && cfg.Fleet.Block&(cfg.Fleet.Block-1) != 0 {
		return cfg, fmt.Errorf("blocks of a shared cache of %d bytes: want a power of two", cfg.Fleet.Block)
	}
	if cfg.Mode > Off {
		return cfg, fmt.Errorf("unknown prefetch mode %v", cfg.Mode)
	}
	if cfg.ShareFiles == nil {
		cfg.ShareFiles = arena.MakeShared
	}
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout = DefaultReadTimeout
	}
	if cfg.ReadTimeout < 0 {
		return cfg, fmt.Errorf("read timeout of %v: must be positive", cfg.ReadTimeout)
	}
	return cfg, nil
}
