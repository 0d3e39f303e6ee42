package gpuload

import (
	"context"
	"testing"
)

func TestHotChunks(t *testing.T) {
	h := newHotChunks()
	if h.mostlyReading() {
		t.Error("nobody reads, and reading is blamed")
	}
	for range cap(h.tokens) {
		if err := h.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !h.mostlyReading() {
		t.Error("all read, and copying is blamed")
	}
	for range cap(h.tokens) {
		h.read()
	}
	if h.mostlyReading() {
		t.Error("all are copied, and reading is blamed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.enter(ctx); err == nil {
		t.Error("one more was let in than there are tokens")
	}
	h.leave()
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
}
