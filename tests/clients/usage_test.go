package clients

import "testing"

// TestDiskUsage holds that du without -b counts of each file the blocks that its
// size fills: the originals' file system allocates by more, so that it can be no
// witness, and fewer would be a hole to tools that look for them.
func TestDiskUsage(t *testing.T) {
	for kind, source := range sources() {
		t.Run(kind, func(t *testing.T) {
			output(t, mount(t, source), `
				blocks() { find . -type f -printf '%s\t%p\n' | awk -F '\t' '{ printf "%d\t%s\n", ($1 + 511) / 512, $2 }' | sort; }
				(cd "$1" && blocks) >"$TMP/want"
				find . -type f -print0 | du --count-links --block-size=512 --files0-from=- | sort >"$TMP/got"
				[[ -s "$TMP/got" ]]
				diff "$TMP/want" "$TMP/got" >&2`)
		})
	}
}
