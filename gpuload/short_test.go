package gpuload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"weightfs/remote"
)

// shortStore is a store whose bodies end early, without an error.
type shortStore struct {
	remote.Store
	content []byte
	ends    int64 // no body has a byte from here on
}

func (s shortStore) OpenRange(_ context.Context, _ remote.Object, off, n int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.content[min(off, s.ends):min(off+n, s.ends)])), nil
}

// TestShortRead holds that bytes that do not come are an error, never zeroes.
func TestShortRead(t *testing.T) {
	slow := slowSource(0).files[0]
	store := shortStore{content: slow.blob.(*slowBlob).content, ends: 5*overlapPart + 100}
	file := newFile("short", "s3://b/short", slow.size, &objectBlob{store: store})
	dev, err := NewCPU(CPUConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load(t.Context(), dev, &Source{label: "short", files: []*File{file}}, Options{PartSize: overlapPart, Concurrency: 1})
	where := fmt.Sprintf(`load s3://b/short [%d,%d), tensor "b": after 100 of %d bytes: unexpected EOF`, 5*overlapPart, 6*overlapPart, overlapPart)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), where) {
		t.Errorf("%v, want %s", err, where)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}
