package remote

import (
	"io/fs"
	"strings"
	"sync"
)

// maxName is the longest name in bytes that Linux gives a directory entry.
const maxName = 255

// nameFault says why name cannot be the name of a file, or "" if it can.
func nameFault(name string) string {
	switch {
	case name == "":
		return "empty path component"
	case name == "." || name == "..":
		return "path component is . or .."
	case len(name) > maxName:
		return "path component is longer than 255 bytes"
	case strings.IndexByte(name, 0) >= 0:
		return "path component contains NUL"
	case strings.IndexByte(name, '/') >= 0:
		return "path component contains a slash"
	}
	return ""
}

// validKey reports whether key names something below the source: no component
// that could not have been listed.
func validKey(key string) bool {
	for name := range strings.SplitSeq(key, "/") {
		if nameFault(name) != "" {
			return false
		}
	}
	return true
}

// notExist is the error for a key that is not there, or not what it is asked
// to be.
func notExist(op, uri string) error {
	return &fs.PathError{Op: op, Path: uri, Err: fs.ErrNotExist}
}

// hiddenNames counts the names that listings left out, each directory by its
// latest listing, so that listing again does not count again.
type hiddenNames struct {
	mu     sync.Mutex
	perDir map[string]int64 // guarded by mu; only directories that hide any
	warned sync.Map         // kinds of warning already given
}

// note records that a page of the listing of dir, perhaps its first, left out n
// names.
func (h *hiddenNames) note(dir string, first bool, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first {
		delete(h.perDir, dir)
	}
	if n == 0 {
		return
	}
	if h.perDir == nil {
		h.perDir = make(map[string]int64)
	}
	h.perDir[dir] += n
}

// total is the number of names left out of all directories listed so far.
func (h *hiddenNames) total() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var n int64
	for _, v := range h.perDir {
		n += v
	}
	return n
}

// first reports whether this is the first time that kind is warned of.
func (h *hiddenNames) first(kind string) bool {
	_, warned := h.warned.LoadOrStore(kind, true)
	return !warned
}
