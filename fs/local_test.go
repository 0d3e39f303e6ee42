package fs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/fs"
	"weightfs/remote"
)

// localStore is a folder with the file f.
func localStore(t testing.TB, data []byte) (store remote.Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := remote.OpenLocal(dir, remote.LocalConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store, dir
}

// Passthrough falls back without a word from the kernel: that no READ arrives
// is the proof that it is on.
func TestPassthrough(t *testing.T) {
	data := randomBytes(5<<20 + 7)
	store, _ := localStore(t, data)
	m := mount(t, store, options{})
	path := m.path("f")
	h := openInChild(t, path) // a second handle meanwhile
	if s := m.Stats(); s.PassthroughOpens == 0 {
		t.Skipf("no passthrough here: %s", m.log)
	}
	for _, got := range []string{
		output(t, "sha256sum", path), child(t, "mmap", path), child(t, "direct", path), h.read(0, 10<<20),
	} {
		if !strings.HasPrefix(got, digest(data)) {
			t.Errorf("a reader got %s", got)
		}
	}
	h.close()
	output(t, "cat", path)
	if s := m.Stats(); s.Reads != 0 || s.PassthroughOpens != s.Opens || s.PassthroughFallbacks != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestLocalFolderWithoutPassthrough(t *testing.T) {
	data := randomBytes(5<<20 + 7)
	store, _ := localStore(t, data)
	m := mount(t, store, options{fs: fs.Config{NoPassthrough: true}})
	if got := output(t, "sha256sum", m.path("f")); !strings.HasPrefix(got, digest(data)) {
		t.Errorf("sha256sum: %s", got)
	}
	if s := m.Stats(); s.Reads == 0 || s.PassthroughOpens != 0 {
		t.Errorf("counted %+v", s)
	}
}

// A file that was replaced after it was listed is not taken for the one that
// was listed, and is found all the same.
func TestReplacedLocalFile(t *testing.T) {
	for name, config := range map[string]fs.Config{"passthrough": {}, "through the daemon": {NoPassthrough: true}} {
		t.Run(name, func(t *testing.T) {
			store, dir := localStore(t, []byte("old"))
			m := mount(t, store, options{fs: config, ttl: -1})
			h := openInChild(t, m.path("f"))
			fresh := filepath.Join(dir, "fresh")
			if err := os.WriteFile(fresh, []byte("new content"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(fresh, filepath.Join(dir, "f")); err != nil {
				t.Fatal(err)
			}
			if got := h.read(0, 3); got != digest([]byte("old")) && got != "ESTALE" {
				t.Errorf("a handle opened before the change reads %s", got)
			}
			if got := output(t, "cat", m.path("f")); got != "new content" {
				t.Errorf("cat: %q", got)
			}
		})
	}
}
