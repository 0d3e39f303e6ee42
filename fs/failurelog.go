package fs

import (
	"cmp"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// failureBurst lines are logged in each failurePeriod: a reader that tries
	// again for ever must not fill the disk, and a broken store is visible in
	// the first lines.
	failureBurst  = 10
	failurePeriod = 10 * time.Second
	// keptFailures are remembered, with texts of at most failureText bytes.
	keptFailures = 32
	failureText  = 1 << 10
)

// Failure is a request that got an errno, or several alike in a row.
type Failure struct {
	Time    time.Time // of the last one
	Count   int64     // how many
	Op      string    // open, read or list
	Key     string
	Offset  int64  // of the last one
	PID     uint32 // of the process
	Command string // "" where it cannot be seen
	Cause   string // of the last one
}

// failureLog tells which process did not get what, and why: a process that maps
// its files dies of it by SIGBUS, without a word.
type failureLog struct {
	logger *slog.Logger
	now    func() time.Time

	mu         sync.Mutex
	since      time.Time // guarded by mu; when the period began
	logged     int       // guarded by mu; in the period
	suppressed int       // guarded by mu; since the last line
	kept       []Failure // guarded by mu; the last ones, the latest last
}

// report logs that op on key at the offset off failed for the task pid, unless
// too much was logged lately.
func (l *failureLog) report(pid uint32, op, key string, off int64, err error) {
	suppressed, ok := l.admit()
	f := Failure{Time: l.now(), Count: 1, Op: op, Key: cut(key), Offset: off, Cause: cut(err.Error())}
	f.PID, f.Command = processOf(pid)
	l.keep(f)
	if !ok {
		return
	}
	attrs := []any{"op", op, "file", key, "offset", off, "pid", f.PID, "process", f.Command, "err", err}
	if suppressed > 0 {
		attrs = append(attrs, "more_before", suppressed)
	}
	l.logger.Error("request failed", attrs...)
}

// admit tells whether a line may be logged, and how many were not before it.
func (l *failureLog) admit() (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.since) >= failurePeriod {
		l.since, l.logged = now, 0
	}
	if l.logged == failureBurst {
		l.suppressed++
		return 0, false
	}
	l.logged++
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}

// keep remembers a failure, beside the last ones or as one more like the last.
func (l *failureLog) keep(f Failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.kept); n > 0 {
		if last := &l.kept[n-1]; last.Op == f.Op && last.Key == f.Key && last.PID == f.PID {
			f.Count += last.Count
			f.Command = cmp.Or(f.Command, last.Command) // it may have ended
			*last = f
			return
		}
	}
	if len(l.kept) == keptFailures {
		l.kept = slices.Delete(l.kept, 0, 1)
	}
	l.kept = append(l.kept, f)
}

// last are the failures remembered, the latest first.
func (l *failureLog) last() []Failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	failures := slices.Clone(l.kept)
	slices.Reverse(failures)
	return failures
}

// Failures are the last requests that got an errno, the latest first. Those of
// killed tasks are not among them.
func (s *Server) Failures() []Failure { return s.tree.failures.last() }

// Failed counts, logs and remembers a failure of a process that was served by
// somebody else than the kernel's requests, as one of these is: op is open or read.
func (s *Server) Failed(pid uint32, op, key string, off int64, err error) {
	s.tree.failed(pid, op, key, off, err)
}

// cut bounds a text that is remembered.
func cut(text string) string { return text[:min(len(text), failureText)] }

// commandName is what ps calls the task pid, or "" where it cannot be seen.
func commandName(pid uint32) string {
	comm, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(comm))
}
