package clients

import (
	"testing"
)

// TestOverlay holds that a mount of a bucket can be the lower layer of overlayfs,
// for tools that insist on writing: everything is read through it, what is
// written lands in the upper layer, and the mount stays what it is. A folder of
// this host needs no mount for that; it can be the lower layer itself.
func TestOverlay(t *testing.T) {
	dir := mount(t, "s3://"+bucket)
	output(t, theStage.scratch, `
		mkdir "$TMP/upper" "$TMP/work" "$TMP/merged"
		mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$TMP/upper,workdir=$TMP/work" "$TMP/merged"
		trap 'cd / && umount "$TMP/merged"' EXIT
		cd "$TMP/merged"
		sha256sum -c --quiet "$2"
		mkdir trained/.locks
		touch trained/.locks/model.lock
		echo changed >>text/config.json
		rm many/file-1-*
		[[ $(tail -c 8 text/config.json) == changed && ! -e $(echo many/file-1-*) ]]
		head -c -8 text/config.json | cmp - "$1/text/config.json"
		python "$SCRIPTS/import_module.py" . >/dev/null
		[[ -d package/__pycache__ && $(find "$TMP/upper" -type f | wc -l) -ge 4 ]]
		cd "$LOWER"
		sha256sum -c --quiet "$2"`, "LOWER="+dir)
}
