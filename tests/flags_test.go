package tests

import (
	"strings"
	"testing"
)

// TestFlagsAreDocumented holds that docs/flags.md says of every flag what --help
// says now.
func TestFlagsAreDocumented(t *testing.T) {
	t.Parallel()
	written := output(t, "../deploy/package/pages.sh", "flags")
	if strings.Count(written, "\n| `") < 60 || !strings.Contains(written, "| `WEIGHTFS_MEMORY_LIMIT` |") {
		t.Fatalf("pages.sh writes\n%s", written)
	}
	if written != readText(t, "../docs/flags.md") {
		t.Error("docs/flags.md is not what --help says: run make docs")
	}
}
