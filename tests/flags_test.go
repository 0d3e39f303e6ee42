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
	for _, want := range []string{"\n## mountd\n", "\n## gpuload load\n", "\n## weightfs-csi\n", "| `WEIGHTFS_MEMORY_LIMIT` |"} {
		if strings.Count(written, "\n| `") < 60 || !strings.Contains(written, want) {
			t.Fatalf("pages.sh writes, with no %q,\n%s", want, written)
		}
	}
	if written != readText(t, "../docs/flags.md") {
		t.Error("docs/flags.md is not what --help says: run make docs")
	}
}
