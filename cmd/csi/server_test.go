package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestSocket holds that a socket has its name once it is shown, in place of a
// predecessor's, and that the end of that one leaves it alone.
func TestSocket(t *testing.T) {
	name := filepath.Join(t.TempDir(), "csi.sock")
	make := func() *socket {
		t.Helper()
		s, err := listen("unix://" + name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	show := func(s *socket) {
		t.Helper()
		if err := s.show(); err != nil {
			t.Fatal(err)
		}
	}
	reaches := func(s *socket) {
		t.Helper()
		conn, err := net.Dial("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		info, err := os.Lstat(name)
		if err != nil || !os.SameFile(info, s.info) {
			t.Errorf("it is not the one that is reached: %v", err)
		}
	}
	first := make()
	if _, err := os.Lstat(name); err == nil {
		t.Error("it is there before it is shown")
	}
	show(first)
	reaches(first)
	second := make()
	reaches(first)
	show(second)
	reaches(second)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	reaches(second)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	unshown := make()
	if err := unshown.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := make()
	defer other.Close()
	if err := other.show(); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}
