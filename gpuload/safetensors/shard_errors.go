package safetensors

import (
	"errors"
	"fmt"
	"strings"
)

// The ways in which the files of a checkpoint do not fit together. A
// [*ShardError] wraps exactly one of them.
var (
	// ErrNoFiles: a folder has no file to load.
	ErrNoFiles = errors.New("no safetensors files")
	// ErrAmbiguousIndex: a folder has several indexes and none of them is
	// [DefaultIndex].
	ErrAmbiguousIndex = errors.New("several shard indexes")
	// ErrMissingShard: a file that the index or the numbering calls for is not
	// there.
	ErrMissingShard = errors.New("missing shard")
	// ErrDuplicateShard: two files have the same number, or one has a number
	// outside its set.
	ErrDuplicateShard = errors.New("duplicate shard")
	// ErrDuplicateTensor: two files that are both loaded have a tensor of the
	// same name.
	ErrDuplicateTensor = errors.New("duplicate tensor")
	// ErrMissingTensor: a file does not have a tensor that the index says it
	// has.
	ErrMissingTensor = errors.New("missing tensor")
	// ErrRankNotChosen: a folder has files that were saved by rank, and no rank
	// was chosen.
	ErrRankNotChosen = errors.New("no rank chosen")
	// ErrInvalidPattern: a rank pattern cannot be understood.
	ErrInvalidPattern = errors.New("invalid rank pattern")
)

// ShardError says how the files of a checkpoint do not fit together.
type ShardError struct {
	// Kind is one of this package's sentinels.
	Kind error
	// Index is the index or the pattern that says so, "" if there is none.
	Index string
	// Tensor is the tensor concerned, or "".
	Tensor string
	// Files are the files concerned, relative to the folder.
	Files []string
	// Detail has more for a person, or is "".
	Detail string
}

// Error names everything concerned. Long names and lists are cut.
func (e *ShardError) Error() string {
	var b strings.Builder
	if e.Index != "" {
		b.WriteString(e.Index + ": ")
	}
	b.WriteString(e.Kind.Error())
	if e.Tensor != "" {
		b.WriteString(" " + quote(e.Tensor))
	}
	switch {
	case len(e.Files) > 0 && e.Tensor != "":
		b.WriteString(" in " + list(e.Files, " and "))
	case len(e.Files) > 0:
		b.WriteString(": " + list(e.Files, ", "))
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

// Unwrap returns Kind, for errors.Is.
func (e *ShardError) Unwrap() error { return e.Kind }

// list quotes the first of the names.
func list(names []string, separator string) string {
	const limit = 8
	quoted := make([]string, 0, limit)
	for _, name := range names[:min(len(names), limit)] {
		quoted = append(quoted, quote(name))
	}
	s := strings.Join(quoted, separator)
	if more := len(names) - limit; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
