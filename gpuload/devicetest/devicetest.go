// Package devicetest is the conformance suite of [gpuload.Device]: every
// implementation runs it in its own tests.
package devicetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"weightfs/gpuload"
)

const mib = 1 << 20

// Run runs the suite. open makes a fresh device with at least 64 MiB of memory;
// the suite closes it.
func Run(t *testing.T, open func(t *testing.T) gpuload.Device) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, dev gpuload.Device)
	}{
		{"Names", testNames},
		{"Alloc", testAlloc},
		{"OutOfMemory", testOutOfMemory},
		{"Staging", testStaging},
		{"CopyReadsBack", testCopyReadsBack},
		{"CopyIsOrdered", testCopyIsOrdered},
		{"CopyOutOfRange", testCopyOutOfRange},
		{"ReadAt", testReadAt},
		{"Events", testEvents},
		{"ConcurrentStreams", testConcurrentStreams},
		{"SharedStream", testSharedStream},
		{"StreamClose", testStreamClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := open(t)
			c.test(t, dev)
			must(t, dev.Close())
		})
	}
	t.Run("CloseFreesAll", func(t *testing.T) { testCloseFreesAll(t, open(t)) })
}

func testNames(t *testing.T, dev gpuload.Device) {
	if dev.Name() == "" || dev.Describe() == "" {
		t.Errorf("Name %q, Describe %q: want both", dev.Name(), dev.Describe())
	}
}

func testAlloc(t *testing.T, dev gpuload.Device) {
	for _, n := range []int64{1, 2, 255, 256, 4097, mib, mib + 1} {
		m := alloc(t, dev, n)
		if m.Size() != n {
			t.Errorf("Alloc(%d).Size() = %d", n, m.Size())
		}
		if m.Addr() == 0 || m.Addr()%256 != 0 {
			t.Errorf("Alloc(%d).Addr() = %#x: want a multiple of 256", n, m.Addr())
		}
		must(t, m.Free())
	}
	for _, n := range []int64{0, -1} {
		if _, err := dev.Alloc(n); err == nil {
			t.Errorf("Alloc(%d): want an error", n)
		}
	}
}

func testOutOfMemory(t *testing.T, dev gpuload.Device) {
	if _, err := dev.Alloc(1 << 50); !errors.Is(err, gpuload.ErrOutOfMemory) {
		t.Fatalf("Alloc of a PiB: %v, want ErrOutOfMemory", err)
	}
	m := alloc(t, dev, mib) // the device works on
	must(t, m.Free())
}

func testStaging(t *testing.T, dev gpuload.Device) {
	for _, n := range []int{1, 4096, 4097, mib} {
		s := staging(t, dev, n)
		b := s.Bytes()
		if len(b) != n {
			t.Errorf("NewStaging(%d): %d bytes", n, len(b))
		}
		if addr := uintptr(unsafe.Pointer(unsafe.SliceData(b))); addr%4096 != 0 {
			t.Errorf("NewStaging(%d) at %#x: want a multiple of 4096", n, addr)
		}
		must(t, s.Free())
	}
	if _, err := dev.NewStaging(0); err == nil {
		t.Error("NewStaging(0): want an error")
	}
}

func testCopyReadsBack(t *testing.T, dev gpuload.Device) {
	const size = 3*mib + 7
	m, s, stream := alloc(t, dev, size), staging(t, dev, size), newStream(t, dev)
	want := fill(s, 1)
	// Pieces of odd sizes at odd places, out of order.
	for _, r := range [][2]int{{mib, 2*mib + 1}, {0, 3}, {2*mib + 1, size}, {3, mib}} {
		must(t, stream.Copy(m, int64(r[0]), s, r[0], r[1]-r[0]))
	}
	must(t, stream.Copy(m, size, s, 0, 0))
	must(t, stream.Sync())
	expect(t, m, want)
	must(t, stream.Close())
}

func testCopyIsOrdered(t *testing.T, dev gpuload.Device) {
	const size, rounds = 64 << 10, 100
	m, s, stream := alloc(t, dev, size), staging(t, dev, size*rounds), newStream(t, dev)
	want := fill(s, 2)
	for i := range rounds {
		must(t, stream.Copy(m, 0, s, i*size, size))
	}
	must(t, stream.Sync())
	expect(t, m, want[(rounds-1)*size:])
	must(t, stream.Close())
}

func testCopyOutOfRange(t *testing.T, dev gpuload.Device) {
	m, s, stream := alloc(t, dev, 1024), staging(t, dev, 2048), newStream(t, dev)
	for _, c := range []struct {
		off      int64
		begin, n int
	}{{0, 0, 1025}, {1024, 0, 1}, {1025, 0, 0}, {-1, 0, 1}, {1 << 62, 0, 1}, {0, 2048, 1}, {0, 2049, 0}, {0, -1, 1}, {0, 1, -1}} {
		if err := stream.Copy(m, c.off, s, c.begin, c.n); err == nil {
			t.Errorf("copy of %d bytes at %d of 2048 to %d of 1024: want an error", c.n, c.begin, c.off)
		}
	}
	must(t, stream.Close())
}

func testReadAt(t *testing.T, dev gpuload.Device) {
	m, s, stream := alloc(t, dev, 1000), staging(t, dev, 1000), newStream(t, dev)
	want := fill(s, 3)
	must(t, stream.Copy(m, 0, s, 0, len(s.Bytes())))
	must(t, stream.Close())
	for _, c := range []struct {
		off  int64
		n    int
		read int
		err  error
	}{{0, 1000, 1000, nil}, {10, 5, 5, nil}, {990, 20, 10, io.EOF}, {1000, 1, 0, io.EOF}, {2000, 1, 0, io.EOF}} {
		p := make([]byte, c.n)
		n, err := m.ReadAt(p, c.off)
		if n != c.read || !errors.Is(err, c.err) {
			t.Errorf("ReadAt(%d bytes, %d) = %d, %v; want %d, %v", c.n, c.off, n, err, c.read, c.err)
		}
		if n > 0 && !bytes.Equal(p[:n], want[c.off:c.off+int64(n)]) {
			t.Errorf("ReadAt(%d bytes, %d): other bytes", c.n, c.off)
		}
	}
	if _, err := m.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("ReadAt(-1): want an error")
	}
}

func testEvents(t *testing.T, dev gpuload.Device) {
	const size = 8 * mib
	m, s, stream := alloc(t, dev, size), staging(t, dev, size), newStream(t, dev)
	want := fill(s, 4)
	must(t, stream.Copy(m, 0, s, 0, len(s.Bytes())))
	first, err := stream.Record()
	must(t, err)
	must(t, first.Wait(t.Context()))
	expect(t, m, want)

	// Done says true only once the copies before it are.
	second := fill(s, 5)
	must(t, stream.Copy(m, 0, s, 0, len(s.Bytes())))
	event, err := stream.Record()
	must(t, err)
	for done := false; !done; {
		done, err = event.Done()
		must(t, err)
	}
	expect(t, m, second)

	// A wait ends with its context, or with the event: either way it ends.
	must(t, stream.Copy(m, 0, s, 0, len(s.Bytes())))
	event, err = stream.Record()
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := event.Wait(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a cancelled context: %v", err)
	}
	must(t, stream.Sync())
	must(t, stream.Close())
}

func testConcurrentStreams(t *testing.T, dev gpuload.Device) {
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			for range 4 {
				size := mib + i
				m, s, stream := alloc(t, dev, int64(size)), staging(t, dev, size), newStream(t, dev)
				want := fill(s, uint64(i))
				check(t, stream.Copy(m, 0, s, 0, len(s.Bytes())))
				event, err := stream.Record()
				check(t, err)
				check(t, event.Wait(t.Context()))
				expect(t, m, want)
				check(t, stream.Close())
				check(t, m.Free())
				check(t, s.Free())
			}
		})
	}
	workers.Wait()
}

func testSharedStream(t *testing.T, dev gpuload.Device) {
	const each = 256 << 10
	m, stream := alloc(t, dev, 8*each), newStream(t, dev)
	var workers sync.WaitGroup
	for i := range 8 {
		s := staging(t, dev, each)
		want := fill(s, uint64(100+i))
		workers.Go(func() {
			check(t, stream.Copy(m, int64(i*each), s, 0, each))
			event, err := stream.Record()
			check(t, err)
			check(t, event.Wait(t.Context()))
			got := make([]byte, each)
			_, err = m.ReadAt(got, int64(i*each))
			check(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("piece %d: other bytes after its event", i)
			}
		})
	}
	workers.Wait()
	must(t, stream.Close())
}

func testStreamClose(t *testing.T, dev gpuload.Device) {
	const size = 8 * mib
	m, s, stream := alloc(t, dev, size), staging(t, dev, size), newStream(t, dev)
	want := fill(s, 6)
	must(t, stream.Copy(m, 0, s, 0, len(s.Bytes())))
	must(t, stream.Close()) // drains
	expect(t, m, want)
	if err := stream.Copy(m, 0, s, 0, len(s.Bytes())); err == nil {
		t.Error("copy on a closed stream: want an error")
	}
}

func testCloseFreesAll(t *testing.T, dev gpuload.Device) {
	m, s, stream := alloc(t, dev, mib), staging(t, dev, mib), newStream(t, dev)
	must(t, stream.Copy(m, 0, s, 0, len(s.Bytes())))
	must(t, dev.Close())
}

func alloc(t *testing.T, dev gpuload.Device, n int64) gpuload.Memory {
	t.Helper()
	m, err := dev.Alloc(n)
	must(t, err)
	return m
}

func staging(t *testing.T, dev gpuload.Device, n int) gpuload.Staging {
	t.Helper()
	s, err := dev.NewStaging(n)
	must(t, err)
	return s
}

func newStream(t *testing.T, dev gpuload.Device) gpuload.Stream {
	t.Helper()
	s, err := dev.NewStream()
	must(t, err)
	return s
}

// fill writes pseudo-random bytes and returns a copy of them.
func fill(s gpuload.Staging, seed uint64) []byte {
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = source.Read(s.Bytes()) // never fails
	return bytes.Clone(s.Bytes())
}

func expect(t *testing.T, m gpuload.Memory, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := m.ReadAt(got, 0); n != len(want) || err != nil {
		t.Errorf("ReadAt = %d, %v; want %d", n, err, len(want))
	}
	if !bytes.Equal(got, want) {
		t.Error("the device holds other bytes than were copied")
	}
}

// must ends the test; goroutines other than the test's use check.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
