package lab

import (
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

// Heat reads local files so often through the page cache, and fails where that
// does not hold all of them then: a figure of cached files must not be one of a
// disk. The second use of a page costs many times the later ones.
func Heat(times int, paths ...string) error {
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		for range times {
			_, err = f.Seek(0, io.SeekStart)
			if err == nil {
				_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
			}
			if err != nil {
				break
			}
		}
		if err := errors.Join(err, cached(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// cached fails unless the page cache holds all of a file.
func cached(f *os.File) error {
	missing, err := rig.MissingPages(f)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%s: %d pages are not in the page cache", f.Name(), len(missing))
	}
	return err
}
