package gpuload

import (
	"context"
	"sort"
	"sync"
	"time"

	"weightfs/remote"
)

// part is what is read at a time: a range of one file.
type part struct {
	file       int // index of the file
	begin, end int64
	number     int64 // among all parts; of joined ones the first
}

// partsConfig says how files are divided.
type partsConfig struct {
	bytes   int64 // of a part
	readers int
	// leased is how many bytes a part of a file has that is leased; 0 for one that is
	// not. nil: none is.
	leased func(file int) int64
	// joins tells whether parts of a file that follow each other may be read as
	// one: a GET each is work for store and reader.
	joins func(file int) bool
	// stagger picks the part that is dealt out first: its remainder by their number. It
	// is the first one where any file is leased, whose parts are wanted in their order.
	stagger uint64
}

const (
	// largestJoin is the most parts that are read as one. On two cores with the
	// server, 1 GiB by 25 GETs came at 1.01 of the rate of a plain client, and by
	// 45, of up to four parts, at 0.95.
	largestJoin = 16
	// manyParts for each reader are so many that most readers can wait for the
	// first few.
	manyParts = 4
	// probeTime is how long most readers leave the store to the first few of
	// them: what these find out decides how much the others ask for. Small
	// beside a load that it is for, and enough for a store whose connections
	// are fast.
	probeTime = 10 * time.Millisecond
)

// parts deals out all parts of all files, in order, and beginning anew behind the
// last where the first was another than part 0, from one counter: a single
// large tensor and a thousand small files occupy every reader alike. Parts are
// ranges of files, known from their sizes alone, so that reading starts before
// a header is parsed. Safe for concurrent use.
type parts struct {
	partsConfig
	sizes []int64 // of the files
	first []int64 // number of the first part of each file, and of all parts
	start int64   // the part that is dealt out first

	known chan struct{} // closed when store.Best is

	mu      sync.Mutex         // guards what follows
	dealt   int64              // parts
	store   remote.Connections // of the files whose parts are joined, as all below
	brought int64              // bytes
	since   time.Time          // when the first read began
}

func newParts(sizes []int64, cfg partsConfig) *parts {
	p := &parts{partsConfig: cfg, sizes: sizes, first: make([]int64, len(sizes)+1), known: make(chan struct{})}
	leases := false
	for i, size := range sizes {
		p.first[i+1] = p.first[i] + (size+p.size(i)-1)/p.size(i)
		leases = leases || cfg.leased != nil && cfg.leased(i) > 0
	}
	if n := p.count(); n > 0 && !leases {
		p.start = int64(cfg.stagger % uint64(n))
	}
	return p
}

// size is how many bytes a part of a file has, but for the last.
func (p *parts) size(file int) int64 {
	if p.leased != nil {
		if n := p.leased(file); n > 0 {
			return n
		}
	}
	return p.partsConfig.bytes
}

// fileOf is the file of a part.
func (p *parts) fileOf(number int64) int {
	return sort.Search(len(p.sizes), func(i int) bool { return p.first[i+1] > number })
}

// at is the part with that number, as one.
func (p *parts) at(number int64) part { return p.join(number, number+1) }

// join is the parts from one to before another of the same file as one.
func (p *parts) join(number, next int64) part {
	file := p.fileOf(number)
	size := p.size(file)
	begin := (number - p.first[file]) * size
	return part{file: file, begin: begin, end: min(begin+(next-number)*size, p.sizes[file]), number: number}
}

// count is the number of parts.
func (p *parts) count() int64 { return p.first[len(p.sizes)] }

// take returns the next part, or several joined, or false where none is left.
func (p *parts) take() (part, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.count() - p.dealt
	if left <= 0 {
		return part{}, false
	}
	n, many := (p.start+p.dealt)%p.count(), int64(1)
	p.dealt++
	if file := p.fileOf(n); p.joins(file) {
		many = min(p.joined(), p.first[file+1]-n, left)
		p.dealt += many - 1
	}
	return p.join(n, n+many), true
}

// joined is how many parts to read as one: so many that enough are left for
// everybody to end at the same time. Nobody else is needed where fewer
// connections carry as much as all do together.
func (p *parts) joined() int64 {
	needed := int64(p.readers)
	if p.store.Best > 0 {
		needed = min(needed, 1+int64(p.store.Total/p.store.Best))
	}
	return max(1, min((p.count()-p.dealt)/(2*needed), largestJoin))
}

// begin is where a reader waits, by its number, until it should take its first
// part.
func (p *parts) begin(ctx context.Context, reader int) {
	if reader < remote.FewConnections || p.count() < int64(manyParts*p.readers) || !p.joins(0) {
		return
	}
	probed := time.NewTimer(probeTime)
	defer probed.Stop()
	select {
	case <-p.known:
	case <-probed.C:
	case <-ctx.Done():
	}
}

// came notes that n more bytes came of a file, by a read that began at start and
// has brought so far this many.
func (p *parts) came(file int, n int64, start time.Time, far int64) {
	if !p.joins(file) {
		return
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.brought == 0 || start.Before(p.since) {
		p.since = start
	}
	p.brought += n
	if elapsed := now.Sub(p.since); elapsed > 0 {
		p.store.Carried(float64(p.brought) / elapsed.Seconds())
	}
	unknown := p.store.Best == 0
	if p.store.Fetched(far, now.Sub(start)); unknown && p.store.Best > 0 {
		close(p.known)
	}
}
