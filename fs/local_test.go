package fs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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
		t.Fatalf("no passthrough: %s", m.log)
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

// overlay mounts an overlay of the folder below at dir for the time of the test.
func overlay(t *testing.T, below, dir string) {
	t.Helper()
	options := "lowerdir=" + below + ":" + t.TempDir()
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, options); err != nil {
		t.Fatalf("mount overlay: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// Files on overlayfs are passed through, as containers have them. One on an
// overlay of an overlay cannot be, and takes nothing from the others.
func TestPassthroughIsDecidedPerFile(t *testing.T) {
	data := randomBytes(1 << 20)
	store, dir := localStore(t, data)
	once, twice := filepath.Join(dir, "once"), filepath.Join(dir, "twice")
	for _, sub := range []string{once, twice} {
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	below := t.TempDir()
	if err := os.WriteFile(filepath.Join(below, "f"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	overlay(t, below, once)
	overlay(t, once, twice)
	m := mount(t, store, options{})
	for _, key := range []string{"once/f", "twice/f", "f", "twice/f", "once/f"} {
		if got := output(t, "sha256sum", m.path(key)); !strings.HasPrefix(got, digest(data)) {
			t.Errorf("%s: %s", key, got)
		}
	}
	s := m.Stats()
	if s.PassthroughOpens+s.PassthroughFallbacks == 0 {
		t.Fatalf("no passthrough: %s", m.log)
	}
	if s.PassthroughOpens != 3 || s.PassthroughFallbacks != 2 {
		t.Errorf("%d files were passed through and %d were not, want 3 and 2", s.PassthroughOpens, s.PassthroughFallbacks)
	}
	if got := strings.Count(m.log.String(), "no passthrough for a file"); got != 1 {
		t.Errorf("%d warnings, want 1", got)
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
