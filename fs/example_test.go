package fs_test

import (
	"context"
	"log"
	"time"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
)

// A folder is shown at /mnt/models for an hour, or until it is unmounted.
func ExampleMount() {
	store, err := remote.OpenLocal("/srv/models", remote.LocalConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	known, err := names.New(store, names.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer known.Close()
	cache, err := prefetch.New(store, prefetch.Config{MemoryLimit: 8 << 30, Successor: known.Successor})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	server, err := fs.Mount("/mnt/models", store, cache, known, fs.Config{
		Source:   "/srv/models",
		FileMode: fs.DefaultFileMode,
		DirMode:  fs.DefaultDirMode,
	})
	if err != nil {
		log.Fatal(err)
	}
	select {
	case <-server.Done():
	case <-time.After(time.Hour):
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Unmount(ctx); err != nil {
			log.Print(err)
		}
	}
}
