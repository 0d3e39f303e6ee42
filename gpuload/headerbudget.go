package gpuload

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"weightfs/gpuload/safetensors"
)

const (
	// headersAtOnce is how many bytes of header are held as text at a time: one
	// as long as any may be, or hundreds of usual ones.
	headersAtOnce = safetensors.MaxHeaderBytes
	// headersTogether is how many bytes of header the files of a folder may have:
	// twice the longest of one file. A model of 10^12 parameters in 150,000
	// tensors has 20 MB. What is parsed takes about twice the text.
	headersTogether = 2 * safetensors.MaxHeaderBytes
)

// headerBudget bounds the memory that the headers of a folder take, however many
// of its files claim long ones. It is safe for concurrent use.
type headerBudget struct {
	reading *semaphore.Weighted
	kept    atomic.Int64
}

func newHeaderBudget() *headerBudget {
	return &headerBudget{reading: semaphore.NewWeighted(headersAtOnce)}
}

// begin waits for room for a header's text of n bytes, which end gives back. name
// is for the error, a [*safetensors.FormatError] where the folder has too much.
func (b *headerBudget) begin(ctx context.Context, name string, n int64) error {
	if err := b.reading.Acquire(ctx, n); err != nil {
		return fmt.Errorf("read header of %s: %w", name, err)
	}
	// Those that are read just now are not counted: which of them are kept shows
	// when they are parsed.
	if kept := b.kept.Load(); kept+n > headersTogether {
		b.reading.Release(n)
		return &safetensors.FormatError{File: name, Kind: safetensors.ErrHeaderTooLarge,
			Detail: fmt.Sprintf("%d bytes after %d of the folder's other files, where %d are allowed together", n, kept, headersTogether)}
	}
	return nil
}

// end gives the text's room back, and counts the header if it is kept.
func (b *headerBudget) end(n int64, kept bool) {
	if kept {
		b.kept.Add(n)
	}
	b.reading.Release(n)
}
