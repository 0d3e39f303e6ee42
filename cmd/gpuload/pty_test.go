package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal makes a terminal of 120 columns and returns its two ends.
func openTerminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(screen.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 120}); err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

// TestProgressOnATerminal holds that a terminal gets a bar with bytes, rate and
// time left.
func TestProgressOnATerminal(t *testing.T) {
	screen, tty := openTerminal(t)
	mode, err := parseProgress("auto", false, tty)
	if err != nil || mode != progressBar {
		t.Fatalf("progress %d, %v: want a bar", mode, err)
	}
	var shown bytes.Buffer
	var reading sync.WaitGroup
	seen := make(chan struct{})
	moving := regexp.MustCompile(`MiB / 10.00 GiB .*% .*iB p/s (ETA )?[0-9]`)
	reading.Go(func() {
		buf := make([]byte, 4096)
		for found := false; ; {
			n, err := screen.Read(buf)
			shown.Write(buf[:n])
			if !found && moving.Match(shown.Bytes()) {
				found = true
				close(seen)
			}
			if err != nil { // EIO: the other end is closed
				return
			}
		}
	})
	bar := mode.start(10<<30, tty)
	for hung := time.After(2 * time.Minute); ; {
		bar.add(1 << 20)
		select {
		case <-seen:
		case <-hung:
		case <-time.After(10 * time.Millisecond):
			continue
		}
		break
	}
	bar.finish()
	if err := tty.Close(); err != nil {
		t.Error(err)
	}
	reading.Wait()
	if !moving.Match(shown.Bytes()) {
		t.Errorf("the terminal shows %q, want bytes, rate and time left", shown.Bytes())
	}
	if err := screen.Close(); err != nil {
		t.Error(err)
	}
}
