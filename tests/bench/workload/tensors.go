package workload

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// tensor is the place of one tensor in its file, and the bytes of a row of it,
// 0 where it has no rows.
type tensor struct{ off, size, row int64 }

// readHeader reads the tensors of a safetensors file, in the order of the file.
// It makes two reads.
func readHeader(f *File) ([]tensor, error) {
	var prefix [8]byte
	if err := f.Fill(prefix[:], 0); err != nil {
		return nil, err
	}
	text := make([]byte, binary.LittleEndian.Uint64(prefix[:]))
	if err := f.Fill(text, int64(len(prefix))); err != nil {
		return nil, err
	}
	var entries map[string]struct {
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("header of %s: %w", f.Name(), err)
	}
	var tensors []tensor
	for name, e := range entries {
		if name == "__metadata__" {
			continue
		}
		t := tensor{off: int64(len(prefix)+len(text)) + e.Offsets[0], size: e.Offsets[1] - e.Offsets[0]}
		if len(e.Shape) > 1 && e.Shape[0] > 0 {
			t.row = t.size / e.Shape[0]
		}
		tensors = append(tensors, t)
	}
	slices.SortFunc(tensors, func(a, b tensor) int { return int(a.off - b.off) })
	return tensors, nil
}

// Header opens a file and reads its safetensors header. Items is the number of
// tensors.
type Header struct {
	unprepared
	Path string
}

func (h *Header) run(_ context.Context) (Result, error) {
	f, err := Open(h.Path, Buffered)
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	tensors, err := readHeader(f)
	return Result{Items: int64(len(tensors))}, err
}

// Rank is one of Of processes that share the tensors of a file: it maps the
// file MAP_PRIVATE and copies its part of every matrix, and all of what is no
// matrix.
type Rank struct {
	Path     string
	Rank, Of int64
	// Columns has it take a part of each row; otherwise it takes rows.
	Columns bool
	// Delay is how long after the others it begins.
	Delay time.Duration

	buf []byte
}

func (r *Rank) prepare(context.Context) (err error) {
	r.buf, err = memory(rankBuffer)
	return err
}

// rankBuffer is where a rank copies to, over and over: little, since the ranks
// run in a small memory cgroup.
const rankBuffer = 4 << 20

func (r *Rank) run(ctx context.Context) (Result, error) {
	timer := time.NewTimer(r.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	f, err := Open(r.Path, Mapped)
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	tensors, err := readHeader(&File{File: f.File}) // not from the mapping
	if err != nil {
		return Result{}, err
	}
	var result Result
	for _, t := range tensors {
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
		result.Bytes += r.copyPart(r.buf, f.data[t.off:t.off+t.size], t.row)
	}
	return result, nil
}

// copyPart copies the rank's part of a tensor and returns its size.
func (r *Rank) copyPart(buf, data []byte, row int64) int64 {
	if row == 0 {
		return copyAll(buf, data)
	}
	rows := int64(len(data)) / row
	if !r.Columns {
		return copyAll(buf, data[rows*r.Rank/r.Of*row:rows*(r.Rank+1)/r.Of*row])
	}
	from, to := row*r.Rank/r.Of, row*(r.Rank+1)/r.Of
	for i := range rows {
		copyAll(buf, data[i*row+from:i*row+to])
	}
	return rows * (to - from)
}

// copyAll copies data into buf, from its start again where buf is full, and
// returns the size of data.
func copyAll(buf, data []byte) int64 {
	for rest := data; len(rest) > 0; {
		rest = rest[copy(buf, rest):]
	}
	return int64(len(data))
}

// Skip reads one matrix of Every, as a rank does that holds an eighth of the
// experts, buffered by 1 MiB. Items is the number of tensors read.
type Skip struct {
	Path  string
	Every int

	buf []byte
}

func (s *Skip) prepare(context.Context) (err error) {
	s.buf, err = memory(1 << 20)
	return err
}

func (s *Skip) run(ctx context.Context) (Result, error) {
	f, err := Open(s.Path, Buffered)
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	tensors, err := readHeader(f)
	if err != nil {
		return Result{}, err
	}
	var result Result
	matrices := 0
	for _, t := range tensors {
		if t.row == 0 {
			continue
		}
		if matrices++; matrices%s.Every != 1 {
			continue
		}
		for off := int64(0); off < t.size && ctx.Err() == nil; off += int64(len(s.buf)) {
			n := min(int64(len(s.buf)), t.size-off)
			if err := f.Fill(s.buf[:n:n], t.off+off); err != nil {
				return result, err
			}
		}
		result.Bytes += t.size
		result.Items++
	}
	return result, ctx.Err()
}
