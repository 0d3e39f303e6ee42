package remote_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weightfs/remote"
	"weightfs/tests/rig"
)

// openKeys opens a store of these keys, each of which is its object's content.
func openKeys(t *testing.T, prefix string, s *rig.KeyServer, keys []string, logger *slog.Logger) *remote.S3 {
	t.Helper()
	for _, key := range keys {
		s.Put(key, rig.Bytes([]byte(key)))
	}
	return openS3(t, "b", prefix, remote.S3Config{EndpointURL: s.Start(t), NoSignRequest: true, Logger: logger})
}

func TestKeysThatCannotBeFiles(t *testing.T) {
	long := strings.Repeat("n", 256)
	keys := []string{
		"file", "a//b", "a/ok", "/lead", "./dot", "../up", "a/./x", "a/../y", "nul\x00name", long, long + "/in", "a/" + long,
		long[1:], "marker/", "both", "both/in", "dir/", "dir/in", ".hidden", "..x", "bad-utf8-\xff", "ctl-\x01",
	}
	var s rig.KeyServer
	var log strings.Builder
	store := openKeys(t, "", &s, keys, slog.New(slog.NewTextHandler(&log, nil)))
	want := []string{"..x", ".hidden", "a/", "bad-utf8-\xff", "both/", "ctl-\x01", "dir/", "file", "marker/", long[1:]}
	for _, s.PageSize = range []int{1000, 1000, 5} { // listed anew it is not counted anew
		if got := collect(t, remote.List(t.Context(), store, "")); !slices.Equal(got, want) {
			t.Errorf("List = %q\nwant   %q", got, want)
		}
	}
	for dir, want := range map[string][]string{"a": {"a/ok"}, "marker": nil, "dir": {"dir/in"}, "both": {"both/in"}} {
		if got := collect(t, remote.List(t.Context(), store, dir)); !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, want %q", dir, got, want)
		}
	}
	// In the root: / ./ ../ nul, long, long/ and the object both; in a: a// a/./ a/../ a/long.
	if got := store.Hidden(); got != 11 {
		t.Errorf("Hidden = %d, want 11", got)
	}
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Errorf("%d warnings:\n%s", got, &log)
	}
	if err := firstError(remote.List(t.Context(), store, "both/in")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List of an object = %v", err)
	}
}

// TestListingsMatchAModel lists random keys in random pages.
func TestListingsMatchAModel(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		keys := map[string]bool{}
		for range 1 + rng.IntN(60) {
			var key strings.Builder
			for range 1 + rng.IntN(6) {
				key.WriteByte("ab-.0/"[rng.IntN(6)])
			}
			keys["p/"+strings.Trim(key.String(), "/")+"x"] = true
		}
		all := slices.Collect(maps.Keys(keys))
		s := rig.KeyServer{PageSize: 1 + rng.IntN(5)}
		store := openKeys(t, "p", &s, all, nil)
		for _, dir := range []string{"", "a", "b-", "a/b"} {
			want := model(all, "p", dir)
			var got []string
			for e, err := range remote.List(t.Context(), store, dir) {
				if errors.Is(err, fs.ErrNotExist) && dir != "" {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprint(e.Key, e.Kind == remote.KindDir))
			}
			if !slices.Equal(got, want) {
				t.Errorf("seed %d, page %d: List(%q) = %q\nwant %q of %q", seed, s.PageSize, dir, got, want, all)
			}
		}
	}
}

// model is what the directory dir below prefix shows, worked out from all keys.
func model(keys []string, prefix, dir string) []string {
	if dir != "" {
		prefix += "/" + dir
	}
	isDir := map[string]bool{}
	for _, key := range keys {
		rest, ok := strings.CutPrefix(key, prefix+"/")
		name, _, deeper := strings.Cut(rest, "/")
		if ok && name != "" && name != "." && name != ".." {
			isDir[name] = isDir[name] || deeper
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(isDir)) {
		key := name
		if dir != "" {
			key = dir + "/" + name
		}
		out = append(out, fmt.Sprint(key, isDir[name]))
	}
	return out
}

func TestArchivedObjects(t *testing.T) {
	var s rig.KeyServer
	for key, class := range map[string]string{"deep": "DEEP_ARCHIVE", "glacier": "GLACIER", "instant": "GLACIER_IR", "standard": "STANDARD"} {
		o := rig.Zeroes(1)
		o.Class = class
		s.Put(key, o)
	}
	store := openKeys(t, "", &s, nil, nil)
	for e, err := range remote.List(t.Context(), store, "") {
		if err != nil {
			t.Fatal(err)
		}
		if want := e.Key == "deep" || e.Key == "glacier"; e.Archived != want {
			t.Errorf("%s: Archived = %t", e.Key, e.Archived)
		}
		if !e.Archived {
			continue
		}
		if _, err := store.OpenRange(t.Context(), e.Object, 0, 1); !errors.Is(err, remote.ErrArchived) {
			t.Errorf("OpenRange of %s = %v", e.Key, err)
		}
	}
}

func TestRequesterPays(t *testing.T) {
	var s rig.KeyServer
	s.Put("file", rig.Bytes([]byte("text")))
	var header http.Header // of the last request
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	store := openS3(t, "b", "", remote.S3Config{EndpointURL: web.URL, NoSignRequest: true, RequesterPays: true})
	const field = "X-Amz-Request-Payer"
	for e, err := range remote.List(t.Context(), store, "") {
		if err != nil {
			t.Fatal(err)
		}
		if got := header.Get(field); got != "requester" {
			t.Errorf("LIST: %s = %q", field, got)
		}
		body, err := store.OpenRange(t.Context(), e.Object, 0, 4)
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
		if got := header.Get(field); got != "requester" {
			t.Errorf("GET: %s = %q", field, got)
		}
		if got := header.Get("Authorization"); got != "" {
			t.Errorf("an anonymous request is signed: %q", got)
		}
	}
}

// TestManyKeys lists more than one page of a real server.
func TestManyKeys(t *testing.T) {
	srv := startS3(t)
	const n = 1100
	var want []string
	for i := range n {
		key := fmt.Sprintf("many/%05d", i)
		srv.MustPut(t, "models", key, nil)
		want = append(want, key)
	}
	store := openS3(t, "models", "", remote.S3Config{})
	retrying := remote.WithRetry(store, remote.RetryPolicy{})
	if got := collect(t, remote.List(t.Context(), retrying, "many")); !slices.Equal(got, want) {
		t.Errorf("%d of %d keys", len(got), n)
	}
	if got := retrying.Stats().Lists; got != 2 {
		t.Errorf("%d requests for two pages", got)
	}
}

// TestFilesLaidByHand reads what was put into the server's folder without its
// help, and so has no ETag.
func TestFilesLaidByHand(t *testing.T) {
	srv := startS3(t)
	name := filepath.Join(srv.Dir, "models", "hand", "file")
	lay := func(content string, modified time.Time) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644),
			os.Chtimes(name, time.Time{}, modified)); err != nil {
			t.Fatal(err)
		}
	}
	modified := time.Now().Add(-time.Hour)
	lay("first", modified)
	store := openS3(t, "models", "", remote.S3Config{})
	var obj remote.Object
	for e, err := range remote.List(t.Context(), store, "hand") {
		if err != nil {
			t.Fatal(err)
		}
		obj = e.Object
	}
	if stat, err := store.Stat(t.Context(), "hand/file"); err != nil || stat.Version != obj.Version || store.Hidden() != 0 {
		t.Fatalf("listed %+v, Stat gives %+v, %v", obj, stat, err)
	}
	if got := mustRead(t, store, obj, 1, 4); string(got) != "irst" {
		t.Errorf("read %q", got)
	}
	for _, change := range []func(){
		func() { lay("other", modified.Add(time.Second)) },
		func() { lay("longer than before", modified) },
		func() { os.Remove(name) },
	} {
		change()
		if got, err := read(t.Context(), store, obj, 1, 4); !errors.Is(err, remote.ErrChanged) {
			t.Errorf("after a change: %q, %v", got, err)
		}
	}
}
