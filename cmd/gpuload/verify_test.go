package main

import (
	"errors"
	"strings"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/manifest"
)

// unreliableDevice keeps one bit wrong of each copy of that many bytes.
type unreliableDevice struct {
	gpuload.Device
	size int
}

func (d *unreliableDevice) NewStream() (gpuload.Stream, error) {
	s, err := d.Device.NewStream()
	if err != nil {
		return nil, err
	}
	return &unreliableStream{s, d}, nil
}

type unreliableStream struct {
	gpuload.Stream
	device *unreliableDevice
}

func (s *unreliableStream) Copy(dst gpuload.Memory, off int64, src gpuload.Staging, begin, n int) error {
	if err := s.Stream.Copy(dst, off, src, begin, n); err != nil || n != s.device.size {
		return err
	}
	wrong, err := s.device.NewStaging(1) // freed with the device
	if err != nil {
		return err
	}
	wrong.Bytes()[0] = src.Bytes()[begin+n-1] ^ 1
	return s.Stream.Copy(dst, off+int64(n-1), wrong, 0, 1)
}

// TestVerifyFindsAWrongBit checks loads onto a device, and onto one whose memory
// differs from what was copied to it in one bit of tensor "b", against their own
// source: what is compared is what lies on the device.
func TestVerifyFindsAWrongBit(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		want string // what the error has after the source's name
	}{
		"right": {size: -1},
		"wrong": {size: 6, want: `: tensor "b" of b.safetensors has digest`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := smallModel(t)
			err := verifyOn(t, dir, c.size)
			if want := "verify against " + dir + c.want; (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

// verifyOn loads dir onto a device that is wrong about copies of size bytes, and
// verifies it.
func verifyOn(t *testing.T, dir string, size int) error {
	t.Helper()
	src, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	cpu, err := gpuload.NewCPU(gpuload.CPUConfig{})
	if err != nil {
		t.Fatal(err)
	}
	model, err := gpuload.Load(t.Context(), &unreliableDevice{cpu, size}, src, gpuload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &loadPlan{flags: &loadFlags{verify: true}, hash: manifest.XXH3}
	verified := p.check(t.Context(), src, model)
	if err := errors.Join(model.Close(), cpu.Close(), src.Close()); err != nil {
		t.Error(err)
	}
	return verified
}
