package tests

import (
	"regexp"
	"strings"
	"testing"
)

// TestNothingIsSkipped holds that no test passes by not running: what a test needs,
// the machine has. The one that may go by is for a driver that is no stand-in, on a
// machine with a GPU.
func TestNothingIsSkipped(t *testing.T) {
	t.Parallel()
	skips := regexp.MustCompile(`\.Skip(f|Now)?\(`)
	all := 0
	for name := range strings.Lines(output(t, "git", "-C", "..", "ls-files", "*.go")) {
		name = strings.TrimSpace(name)
		all++
		if n := len(skips.FindAllString(readText(t, "../"+name), -1)); n > 0 && name != "gpuload/cuda/opening_test.go" && name != "tests/skips_test.go" {
			t.Errorf("%s skips, %d times", name, n)
		}
	}
	if all < 100 {
		t.Errorf("%d files were looked at", all)
	}
}
