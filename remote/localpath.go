package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is how many links one path may pass through: the kernel's own limit.
const maxLinks = 40

// ErrOutside says that a link in a local source leads out of it.
var ErrOutside = errors.New("leads outside of the folder")

// localPaths knows what belongs to a local source. It resolves links by
// looking only at what is inside, so that a link can neither leave the source
// nor make us touch what is outside, and the roots hold what it resolved.
type localPaths struct {
	root  string // absolute, without links
	alias string // absolute, as given: absolute links may use it
	blobs string // of the Hugging Face repository that root is part of; or ""
}

func newLocalPaths(dir string) (localPaths, error) {
	alias, err := filepath.Abs(dir)
	if err != nil {
		return localPaths{}, err
	}
	root, err := filepath.EvalSymlinks(alias)
	if err != nil {
		return localPaths{}, err
	}
	info, err := os.Stat(root)
	if err != nil {
		return localPaths{}, err
	}
	if !info.IsDir() {
		return localPaths{}, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	p := localPaths{root: root, alias: alias}
	if blobs := blobsOf(root); blobs != "" {
		if info, err := os.Lstat(blobs); err == nil && info.IsDir() {
			p.blobs = blobs
		}
	}
	return p, nil
}

// blobsOf is where the Hugging Face cache keeps the files that the links in
// dir lead to, if dir is the snapshots folder of a repository or inside it:
// .../models--OWNER--NAME/{blobs,snapshots/REVISION}. "" for any other folder,
// and for the repository itself, which holds its blobs.
func blobsOf(dir string) string {
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		repo := filepath.Dir(dir)
		kind, _, ok := strings.Cut(filepath.Base(repo), "--")
		if ok && filepath.Base(dir) == "snapshots" && (kind == "models" || kind == "datasets" || kind == "spaces") {
			return filepath.Join(repo, "blobs")
		}
	}
	return ""
}

// abs is the path of a key.
func (p localPaths) abs(key string) string {
	return filepath.Join(p.root, filepath.FromSlash(key))
}

// resolve follows target, relative to the folder from or absolute, through all
// links. from must be inside the source. The result has no links and is inside
// the source; with fs.ErrNotExist it is where the missing end would be.
// ErrOutside and syscall.ELOOP say what else may be wrong with a link.
func (p localPaths) resolve(from, target string) (string, error) {
	w := walk{paths: p, at: from}
	w.push(target)
	for len(w.todo) > 0 {
		if err := w.step(); err != nil {
			return w.at, err
		}
	}
	if !p.inside(w.at) {
		return "", outside(w.at)
	}
	return w.at, nil
}

func outside(path string) error { return fmt.Errorf("%w, to %s", ErrOutside, path) }

// walk is a path being resolved, one component at a time.
type walk struct {
	paths localPaths
	at    string   // resolved so far
	todo  []string // components still to come
	links int      // followed so far
}

// push puts the components of a path before those still to come.
func (w *walk) push(path string) {
	if filepath.IsAbs(path) {
		w.at = string(filepath.Separator)
	}
	var parts []string
	for part := range strings.SplitSeq(path, string(filepath.Separator)) {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	w.todo = append(parts, w.todo...)
}

// step takes the next component. It looks at no path outside the source.
func (w *walk) step() error {
	name := w.todo[0]
	w.todo = w.todo[1:]
	if name == ".." {
		w.at = filepath.Dir(w.at)
		return nil
	}
	next := filepath.Join(w.at, name)
	if next == w.paths.alias {
		next = w.paths.root
	}
	if w.paths.above(next) {
		w.at = next
		return nil
	}
	if !w.paths.inside(next) {
		w.at = ""
		return outside(w.end(next))
	}
	info, err := os.Lstat(next)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return w.missing(next, err)
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return w.follow(next)
	case len(w.todo) > 0 && !info.IsDir():
		return &fs.PathError{Op: "resolve", Path: next, Err: syscall.ENOTDIR}
	}
	w.at = next
	return nil
}

// follow puts the target of a link in place of the link.
func (w *walk) follow(link string) error {
	if w.links++; w.links > maxLinks {
		return &fs.PathError{Op: "resolve", Path: link, Err: syscall.ELOOP}
	}
	target, err := os.Readlink(link)
	if err != nil {
		return err
	}
	w.push(target)
	return nil
}

// missing ends the walk where the rest of the path would be, if that is inside.
func (w *walk) missing(next string, err error) error {
	end := w.end(next)
	if !w.paths.inside(end) {
		w.at = ""
		return outside(end)
	}
	w.at = end
	return err
}

// end is where the rest of the path leads from next, if no link is on the way.
func (w *walk) end(next string) string {
	return filepath.Join(append([]string{next}, w.todo...)...)
}

// inside reports whether a path is the source, its blobs, or below them.
func (p localPaths) inside(path string) bool {
	if _, ok := below(path, p.root); ok {
		return true
	}
	_, ok := below(path, p.blobs)
	return ok
}

// above reports whether a path is on the way to the source or its blobs: known
// to be a folder and no link. An alias on the way is not: only its last step.
func (p localPaths) above(path string) bool {
	for _, root := range []string{p.root, p.blobs, p.alias} {
		if _, ok := below(root, path); ok && root != "" {
			return true
		}
	}
	return false
}

// below is path relative to root, "." for root itself; ok is false where path
// is not within it.
func below(path, root string) (rel string, ok bool) {
	switch {
	case root == "":
		return "", false
	case path == root:
		return ".", true
	case root == string(filepath.Separator):
		return path[1:], true
	}
	rest, ok := strings.CutPrefix(path, root)
	if !ok || rest[0] != filepath.Separator {
		return "", false
	}
	return rest[1:], true
}
