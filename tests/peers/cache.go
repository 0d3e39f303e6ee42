package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// cacheTick is how often a cache is looked at: some are gone as soon as the
// reader closes the file.
const cacheTick = 100 * time.Millisecond

// watchCache returns a function that ends the watch and returns the most that
// the peer's files held at once, in bytes.
func (m *mount) watchCache(ctx context.Context) (most func() int64) {
	var peak int64
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(cacheTick)
		defer tick.Stop()
		for {
			peak = max(peak, m.cached())
			select {
			case <-ctx.Done():
				peak = max(peak, m.cached())
				return
			case <-tick.C:
			}
		}
	})
	return func() int64 {
		cancel()
		done.Wait()
		return peak
	}
}

// cached is what the peer's files take, in bytes: those of its cache folder, and
// those of the same file system that it has open and has unlinked. Files
// come and go while this looks: one that is gone takes nothing.
func (m *mount) cached() int64 {
	var folder unix.Stat_t
	if m.cache == "" || unix.Stat(m.cache, &folder) != nil {
		return 0
	}
	blocks := map[uint64]int64{} // by inode
	note := func(path string) {
		var s unix.Stat_t
		if unix.Stat(path, &s) == nil && s.Mode&unix.S_IFMT == unix.S_IFREG && s.Dev == folder.Dev {
			blocks[s.Ino] = s.Blocks
		}
	}
	_ = filepath.WalkDir(m.cache, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			note(path)
		}
		return nil
	})
	if m.proc != nil {
		open := fmt.Sprintf("/proc/%d/fd", m.proc.PID())
		entries, _ := os.ReadDir(open)
		for _, entry := range entries {
			note(filepath.Join(open, entry.Name()))
		}
	}
	var sum int64
	for _, n := range blocks {
		sum += n * 512
	}
	return sum
}
