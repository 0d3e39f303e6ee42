package fs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHelperThatSendsNothing has a fusermount3 mount without sending the
// descriptor: what it mounted is unmounted.
func TestHelperThatSendsNothing(t *testing.T) {
	bin := t.TempDir()
	calls := filepath.Join(bin, "calls")
	script := "#!/bin/sh\necho \"$*\" >>" + calls + "\n"
	if err := os.WriteFile(filepath.Join(bin, "fusermount3"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	fd, err := mountByHelper("/the/mountpoint", Config{Source: "source"})
	if err == nil || fd != -1 {
		t.Errorf("descriptor %d, %v", fd, err)
	}
	said, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if len(lines) != 2 || lines[1] != "-z -u -- /the/mountpoint" {
		t.Errorf("it was called with %q", lines)
	}
}
