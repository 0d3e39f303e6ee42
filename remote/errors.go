package remote

import "io/fs"

// archivedError is the type of ErrArchived: its own sentinel that is also a
// permission error, so that a caller that knows only io/fs does the right thing.
type archivedError struct{}

func (archivedError) Error() string { return "object is archived: restore it before reading" }

func (archivedError) Unwrap() error { return fs.ErrPermission }
