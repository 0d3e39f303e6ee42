package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Tensor is a line of a manifest: what a reader says of one tensor.
type Tensor struct {
	Name   string  `json:"name"`
	Dtype  string  `json:"dtype"`
	Shape  []int64 `json:"shape"`
	File   string  `json:"file"`
	Nbytes int64   `json:"nbytes"`
	Digest string  `json:"digest"`
}

// ParseManifest reads JSON lines into a map by name.
func ParseManifest(text string) (map[string]Tensor, error) {
	tensors := map[string]Tensor{}
	for decoder := json.NewDecoder(strings.NewReader(text)); ; {
		var t Tensor
		if err := decoder.Decode(&t); errors.Is(err, io.EOF) {
			return tensors, nil
		} else if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		if _, twice := tensors[t.Name]; twice {
			return nil, fmt.Errorf("manifest: %q stands in it twice", t.Name)
		}
		tensors[t.Name] = t
	}
}

// Reference returns what the safetensors package for Python reads from files.
func (p *Programs) Reference(ctx context.Context, files ...string) (map[string]Tensor, error) {
	args := append([]string{filepath.Join(p.Scripts, "digests.py")}, files...)
	out, err := Output(ctx, nil, p.Python, args...)
	if err != nil {
		return nil, err
	}
	return ParseManifest(out)
}

// CompareManifest compares the manifest in a file with want.
func CompareManifest(path string, want map[string]Tensor) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	got, err := ParseManifest(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return Compare(got, want)
}

// Compare returns an error that names the first tensor in which the two differ.
// Of the files only the base names count.
func Compare(got, want map[string]Tensor) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[name]
		if !ok {
			return fmt.Errorf("tensor %q is missing", name)
		}
		w := want[name]
		if g.Dtype != w.Dtype || !slices.Equal(g.Shape, w.Shape) || g.Nbytes != w.Nbytes ||
			g.Digest != w.Digest || filepath.Base(g.File) != filepath.Base(w.File) {
			return fmt.Errorf("tensor %q is %+v, should be %+v", name, g, w)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d tensors, should be %d", len(got), len(want))
	}
	return nil
}
