//go:build !race

package arena

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const raceEnabled = false

// residentBytes is how much of this process's memory is resident.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// An arena of 1 TiB that was reserved and not touched costs nothing.
func TestReservedMemoryIsNotResident(t *testing.T) { onEachBacking(t, testReservedMemoryIsNotResident) }

func testReservedMemoryIsNotResident(t *testing.T, newArena func(testing.TB, int64) *Arena) {
	before := residentBytes(t)
	a := newArena(t, 1<<20)
	n := a.Add(owner{}, 1<<40, 1)
	if !fill(a, n, 1<<39, 1<<39+mib) {
		t.Fatal("no room")
	}
	if grown := residentBytes(t) - before; grown > 64*mib {
		t.Errorf("%d MiB are resident", grown/mib)
	}
}

// residentFrames counts the frames whose first page is.
func residentFrames(t *testing.T, a *Arena) (n int64) {
	t.Helper()
	pages := make([]byte, len(a.memory)/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&a.memory[0])), uintptr(len(a.memory)),
		uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for i := 0; i < len(pages); i += BlockSize / os.Getpagesize() {
		n += int64(pages[i] & 1)
	}
	return n
}

// Idle memory goes back: what is free first, then what was read longest ago. What
// is leased stays.
func TestGiveBack(t *testing.T) { onEachBacking(t, testGiveBack) }

func testGiveBack(t *testing.T, newArena func(testing.TB, int64) *Arena) {
	a := newArena(t, 64)
	n := a.Add(owner{}, 64*mib, 1)
	for index := range int64(64) {
		c, ok := a.Claim(n, index*mib, (index+1)*mib, 64)
		if !ok {
			t.Fatal("no room")
		}
		clear(a.Memory(c, c.Lo)) // which makes it resident
		a.Land(c, c.Lo, c.Hi)
		read(t, a, n, c.Lo, c.Hi)
	}
	var l Lease
	if hit, _, _ := a.Hit(&l, n, 0, mib); !hit {
		t.Fatal("not there")
	}
	a.GiveBack(6)
	a.check(t)
	if got := residentFrames(t, a); got > 6 || a.Stats().Resident != 6 {
		t.Errorf("%d frames are resident, %d by the books", got, a.Stats().Resident)
	}
	if !a.Has(n, 0, mib) || !a.Has(n, 59*mib, 64*mib) || a.Has(n, mib, 2*mib) {
		t.Error("what was read last, or is leased, was to stay")
	}
	a.Release(&l)
	for index := range int64(64) {
		if !a.Has(n, index*mib, (index+1)*mib) && !fill(a, n, index*mib, (index+1)*mib) {
			t.Fatal("memory that was given back cannot be used")
		}
	}
	if got := a.Stats().Resident; got != 64 {
		t.Errorf("%d frames are resident, want all", got)
	}
	a.check(t)
}

// Fresh memory is made ready in steps, and no more than is of use.
func TestTouch(t *testing.T) { onEachBacking(t, testTouch) }

func testTouch(t *testing.T, newArena func(testing.TB, int64) *Arena) {
	a := newArena(t, 100)
	steps := 0
	for a.Touch() {
		steps++
	}
	if got := residentFrames(t, a); got < 100/readyShare || got > 100/readyShare+1 || steps != 2 { // pages are huge
		t.Errorf("%d frames are resident after %d steps", got, steps)
	}
	n := a.Add(owner{}, 100*mib, 1)
	fill(a, n, 0, 80*mib)
	for a.Touch() {
		steps++
	}
	if got := a.Stats().Resident; got != 100 {
		t.Errorf("%d frames are resident, want all that are left", got)
	}
	a.GiveBack(90)
	if got := a.Stats().Resident; got != 80 {
		t.Errorf("%d frames are resident, want those that are used", got)
	}
	a.check(t)
}

// What somebody keeps is not given back, until he no longer does.
func TestKeptMemoryStays(t *testing.T) { onEachBacking(t, testKeptMemoryStays) }

func testKeptMemoryStays(t *testing.T, newArena func(testing.TB, int64) *Arena) {
	a := newArena(t, 64)
	n := a.Add(owner{}, 64*mib, 1)
	for index := range int64(64) {
		if !fill(a, n, index*mib, (index+1)*mib) {
			t.Fatal("no room")
		}
		read(t, a, n, index*mib, (index+1)*mib)
	}
	a.Keep()
	a.Keep()
	a.Unkeep()
	a.GiveBack(6)
	if got := a.Stats().Resident; got != 64 || !a.Has(n, 0, 64*mib) {
		t.Errorf("%d frames of 64 are left", got)
	}
	a.Unkeep()
	a.GiveBack(6)
	if got := a.Stats().Resident; got != 6 {
		t.Errorf("%d frames are left, want 6", got)
	}
	a.check(t)
}
