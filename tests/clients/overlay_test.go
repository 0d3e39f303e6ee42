package clients

import (
	"strings"
	"testing"
)

// writable is bash that mounts an overlay of $LOWER at $TMP/merged.
const writable = `
		mkdir "$TMP/upper" "$TMP/work" "$TMP/merged"
		mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$TMP/upper,workdir=$TMP/work" "$TMP/merged"
		trap 'cd / && umount "$TMP/merged"' EXIT
		cd "$TMP/merged"
`

// workOnOverlay is bash that reads everything through an overlay and writes to
// it: what is written lands in the upper layer, and $LOWER stays what it is.
const workOnOverlay = writable + `
		sha256sum -c --quiet "$2"
		mkdir trained/.locks
		touch trained/.locks/model.lock
		echo changed >>text/config.json
		rm many/file-1-*
		[[ $(tail -c 8 text/config.json) == changed && ! -e $(echo many/file-1-*) ]]
		head -c -8 text/config.json | cmp - "$1/text/config.json"
		python "$SCRIPTS/witness.py" import_module . >/dev/null
		[[ -d package/__pycache__ && $(find "$TMP/upper" -type f | wc -l) -ge 4 ]]
		cd "$LOWER"
		sha256sum -c --quiet "$2"`

// TestOverlay holds that a mount of a bucket can be the lower layer of overlayfs,
// for tools that insist on writing, and so can a folder of this host itself.
func TestOverlay(t *testing.T) {
	for name, lower := range map[string]string{"mount of s3": mount(t, "s3://"+bucket), "folder": theStage.tree} {
		t.Run(name, func(t *testing.T) {
			output(t, theStage.scratch, workOnOverlay, "LOWER="+lower)
		})
	}
	t.Run("lie", func(t *testing.T) {
		if r := run(t, theStage.scratch, workOnOverlay, "LOWER="+theStage.flipped); r.Code == 0 {
			t.Error("a lower layer with wrong bytes passed for the original")
		}
	})
}

// TestOverlayOfFolderMount holds that a mount of a folder is either a lower layer
// with the same content or none at all. A kernel that passes reads through to
// the folder's files refuses it, as too deep a stack.
func TestOverlayOfFolderMount(t *testing.T) {
	dir := mount(t, theStage.tree)
	r := run(t, theStage.scratch, writable+`sha256sum -c --quiet "$2"`, "LOWER="+dir)
	refused := strings.HasPrefix(r.Stderr, "mount: ") && r.Code == 32
	if r.Code != 0 && !refused {
		t.Errorf("exit %d: %s", r.Code, tail(r.Stderr))
	}
	t.Logf("refused: %v", refused)
	output(t, dir, `sha256sum -c --quiet "$2"`)
}
