package clients

import (
	"path/filepath"
	"testing"
)

// TestHuggingFaceHome holds that the cache of huggingface_hub can be mounted as
// HF_HOME: a folder with its links, and a bucket into which it was copied, which
// has no links but the files behind them.
func TestHuggingFaceHome(t *testing.T) {
	home, copied := makeHub(t)
	const script = `python "$SCRIPTS/hub.py"`
	hub := func(dir string) string {
		return output(t, theStage.Scratch, script, "HF_HOME="+dir, "HF_HUB_OFFLINE=1")
	}
	want := hub(copied)
	if err := theStage.upload(t.Context(), "hub", copied); err != nil {
		t.Fatal(err)
	}
	for kind, source := range map[string]string{"s3": "s3://hub", "folder": home} {
		t.Run(kind, func(t *testing.T) {
			if got := hub(mount(t, source)); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Run("lie", func(t *testing.T) {
		wrong := filepath.Join(t.TempDir(), "wrong")
		if err := lie(copied, wrong, "snapshots", flip); err != nil {
			t.Fatal(err)
		}
		if got := hub(mount(t, wrong)); got == want {
			t.Errorf("did not notice: %s", got)
		}
	})
}

// TestLinks holds that the links of a folder are shown as they are, and lead to
// the same files.
func TestLinks(t *testing.T) {
	home, _ := makeHub(t)
	const script = `find . -type l -printf '%P %l %s\n' | sort; find -L . -type f -print0 | sort -z | xargs -0 sha256sum
		cd hub/*/snapshots/* && ls -L | sort && readlink -f config.json | xargs basename`
	if got, want := output(t, mount(t, home), script), output(t, home, script); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// makeHub makes a cache with its links, and a copy in which they are files.
func makeHub(t *testing.T) (home, copied string) {
	t.Helper()
	home, copied = filepath.Join(t.TempDir(), "home"), filepath.Join(t.TempDir(), "copied")
	output(t, theStage.tree, `python "$SCRIPTS/hub.py" text/*.json sharded/model-00001-of-00003.safetensors
		cp -rL "$HF_HOME" "$COPIED"`, "HF_HOME="+home, "COPIED="+copied)
	return home, copied
}
