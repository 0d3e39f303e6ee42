package workload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Touch has written to so many bytes of memory when it is prepared, and its work
// is to free them: the next to use memory get what was freed last.
//
// A guest's page is slow to write to when its host does not back it, or no
// longer does: 1 GiB in huge pages takes 0.1 s of a core or up to 2.9 s. So Touch
// writes to it, frees it and gets it again until that is no faster than before.
//
// A guest with page_reporting gives free pages back to its host in passes of a
// few tenths of a second, two seconds after the last one at the earliest (Linux,
// mm/page_reporting.c), and the kernel is slow to hand out memory meanwhile.
// Where it counts the passes, Touch frees a part of the memory, waits for the
// pass that this causes, and frees the rest right after it.
type Touch struct {
	Bytes int64

	data []byte
}

func (t *Touch) prepare(context.Context) error {
	data, took, err := t.write()
	for i, before := 1, took; err == nil && i < touches && (i == 1 || took <= before*4/5); i++ {
		if err = unix.Munmap(data); err == nil {
			before = took
			data, took, err = t.write()
		}
	}
	t.data = data
	return err
}

func (t *Touch) run(ctx context.Context) (Result, error) {
	if err := unix.Madvise(t.data[:len(t.data)/16], unix.MADV_DONTNEED); err != nil {
		return Result{}, err
	}
	if err := awaitPass(ctx); err != nil {
		return Result{}, err
	}
	return Result{Bytes: t.Bytes}, unix.Munmap(t.data)
}

// touches bounds how often memory is written to.
const touches = 5

// write writes to new memory, and returns it and how long that took.
func (t *Touch) write() ([]byte, time.Duration, error) {
	data, err := unix.Mmap(-1, 0, int(t.Bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, 0, fmt.Errorf("%d bytes of memory: %w", t.Bytes, err)
	}
	_ = unix.Madvise(data, unix.MADV_HUGEPAGE) // faster, where the kernel can
	begin := now()
	for i := 0; i < len(data); i += os.Getpagesize() {
		data[i] = 1
	}
	return data, now() - begin, nil
}

// passesFile counts the passes of page_reporting; only some kernels have it.
const passesFile = "/sys/module/page_reporting/parameters/passes"

// passLimit bounds the wait for a pass: there is none when nobody freed enough.
const passLimit = 3 * time.Second

// awaitPass waits until the guest has ended a pass.
func awaitPass(ctx context.Context) error {
	before, err := os.ReadFile(passesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for begin := now(); err == nil && now()-begin < passLimit && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		var after []byte
		if after, err = os.ReadFile(passesFile); err == nil && string(after) != string(before) {
			return nil
		}
	}
	return errors.Join(err, ctx.Err())
}
