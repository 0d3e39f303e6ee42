package gpuload

import (
	"context"
	"errors"
	"sync"

	"weightfs/handoff"
)

// aheadBytes is how much is wanted before a reader comes to it: so much is fetched at
// a time from a distant store.
const aheadBytes = 256 << 20

// leases are what a load has leased of files on mounts, one range for each part. They
// are wanted in the order in which parts are dealt out, across files, and ahead of the
// readers: so the daemon grants first what is read first, and readers that wait never
// wait for each other, however little may be held. Safe for concurrent use.
type leases struct {
	parts *parts
	files []leasedFile

	mu   sync.Mutex              // held while a file is opened with the daemon
	next int64                   // guarded by mu; the part that is wanted next
	at   map[int64]*handoff.Want // guarded by mu; of parts that no reader has taken yet

	liveMu sync.Mutex                 // after mu
	live   map[*handoff.Want]struct{} // guarded by liveMu; not given back
	came   int64                      // guarded by liveMu; bytes of leases that were read
}

// leasedFile is a file of a load.
type leasedFile struct {
	blob   *leaseBlob          // nil for one that is not on a mount
	read   bool                // from now on, and not leased
	remote *handoff.RemoteFile // nil while it is not open
}

func (f *leasedFile) leases() bool { return f.blob != nil && !f.read }

// leasedRange is the longest range that is leased of a blob at a time, or 0.
func leasedRange(b blob, part int64) int64 {
	if b, ok := b.(*leaseBlob); ok {
		return max(min(part, b.client.MaxLength()/pageSize*pageSize), pageSize)
	}
	return 0
}

func newLeases(p *parts, files []*File) *leases {
	l := &leases{parts: p, files: make([]leasedFile, len(files)), at: map[int64]*handoff.Want{}, live: map[*handoff.Want]struct{}{}}
	for i, f := range files {
		l.files[i].blob, _ = f.blob.(*leaseBlob)
	}
	return l
}

// take is the lease of a part, to be waited for, or nil where the part is to be read
// from the mount. It is given back by give.
func (l *leases) take(ctx context.Context, p part) *handoff.Want {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files[p.file].blob == nil {
		return nil
	}
	window := aheadBytes / l.parts.size(p.file)
	if p.number+window/2 >= l.next {
		l.wantUpTo(ctx, p.number, p.number+window)
	}
	w := l.at[p.number]
	delete(l.at, p.number)
	return w
}

// wantUpTo has the parts from next on wanted: needed in any case, and then as many as
// leave half of what may be wanted to readers. mu is held.
func (l *leases) wantUpTo(ctx context.Context, needed, last int64) {
	for last = min(last, l.parts.count()-1); l.next <= last; {
		file := l.parts.fileOf(l.next)
		end := min(last+1, l.parts.first[file+1])
		f := &l.files[file]
		if f.leases() && f.remote == nil {
			f.remote = f.blob.open(ctx)
			f.read = f.remote == nil
		}
		if !f.leases() {
			l.next = end
			continue
		}
		room := int64(f.blob.client.MaxWants()/2 - f.blob.client.Wanted())
		end = min(end, l.next+max(room, needed+1-l.next))
		if end <= l.next {
			return
		}
		l.want(f, end)
		if l.next == l.parts.first[file+1] {
			_ = f.remote.Close() // for what is wanted of it, it stays open
		}
	}
}

// want has the parts from next to end, all of one file, wanted in one message. mu is
// held.
func (l *leases) want(f *leasedFile, end int64) {
	var numbers []int64
	var ranges []handoff.Range
	for ; l.next < end; l.next++ {
		p := l.parts.at(l.next)
		if n := p.end - p.begin; !f.blob.cached(p.begin, n) {
			numbers, ranges = append(numbers, l.next), append(ranges, handoff.Range{Offset: p.begin, Length: n})
		}
	}
	if len(ranges) == 0 {
		return
	}
	wants, err := f.remote.Want(ranges...)
	if errors.Is(err, handoff.ErrGone) {
		f.blob.tell(err)
		f.read = true
	}
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	for i, w := range wants { // none where too much is wanted already
		l.at[numbers[i]], l.live[w] = w, struct{}{}
	}
}

// give gives the lease of a part back. Without an error all that was read of it is
// right.
func (l *leases) give(p part, w *handoff.Want) error {
	l.forget(w)
	if err := w.Give(); err != nil {
		l.files[p.file].blob.tell(err)
		return err
	}
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	l.came += p.end - p.begin
	return nil
}

// cancel takes back what a reader does not wait for any more.
func (l *leases) cancel(w *handoff.Want) {
	l.forget(w)
	_ = w.Give() // fails where the daemon has gone
}

func (l *leases) forget(w *handoff.Want) {
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	delete(l.live, w)
}

// bytes is how much was read of leases.
func (l *leases) bytes() int64 {
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	return l.came
}

// close gives back what a load that failed has left. Nothing is copied any more.
func (l *leases) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.liveMu.Lock()
	defer l.liveMu.Unlock()
	for w := range l.live {
		_ = w.Give() // fails where the daemon has gone
	}
	for i := range l.files {
		if f := l.files[i]; f.remote != nil && l.next < l.parts.first[i+1] {
			_ = f.remote.Close()
		}
	}
	clear(l.live)
}
