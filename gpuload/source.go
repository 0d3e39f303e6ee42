package gpuload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"weightfs/gpuload/safetensors"
	"weightfs/remote"
)

// headerReaders is how many headers are read at a time: they wait for the store
// more than they transfer.
const headerReaders = 32

// SourceConfig says which files of a source to load and how to reach a bucket.
// The zero value loads every file of the model, with the AWS default chain.
type SourceConfig struct {
	// Shard selects the files of one rank; nil loads a model that is not split
	// by rank.
	Shard *Shard
	// S3 is how s3:// sources are reached.
	S3 remote.S3Config
	// Partial opens what is there of a model although shards are missing or
	// there twice, or cannot be opened, for a report: Problems says which. A
	// load of such a source is an error.
	Partial bool
	// Register asks daemons for memory that a Registrar can page-lock. They give it to
	// the user who mounted, and to one that mountd is told of; to others, memory that
	// is copied once more.
	Register bool
	// ThroughFUSE has mounts read, and nothing leased of their daemons' memory.
	ThroughFUSE bool
	// Retry is how often their requests are tried.
	Retry remote.RetryPolicy
	// Through, if set, returns what the objects of a bucket are read through, such
	// as a cache before it, which is called once for each s3:// source.
	Through func(remote.Store) remote.Store
	// Logger gets warnings; nil discards them.
	Logger *slog.Logger
}

// Shard names the files of one rank of a model saved by rank.
type Shard struct {
	// Rank is this process's, from 0.
	Rank int
	// Pattern is the files' name with {rank} and {part} in it; "" is
	// model-rank-{rank}-part-{part}.safetensors.
	Pattern string
}

// Source is the files of one model, listed and opened but not read yet. Close
// it after the load. Safe for concurrent use, but for Close.
type Source struct {
	label   string
	folders []*folder
	files   []*File
	daemons *daemons
}

// OpenSource lists and opens the safetensors files that the arguments name, in
// order: folders (mounted or not), files, s3://BUCKET/PREFIX and
// s3://BUCKET/KEY.safetensors. In a folder that is the *.safetensors directly
// in it, or what its one *.safetensors.index.json lists. An argument without
// a file is an error: fs.ErrNotExist where it does not exist itself,
// safetensors.ErrNoFiles where it holds none. So is a link that leads out of
// the folder, remote.ErrOutside, but for one of a Hugging Face snapshot to the
// blobs of its own repository; an argument may be a link to anywhere.
func OpenSource(ctx context.Context, cfg SourceConfig, args ...string) (*Source, error) {
	if len(args) == 0 {
		return nil, errors.New("open source: none given")
	}
	s := &Source{label: strings.Join(args, " "), daemons: newDaemons(cfg)}
	for i, arg := range args {
		f, err := openFolder(ctx, cfg, s.daemons, arg)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open source %s: %w", arg, err), s.Close())
		}
		for _, file := range f.files {
			file.argument = i
		}
		s.folders = append(s.folders, f)
		s.files = append(s.files, f.files...)
	}
	return s, nil
}

// String is the arguments, as given.
func (s *Source) String() string { return s.label }

// Files are in the order in which they are loaded.
func (s *Source) Files() []*File { return s.files }

// Bytes is the size of all files together, headers included.
func (s *Source) Bytes() int64 {
	var n int64
	for _, f := range s.files {
		n += f.size
	}
	return n
}

// Headers reads all headers and checks them against each other and the index: a
// tensor in two files, or missing from the file that the index names, is an
// error. The result is in the order of Files.
func (s *Source) Headers(ctx context.Context) ([]*safetensors.Header, error) {
	headers := make([]*safetensors.Header, len(s.files))
	err := s.readHeaders(ctx, func(i int, h *safetensors.Header, err error) error {
		headers[i] = h
		return err
	})
	if err != nil {
		return nil, err
	}
	return headers, s.check(headers)
}

// HeadersThatAre is Headers for a report: for each of Files the header, or why
// it cannot be read. They are not checked, see Problems.
func (s *Source) HeadersThatAre(ctx context.Context) ([]*safetensors.Header, []error) {
	headers, errs := make([]*safetensors.Header, len(s.files)), make([]error, len(s.files))
	_ = s.readHeaders(ctx, func(i int, h *safetensors.Header, err error) error {
		headers[i], errs[i] = h, err
		return nil // on with the others
	})
	return headers, errs
}

// readHeaders reads the headers of all files, many at a time, until got, which
// is called for each of them, returns an error.
func (s *Source) readHeaders(ctx context.Context, got func(int, *safetensors.Header, error) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(headerReaders)
	for i, f := range s.files {
		g.Go(func() error {
			h, err := f.Header(ctx)
			return got(i, h, err)
		})
	}
	return g.Wait()
}

// Problems is everything that keeps the files from making up a model: what
// SourceConfig.Partial passed over, and the tensors that are in two files or
// missing from the file that an index names. headers is in the order of Files,
// with nil for a file whose header could not be read, which is no problem of
// these.
func (s *Source) Problems(headers []*safetensors.Header) []error {
	var problems []error
	for _, f := range s.folders {
		problems = append(problems, f.problems...)
	}
	for conflict := range s.conflicts(headers) {
		problems = append(problems, conflict)
	}
	return problems
}

// Warmth says what a source's bytes may be read from again.
type Warmth uint8

// What may hold bytes of a source.
const (
	// Cold: nothing on this host.
	Cold Warmth = iota
	// WarmMount: the daemon of a FUSE mount, perhaps.
	WarmMount
	// WarmPages: the page cache.
	WarmPages
)

// Evict makes the kernel forget what it holds of the source's files, for
// measuring, and says what may be left.
func (s *Source) Evict() (Warmth, error) {
	left := Cold
	for _, f := range s.files {
		b := pathOf(f.blob)
		if b == nil {
			continue
		}
		cold, err := b.evict()
		switch {
		case err != nil:
			return left, err
		case !cold:
			left = WarmPages
		case b.mounted:
			left = max(left, WarmMount)
		}
	}
	return left, nil
}

// OnMount tells whether a file of the source is on a FUSE mount.
func (s *Source) OnMount() bool {
	return slices.ContainsFunc(s.files, func(f *File) bool {
		b := pathOf(f.blob)
		return b != nil && b.mounted
	})
}

// Close releases descriptors and connections.
func (s *Source) Close() error {
	var errs []error
	for _, f := range s.folders {
		errs = append(errs, f.close())
	}
	s.folders = nil
	return errors.Join(append(errs, s.daemons.Close())...)
}

// largest is the size of the largest file, in whole pages.
func (s *Source) largest() int64 {
	var n int64 = 1
	for _, f := range s.files {
		n = max(n, f.size)
	}
	return (n + pageSize - 1) / pageSize * pageSize
}

// piece is how much is best read at a time, at most.
func (s *Source) piece() int64 {
	var n int64 = hotPiece
	for _, f := range s.files {
		n = max(n, f.blob.piece())
	}
	return n
}

// inMemory tells whether most of the source's bytes are in the page cache.
func (s *Source) inMemory() bool {
	var held int64
	for _, f := range s.files {
		if f.blob.inMemory() {
			held += f.size
		}
	}
	return held > s.Bytes()/2
}

// readers is how many parts are best read at a time.
func (s *Source) readers() int {
	n := 1
	for _, f := range s.files {
		n = max(n, f.blob.readers())
	}
	return n
}
