package main

import (
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"weightfs/cmd/mountd/monitor"
)

// TestSuccessorKeepsItsSocket ends a mount after another took its place.
func TestSuccessorKeepsItsSocket(t *testing.T) {
	m := &mounted{Mount: monitor.Mount{Mountpoint: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}}
	name, err := controlSocket(os.LookupEnv, m.Mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	first, err := m.serveControl()
	if err != nil {
		t.Fatal(err)
	}
	second, err := m.serveControl()
	if err != nil {
		t.Fatal(err)
	}
	if err := first(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(name); err != nil {
		t.Errorf("after the end of the first: %v", err)
	}
	if err := second(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(name); !os.IsNotExist(err) {
		t.Errorf("after the end of both: %v", err)
	}
}

// TestSignalAtTheEndOfTheStart holds that no signal is lost to a start that ends
// as it comes.
func TestSignalAtTheEndOfTheStart(t *testing.T) {
	for range 1000 {
		a := &app{signals: make(chan os.Signal, 2)}
		_, stop := a.untilSignal()
		go func() { a.signals <- syscall.SIGTERM }()
		stop()
		select {
		case <-a.signals:
		case <-time.After(time.Minute): // bounds a hang
			t.Fatal("the signal is lost")
		}
	}
}
