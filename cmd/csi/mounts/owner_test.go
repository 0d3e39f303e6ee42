package mounts

import (
	"errors"
	"testing"
)

// TestOwner holds that the one that came last owns the folder, when what the one before
// had begun has ended, and that that one begins nothing more.
func TestOwner(t *testing.T) {
	dir := t.TempDir()
	first, err := own(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	end, err := first.begin()
	if err != nil {
		t.Fatal(err)
	}
	other, err := first.begin() // at the same time
	if err != nil {
		t.Fatal(err)
	}
	other()
	owned := make(chan *owner)
	go func() {
		second, err := own(dir)
		if err != nil {
			t.Error(err)
		}
		owned <- second
	}()
	for first.check() == nil {
	}
	if _, err := first.begin(); !errors.Is(err, ErrReplaced) {
		t.Errorf("the one before begins: %v", err)
	}
	select {
	case <-owned:
		t.Error("it owns the folder before the last change has ended")
	default:
	}
	end()
	second := <-owned
	defer second.close()
	if end, err = second.begin(); err != nil {
		t.Fatal(err)
	}
	end()
	if err := first.check(); !errors.Is(err, ErrReplaced) {
		t.Errorf("the one before: %v", err)
	}
}
