package remote

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is how many links one path may pass through: the kernel's own limit.
const maxLinks = 40

// errOutside says that a path leaves the source.
var errOutside = errors.New("leads outside the source")

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
// links. from must be inside the source. The result has no links; it comes
// with fs.ErrNotExist where the end is missing, and is as far as it is known.
// errOutside and syscall.ELOOP say what else may be wrong with a link.
func (p localPaths) resolve(from, target string) (string, error) {
	at := from
	todo := splitPath(target)
	if filepath.IsAbs(target) {
		at = string(filepath.Separator)
	}
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		if next == p.alias {
			next = p.root
		}
		if p.above(next) {
			at = next
			continue
		}
		if !p.inside(next) {
			return "", errOutside
		}
		info, err := os.Lstat(next)
		if err != nil {
			return filepath.Join(append([]string{next}, todo...)...), err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if len(todo) > 0 && !info.IsDir() {
				return next, &fs.PathError{Op: "resolve", Path: next, Err: syscall.ENOTDIR}
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: next, Err: syscall.ELOOP}
		}
		link, err := os.Readlink(next)
		if err != nil {
			return next, err
		}
		if filepath.IsAbs(link) {
			at = string(filepath.Separator)
		}
		todo = append(splitPath(link), todo...)
	}
	if !p.inside(at) {
		return "", errOutside
	}
	return at, nil
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

// splitPath is the components of a path that mean something.
func splitPath(path string) []string {
	var parts []string
	for part := range strings.SplitSeq(path, string(filepath.Separator)) {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}
