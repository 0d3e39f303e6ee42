package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"weightfs/remote/retry"
)

// Local is a folder of this host. Nothing outside it is ever opened, with one
// exception: where it is part of a repository of the Hugging Face cache, links
// into that repository's own blobs folder are shown as the files they lead to.
// Devices, pipes, sockets and links to elsewhere are hidden. It is safe for
// concurrent use.
type Local struct {
	paths localPaths
	root  *os.Root
	blobs *os.Root // nil where paths.blobs is ""
	log   *slog.Logger

	hidden hiddenNames
}

// OpenLocal opens the folder dir.
func OpenLocal(dir string, cfg LocalConfig) (*Local, error) {
	paths, err := newLocalPaths(dir)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", dir, err)
	}
	l := &Local{paths: paths, log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))}
	if l.root, err = os.OpenRoot(paths.root); err != nil {
		return nil, fmt.Errorf("source %s: %w", dir, err)
	}
	if paths.blobs != "" {
		if l.blobs, err = os.OpenRoot(paths.blobs); err != nil {
			l.root.Close()
			return nil, fmt.Errorf("source %s: %w", dir, err)
		}
	}
	return l, nil
}

// Hidden is the number of names that listings left out.
func (l *Local) Hidden() int64 { return l.hidden.total() }

// Close implements [Store].
func (l *Local) Close() error {
	err := l.root.Close()
	if l.blobs != nil {
		err = errors.Join(err, l.blobs.Close())
	}
	return err
}

// Classify implements [Backend].
func (l *Local) Classify(err error) retry.Failure { return retry.Classify(err) }

// Stat implements [Store]. Links are followed.
func (l *Local) Stat(ctx context.Context, key string) (Object, error) {
	if err := ctx.Err(); err != nil {
		return Object{}, err
	}
	_, info, err := l.find("stat", key)
	if err != nil {
		return Object{}, err
	}
	if !info.Mode().IsRegular() {
		return Object{}, notExist("stat", l.paths.abs(key))
	}
	return fileObject(key, info), nil
}

// find is follow for a mount, which hides links that lead outside.
func (l *Local) find(op, key string) (string, fs.FileInfo, error) {
	real, info, err := l.follow(op, key)
	if errors.Is(err, ErrOutside) || errors.Is(err, syscall.ENOTDIR) {
		return "", nil, notExist(op, l.paths.abs(key))
	}
	return real, info, err
}

// follow resolves a key to the absolute path behind it, which is below the root
// or the blobs, and stats that.
func (l *Local) follow(op, key string) (string, fs.FileInfo, error) {
	if key != "" && !validKey(key) {
		return "", nil, notExist(op, l.paths.abs(key))
	}
	real, err := l.paths.resolve(l.paths.root, filepath.FromSlash(key))
	if err != nil {
		return "", nil, err
	}
	root, rel := l.rooted(real)
	info, err := root.Lstat(rel)
	if err != nil {
		return "", nil, fmt.Errorf("%s %s: %w", op, real, err)
	}
	return real, info, nil
}

// rooted is a resolved path as a root and a path below it, so that the kernel
// holds what was resolved against a swap since.
func (l *Local) rooted(real string) (*os.Root, string) {
	if rel, ok := below(real, l.paths.root); ok {
		return l.root, rel
	}
	rel, ok := below(real, l.paths.blobs)
	if !ok || l.blobs == nil {
		panic("remote: resolved path " + real + " is outside its roots")
	}
	return l.blobs, rel
}

// ListPage implements [Store]: all of a folder is one page.
func (l *Local) ListPage(ctx context.Context, dir, _ string, _ int) (Page, error) {
	root, names, err := l.readDir(dir)
	if err != nil {
		return Page{}, err
	}
	defer root.Close()
	page := Page{Exists: true, Entries: make([]Entry, 0, len(names))}
	var hidden int64
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return Page{}, err
		}
		e, why, err := l.entry(root, path.Join(dir, name), name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// gone since the names were read
		case err != nil:
			return Page{}, err
		case why != "":
			hidden++
			l.warnHidden(path.Join(dir, name), why)
		default:
			page.Entries = append(page.Entries, e)
		}
	}
	l.hidden.note(dir, true, hidden)
	return page, nil
}

// readDir opens the folder dir, for its owner to close, and reads its names.
func (l *Local) readDir(dir string) (*os.Root, []string, error) {
	real, info, err := l.find("list", dir)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		return nil, nil, notExist("list", l.paths.abs(dir))
	}
	parent, rel := l.rooted(real)
	root, err := parent.OpenRoot(rel)
	if err != nil {
		return nil, nil, err
	}
	f, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	return root, names, nil
}

// entry describes one name of a folder. why says why it is hidden instead, ""
// if it is not.
func (l *Local) entry(dir *os.Root, key, name string) (e Entry, why string, err error) {
	info, err := dir.Lstat(name)
	if err != nil {
		return Entry{}, "", err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return Entry{Object: fileObject(key, info)}, "", nil
	case mode.IsDir():
		return Entry{Kind: KindDir, Object: Object{Key: key, ModTime: info.ModTime()}}, "", nil
	case mode&fs.ModeSymlink != 0:
		return l.link(dir, key, name, info)
	}
	return Entry{}, "neither file, folder nor link", nil
}

// link describes a symbolic link: by where it leads in the end.
func (l *Local) link(dir *os.Root, key, name string, info fs.FileInfo) (Entry, string, error) {
	target, err := dir.Readlink(name)
	if err != nil {
		return Entry{}, "", err
	}
	here := filepath.Dir(l.paths.abs(key))
	real, err := l.paths.resolve(here, target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Entry{}, "link: " + err.Error(), nil
	}
	if _, ok := below(real, l.paths.root); ok {
		return l.innerLink(key, here, real, info)
	}
	if err != nil {
		return Entry{}, "link to a blob that is not there", nil
	}
	root, rel := l.rooted(real)
	blob, err := root.Lstat(rel)
	if err != nil || !blob.Mode().IsRegular() {
		return Entry{}, "link to what is not a blob", nil
	}
	return Entry{Object: fileObject(key, blob)}, "", nil
}

// innerLink describes a link that stays inside the source, dangling or not.
func (l *Local) innerLink(key, here, real string, info fs.FileInfo) (Entry, string, error) {
	if end, err := os.Lstat(real); err == nil && !end.Mode().IsRegular() && !end.IsDir() {
		return Entry{}, "link to neither file nor folder", nil
	}
	rel, err := filepath.Rel(here, real)
	if err != nil {
		return Entry{}, "", fmt.Errorf("link %s: %w", l.paths.abs(key), err)
	}
	obj := fileObject(key, info)
	obj.Size = int64(len(rel))
	return Entry{Kind: KindLink, Object: obj, Target: filepath.ToSlash(rel)}, "", nil
}

func (l *Local) warnHidden(key, why string) {
	if kind, _, _ := strings.Cut(why, ":"); l.hidden.first(kind) {
		l.log.Warn("hiding a name; further ones are only counted", "path", l.paths.abs(key), "why", why)
	}
}

// OpenFile implements [FileOpener].
func (l *Local) OpenFile(ctx context.Context, obj Object) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	real, info, err := l.find("open", obj.Key)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.Mode().IsRegular()) {
		return nil, fmt.Errorf("open %s: %w", l.paths.abs(obj.Key), ErrChanged)
	}
	if err != nil {
		return nil, err
	}
	f, err := l.open(real)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", l.paths.abs(obj.Key), ErrChanged)
	}
	if err != nil {
		return nil, err
	}
	if err := checkVersion(f, obj); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Open opens the file that key names, in whatever version, for reading; the
// caller closes it. A link that leads outside, which the other methods do not
// show, is [ErrOutside].
func (l *Local) Open(key string) (*os.File, error) {
	real, info, err := l.follow("open", key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notExist("open", l.paths.abs(key))
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", l.paths.abs(key), err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open %s: not a regular file (%s): %w", l.paths.abs(key), info.Mode().Type(), fs.ErrInvalid)
	}
	return l.open(real)
}

// open opens a resolved path. Should the file have become a pipe since, that
// must not block.
func (l *Local) open(real string) (*os.File, error) {
	root, rel := l.rooted(real)
	return root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// OpenRange implements [Store]. The version is checked when the file is opened
// and again before the last byte is handed out.
func (l *Local) OpenRange(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 0 || off > obj.Size-n {
		return nil, fmt.Errorf("read %s: range [%d,%d) is not within its %d bytes: %w",
			l.paths.abs(obj.Key), off, off+n, obj.Size, fs.ErrInvalid)
	}
	f, err := l.OpenFile(ctx, obj)
	if err != nil {
		return nil, err
	}
	return &localBody{ctx: ctx, f: f, obj: obj, pos: off, end: off + n}, nil
}
