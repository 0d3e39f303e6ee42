package fs

import (
	"log/slog"
	"os"
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
)

// failureLog tells which process did not get what, and why: a process that maps
// its files dies of it by SIGBUS, without a word.
type failureLog struct {
	logger *slog.Logger
	now    func() time.Time

	mu         sync.Mutex
	since      time.Time // guarded by mu; when the period began
	logged     int       // guarded by mu; in the period
	suppressed int       // guarded by mu; since the last line
}

// report logs that op on key at the offset off failed for the task pid, unless
// too much was logged lately.
func (l *failureLog) report(pid uint32, op, key string, off int64, err error) {
	suppressed, ok := l.admit()
	if !ok {
		return
	}
	attrs := []any{"op", op, "file", key, "offset", off, "pid", pid, "process", commandName(pid), "err", err}
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

// commandName is what ps calls the task pid, or "" where it cannot be seen.
func commandName(pid uint32) string {
	comm, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(comm))
}
