package gpuload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/gpuload/safetensors"
)

func TestHeaderBudget(t *testing.T) {
	b := newHeaderBudget()
	ctx, cancel := context.WithCancel(t.Context())
	must := func(n int64) {
		t.Helper()
		if err := b.begin(ctx, "m", n); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 { // those that turn out to be none do not count
		must(safetensors.MaxHeaderBytes)
		b.end(safetensors.MaxHeaderBytes, false)
	}
	must(safetensors.MaxHeaderBytes)
	b.end(safetensors.MaxHeaderBytes, true)
	must(safetensors.MaxHeaderBytes)
	b.end(safetensors.MaxHeaderBytes, true)
	if err := b.begin(ctx, "m", 1); !errors.Is(err, safetensors.ErrHeaderTooLarge) {
		t.Errorf("a third header as long as any may be: %v", err)
	}

	b = newHeaderBudget()
	must(safetensors.MaxHeaderBytes)
	cancel()
	if err := b.begin(ctx, "m", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("while another is read: %v", err)
	}
}

// The files of a folder share one budget, and an index that is too long is not
// read.
func TestFolderIsBounded(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.safetensors", "b.safetensors"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, err := OpenSource(t.Context(), SourceConfig{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Headers(t.Context()); err != nil {
		t.Error(err)
	}
	if kept := src.files[0].headers.kept.Load(); kept != 4 || src.files[1].headers != src.files[0].headers {
		t.Errorf("%d bytes are counted of two headers of two", kept)
	}
	index := filepath.Join(dir, safetensors.DefaultIndex)
	if err := os.WriteFile(index, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(index, safetensors.MaxIndexBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSource(t.Context(), SourceConfig{}, dir); err == nil || !strings.Contains(err.Error(), "200000001 bytes") {
		t.Errorf("an index of %d bytes: %v", safetensors.MaxIndexBytes+1, err)
	}
}

// Two copies of a file are told of once for each tensor, to a limit.
func TestConflictsAreBounded(t *testing.T) {
	text := []byte("{")
	for i := range maxConflicts + 5 {
		text = fmt.Appendf(text, `"w%d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]},`, i, i, i+1)
	}
	text[len(text)-1] = '}'
	h, err := safetensors.Parse("m", text, int64(safetensors.PrefixBytes+len(text)+maxConflicts+5))
	if err != nil {
		t.Fatal(err)
	}
	f := &File{path: "m"}
	src := &Source{files: []*File{f, f}}
	if got := len(src.Problems([]*safetensors.Header{h, h})); got != maxConflicts+1 {
		t.Errorf("%d problems", got)
	}
}
