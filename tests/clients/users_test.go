package clients

import (
	"strings"
	"testing"
)

// asNobody runs a command as another user, who has no rights beyond his own.
const asNobody = `setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all `

// TestOtherUsers holds that others read with --allow-other, and are kept out
// without, as FUSE does it.
func TestOtherUsers(t *testing.T) {
	for kind, source := range sources() {
		t.Run(kind+" without", func(t *testing.T) {
			dir := mount(t, source)
			if r := run(t, "/", asNobody+`ls "$DIR"`, "DIR="+dir); r.Code == 0 || !strings.Contains(r.Stderr, "Permission denied") {
				t.Errorf("exit %d: %s", r.Code, r.Stderr)
			}
		})
		t.Run(kind+" with", func(t *testing.T) {
			dir := mount(t, source, "--allow-other")
			output(t, dir, `sed 's/ \*\?/ /' "$2" | `+asNobody+`sha256sum -c --quiet -`)
		})
		t.Run(kind+" with, but no permission", func(t *testing.T) {
			dir := mount(t, source, "--allow-other", "--file-mode", "0600", "--dir-mode", "0711")
			if r := run(t, dir, asNobody+`cat text/config.json`); r.Code == 0 || !strings.Contains(r.Stderr, "Permission denied") {
				t.Errorf("exit %d: %s", r.Code, r.Stderr)
			}
		})
	}
}
