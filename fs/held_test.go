package fs

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// held are the descriptors of an attachment that was served once, in any order.
func heldFiles(t *testing.T) (a *Attachment, files []*os.File) {
	t.Helper()
	l := leave(t)
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := "/mnt/no UTF-8: \xff"
	a = &Attachment{Dir: dir, fd: device, entry: mountEntry{0, 7, dir, fsType, "/models \xff"}, state: l.file}
	t.Cleanup(func() { unix.Close(device) })
	files, err = a.Hold("eu-west-1")
	if err != nil {
		t.Fatal(err)
	}
	rand.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	return a, files
}

// An attachment that somebody has held is what it was.
func TestHeld(t *testing.T) {
	a, files := heldFiles(t)
	got, note, served, err := Held(files)
	if err != nil || note != "eu-west-1" || served != 1 {
		t.Fatalf("held is %q, served by %d: %v", note, served, err)
	}
	defer got.Close()
	if got.Dir != a.Dir || got.helper != a.helper || got.entry != a.entry || got.fd == a.fd || got.state == a.state {
		t.Errorf("held is %+v of %+v", got, a)
	}
	if err := got.Check(storeOfF(), Config{}); err != nil {
		t.Error(err)
	}
	if _, err := (&Attachment{fd: a.fd}).Hold(""); err == nil {
		t.Error("what is not kept is held")
	}
}

// Where a descriptor is missing, or the state is of another version, nothing is taken
// over, and nothing stays open.
func TestHeldInPart(t *testing.T) {
	for missing := range 3 {
		_, files := heldFiles(t)
		left := append(files[:missing:missing], files[missing+1:]...)
		if _, _, _, err := Held(left); !errors.Is(err, ErrOther) {
			t.Errorf("of two descriptors: %v", err)
		}
		for _, file := range left {
			if err := file.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("a descriptor stays open: %v", err)
			}
		}
		if err := files[missing].Close(); err != nil {
			t.Error(err)
		}
	}
	a, files := heldFiles(t)
	if _, err := a.state.WriteAt([]byte{99}, 8); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := Held(files); !errors.Is(err, ErrOther) {
		t.Errorf("of another version: %v", err)
	}
}
