package fs

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// progress is how far an open file was read. Each READ adds to it, so that it has
// two atomics and no more.
type progress struct {
	read     atomic.Int64 // bytes of the replies
	furthest atomic.Int64 // end of the furthest

	opened time.Time
	pid    uint32 // of the task that opened it
	kernel bool   // the kernel reads it by itself, and nothing is seen here

	marks [2]int64 // what read was at the last two marks; guarded by rates.mu
}

// count notes that [off, end) was read.
func (p *progress) count(off, end int64) {
	p.read.Add(end - off)
	for {
		old := p.furthest.Load()
		if end <= old || p.furthest.CompareAndSwap(old, end) {
			return
		}
	}
}

// rates has the times of the last two marks, from which on the rates of open files
// are taken. Reads know nothing of it.
type rates struct {
	mu sync.Mutex
	at [2]time.Time // guarded by mu; the last one first
}

// minRateTime is the least time over which a rate says something.
const minRateTime = time.Second

// since is the mark from which on a rate is taken: the last one, unless that was
// just now. Before the first one nothing was read. mu is held.
func (r *rates) since(now time.Time) int {
	if now.Sub(r.at[0]) < minRateTime {
		return 1
	}
	return 0
}

// OpenFile is an open handle of a file as of now.
type OpenFile struct {
	Key     string
	Size    int64
	Opened  time.Time
	PID     uint32 // of the process that opened it; 0: it is of another PID namespace
	Command string // of that process; "" where it cannot be seen, or has ended
	// Kernel says that the kernel reads the file by itself: the rest is 0 then.
	Kernel   bool
	Read     int64   // bytes of the replies, each as often as it was read
	Furthest int64   // end of the furthest read
	Rate     float64 // bytes per second of late

	handle uint64
}

// ReadBytes is Stats.ReadBytes alone, which takes no lock.
func (s *Server) ReadBytes() int64 { return s.tree.counters.readBytes.Load() }

// MarkReads has the rates of OpenFiles begin now, or at the mark before if this was
// a moment ago. It is called every few seconds.
func (s *Server) MarkReads() {
	t := s.tree
	t.rates.mu.Lock()
	defer t.rates.mu.Unlock()
	t.rates.at[1], t.rates.at[0] = t.rates.at[0], time.Now()
	t.files.Range(func(_, handle any) bool {
		p := &handle.(*openFile).progress
		p.marks[1], p.marks[0] = p.marks[0], p.read.Load()
		return true
	})
}

// OpenFiles returns at most limit of the open files, those that were read most of
// late first and then the latest, and how many are open.
func (s *Server) OpenFiles(limit int) (files []OpenFile, open int64) {
	files = s.tree.openFiles(limit, time.Now())
	type process struct {
		pid     uint32
		command string
	}
	known := map[uint32]process{} // by task: one that has many files open is looked up once
	for i := range files {
		p, ok := known[files[i].PID]
		if !ok {
			p.pid, p.command = processOf(files[i].PID)
			known[files[i].PID] = p
		}
		files[i].PID, files[i].Command = p.pid, p.command
	}
	return files, s.tree.counters.openFiles.Load()
}

func (t *tree) openFiles(limit int, now time.Time) (files []OpenFile) {
	t.rates.mu.Lock()
	defer t.rates.mu.Unlock()
	mark := t.rates.since(now)
	t.files.Range(func(fh, handle any) bool {
		f := handle.(*openFile).describe(t.rates.at[mark], mark, now)
		f.handle = fh.(uint64)
		if files = append(files, f); len(files) >= 2*limit {
			files = busiest(files, limit)
		}
		return true
	})
	return busiest(files, limit)
}

// describe says how far the file is read. rates.mu is held.
func (f *openFile) describe(marked time.Time, mark int, now time.Time) OpenFile {
	p := &f.progress
	read := p.read.Load()
	since := marked
	if p.opened.After(since) {
		since = p.opened
	}
	return OpenFile{
		Key: f.obj.Key, Size: f.obj.Size, Opened: p.opened, PID: p.pid, Kernel: p.kernel,
		Read: read, Furthest: p.furthest.Load(),
		Rate: float64(read-p.marks[mark]) / max(now.Sub(since), minRateTime/10).Seconds(),
	}
}

// busiest are the first limit files of their order.
func busiest(files []OpenFile, limit int) []OpenFile {
	slices.SortFunc(files, func(a, b OpenFile) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.handle, a.handle))
	})
	return files[:min(len(files), limit)]
}

// processOf is the process of a task, which is one of its threads, and what ps
// calls it; "" where that cannot be seen.
func processOf(task uint32) (pid uint32, command string) {
	status, err := os.ReadFile(procDir(task) + "/status")
	if err != nil {
		return task, ""
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "Tgid:"); ok {
			if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
				return uint32(n), commandName(uint32(n))
			}
		}
	}
	return task, ""
}
