package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The helper's files are those that mountd makes where it can by itself: one to
// write, and one that nobody can make so. Its mount is not seen by anybody.
func TestFilesOfHelper(t *testing.T) {
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	const size = 16 << 20
	s, err := filesOfHelper(size)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Writable.Close()
	defer s.ReadOnly.Close()
	if _, err := s.Writable.WriteAt([]byte("weights"), size-7); err != nil {
		t.Error(err)
	}
	seen := make([]byte, 7)
	if _, err := s.ReadOnly.ReadAt(seen, size-7); err != nil || string(seen) != "weights" {
		t.Errorf("%q is read: %v", seen, err)
	}
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", s.ReadOnly.Fd()), unix.O_RDWR, 0)
	if !errors.Is(err, unix.EROFS) {
		t.Errorf("opened anew for writing: %v", err)
		_ = unix.Close(again)
	}
	if info, err := s.Writable.Stat(); err != nil || info.Size() != size || s.Size != size {
		t.Errorf("%v: %+v", err, info)
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Count(string(after), "tmpfs weightfs") != strings.Count(string(before), "tmpfs weightfs") {
		t.Errorf("%v: a mount was left: %s", err, after)
	}
}
