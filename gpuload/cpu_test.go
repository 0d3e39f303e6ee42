package gpuload_test

import (
	"errors"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/devicetest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCPUConformance(t *testing.T) {
	devicetest.Run(t, func(t *testing.T) gpuload.Device { return newCPU(t, 0) })
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
