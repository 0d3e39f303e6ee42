//go:build !race

package prefetch

import (
	"testing"
	"testing/synctest"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The race detector's arena is Go heap, which is resident from the start on.
func TestFreshMemoryIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newMemStore(t, nil), Config{MemoryLimit: 64 << 20})
		synctest.Wait()
		if got, want := residentBlocks(t, c.arena), 64/readyShare; got != want {
			t.Errorf("%d blocks are resident before anything is read, want %d", got, want)
		}
	})
}

func residentBlocks(t *testing.T, a *arena) int {
	t.Helper()
	const pageSize = 4096
	pages := make([]byte, len(a.memory)/pageSize)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&a.memory[0])), uintptr(len(a.memory)),
		uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	blocks := 0
	for i := 0; i < len(pages); i += blockSize / pageSize {
		blocks += int(pages[i] & 1)
	}
	return blocks
}
