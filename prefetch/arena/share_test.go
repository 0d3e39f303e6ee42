package arena

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// onEachBacking runs a test in memory of this process alone, and in memory that
// others can map.
func onEachBacking(t *testing.T, test func(t *testing.T, newArena func(tb testing.TB, blocks int64) *Arena)) {
	t.Run("private", func(t *testing.T) { test(t, newArena) })
	t.Run("shared", func(t *testing.T) { test(t, newSharedArena) })
}

// newSharedArena makes an arena that others can map, for the length of a test.
func newSharedArena(tb testing.TB, blocks int64) *Arena {
	tb.Helper()
	a, err := NewShared(blocks*BlockSize, MakeShared)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := a.Close(); err != nil {
			tb.Error(err)
		}
	})
	return a
}

// What is written is seen by who maps the file, at the place that Piece tells.
func TestSharedMemoryIsSeen(t *testing.T) {
	a := newSharedArena(t, 16)
	s, ok := a.Shared()
	if !ok {
		t.Fatal("not shared")
	}
	n := a.Add(owner{}, 4*mib, 1)
	for lo := int64(0); lo < 4*mib; lo += mib {
		c, ok := a.Claim(n, lo, lo+mib, 16)
		if !ok {
			t.Fatal("no room")
		}
		copy(a.Memory(c, lo), bytes.Repeat([]byte{byte(1 + lo/mib)}, mib))
		a.Land(c, lo, lo+mib)
	}
	var l Lease
	if hit, _, err := a.Hit(&l, n, 0, 4*mib); !hit || err != nil {
		t.Fatal(hit, err)
	}
	defer a.Release(&l)
	at := int64(0)
	for _, some := range a.AppendSlices(nil, &l, 0, 4*mib) {
		p := a.Piece(some)
		seen := make([]byte, p.Length)
		if _, err := s.ReadOnly.ReadAt(seen, p.Offset); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(seen, some) || seen[0] != byte(1+at/mib) {
			t.Errorf("%+v of the file differs from the memory", p)
		}
		if p.Offset+p.Length > a.Watermark() || a.Watermark() > s.Size {
			t.Errorf("%+v: the watermark is %d of %d", p, a.Watermark(), s.Size)
		}
		at += p.Length
	}
}

// Who has the read-only file has no way to write.
func TestSharedMemoryIsReadOnly(t *testing.T) {
	a := newSharedArena(t, 16)
	s, _ := a.Shared()
	fd := int(s.ReadOnly.Fd())
	for _, path := range []string{fmt.Sprintf("/proc/self/fd/%d", fd), fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)} {
		for _, flags := range []int{unix.O_RDWR, unix.O_WRONLY, unix.O_RDWR | unix.O_TRUNC} {
			if again, err := unix.Open(path, flags, 0); !errors.Is(err, unix.EROFS) {
				t.Errorf("opened anew with %#x: %v", flags, err)
				_ = unix.Close(again)
			}
		}
	}
	if _, err := unix.Mmap(fd, 0, mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EACCES) {
		t.Errorf("mapped for writing: %v", err)
	}
	mapping, err := unix.Mmap(fd, 0, mib, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapping)
	if err := unix.Mprotect(mapping, unix.PROT_READ|unix.PROT_WRITE); !errors.Is(err, unix.EACCES) {
		t.Errorf("made writable: %v", err)
	}
	self, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if _, err := self.WriteAt([]byte{1}, int64(uintptr(pointer(mapping)))); err == nil {
		t.Error("written through /proc/self/mem")
	}
	for name, change := range map[string]func() error{
		"truncate":  func() error { return unix.Ftruncate(fd, 0) },
		"fallocate": func() error { return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, mib) },
		"write":     func() error { _, err := unix.Pwrite(fd, []byte{1}, 0); return err },
		"chmod":     func() error { return unix.Fchmod(fd, 0o777) },
		"madvise":   func() error { return unix.Madvise(mapping, unix.MADV_REMOVE) },
	} {
		if change() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The files end with the arena.
func TestSharedMemoryEnds(t *testing.T) {
	a, err := NewShared(16*mib, MakeShared)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := a.Shared()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Shared(); ok {
		t.Error("a closed arena is shared")
	}
	if _, err := io.ReadFull(s.ReadOnly, make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is open: %v", err)
	}
}

// Memory that goes back to the node goes back although another process has it
// mapped, and has touched it.
func TestGiveBackUnderAClient(t *testing.T) {
	a := newSharedArena(t, 64)
	n := a.Add(owner{}, 64*mib, 1)
	for index := range int64(64) {
		c, ok := a.Claim(n, index*mib, (index+1)*mib, 64)
		if !ok {
			t.Fatal("no room")
		}
		clear(a.Memory(c, c.Lo))
		a.Land(c, c.Lo, c.Hi)
		read(t, a, n, c.Lo, c.Hi)
	}
	s, _ := a.Shared()
	client, err := MapShared(int(s.ReadOnly.Fd()), s.Size, unix.PROT_READ)
	if err != nil {
		t.Fatal(err)
	}
	defer Unmap(client)
	sum := 0
	for off := 0; off < len(client); off += 4096 {
		sum += int(client[off])
	}
	if sum != 0 {
		t.Errorf("the client sees %d", sum)
	}
	a.GiveBack(6)
	var st unix.Stat_t
	if err := unix.Fstat(int(s.ReadOnly.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if held := st.Blocks * 512; held > 6*mib {
		t.Errorf("the file has %d MiB after the memory was given back", held/mib)
	}
}
