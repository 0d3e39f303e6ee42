package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"weightfs/tests/rig"
)

// DropCaches drops the clean pages of everything. What lies on a tmpfs stays. It
// needs root.
func DropCaches() error { return os.WriteFile("/proc/sys/vm/drop_caches", []byte("1\n"), 0) }

// Evict drops the cached pages of files on a disk, and makes sure of it.
func Evict(paths ...string) error {
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(rig.Evict(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Heat reads local files so often through the page cache, and makes sure that it
// holds all of them: a figure of cached files must not be one of a disk. The second
// use of a page costs many times the later ones.
func Heat(ctx context.Context, times int, paths ...string) error {
	for _, path := range paths {
		for range times {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
			if err := errors.Join(err, f.Close(), ctx.Err()); err != nil {
				return err
			}
		}
		if _, err := Fill(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// fills bounds how often a file's pages are looked at.
const fills = 10

// Fill reads what the page cache lacks of a file that was read before, until it
// lacks nothing, and no other page. It returns how many pages it read. The file
// must not be of a mount that the calling process serves.
//
// A kernel may take pages back although memory is free: DAMON, where a scheme of
// it pages cold regions out (Linux, admin-guide/mm/damon), goes by how long a
// region of physical memory was not used, and so takes pages that were filled a
// moment ago in memory that was free for a minute.
func Fill(ctx context.Context, path string) (n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var missing []int64
	for range fills {
		if missing, err = rig.MissingPages(f); err != nil || len(missing) == 0 {
			return n, err
		}
		for _, off := range missing {
			if _, err := f.ReadAt(make([]byte, 1), off); err != nil && !errors.Is(err, io.EOF) {
				return n, err
			}
			n++
		}
		if ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	return n, fmt.Errorf("%s: read %d times, and the page cache still lacks %d pages", path, fills, len(missing))
}
