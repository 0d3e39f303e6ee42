//go:build cuda

package cuda_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/cuda"
	"weightfs/gpuload/devicetest"
)

// refuseRegistration has the driver page-lock no memory but its own.
func refuseRegistration(t *testing.T) {
	t.Helper()
	simulated(t)
	t.Setenv("CUDADRIVER_NO_REGISTER", "1")
}

func TestConformanceWithoutRegistration(t *testing.T) {
	refuseRegistration(t)
	devicetest.Run(t, func(t *testing.T) gpuload.Device { return open(t) })
}

// TestStagingIsTheDriversWithoutRegistration holds that what was read before the
// refusal was known reaches the device from wherever it is by then, that nothing
// but memory of the driver is page-locked, and that one line says so.
func TestStagingIsTheDriversWithoutRegistration(t *testing.T) {
	refuseRegistration(t)
	create := holdContext(t)
	var log bytes.Buffer
	d, err := cuda.Open(0, cuda.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	early, err := d.NewStaging(mib)
	must(t, err)
	fill := func(b []byte, seed int) {
		for i := range b {
			b[i] = byte((i + seed) * 7 >> 3)
		}
	}
	fill(early.Bytes(), 1)
	want := bytes.Clone(early.Bytes())
	create()
	m, err := d.Alloc(2 * mib)
	must(t, err)
	stream, err := d.NewStream()
	must(t, err)
	must(t, errors.Join(stream.Copy(m, 0, early, 0, mib/2), stream.Copy(m, mib/2, early, mib/2, mib/2), stream.Sync()))
	expect := func(want []byte, off int64) {
		t.Helper()
		got := make([]byte, len(want))
		_, err := m.ReadAt(got, off)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Error("other bytes on the device")
		}
	}
	expect(want, 0)
	if !bytes.Equal(early.Bytes(), want) {
		t.Error("the staging has other bytes after it was moved")
	}
	fill(early.Bytes(), 2)
	late, err := d.NewStaging(mib)
	must(t, err)
	fill(late.Bytes(), 3)
	must(t, errors.Join(stream.Copy(m, 0, early, 0, mib), stream.Copy(m, mib, late, 0, mib), stream.Sync()))
	expect(early.Bytes(), 0)
	expect(late.Bytes(), mib)
	const buffers = mib // one for all reads back
	if locked := d.PageLockedPeak(); locked != 2*mib+buffers {
		t.Errorf("%d bytes were page-locked, want those of both and of the reads back, %d", locked, 2*mib+buffers)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "page-locks no memory but its own") {
		t.Errorf("the log is %q, want one line of the refusal", text)
	}
	must(t, errors.Join(early.Free(), d.Close()))
}
