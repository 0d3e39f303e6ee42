// Package packages tests how weightfs comes onto a node and off it again, by the
// means that are shipped: "make install", the Debian package in a Debian made for
// the test, and the tarballs of a release.
package packages

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// hangLimit bounds one child: a compiler that starts from nothing, or a mirror of
// Debian, may take minutes.
const hangLimit = 15 * time.Minute

// TestMain makes what several tests would make at once.
func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	root, err := rig.Root()
	if err == nil {
		_, err = rig.Output(ctx, nil, "env", makeLine(root, "bin/share")...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// makeLine is the command line, for env, of a make that knows nothing of the one
// that started the test.
func makeLine(dir string, args ...string) []string {
	return append([]string{"-u", "MAKEFLAGS", "-u", "MFLAGS", "-u", "MAKELEVEL", "make", "-s", "-C", dir}, args...)
}

// output runs a child that must succeed, and returns what it printed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), hangLimit)
	defer cancel()
	out, err := rig.Output(ctx, nil, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// makeIn makes targets in the source tree dir.
func makeIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return output(t, "env", makeLine(dir, args...)...)
}

func sourceRoot(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// filesBelow are the files and links below dir, by their path from there.
func filesBelow(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	found := map[string]fs.FileInfo{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		found[strings.TrimPrefix(path, dir)], err = entry.Info()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
