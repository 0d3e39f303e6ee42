//go:build cuda

package cuda_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"weightfs/gpuload"
	"weightfs/gpuload/cuda"
	"weightfs/gpuload/devicetest"
)

const mib = 1 << 20

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *cuda.Device {
	t.Helper()
	d, err := cuda.Open(0, cuda.Config{})
	must(t, err)
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	devicetest.Run(t, func(t *testing.T) gpuload.Device { return open(t) })
}

// TestReadsBackLockWhatTheyRead holds that reads one after the other share a
// buffer, which is as large as the longest of them, up to 4 MiB.
func TestReadsBackLockWhatTheyRead(t *testing.T) {
	d := open(t)
	m, err := d.Alloc(6 * mib)
	must(t, err)
	for _, c := range []struct{ read, locked int64 }{
		{4096, 4096}, {4096, 4096}, {mib, mib}, {4096, mib}, {6 * mib, 4 * mib}, {mib, 4 * mib},
	} {
		_, err := m.ReadAt(make([]byte, c.read), 0)
		must(t, err)
		if locked := d.PageLockedPeak(); locked != c.locked {
			t.Errorf("%d bytes were page-locked after a read of %d, want %d", locked, c.read, c.locked)
		}
	}
	must(t, d.Close())
}

func TestListNamesEveryGPU(t *testing.T) {
	infos, err := cuda.List()
	must(t, err)
	if len(infos) == 0 {
		t.Fatal("List is empty, and yet the driver started")
	}
	for i, info := range infos {
		if info.Ordinal != i || info.Model == "" || info.Memory <= 0 ||
			strings.Count(info.PCIBusID, ":") != 2 || !strings.Contains(info.CUDA, ".") {
			t.Errorf("GPU %d: %+v", i, info)
		}
	}
	d := open(t)
	if d.Name() != "cuda:0" || d.Info() != infos[0] || d.Describe() != infos[0].String() {
		t.Errorf("device %s %q, listed as %q", d.Name(), d.Describe(), infos[0])
	}
	must(t, d.Close())
}

func TestOpenWithoutSuchGPU(t *testing.T) {
	for _, ordinal := range []int{-1, 4096} {
		if _, err := cuda.Open(ordinal, cuda.Config{}); err == nil || !strings.Contains(err.Error(), "the driver shows") {
			t.Errorf("Open(%d): %v; want what the driver shows", ordinal, err)
		}
	}
}

func TestTwoDevicesOfOneGPU(t *testing.T) {
	first, second := open(t), open(t)
	m, err := first.Alloc(mib)
	must(t, err)
	s, err := second.NewStaging(mib)
	must(t, err)
	stream, err := second.NewStream()
	must(t, err)
	if err := stream.Copy(m, 0, s, 0, len(s.Bytes())); err == nil {
		t.Error("copy to another device's memory: want an error")
	}
	must(t, second.Close())
	if _, err := m.ReadAt(make([]byte, mib), 0); err != nil {
		t.Errorf("read after another device closed: %v", err)
	}
	must(t, first.Close())
}

// other is staging of another device.
type other struct{ gpuload.Staging }

func TestCopyRefusesWhatIsNotStaging(t *testing.T) {
	d := open(t)
	m, err := d.Alloc(mib)
	must(t, err)
	s, err := d.NewStaging(4096 + 1)
	must(t, err)
	stream, err := d.NewStream()
	must(t, err)
	if err := stream.Copy(m, 0, other{s}, 0, 4096); err == nil {
		t.Error("copy from staging of another kind: want an error")
	}
	must(t, s.Free())
	if err := stream.Copy(m, 0, s, 0, 4096); err == nil {
		t.Error("copy from freed staging: want an error")
	}
	if s, err = d.NewStaging(4096); err != nil {
		t.Fatal(err)
	}
	must(t, m.Free())
	if err := stream.Copy(m, 0, s, 0, 0); err == nil {
		t.Error("copy to freed memory: want an error")
	}
	must(t, d.Close())
}

func TestOutOfMemoryNamesWhatIsFree(t *testing.T) {
	d := open(t)
	_, err := d.Alloc(mib)
	must(t, err)
	_, err = d.Alloc(d.Info().Memory)
	if !errors.Is(err, gpuload.ErrOutOfMemory) || !strings.Contains(err.Error(), "are free") {
		t.Errorf("allocate all of a GPU in use: %v; want ErrOutOfMemory and what is free", err)
	}
	must(t, d.Close())
}

func TestFreedTwice(t *testing.T) {
	d := open(t)
	m, err := d.Alloc(1)
	must(t, err)
	s, err := d.NewStaging(1)
	must(t, err)
	must(t, m.Free())
	must(t, s.Free())
	if m.Free() == nil || s.Free() == nil {
		t.Error("second Free of memory and of staging: want errors")
	}
	if _, err := m.ReadAt(nil, 0); err == nil {
		t.Error("read of freed memory: want an error")
	}
	if s.Bytes() != nil {
		t.Error("freed staging still has bytes")
	}
	must(t, d.Close())
}

// More readers at once than there are buffers, each reading more than one holds.
func TestReadsBackConcurrently(t *testing.T) {
	const size, readers = 9*mib + 5, 8
	d := open(t)
	m, err := d.Alloc(size)
	must(t, err)
	s, err := d.NewStaging(size)
	must(t, err)
	for i := range s.Bytes() {
		s.Bytes()[i] = byte(i * 7 >> 3)
	}
	stream, err := d.NewStream()
	must(t, err)
	must(t, stream.Copy(m, 0, s, 0, len(s.Bytes())))
	must(t, stream.Sync())
	var work sync.WaitGroup
	for i := range readers {
		work.Go(func() {
			got := make([]byte, size-i)
			if n, err := m.ReadAt(got, int64(i)); n != len(got) || err != nil {
				t.Errorf("reader %d: %d, %v", i, n, err)
			}
			if !bytes.Equal(got, s.Bytes()[i:]) {
				t.Errorf("reader %d: other bytes", i)
			}
		})
	}
	work.Wait()
	must(t, d.Close())
	if n, err := m.ReadAt(make([]byte, 1), 0); n != 0 || err == nil {
		t.Errorf("read after Close: %d, %v; want an error", n, err)
	}
}
