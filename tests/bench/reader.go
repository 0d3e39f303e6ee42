package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// readSpec says what a reader does, as the child gets it.
type readSpec struct {
	// Kind is get (a plain client), dd, buffered, direct or mmap.
	Kind string
	// Path is the file, or for get the key.
	Path string
	// Threads share the blocks of the file by one counter.
	Threads int
	// Block is bytes of one read; for get of one range.
	Block int64
}

// readReport is what a reader prints.
type readReport struct {
	Bytes   int64
	Seconds float64
}

// readAt reads the block at off into buf, which is as long as the block.
type readAt func(ctx context.Context, buf []byte, off int64) error

// runReader reads as the JSON of a readSpec says and prints a readReport.
func runReader(ctx context.Context, text string) error {
	var spec readSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	report, err := spec.read(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", spec.Path, err)
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

func (s readSpec) read(ctx context.Context) (readReport, error) {
	switch s.Kind {
	case "dd":
		return s.dd(ctx)
	case "get":
		client, size, err := newClient(ctx, s.Path)
		if err != nil {
			return readReport{}, err
		}
		return s.blocks(ctx, size, client.readAt)
	}
	flags := os.O_RDONLY
	if s.Kind == "direct" {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(s.Path, flags, 0)
	if err != nil {
		return readReport{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return readReport{}, err
	}
	if s.Kind == "mmap" {
		return s.mapped(ctx, f, info.Size())
	}
	return s.blocks(ctx, info.Size(), func(_ context.Context, buf []byte, off int64) error {
		n, err := f.ReadAt(buf, off) // the last block is short
		if errors.Is(err, io.EOF) && off+int64(n) == info.Size() {
			err = nil
		}
		return err
	})
}

// blocks reads the blocks of a file of that size by all threads, each into
// memory of its own that has been touched before the clock starts.
func (s readSpec) blocks(ctx context.Context, size int64, read readAt) (readReport, error) {
	buffers := make([][]byte, s.Threads)
	for i := range buffers {
		var err error
		if buffers[i], err = unix.Mmap(-1, 0, int(s.Block), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE); err != nil {
			return readReport{}, fmt.Errorf("buffer: %w", err)
		}
	}
	var next atomic.Int64
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, buf := range buffers {
		group.Go(func() error {
			for {
				off := next.Add(s.Block) - s.Block
				if off >= size || ctx.Err() != nil {
					return ctx.Err()
				}
				if err := read(ctx, buf[:min(s.alignment(size-off), s.Block)], off); err != nil {
					return err
				}
			}
		})
	}
	err := group.Wait()
	return readReport{size, time.Since(begin).Seconds()}, err
}

// alignment returns how long a read for n bytes must be.
func (s readSpec) alignment(n int64) int64 {
	if s.Kind == "direct" {
		return (n + 4095) &^ 4095
	}
	return n
}

// mapped maps the file and touches every cache line, each block by one thread.
func (s readSpec) mapped(ctx context.Context, f *os.File, size int64) (readReport, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return readReport{}, fmt.Errorf("map: %w", err)
	}
	defer unix.Munmap(data)
	return s.blocks(ctx, size, func(_ context.Context, buf []byte, off int64) error {
		copy(buf, data[off:])
		return nil
	})
}

// dd runs the real one, which says how long it took.
func (s readSpec) dd(ctx context.Context) (readReport, error) {
	cmd := exec.CommandContext(ctx, "dd", "if="+s.Path, "of=/dev/null", fmt.Sprintf("bs=%d", s.Block))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return readReport{}, fmt.Errorf("%w: %s", err, out)
	}
	return parseDD(string(out))
}

// parseDD reads the last line of dd: "N bytes (...) copied, S s, R GB/s".
func parseDD(out string) (r readReport, err error) {
	last := ""
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		last = lines.Text()
	}
	head, tail, ok := strings.Cut(last, " copied, ")
	seconds, _, ok2 := strings.Cut(tail, " s, ")
	if !ok || !ok2 {
		return r, fmt.Errorf("dd said %q", out)
	}
	bytes, _, _ := strings.Cut(head, " ")
	if r.Bytes, err = strconv.ParseInt(bytes, 10, 64); err != nil {
		return r, err
	}
	r.Seconds, err = strconv.ParseFloat(seconds, 64)
	return r, err
}
