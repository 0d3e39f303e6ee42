package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"

	"weightfs/remote"
)

// storesBehind is what the mounts show under the given paths: s3:// sources or
// folders.
func storesBehind(sources []string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the table of mounts: %w", err)
	}
	var stores []string
	for _, source := range sources {
		path, err := filepath.Abs(source)
		if err != nil {
			return nil, err
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, err
		}
		store, ok := storeBehind(mounts, path)
		if !ok {
			return nil, fmt.Errorf("%s is on a mount that does not say what it shows; --store does", source)
		}
		stores = append(stores, store)
	}
	return stores, nil
}

// storeBehind is what a mount of weightfs among these shows at path, which is
// absolute and clean.
func storeBehind(mounts []*mountinfo.Info, path string) (string, bool) {
	var dir, root, store string
	for _, m := range mounts {
		if _, inside := below(m.Mountpoint, path); !inside || len(m.Mountpoint) < len(dir) {
			continue
		}
		if dir, root, store = m.Mountpoint, "", ""; m.FSType == "fuse.weightfs" {
			root, store = m.Root, m.Source
		}
	}
	// A bind mount may show a folder of the mount alone.
	rest, _ := below(dir, path)
	rest = strings.Trim(root+"/"+rest, "/")
	src, err := remote.ParseSource(store)
	switch {
	case err != nil:
		return "", false
	case src.Bucket != "":
		return strings.TrimSuffix(strings.TrimSuffix(src.String(), "/")+"/"+rest, "/"), true
	case filepath.IsAbs(src.Path):
		return filepath.Join(src.Path, rest), true
	}
	return "", false // relative to where mountd was started
}

// below is path relative to dir, if it lies in it.
func below(dir, path string) (string, bool) {
	if path == dir {
		return "", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
