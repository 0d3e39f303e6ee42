package mounts

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// followEvery is how often the logs are looked at.
	followEvery = time.Second
	// maxLog is how large a log may grow before it is emptied. What it held is in
	// our own log by then.
	maxLog = 1 << 20
)

// follower copies what mountds write to our own log, which is what an operator
// sees. A mountd cannot write there itself: its writes would fail, and end it,
// once we are gone.
type follower struct {
	dir    string
	logger *slog.Logger

	mu  sync.Mutex
	off map[string]int64 // by digest, how much of a log was copied; guarded by mu
}

// newFollower begins behind what the logs have: a predecessor copied that.
func newFollower(cfg Config) *follower {
	f := &follower{dir: cfg.Dir, logger: cfg.Logger, off: map[string]int64{}}
	for _, name := range f.logs() {
		if info, err := os.Stat(name); err == nil {
			f.off[filepath.Base(filepath.Dir(name))] = info.Size()
		}
	}
	return f
}

// logs are the paths of all logs.
func (f *follower) logs() []string {
	names, _ := filepath.Glob(filepath.Join(f.dir, "*", "log")) // the pattern is right
	return names
}

// run copies until ctx ends.
func (f *follower) run(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.copyAll()
		}
	}
}

func (f *follower) copyAll() {
	for _, log := range f.logs() {
		if err := f.copy(log); err != nil && !errors.Is(err, os.ErrNotExist) {
			f.logger.Warn("cannot follow the log of a mountd", "file", log, "err", err)
		}
	}
}

// copy copies the whole lines that are new in a log.
func (f *follower) copy(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	digest := filepath.Base(filepath.Dir(name))
	log, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	if info, err := log.Stat(); err == nil && info.Size() < f.off[digest] {
		f.off[digest] = 0 // another driver has emptied it
	}
	text, err := io.ReadAll(io.NewSectionReader(log, f.off[digest], maxLog))
	if err != nil {
		return err
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	if whole == 0 && len(text) == maxLog { // a line without an end
		whole = len(text)
	}
	for line := range bytes.Lines(text[:whole]) {
		f.logger.Info("mountd", "mount", digest, "line", string(bytes.TrimSpace(line)))
	}
	f.off[digest] += int64(whole)
	if f.off[digest] < maxLog {
		return nil
	}
	f.off[digest] = 0
	return log.Truncate(0)
}

// copyLast copies what is left of a log that goes away.
func (f *follower) copyLast(digest string) {
	_ = f.copy(filepath.Join(f.dir, digest, "log")) // there may be none
}

// forget is called when the log is gone.
func (f *follower) forget(digest string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.off, digest)
}
