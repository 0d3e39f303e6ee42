// Package remote says where checkpoint bytes are: it lists, stats and reads
// version-checked ranges of objects in an S3 bucket or of files in a local
// folder, and retries what is worth retrying.
//
// A [Store] is a tree of objects with slash-separated keys relative to its
// source; the empty key is the source itself. [OpenS3] and [OpenLocal] make
// one, [WithRetry] wraps one so that transient failures and broken or stalled
// bodies are resumed at their last byte and stay invisible to the reader, and
// [Open] does what a [Source] needs of it. Another kind of store is another
// [Backend], in files of its own beside s3*.go and local*.go.
//
// Who owns what: a Store owns its connections until Close; the caller of
// OpenRange owns the returned body and closes it. Stores are safe for
// concurrent use.
package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"weightfs/remote/retry"
)

// Errors that callers branch on, beside the sentinels of io/fs: fs.ErrNotExist
// for a missing object, bucket or folder, and fs.ErrPermission for refused or
// missing credentials.
var (
	// ErrChanged says that the version asked for is no longer the current one:
	// replaced, deleted or truncated since it was listed (S3: 404, 412 and 416
	// while reading).
	ErrChanged = errors.New("object changed since it was listed")
	// ErrArchived says that the object is in an archive storage class and must
	// be restored before it can be read. It wraps fs.ErrPermission.
	ErrArchived error = archivedError{}
	// ErrBadRange says that the store answered with other bytes than asked for:
	// a wrong Content-Range, a full body in place of a range, a body too long.
	ErrBadRange = errors.New("store answered with another range than asked for")
)

// Object names one version of one object.
type Object struct {
	// Key is relative to the source, slash-separated, without a leading slash.
	Key string
	// Size is in bytes.
	Size int64
	// ModTime is when this version was last modified.
	ModTime time.Time
	// Version changes whenever the content may have: the ETag for S3, or where
	// the store gives none the second of the modification and the size; device,
	// inode, size, mtime and ctime for files. Never empty in a listed object.
	Version string
	// Archived says that reading fails with ErrArchived (Glacier classes).
	Archived bool
}

// Kind says what an [Entry] is.
type Kind uint8

// The kinds of entry.
const (
	KindFile Kind = iota
	KindDir
	KindLink
)

// Entry is one child in a listing. For a directory only Key (without a
// trailing slash) and, for local folders, ModTime are set. For a link, Target
// is what readlink shows: relative, and inside the source.
type Entry struct {
	Object
	Kind   Kind
	Target string
}

// Page is one answer to a listing: some of the direct children of a directory.
type Page struct {
	// Entries are the children, in any order.
	Entries []Entry
	// Exists says that something is in the directory, be it hidden or a marker
	// of the directory itself.
	Exists bool
	// Next is the token of the page that follows; "" after the last.
	Next string
	// Through is how far this page and those before it have come: each object
	// is there whose name sorts before it as bytes, and each directory whose
	// name does with a slash behind it. "" promises nothing.
	Through string
}

// Store is where bytes are.
type Store interface {
	// Stat returns the current version of the object at key: fs.ErrNotExist
	// where there is none, or only a directory.
	Stat(ctx context.Context, key string) (Object, error)
	// ListPage returns the page of the directory dir ("" is the source) that
	// token names, "" being the first, with at most limit keys, 0 being as many
	// as the store likes. [List] and [Pages] put pages together.
	// Names that cannot be files are left out, counted and warned of once. That
	// there is no such directory is fs.ErrNotExist, or pages none of which Exists.
	ListPage(ctx context.Context, dir, token string, limit int) (Page, error)
	// OpenRange streams bytes [off, off+n) of that very version: ErrChanged if
	// it is no longer current. The body yields exactly n bytes or an error that
	// is not io.EOF (io.ErrUnexpectedEOF for a short one). off+n must not be
	// beyond obj.Size. Cancelling ctx fails the body; Close must be called.
	OpenRange(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error)
	// Close releases idle connections and descriptors. Bodies still open end by
	// their own Close or context.
	Close() error
}

// Backend is a Store of which each method makes one attempt, and which judges
// what came of it; [WithRetry] does the rest, for any of them.
type Backend interface {
	Store
	// Classify judges an error of one of the other methods, or of a body.
	Classify(err error) retry.Failure
}

// FileOpener is a Store whose objects are files of this host. The fs package
// uses it for kernel passthrough.
type FileOpener interface {
	// OpenFile opens that very version for reading: ErrChanged if it is no
	// longer current. The caller closes it.
	OpenFile(ctx context.Context, obj Object) (*os.File, error)
}
