package gpuload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"weightfs/gpuload/safetensors"
	"weightfs/remote"
)

// openers is how many files of a folder are opened at a time: on a mount each
// takes a round trip to its daemon.
const openers = 32

// folder is the files that one argument of OpenSource stands for.
type folder struct {
	label string
	files []*File
	// index says which tensor is in which file; nil where the folder has none,
	// or did not decide.
	index *safetensors.Index
	// problems are what SourceConfig.Partial passed over.
	problems []error
	close    func() error
}

// tree is a folder or a bucket's prefix before its files are chosen.
type tree interface {
	// names lists the files directly in it.
	names(ctx context.Context) ([]string, error)
	open(ctx context.Context, name string) (*File, error)
	Close() error
}

// openFolder opens what arg names.
func openFolder(ctx context.Context, cfg SourceConfig, ds *daemons, arg string) (*folder, error) {
	src, err := remote.ParseSource(arg)
	if err != nil {
		return nil, err
	}
	t, only, err := openTree(ctx, cfg, ds, src)
	if err != nil {
		return nil, err
	}
	f := &folder{label: arg}
	switch {
	case only == "":
		err = f.openChosen(ctx, cfg, t)
	case cfg.Shard != nil:
		err = fmt.Errorf("is a file: rank %d is chosen among the files of a folder", cfg.Shard.Rank)
	default:
		err = f.open(ctx, cfg, t, []string{only})
	}
	f.close = func() error { return errors.Join(f.closeFiles(), t.Close()) }
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// openTree returns the tree of src, and the name of a file in it where src is
// that file alone.
func openTree(ctx context.Context, cfg SourceConfig, ds *daemons, src remote.Source) (tree, string, error) {
	if src.Bucket != "" {
		store, key, err := remote.Open(ctx, src, remote.Config{S3: cfg.S3, Retry: cfg.Retry})
		if err != nil {
			return nil, "", err
		}
		if cfg.Through != nil {
			store = cfg.Through(store)
		}
		base := src.String()
		if key != "" {
			base = strings.TrimSuffix(base, "/"+key)
		}
		return &storeTree{store: store, base: base}, key, nil
	}
	info, err := os.Stat(src.Path)
	if err != nil {
		return nil, "", err
	}
	if !info.IsDir() {
		return &pathTree{path: filepath.Dir(src.Path), daemons: ds}, filepath.Base(src.Path), nil
	}
	local, err := remote.OpenLocal(src.Path, remote.LocalConfig{})
	if err != nil {
		return nil, "", err
	}
	return &pathTree{path: src.Path, local: local, daemons: ds}, "", nil
}

// openChosen opens the files of t that make up the model.
func (f *folder) openChosen(ctx context.Context, cfg SourceConfig, t tree) error {
	names, err := t.names(ctx)
	if err != nil {
		return err
	}
	chosen, err := f.choose(ctx, cfg, t, names)
	if err != nil {
		return err
	}
	return f.open(ctx, cfg, t, chosen)
}

// open opens the named files, in order.
func (f *folder) open(ctx context.Context, cfg SourceConfig, t tree, names []string) error {
	files, failures := make([]*File, len(names)), make([]error, len(names))
	g, opening := errgroup.WithContext(ctx)
	g.SetLimit(openers)
	for i, name := range names {
		g.Go(func() error {
			files[i], failures[i] = t.open(opening, name)
			if cfg.Partial {
				return nil
			}
			return failures[i]
		})
	}
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	headers := newHeaderBudget()
	for i, file := range files {
		if file != nil {
			file.headers = headers
			f.files = append(f.files, file)
		} else if failures[i] != nil {
			f.problems = append(f.problems, failures[i])
		}
	}
	return err
}

func (f *folder) closeFiles() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.blob.Close())
	}
	return errors.Join(errs...)
}

// pathTree is a folder of this host. As in a mount, links may not lead out of
// it, but for those to the blobs of its own Hugging Face repository. A mount hides
// the others; here they are listed, and opening one is an error: a file that is
// passed over would be missing from the model.
type pathTree struct {
	path string
	// local opens what is in the folder; nil for the folder around a file that
	// the user named, which may be a link to anywhere.
	local   *remote.Local
	daemons *daemons // of the mounts that its files lie on
}

func (t *pathTree) names(context.Context) ([]string, error) {
	entries, err := os.ReadDir(t.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (t *pathTree) open(ctx context.Context, name string) (*File, error) {
	f, err := t.openFile(name)
	if err != nil {
		return nil, err
	}
	b, err := newPathBlob(f)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(t.path, name)
	return newFile(name, path, b.size(), t.daemons.blob(ctx, path, b)), nil
}

func (t *pathTree) openFile(name string) (*os.File, error) {
	if t.local != nil {
		return t.local.Open(name)
	}
	path := filepath.Join(t.path, name)
	info, err := os.Stat(path) // first: opening a FIFO would wait
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file (%s)", path, info.Mode().Type())
	}
	return os.Open(path)
}

func (t *pathTree) Close() error {
	if t.local == nil {
		return nil
	}
	return t.local.Close()
}

// storeTree is the objects of a store, which it owns.
type storeTree struct {
	store  remote.Store
	base   string                   // URI of the store's root
	listed map[string]remote.Object // by key; saves a request for each file
}

func (t *storeTree) names(ctx context.Context) ([]string, error) {
	var names []string
	t.listed = make(map[string]remote.Object)
	for e, err := range remote.List(ctx, t.store, "") {
		if err != nil {
			return nil, err
		}
		if e.Kind == remote.KindFile {
			names = append(names, e.Key)
			t.listed[e.Key] = e.Object
		}
	}
	return names, nil
}

func (t *storeTree) open(ctx context.Context, name string) (*File, error) {
	object, ok := t.listed[name]
	if !ok {
		var err error
		if object, err = t.store.Stat(ctx, name); err != nil {
			return nil, err
		}
	}
	if object.Archived {
		return nil, fmt.Errorf("open %s/%s: %w", t.base, name, remote.ErrArchived)
	}
	b := &objectBlob{store: t.store, object: object}
	return newFile(name, t.base+"/"+name, object.Size, b), nil
}

func (t *storeTree) Close() error { return t.store.Close() }
