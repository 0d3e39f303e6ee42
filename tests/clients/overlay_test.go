package clients

import (
	"fmt"
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
			output(t, theStage.Scratch, workOnOverlay, "LOWER="+lower)
		})
	}
	t.Run("lie", func(t *testing.T) {
		refuse(t, theStage.Scratch, workOnOverlay, "did NOT match", "a lower layer with wrong bytes passed for the original", "LOWER="+theStage.flipped)
	})
}

// TestOverlayOfFolderMount holds that a mount of a folder is a lower layer with the
// same content, unless the kernel passes reads through to the folder's files: then
// it is a layer on another already, and overlayfs refuses it as too deep a stack.
func TestOverlayOfFolderMount(t *testing.T) {
	const read = writable + `sha256sum -c --quiet "$2"`
	dir := mount(t, theStage.tree)
	output(t, dir, `sha256sum -c --quiet "$2"`)
	status := output(t, "/", fmt.Sprintf("%q status --json %q", theStage.Mountd, dir))
	if strings.Contains(status, `"passthrough_opens_total":0,"`) {
		t.Log("no passthrough")
		output(t, theStage.Scratch, read, "LOWER="+dir)
	} else {
		refuse(t, theStage.Scratch, read, "mount: ", "a stack that is too deep", "LOWER="+dir)
	}
	output(t, dir, `sha256sum -c --quiet "$2"`)
}
