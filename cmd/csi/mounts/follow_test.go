package mounts

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFollower holds that each whole line of a log is copied once, that a
// successor copies what is new, and that a long log is emptied.
func TestFollower(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, strings.Repeat("a", 32), "log")
	if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	write := func(text string) {
		t.Helper()
		if _, err := log.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	check := func(f *follower, lines ...string) {
		t.Helper()
		f.copyAll()
		var got []string
		for line := range strings.Lines(out.String()) {
			_, text, _ := strings.Cut(strings.TrimSpace(line), " line=")
			got = append(got, text)
		}
		if strings.Join(got, "|") != strings.Join(lines, "|") {
			t.Errorf("copied %q, want %q", got, lines)
		}
		out.Reset()
	}
	f := newFollower(Config{Dir: dir, Logger: logger})
	write("one\ntwo\nhal")
	check(f, "one", "two")
	check(f)
	write("f\n")
	check(f, "half")
	successor := newFollower(Config{Dir: dir, Logger: logger})
	write("three\n")
	check(successor, "three")
	long := strings.Repeat("x", maxLog)
	write(long)
	check(successor, long)
	if info, err := os.Stat(name); err != nil || info.Size() != 0 {
		t.Errorf("the log was not emptied: %v, %v", info, err)
	}
	write("four\n")
	check(successor, "four")
	write("a longer line\n")
	check(successor, "\"a longer line\"")
	if err := log.Truncate(0); err != nil { // as by the driver of another pod
		t.Fatal(err)
	}
	write("5\n")
	check(successor, "5")
	write("five\nsix")
	successor.copyLast(filepath.Base(filepath.Dir(name)))
	check(successor, "five")
}
