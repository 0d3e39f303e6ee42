//go:build cuda

package cuda_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/cuda"
)

// simulated skips a test that needs the driver for tests.
func simulated(t *testing.T) {
	t.Helper()
	infos, err := cuda.List()
	must(t, err)
	if infos[0].Model != "Driver for tests" {
		t.Skip("a real driver, whose contexts cannot be made slow or fail")
	}
}

// holdContext has the driver create no context until the returned function is
// called, or the test ends.
func holdContext(t *testing.T) (create func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "held")
	must(t, os.WriteFile(file, nil, 0o600))
	t.Setenv("CUDADRIVER_CONTEXT_HELD", file)
	return func() { must(t, os.Remove(file)) }
}

// TestReadsWhileTheContextIsCreated holds that staging is there before the
// context is, and that copies from that staging are right.
func TestReadsWhileTheContextIsCreated(t *testing.T) {
	simulated(t)
	create := holdContext(t)
	d := open(t)
	ready := make(chan error, 1)
	go func() { ready <- d.Wait() }()
	s, err := d.NewStaging(mib)
	must(t, err)
	unused, err := d.NewStaging(mib)
	must(t, err)
	for i := range s.Bytes() {
		s.Bytes()[i] = byte(i * 7 >> 3)
	}
	if locked := d.PageLockedPeak(); locked != 0 {
		t.Errorf("%d bytes are page-locked without a context", locked)
	}
	select {
	case err := <-ready:
		t.Errorf("the context was there before it was created: %v", err)
	default:
	}
	create()
	must(t, <-ready)
	m, err := d.Alloc(mib)
	must(t, err)
	stream, err := d.NewStream()
	must(t, err)
	must(t, stream.Copy(m, 0, s, 0, mib))
	must(t, stream.Sync())
	if locked := d.PageLockedPeak(); locked != mib {
		t.Errorf("%d bytes were page-locked, want those copied from, %d", locked, mib)
	}
	got := make([]byte, mib)
	_, err = m.ReadAt(got, 0)
	must(t, err)
	if string(got) != string(s.Bytes()) {
		t.Error("other bytes on the device")
	}
	if locked := d.PageLockedPeak(); locked != 2*mib {
		t.Errorf("%d bytes were page-locked, want the buffer of the read back too, %d", locked, 2*mib)
	}
	must(t, errors.Join(unused.Free(), d.Close()))
}

func TestContextThatCannotBeCreated(t *testing.T) {
	simulated(t)
	create := holdContext(t)
	t.Setenv("CUDADRIVER_CONTEXT_FAILS", "1")
	d := open(t)
	s, err := d.NewStaging(mib)
	must(t, err)
	create()
	_, allocErr := d.Alloc(mib)
	_, streamErr := d.NewStream()
	_, stagingErr := d.NewStaging(mib)
	for what, err := range map[string]error{"Wait": d.Wait(), "Alloc": allocErr, "NewStream": streamErr, "NewStaging": stagingErr} {
		if err == nil || !strings.Contains(err.Error(), "create context: out of memory") {
			t.Errorf("%s: %v; want why there is no context", what, err)
		}
	}
	if !errors.Is(allocErr, gpuload.ErrOutOfMemory) {
		t.Errorf("Alloc: %v; want ErrOutOfMemory", allocErr)
	}
	must(t, errors.Join(s.Free(), d.Close()))
}
