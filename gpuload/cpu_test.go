package gpuload_test

import (
	"errors"
	"os"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/devicetest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCPUConformance(t *testing.T) {
	devicetest.Run(t, func(t *testing.T) gpuload.Device { return newCPU(t, 0) })
}

func TestShareableCPUConformance(t *testing.T) {
	devicetest.Run(t, func(t *testing.T) gpuload.Device { return newShareableCPU(t) })
}

func TestCPUExport(t *testing.T) {
	dev := newShareableCPU(t)
	m, err := dev.Alloc(5)
	if err != nil {
		t.Fatal(err)
	}
	path, err := m.Export()
	if err != nil {
		t.Fatal(err)
	}
	check(t, os.WriteFile(string(path), []byte("hello"), 0))
	got := make([]byte, 5)
	if _, err := m.ReadAt(got, 0); err != nil || string(got) != "hello" {
		t.Errorf("the memory holds %q, %v", got, err)
	}
	check(t, dev.Close())

	plain := newCPU(t, 0)
	m, err = plain.Alloc(5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Export(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a device that is not shareable: %v, want ErrUnsupported", err)
	}
	check(t, plain.Close())
}

func newShareableCPU(t *testing.T) *gpuload.CPU {
	t.Helper()
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{Shareable: true})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func TestCPUMemoryLimit(t *testing.T) {
	dev := newCPU(t, 1000)
	defer func() { check(t, dev.Close()) }()
	first, err := dev.Alloc(600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dev.Alloc(401); !errors.Is(err, gpuload.ErrOutOfMemory) {
		t.Errorf("Alloc beyond the limit: %v, want ErrOutOfMemory", err)
	}
	check(t, first.Free())
	if _, err := dev.Alloc(1000); err != nil {
		t.Errorf("Alloc after Free: %v", err)
	}
	if err := first.Free(); err == nil {
		t.Error("second Free: want an error")
	}
}

func TestCPUNegativeLimit(t *testing.T) {
	if _, err := gpuload.NewCPU(gpuload.CPUConfig{MemoryLimit: -1}); err == nil {
		t.Error("want an error")
	}
}

func newCPU(t testing.TB, limit int64) *gpuload.CPU {
	t.Helper()
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{MemoryLimit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
