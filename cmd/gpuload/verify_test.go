package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/manifest"
)

// TestVerifyFindsAWrongBit checks what lies on the device against a source that
// differs in one bit of one tensor.
func TestVerifyFindsAWrongBit(t *testing.T) {
	dir, other := smallModel(t), smallModel(t)
	path := filepath.Join(other, "b.safetensors")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(dir string) *gpuload.Source {
		src, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	same, wrong := open(dir), open(other)
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{})
	if err != nil {
		t.Fatal(err)
	}
	model, err := gpuload.Load(t.Context(), dev, same, gpuload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &loadPlan{flags: &loadFlags{verify: true}, hash: manifest.XXH3}
	if err := p.check(t.Context(), same, model); err != nil {
		t.Errorf("the source itself: %v", err)
	}
	err = p.check(t.Context(), wrong, model)
	if err == nil || !strings.Contains(err.Error(), `verify against `+other+`: tensor "b" of b.safetensors has digest`) {
		t.Errorf("%v: want the tensor with the wrong bit", err)
	}
	if err := errors.Join(model.Close(), dev.Close(), same.Close(), wrong.Close()); err != nil {
		t.Error(err)
	}
}
