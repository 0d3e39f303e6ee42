package remote_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weightfs/remote"
	"weightfs/remote/tier"
	"weightfs/tests/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a store under test with a way to change what it shows.
type fixture struct {
	store  remote.Store
	put    func(key string, data []byte)
	remove func(key string)
}

// bytesOf is n bytes that differ from place to place.
func bytesOf(n int) []byte {
	var out []byte
	for sum := sha256.Sum256(nil); len(out) < n; sum = sha256.Sum256(sum[:]) {
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// TestConformance holds every store to the contract of remote.Store.
func TestConformance(t *testing.T) {
	for name, open := range map[string]func(*testing.T) fixture{
		"Local":    localFixture,
		"S3":       s3Fixture,
		"Retrying": retryingFixture,
		"Tiered":   tieredFixture,
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			t.Run("Stat", func(t *testing.T) { conformStat(t, f) })
			t.Run("List", func(t *testing.T) { conformList(t, f) })
			t.Run("Names", func(t *testing.T) { conformNames(t, f) })
			t.Run("Ranges", func(t *testing.T) { conformRanges(t, f) })
			t.Run("Changes", func(t *testing.T) { conformChanges(t, f) })
			t.Run("Contexts", func(t *testing.T) { conformContexts(t, f) })
		})
	}
}

func localFixture(t *testing.T) fixture {
	dir := t.TempDir()
	store, err := remote.OpenLocal(dir, remote.LocalConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return fixture{
		store: store,
		put: func(key string, data []byte) {
			t.Helper()
			name := filepath.Join(dir, filepath.FromSlash(key))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			// Replaced as by a download: written aside, then renamed.
			if err := os.WriteFile(name+".part", data, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(name+".part", name); err != nil {
				t.Fatal(err)
			}
		},
		remove: func(key string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, filepath.FromSlash(key))); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// startS3 runs a server with an empty bucket "models" and points the
// environment at it.
func startS3(t testing.TB) *rig.Server {
	t.Helper()
	srv := rig.StartServer(t, rig.ServerOptions{})
	setEnv(t, srv)
	srv.Fill(t, "models", nil)
	return srv
}

func setEnv(t testing.TB, srv *rig.Server) {
	t.Helper()
	for _, pair := range srv.Env() {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
}

// openS3 opens a store that is closed when the test ends.
func openS3(t testing.TB, bucket, prefix string, cfg remote.S3Config) *remote.S3 {
	t.Helper()
	cfg.ForcePathStyle = true
	store, _, err := remote.OpenS3(t.Context(), remote.Source{Bucket: bucket, Prefix: strings.TrimRight(prefix, "/")}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func s3Fixture(t *testing.T) fixture {
	srv := startS3(t)
	const prefix = "some/prefix"
	srv.MustPut(t, "models", "some/prefix-sibling/x", []byte("not ours"))
	srv.MustPut(t, "models", prefix+"/first", []byte("ours"))
	return fixture{
		store: openS3(t, "models", prefix+"/", remote.S3Config{}),
		put:   func(key string, data []byte) { t.Helper(); srv.MustPut(t, "models", prefix+"/"+key, data) },
		remove: func(key string) {
			t.Helper()
			if err := srv.Delete(t.Context(), "models", prefix+"/"+key); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func retryingFixture(t *testing.T) fixture {
	f := s3Fixture(t)
	f.store = remote.WithRetry(f.store.(remote.Backend), remote.RetryPolicy{})
	return f
}

// tieredFixture has a tier that keeps nothing, and is a forward proxy.
func tieredFixture(t *testing.T) fixture {
	f := retryingFixture(t)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}})
	shared, err := tier.New(tier.Config{URLs: []string{proxy.URL}})
	if err != nil {
		t.Fatal(err)
	}
	f.store = shared.Wrap(f.store)
	t.Cleanup(func() {
		stats := shared.Stats()
		if stats.TierBytes() == 0 || stats.TierBytes() < 10*stats.DirectBytes {
			t.Errorf("read from the store, and not through the tier: %+v", stats)
		}
		shared.Close()
		proxy.Close()
	})
	return f
}

// collect gathers a listing as names, a directory with a slash behind it.
func collect(t *testing.T, seq iter.Seq2[remote.Entry, error]) []string {
	t.Helper()
	var names []string
	for e, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Kind {
		case remote.KindDir:
			names = append(names, e.Key+"/")
		case remote.KindLink:
			names = append(names, e.Key+" -> "+e.Target)
		default:
			names = append(names, e.Key)
		}
	}
	return names
}

// firstError is the error that ends a listing.
func firstError(seq iter.Seq2[remote.Entry, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

func conformStat(t *testing.T, f fixture) {
	data := bytesOf(1234)
	f.put("stat/file.bin", data)
	obj, err := f.store.Stat(t.Context(), "stat/file.bin")
	if err != nil {
		t.Fatal(err)
	}
	if obj.Key != "stat/file.bin" || obj.Size != 1234 || obj.Version == "" || obj.ModTime.IsZero() || obj.Archived {
		t.Errorf("Stat = %+v", obj)
	}
	for e, err := range remote.List(t.Context(), f.store, "stat") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Version != obj.Version || e.Size != obj.Size {
			t.Errorf("listed %+v, Stat gives %+v", e, obj)
		}
	}
	for _, key := range []string{"", "stat", "missing", "stat/missing", "stat/file.bin/x", "/stat/file.bin",
		"stat//file.bin", "stat/../stat/file.bin", "stat/file.bin/", "a\x00b", strings.Repeat("n", 256)} {
		if _, err := f.store.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat(%q) = %v, want fs.ErrNotExist", key, err)
		}
	}
}

func conformList(t *testing.T, f fixture) {
	for _, key := range []string{"list/a-b", "list/a.txt", "list/a/x", "list/a/b/y", "list/B", "list/a0", "list/é"} {
		f.put(key, []byte(key))
	}
	want := []string{"list/B", "list/a/", "list/a-b", "list/a.txt", "list/a0", "list/é"}
	if got := collect(t, remote.List(t.Context(), f.store, "list")); !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
	if got, want := collect(t, remote.List(t.Context(), f.store, "list/a")), []string{"list/a/b/", "list/a/x"}; !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
	if got := collect(t, remote.List(t.Context(), f.store, "")); !slices.Contains(got, "list/") {
		t.Errorf("List of the root = %q, without list/", got)
	}
	for _, dir := range []string{"missing", "list/missing", "list/B", "lis", "/", "list/", "list/../list", "."} {
		if err := firstError(remote.List(t.Context(), f.store, dir)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("List(%q) = %v, want fs.ErrNotExist", dir, err)
		}
	}
	for range remote.List(t.Context(), f.store, "list") {
		break // ending early is allowed
	}
	for dir, want := range map[string]bool{"": true, "list": true, "list/a": true, "list/B": false, "lis": false, "list/": false, "missing/x": false} {
		if got, err := remote.Exists(t.Context(), f.store, dir); got != want || err != nil {
			t.Errorf("Exists(%q) = %t, %v", dir, got, err)
		}
	}
}

func conformNames(t *testing.T, f fixture) {
	names := []string{" lead", "100%25", "a b+c&d=e?f#g", "new\nline", "quote'\"", "tab\t", "ünï", "日本", strings.Repeat("n", 255-len(".part"))}
	slices.Sort(names)
	var want []string
	for _, name := range names {
		f.put("names/"+name, []byte(name))
		want = append(want, "names/"+name)
	}
	if got := collect(t, remote.List(t.Context(), f.store, "names")); !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
	for _, key := range want {
		obj, err := f.store.Stat(t.Context(), key)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := mustRead(t, f.store, obj, 0, obj.Size); "names/"+string(got) != key {
			t.Errorf("content of %q is %q", key, got)
		}
	}
}

func mustRead(t *testing.T, store remote.Store, obj remote.Object, off, n int64) []byte {
	t.Helper()
	got, err := read(t.Context(), store, obj, off, n)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func read(ctx context.Context, store remote.Store, obj remote.Object, off, n int64) ([]byte, error) {
	body, err := store.OpenRange(ctx, obj, off, n)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func conformRanges(t *testing.T, f fixture) {
	data := bytesOf(100_000)
	f.put("ranges/file", data)
	f.put("ranges/empty", nil)
	obj, err := f.store.Stat(t.Context(), "ranges/file")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{0, 0}, {0, 1}, {0, 100_000}, {99_999, 1}, {100_000, 0}, {1, 99_998}, {4096, 65536}} {
		if got := mustRead(t, f.store, obj, r[0], r[1]); !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Errorf("range %v: %d bytes differ", r, len(got))
		}
	}
	for _, r := range [][2]int64{{0, 100_001}, {100_000, 1}, {-1, 2}, {0, -1}, {100_001, 0}, {1, 1<<63 - 1}} {
		if _, err := read(t.Context(), f.store, obj, r[0], r[1]); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("range %v: %v, want fs.ErrInvalid", r, err)
		}
	}
	empty, err := f.store.Stat(t.Context(), "ranges/empty")
	if err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, f.store, empty, 0, 0); len(got) != 0 {
		t.Errorf("empty object has %d bytes", len(got))
	}
}

func conformChanges(t *testing.T, f fixture) {
	changes := map[string]func(key string){
		"replaced":  func(key string) { f.put(key, bytes.ToUpper(bytesOf(5000))) },
		"truncated": func(key string) { f.put(key, bytesOf(100)) },
		"removed":   f.remove,
	}
	for name, change := range changes {
		key := "changes/" + name
		f.put(key, bytesOf(5000))
		obj, err := f.store.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		change(key)
		if _, err := read(t.Context(), f.store, obj, 4000, 1000); !errors.Is(err, remote.ErrChanged) {
			t.Errorf("%s: %v, want ErrChanged", name, err)
		}
	}
}

func conformContexts(t *testing.T, f fixture) {
	f.put("contexts/file", bytesOf(1<<20))
	obj, err := f.store.Stat(t.Context(), "contexts/file")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	body, err := f.store.OpenRange(ctx, obj, 0, obj.Size)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, context.Canceled) {
		t.Errorf("Read after cancel = %v", err)
	}
	if err := body.Close(); err != nil {
		t.Errorf("Close after cancel = %v", err)
	}
	if _, err := f.store.Stat(ctx, "contexts/file"); !errors.Is(err, context.Canceled) {
		t.Errorf("Stat after cancel = %v", err)
	}
	if _, err := f.store.OpenRange(ctx, obj, 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenRange after cancel = %v", err)
	}
	if err := firstError(remote.List(ctx, f.store, "contexts")); !errors.Is(err, context.Canceled) {
		t.Errorf("List after cancel = %v", err)
	}
}
