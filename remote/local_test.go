package remote_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weightfs/remote"
)

// tree makes files from a map of paths to contents; a value that starts with
// "->" makes a link, and a path that ends in a slash a folder.
func tree(t *testing.T, entries map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range entries {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		target, isLink := strings.CutPrefix(content, "->")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(strings.ReplaceAll(target, "$DIR", dir), path)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openLocal(t *testing.T, dir string) *remote.Local {
	t.Helper()
	store, err := remote.OpenLocal(dir, remote.LocalConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// content reads a whole object.
func content(t *testing.T, store remote.Store, key string) string {
	t.Helper()
	obj, err := store.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(mustRead(t, store, obj, 0, obj.Size))
}

func TestLocalLinks(t *testing.T) {
	dir := tree(t, map[string]string{
		"out/secret":      "secret",
		"in/file":         "content",
		"in/sub/deep":     "deep",
		"in/l-file":       "->file",
		"in/l-chain":      "->l-file",
		"in/l-dir":        "->sub",
		"in/l-self":       "->.",
		"in/sub/l-up":     "->../file",
		"in/l-through":    "->l-dir/deep",
		"in/l-abs":        "->$DIR/in/file",
		"in/l-dangling":   "->sub/none",
		"in/l-weird":      "->./sub/.././/file",
		"in/l-there-back": "->../in/file",
		"in/x-loop":       "->x-loop",
		"in/x-loop2":      "->x-loop3",
		"in/x-loop3":      "->x-loop2",
		"in/x-out":        "->../out/secret",
		"in/x-abs":        "->$DIR/out/secret",
		"in/x-chain":      "->x-out",
		"in/x-parent":     "->..",
		"in/x-etc":        "->/etc/passwd",
		"in/x-notdir":     "->file/below",
	})
	store := openLocal(t, filepath.Join(dir, "in"))
	want := []string{
		"file", "l-abs -> file", "l-chain -> file", "l-dangling -> sub/none", "l-dir -> sub", "l-file -> file",
		"l-self -> .", "l-there-back -> file", "l-through -> sub/deep", "l-weird -> file", "sub/",
	}
	for range 2 { // listing again does not count again
		if got := collect(t, remote.List(t.Context(), store, "")); !slices.Equal(got, want) {
			t.Errorf("List = %q\nwant   %q", got, want)
		}
		if got := store.Hidden(); got != 9 {
			t.Errorf("Hidden = %d, want 9", got)
		}
	}
	if got, want := collect(t, remote.List(t.Context(), store, "sub")), []string{"sub/deep", "sub/l-up -> ../file"}; !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
	for _, key := range []string{"x-out", "x-abs", "x-chain", "x-parent", "x-parent/out/secret", "x-etc", "x-notdir"} {
		if _, err := store.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat(%q) = %v, want fs.ErrNotExist", key, err)
		}
	}
	if _, err := store.Stat(t.Context(), "x-loop"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("Stat of a loop = %v", err)
	}
	for _, key := range []string{"l-abs", "l-chain", "l-self/l-self/file", "sub/l-up"} {
		if got := content(t, store, key); got != "content" {
			t.Errorf("content of %q = %q", key, got)
		}
	}
}

func TestLocalSourceGivenAsLink(t *testing.T) {
	dir := tree(t, map[string]string{
		"real/file":   "content",
		"real/l-abs":  "->$DIR/alias/file",
		"real/l-real": "->$DIR/real/file",
		"alias":       "->real",
	})
	store := openLocal(t, filepath.Join(dir, "alias"))
	want := []string{"file", "l-abs -> file", "l-real -> file"}
	if got := collect(t, remote.List(t.Context(), store, "")); !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
}

func TestLocalHuggingFaceCache(t *testing.T) {
	const repo = "hub/models--org--name/"
	dir := tree(t, map[string]string{
		repo + "blobs/abc":                     "weights",
		repo + "blobs/folder/":                 "",
		repo + "refs/main":                     "rev1",
		repo + "snapshots/rev1/model":          "->../../blobs/abc",
		repo + "snapshots/rev1/sub/model":      "->../../../blobs/abc",
		repo + "snapshots/rev1/abs":            "->$DIR/" + repo + "blobs/abc",
		repo + "snapshots/rev1/chain":          "->model",
		repo + "snapshots/rev1/plain":          "plain",
		repo + "snapshots/rev1/x-gone":         "->../../blobs/gone",
		repo + "snapshots/rev1/x-folder":       "->../../blobs/folder",
		repo + "snapshots/rev1/x-blobs":        "->../../blobs",
		repo + "snapshots/rev1/x-refs":         "->../../refs/main",
		repo + "snapshots/rev1/x-other":        "->../../../models--org--other/blobs/abc",
		repo + "snapshots/rev2/model":          "->../rev1/model",
		"hub/models--org--other/blobs/abc":     "other",
		"plain/blobs/abc":                      "not a repository",
		"plain/snapshots/rev1/x-model":         "->../../blobs/abc",
		"hub/models--org--other/snapshots/r/x": "->../../blobs/../../models--org--name/blobs/abc",
	})
	cases := []struct {
		source, list string
		want         []string
		hidden       int64
	}{
		{repo + "snapshots/rev1", "", []string{"abs", "chain", "model", "plain", "sub/"}, 5},
		{repo + "snapshots/rev1/sub", "", []string{"model"}, 0},
		{repo + "snapshots", "rev2", []string{"rev2/model"}, 0},
		{repo, "snapshots/rev2", []string{"snapshots/rev2/model -> ../../blobs/abc"}, 0},
		{"plain/snapshots/rev1", "", nil, 1},
		{"hub/models--org--other/snapshots/r", "", nil, 1},
	}
	for _, c := range cases {
		store := openLocal(t, filepath.Join(dir, c.source))
		if got := collect(t, remote.List(t.Context(), store, c.list)); !slices.Equal(got, c.want) {
			t.Errorf("%s: List(%q) = %q, want %q", c.source, c.list, got, c.want)
		}
		if got := store.Hidden(); got != c.hidden {
			t.Errorf("%s: Hidden = %d, want %d", c.source, got, c.hidden)
		}
	}
	store := openLocal(t, filepath.Join(dir, repo, "snapshots/rev1"))
	for _, key := range []string{"model", "abs", "chain", "sub/model"} {
		if got := content(t, store, key); got != "weights" {
			t.Errorf("content of %q = %q", key, got)
		}
	}
	for e := range remote.List(t.Context(), store, "") {
		if e.Key == "model" && (e.Kind != remote.KindFile || e.Size != int64(len("weights"))) {
			t.Errorf("entry = %+v", e)
		}
	}
}

func TestLocalHidesDevicesAndPipes(t *testing.T) {
	dir := tree(t, map[string]string{"file": "content", "l-pipe": "->pipe"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	store, err := remote.OpenLocal(dir, remote.LocalConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for range 3 {
		if got := collect(t, remote.List(t.Context(), store, "")); !slices.Equal(got, []string{"file"}) {
			t.Errorf("List = %q", got)
		}
	}
	if _, err := store.Stat(t.Context(), "pipe"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a pipe = %v", err)
	}
	// One line for the pipe, one for the link: not one for each listing.
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Errorf("%d lines logged:\n%s", got, &log)
	}
}

// TestLocalFileBecomesPipe would hang if the pipe were opened.
func TestLocalFileBecomesPipe(t *testing.T) {
	dir := tree(t, map[string]string{"file": "content"})
	store := openLocal(t, dir)
	obj, err := store.Stat(t.Context(), "file")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "file"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenRange(t.Context(), obj, 0, 1); !errors.Is(err, remote.ErrChanged) {
		t.Errorf("OpenRange = %v, want ErrChanged", err)
	}
}

// TestLocalChangeWhileReading changes a file in place under an open body: no
// byte after the change may complete the range.
func TestLocalChangeWhileReading(t *testing.T) {
	data := bytesOf(3000)
	for name, change := range map[string]func(name string) error{
		"truncated":   func(name string) error { return os.Truncate(name, 1500) },
		"grown":       func(name string) error { return os.Truncate(name, 5000) },
		"overwritten": func(name string) error { return os.WriteFile(name, bytes.Repeat([]byte("x"), 3000), 0o644) },
	} {
		dir := tree(t, map[string]string{"file": string(data)})
		store := openLocal(t, dir)
		path := filepath.Join(dir, "file")
		// An old file, so that the change is seen whatever the clock's grain.
		old := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		obj, err := store.Stat(t.Context(), "file")
		if err != nil {
			t.Fatal(err)
		}
		body, err := store.OpenRange(t.Context(), obj, 0, 3000)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 3000)
		if _, err := io.ReadFull(body, buf[:1000]); err != nil {
			t.Fatal(err)
		}
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		if n, err := body.Read(buf[1000:1100]); n > 0 || !errors.Is(err, remote.ErrChanged) {
			t.Errorf("%s: %d bytes, %v, want none and ErrChanged", name, n, err)
		}
		body.Close()
	}
}

func TestLocalNamesAreBytes(t *testing.T) {
	dir := tree(t, map[string]string{"bad\xff\xfe": "content", "back\\slash": "content"})
	store := openLocal(t, dir)
	if got, want := collect(t, remote.List(t.Context(), store, "")), []string{"back\\slash", "bad\xff\xfe"}; !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
	if got := content(t, store, "bad\xff\xfe"); got != "content" {
		t.Errorf("content = %q", got)
	}
}

func TestLocalOpenFile(t *testing.T) {
	dir := tree(t, map[string]string{"file": "content"})
	var store remote.FileOpener = openLocal(t, dir)
	obj, err := store.(remote.Store).Stat(t.Context(), "file")
	if err != nil {
		t.Fatal(err)
	}
	f, err := store.OpenFile(t.Context(), obj)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != "content" {
		t.Errorf("read %q, %v", got, err)
	}
	obj.Version = "another"
	if _, err := store.OpenFile(t.Context(), obj); !errors.Is(err, remote.ErrChanged) {
		t.Errorf("OpenFile of another version = %v", err)
	}
}

func TestOpenLocalRefuses(t *testing.T) {
	dir := tree(t, map[string]string{"file": "content"})
	if _, err := remote.OpenLocal(filepath.Join(dir, "missing"), remote.LocalConfig{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	if _, err := remote.OpenLocal(filepath.Join(dir, "file"), remote.LocalConfig{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}
