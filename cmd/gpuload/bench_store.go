package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"weightfs/remote"
)

// storesBehind is what the mounts show under the given paths: s3:// sources or
// folders.
func storesBehind(sources []string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
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
		store, ok := storeBehind(string(table), path)
		if !ok {
			return nil, fmt.Errorf("%s is on a mount that does not say what it shows; --store does", source)
		}
		stores = append(stores, store)
	}
	return stores, nil
}

// storeBehind is what a mount of weightfs in the text of a mountinfo shows at
// path, which is absolute and clean.
func storeBehind(mountinfo, path string) (string, bool) {
	var dir, root, store string
	for line := range strings.Lines(mountinfo) {
		mount, fsys, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(mount), strings.Fields(fsys)
		if len(left) < 5 || len(right) < 2 {
			continue
		}
		at := unescape(left[4])
		if _, inside := below(at, path); !inside || len(at) < len(dir) {
			continue
		}
		if dir, root, store = at, "", ""; right[0] == "fuse.weightfs" {
			root, store = unescape(left[3]), unescape(right[1])
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

// unescape undoes how the kernel writes what would break a line of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`).Replace(s)
}
