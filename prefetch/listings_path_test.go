package prefetch

import (
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/tests/memstore"
)

// pathStore has a model three folders down, and other folders beside them.
func pathStore() *memstore.Store {
	store := filesOf("a/b/c/f", "a/b/o/f", "a/o/f", "config.json", "o/f")
	slow(store)
	return store
}

// TestPathIsListedAhead holds that the components of a path do not wait for one
// another: four listings take two round trips, of which the first look-up in each
// directory is the cause and no later one.
func TestPathIsListedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := pathStore()
		l := newTestListings(t, store, ListingsConfig{})
		start := time.Now()
		for _, key := range []string{"a", "a/b", "a/b/c", "a/b/c/f"} {
			if _, err := lookup(t.Context(), l, key); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the listing ahead that came at the same time is held
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("the path took %v", took)
		}
		for _, key := range []string{"o", "a/o", "a/b/o"} {
			if _, err := lookup(t.Context(), l, key); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second) // what is listed ahead has come
		for dir, want := range map[string]int{"": 1, "a": 1, "a/b": 1, "a/b/c": 1, "a/b/c/f": 0, "o": 0, "a/o": 0, "a/b/o": 0} {
			if got := store.Listed(dir); got != want {
				t.Errorf("%q was listed %d times, want %d", dir, got, want)
			}
		}
	})
}

// TestHeldListingIsNotListedAhead holds that a listing which ristretto refuses is
// known to whoever lists ahead: a is held when the first look-up in the source
// leads to it.
func TestHeldListingIsNotListedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := pathStore()
		l := newTestListings(t, store, ListingsConfig{MaxEntries: 1})
		for _, dir := range []string{"a", ""} {
			if _, err := l.List(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := lookup(t.Context(), l, "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // what is listed ahead has come
		if got := store.Listed("a"); got != 1 {
			t.Errorf("a was listed %d times", got)
		}
	})
}

func TestFileIsNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := pathStore()
		l := newTestListings(t, store, ListingsConfig{})
		for key, want := range map[string]error{"config.json": nil, "none.json": fs.ErrNotExist} {
			for range 2 {
				if _, err := lookup(t.Context(), l, key); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", key, err, want)
				}
			}
		}
		time.Sleep(time.Second) // what is listed ahead has come
		if got := store.Listed("config.json") + store.Listed("none.json"); got != 0 {
			t.Errorf("files were listed %d times", got)
		}
	})
}

func TestLikelyFile(t *testing.T) {
	for _, name := range []string{"config.json", "model-00001-of-00002.safetensors", "a.tar.gz", "B.JSON", "x.q4", ".gitattributes"} {
		if !likelyFile(name) {
			t.Errorf("%q is not taken for a file", name)
		}
	}
	for _, name := range []string{"models", "Qwen2.5", "Llama-3.1-8B", "models--org--name", "v1.", ".", "a.b c", "", "tag.ü"} {
		if likelyFile(name) {
			t.Errorf("%q is taken for a file", name)
		}
	}
}
