package clients

import (
	"regexp"
	"strings"
	"testing"
)

// differences are the cases in which a mount answers otherwise than the file
// system of the originals, and may.
func differences() map[string]string {
	return map[string]string{
		// There are no extended attributes, which is what tools expect to hear.
		"attribute that is not there": "ENOTSUP",
		"attributes":                  "ENOTSUP",
		// Names over 255 bytes are not shown, so that there is none.
		"name too long": "ENOENT",
	}
}

// TestReadsAsPOSIX holds that every kind of read gets from a mount what it gets
// from the file system of the originals, errors among them.
func TestReadsAsPOSIX(t *testing.T) {
	w := witness{script: `python "$SCRIPTS/posix.py"`}
	original := w.original(t)
	for name, tree := range map[string]string{"a wrong byte": theStage.flipped, "a byte too many": theStage.longer} {
		t.Run("lie/"+name, func(t *testing.T) { w.checkNotices(t, tree, original) })
	}
	want := original
	for name, answer := range differences() {
		want.Stdout = regexp.MustCompile(`(?m)^`+name+`: .*`).ReplaceAllString(want.Stdout, name+": "+answer)
	}
	for kind, source := range sources() {
		t.Run(kind, func(t *testing.T) { w.checkAgrees(t, mount(t, source), want) })
	}
}

// TestWhatToolsTry holds the errno that each attempt to change something gets,
// and that locks, which change nothing, work.
func TestWhatToolsTry(t *testing.T) {
	const script = `python "$SCRIPTS/writes.py"`
	for kind, source := range sources() {
		t.Run(kind, func(t *testing.T) { output(t, mount(t, source), script+`; sha256sum -c --quiet "$2"`) })
	}
	t.Run("lie", func(t *testing.T) {
		if r := run(t, theStage.tree, `cp -r text "$TMP"; cd "$TMP"; `+script); !strings.Contains(r.Stderr, "rename: ok, not EROFS") {
			t.Errorf("a folder that can be written to passed for a mount: exit %d: %s", r.Code, r.Stderr)
		}
	})
}

// TestDiskUsage holds that du without -b counts of each file the blocks that its
// size fills: the originals' file system allocates by more, so that it can be no
// witness, and fewer would be a hole to tools that look for them.
func TestDiskUsage(t *testing.T) {
	const script = `
		blocks() { find . -type f -printf '%s\t%p\n' | awk -F '\t' '{ printf "%d\t%s\n", ($1 + 511) / 512, $2 }' | sort; }
		(cd "$1" && blocks) >"$TMP/want"
		find . -type f -print0 | du --count-links --block-size=512 --files0-from=- | sort >"$TMP/got"
		[[ -s "$TMP/got" ]]
		diff "$TMP/want" "$TMP/got" >&2`
	for kind, source := range sources() {
		t.Run(kind, func(t *testing.T) { output(t, mount(t, source), script) })
	}
	t.Run("lie", func(t *testing.T) { refuse(t, theStage.tree, script, "", "diff: holes passed for blocks") })
}
