package prefetch_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"weightfs/prefetch"
	"weightfs/remote"
)

// A program of its own reads a store through a cache of 64 MiB.
func Example() {
	dir, err := os.MkdirTemp("", "weightfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"hidden_size": 384}`), 0o600); err != nil {
		log.Fatal(err)
	}
	store, err := remote.OpenLocal(dir, remote.LocalConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	cache, err := prefetch.New(remote.WithRetry(store, remote.RetryPolicy{}), prefetch.Config{MemoryLimit: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	ctx := context.Background()
	object, err := store.Stat(ctx, "config.json")
	if err != nil {
		log.Fatal(err)
	}
	reader := cache.Open(object)
	defer reader.Close()
	view, err := reader.View(ctx, 2, 11)
	if err != nil {
		log.Fatal(err)
	}
	defer view.Release()
	for _, part := range view.Slices() {
		fmt.Printf("%s", part)
	}
	fmt.Println()
	// Output: hidden_size
}
