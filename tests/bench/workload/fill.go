package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"weightfs/tests/rig"
)

// Fill reads what the page cache lacks of files that were read before, until it
// lacks nothing, and no other page. Items is how many pages it read.
//
// A kernel may take pages back although memory is free: DAMON, where a scheme of
// it pages cold regions out (Linux, admin-guide/mm/damon), goes by how long a
// region of physical memory was not used, and so takes pages that were filled a
// moment ago in memory that was free for a minute.
type Fill struct {
	unprepared
	Paths []string
}

func (f *Fill) run(ctx context.Context) (Result, error) {
	var result Result
	for _, path := range f.Paths {
		n, err := fill(ctx, path)
		result.Items += n
		if err != nil {
			return result, err
		}
	}
	return result, nil
}

// fills bounds how often a file's pages are looked at.
const fills = 10

// fill is Fill for one file.
func fill(ctx context.Context, path string) (n int64, err error) {
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
