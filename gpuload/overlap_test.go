package gpuload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	overlapPart  = 256 << 10
	overlapParts = 20
)

// TestReadingAndCopyingOverlap holds in virtual time, to the nanosecond: the
// load takes as long as the slower of the two, and one piece of the other.
func TestReadingAndCopyingOverlap(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name       string
		read, copy time.Duration
		opts       Options
		want       time.Duration
		bound      string
	}{
		{"one reader, even", 10 * ms, 10 * ms, Options{Concurrency: 1}, 20*10*ms + 10*ms, "source"},
		{"one reader, slow source", 10 * ms, 3 * ms, Options{Concurrency: 1}, 20*10*ms + 3*ms, "source"},
		{"one reader, slow device", 3 * ms, 10 * ms, Options{Concurrency: 1}, 3*ms + 20*10*ms, "device"},
		{"four readers, slow source", 40 * ms, 1 * ms, Options{Concurrency: 4}, 5*40*ms + 4*ms, "source"},
		{"four readers, slow device", 10 * ms, 10 * ms, Options{Concurrency: 4}, 10*ms + 20*10*ms, "device"},
		{"two pieces of memory", 10 * ms, 10 * ms, Options{Concurrency: 8, MemoryLimit: 2 * overlapPart}, 20*10*ms + 10*ms, "source"},
		{"three pieces of memory", 20 * ms, 10 * ms, Options{Concurrency: 8, MemoryLimit: 3 * overlapPart}, 10*20*ms + 20*ms, "source"},
		{"least memory", 40 * ms, 1 * ms, Options{Concurrency: 4, MemoryLimit: MemoryMinimum}, 5*40*ms + 4*ms, "source"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.opts.PartSize = overlapPart
				s := slowLoad(t, c.read, c.copy, c.opts)
				if s.Elapsed != c.want || s.Bound() != c.bound {
					t.Errorf("took %v, bound by the %s; want %v, the %s", s.Elapsed, s.Bound(), c.want, c.bound)
				}
				if copied := overlapParts * c.copy; s.Phases.Copy < copied || s.Phases.Copy > s.Elapsed {
					t.Errorf("copies were under way for %v, want at least %v of the %v", s.Phases.Copy, copied, s.Elapsed)
				}
				if s.Phases.FirstTensor >= s.Phases.Read {
					t.Errorf("the first tensor came at %v, when all was read at %v", s.Phases.FirstTensor, s.Phases.Read)
				}
			})
		})
	}
}

// TestReadsWhileTheDeviceIsOpened holds that a device that is not ready keeps nobody
// from reading, as far as the memory limit goes: a load takes as long as the longer
// of opening and reading, and the copies that cannot be made meanwhile. Once it is
// ready, the first piece to be copied is waited for.
func TestReadsWhileTheDeviceIsOpened(t *testing.T) {
	const ms, read, copy, limit = time.Millisecond, overlapParts * 100 * time.Millisecond, time.Millisecond, 5
	for _, c := range []struct {
		name    string
		opening time.Duration
		memory  int64
		readers int
		want    time.Duration
		pieces  int64 // of staging, at most
		bound   string
	}{
		{"within the reading", read / 2, MemoryUnlimited, 1, read + 2*copy, overlapParts/2 + 1, "source"},
		{"after the reading", 3 * read, MemoryUnlimited, 1, 3*read + overlapParts*copy, overlapParts, "device"},
		{"several readers", 2 * read, MemoryUnlimited, 4, 2*read + overlapParts*copy, overlapParts, "device"},
		{"more than the memory", read / 2, limit * overlapPart, 1, read/2 + (overlapParts-limit)*100*ms + 2*copy, limit, "source"},
		{"least memory", read / 2, MemoryMinimum, 1, read/2 + (overlapParts-2)*100*ms + 2*copy, 2, "source"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := newSlowDevice(t, copy)
				dev.open(c.opening)
				m, err := Load(t.Context(), dev, slowSource(100*ms), Options{Concurrency: c.readers, PartSize: overlapPart, MemoryLimit: c.memory})
				if err != nil {
					t.Fatal(err)
				}
				s := m.Stats()
				if s.Elapsed != c.want || s.Phases.FirstByte != 100*ms || s.Bound() != c.bound {
					t.Errorf("took %v, the first byte %v, bound by the %s; want %v, 100ms, the %s", s.Elapsed, s.Phases.FirstByte, s.Bound(), c.want, c.bound)
				}
				if got := s.StagingPeakBytes / overlapPart; got > c.pieces {
					t.Errorf("%d pieces of staging, want at most %d", got, c.pieces)
				}
				if err := errors.Join(m.Close(), dev.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestDeliversWhatPassedTheChecks holds that no tensor is delivered before the
// last header came and fits the others, although all of its bytes came long ago,
// and that each is delivered then.
func TestDeliversWhatPassedTheChecks(t *testing.T) {
	for name, want := range map[string]int{"a": 0, "c": 3} { // "a" is in the first file too
		synctest.Test(t, func(t *testing.T) {
			dev := newSlowDevice(t, time.Millisecond)
			header := fmt.Sprintf(`{%q:{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}`, name)
			content := append([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}, header+"contents"...)
			src := slowSource(time.Millisecond)
			src.files = append(src.files, newFile("late", "late", int64(len(content)), &slowBlob{content: content, header: time.Hour}))
			delivered, began := 0, time.Now()
			m, err := Load(t.Context(), dev, src, Options{Deliver: func(tensor *Tensor) error {
				if delivered++; time.Since(began) < time.Hour {
					t.Errorf("%s was delivered after %v", tensor.Name, time.Since(began))
				}
				return nil
			}})
			if delivered != want || (err == nil) != (want > 0) {
				t.Errorf("%q: %d tensors were delivered, %v; want %d", name, delivered, err, want)
			}
			if err == nil {
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBound(t *testing.T) {
	for want, p := range map[string]Phases{
		"source":  {Reading: 3, Waiting: 2, Parsing: 3},
		"device":  {Reading: 3, Waiting: 4, Parsing: 4},
		"headers": {Reading: 3, Waiting: 4, Parsing: 5},
	} {
		if got := (Stats{Phases: p}).Bound(); got != want {
			t.Errorf("%+v: bound by the %s, want the %s", p, got, want)
		}
	}
}

// TestCancelledLoadEnds holds no time beyond the read under way.
func TestCancelledLoadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := newSlowDevice(t, time.Hour)
		src := slowSource(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if _, err := Load(ctx, dev, src, Options{}); err == nil {
			t.Error("the load succeeded")
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("the load ended after %v, want a minute", took)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
}

func slowLoad(t *testing.T, read, copy time.Duration, opts Options) Stats {
	dev := newSlowDevice(t, copy)
	m, err := Load(t.Context(), dev, slowSource(read), opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	return m.Stats()
}

// slowSource is a file of overlapParts parts with two tensors, each piece of
// which takes so long to read.
func slowSource(delay time.Duration) *Source {
	const size = overlapPart * overlapParts
	header := fmt.Sprintf(`{"a":{"dtype":"U8","shape":[1000],"data_offsets":[0,1000]},`+
		`"b":{"dtype":"U8","shape":[%[1]d],"data_offsets":[1000,%[2]d]}}`, size-2024, size-1024)
	header = fmt.Sprintf("%-1016s", header)
	content := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	content = append(append(content, header...), make([]byte, size-1024)...)
	f := newFile("slow", "slow", size, &slowBlob{content: content, delay: delay})
	return &Source{label: "slow", files: []*File{f}}
}

type slowBlob struct {
	content []byte
	delay   time.Duration
	header  time.Duration // until the header comes
}

func (b *slowBlob) read(ctx context.Context, off, n int64) (body, error) {
	return &slowBody{ctx: ctx, blob: b, rest: b.content[off : off+n]}, nil
}

func (b *slowBlob) stream(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if err := sleep(ctx, b.header); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(b.content[off : off+n])), nil
}

func (b *slowBlob) piece() int64 { return hotPiece }

func (b *slowBlob) readers() int { return pathReaders }

func (b *slowBlob) joins() bool { return false }

func (b *slowBlob) inMemory() bool { return false }

func (b *slowBlob) Close() error { return nil }

type slowBody struct {
	ctx  context.Context
	blob *slowBlob
	rest []byte
}

func (b *slowBody) splits() bool { return false }

func (b *slowBody) next(buf []byte, n int) error {
	if err := sleep(b.ctx, b.blob.delay); err != nil {
		return err
	}
	b.rest = b.rest[copy(buf[:n], b.rest):]
	return nil
}

func (b *slowBody) Close() error { return nil }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slowDevice has one copy engine for all its streams, as a GPU does.
type slowDevice struct {
	*CPU
	delay time.Duration
	ready chan struct{} // closed when memory is to be had; nil: from the start

	mu   sync.Mutex
	free time.Time // guarded by mu; when the engine is
}

func newSlowDevice(t *testing.T, delay time.Duration) *slowDevice {
	cpu, err := NewCPU(CPUConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return &slowDevice{CPU: cpu, delay: delay}
}

// open has the device be ready after that time.
func (d *slowDevice) open(after time.Duration) {
	d.ready = make(chan struct{})
	time.AfterFunc(after, func() { close(d.ready) })
}

func (d *slowDevice) Advice() Advice {
	advice := d.CPU.Advice()
	advice.Ready = d.ready
	return advice
}

func (d *slowDevice) Alloc(n int64) (Memory, error) {
	if d.ready != nil {
		<-d.ready
	}
	return d.CPU.Alloc(n)
}

func (d *slowDevice) NewStream() (Stream, error) {
	s, err := d.CPU.NewStream()
	return &slowStream{Stream: s, device: d}, err
}

type slowStream struct {
	Stream
	device *slowDevice
}

func (s *slowStream) Record() (Event, error) {
	e, err := s.Stream.Record()
	d := s.device
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); d.free.Before(now) {
		d.free = now
	}
	d.free = d.free.Add(d.delay)
	return &slowEvent{Event: e, at: d.free}, err
}

type slowEvent struct {
	Event
	at time.Time
}

func (e *slowEvent) Wait(ctx context.Context) error {
	if err := sleep(ctx, time.Until(e.at)); err != nil {
		return err
	}
	return e.Event.Wait(ctx)
}
