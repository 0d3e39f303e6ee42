package clients

import (
	"maps"
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
	const script = `python "$SCRIPTS/posix.py"`
	original := byName(t, output(t, theStage.tree, script))
	want := maps.Clone(original)
	for name, answer := range differences() {
		want[name] = answer
	}
	for kind, source := range sources() {
		t.Run(kind, func(t *testing.T) {
			compare(t, byName(t, output(t, mount(t, source), script)), want)
		})
	}
	for name, tree := range map[string]string{"a wrong byte": theStage.flipped, "a byte too many": theStage.longer} {
		t.Run("lie/"+name, func(t *testing.T) {
			if r := run(t, tree, script); r.Code == 0 && maps.Equal(byName(t, r.Stdout), original) {
				t.Error("it passed for the original")
			}
		})
	}
}

// byName splits lines of the form "NAME: ANSWER".
func byName(t *testing.T, lines string) map[string]string {
	t.Helper()
	answers := map[string]string{}
	for line := range strings.Lines(lines) {
		name, answer, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			t.Fatalf("no answer in %q", line)
		}
		answers[name] = answer
	}
	return answers
}

// compare reports each answer that is not the wanted one.
func compare(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, answer := range want {
		if got[name] != answer {
			t.Errorf("%s: got %q, want %q", name, got[name], answer)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d answers, want %d", len(got), len(want))
	}
}
