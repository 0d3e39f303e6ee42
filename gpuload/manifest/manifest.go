// Package manifest describes the content of loaded models: one entry for each
// tensor, with the digest of its bytes.
//
// [FromModel] takes the digests of what lies on the device, [FromSource] of
// what the files hold; [Compare] tells where two descriptions differ, so that a
// load can be verified against its source, and against a manifest written on
// another day, by another path or device. In a file, a manifest is a line of
// JSON for each tensor ([Write], [Read]).
package manifest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Entry describes one tensor.
type Entry struct {
	Name  string   `json:"name"`
	DType string   `json:"dtype"`
	Shape []uint64 `json:"shape"`
	// File is relative to the source's folder.
	File string `json:"file"`
	// Source tells files of equal names apart: the number of File's source among
	// those of the load, from 1. It is 0, and left out, where File says enough.
	Source int `json:"source,omitempty"`
	// Offset is in bytes from the start of the file.
	Offset int64 `json:"offset"`
	NBytes int64 `json:"nbytes"`
	// Digest is sha256:HEX or xxh3:HEX.
	Digest string `json:"digest"`
}

// CheckPath returns an error if [Write] would refuse path for what is there: as
// it renames a new file to path, a device node, a link or a socket there would
// be gone.
func CheckPath(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("write manifest: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("write manifest %s: %w, and is no regular file", path, fs.ErrExist)
	}
	return nil
}

// Write writes the entries to the file at path, which appears only when it is
// whole and on disk, in place of a regular file that is there.
func Write(path string, entries []Entry) (err error) {
	if err := CheckPath(path); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write manifest %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(encode(f, entries), f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func encode(w io.Writer, entries []Entry) error {
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	for _, e := range entries {
		if e.Shape == nil {
			e.Shape = []uint64{} // a scalar's is [], not null
		}
		if err := encoder.Encode(e); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// ReadFile reads the manifest at path.
func ReadFile(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	entries, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", path, err)
	}
	return entries, nil
}

// Read reads a manifest. Unknown fields are ignored; a digest that is none, and
// a name that occurs twice, are errors. A tensor's name may be empty.
func Read(r io.Reader) ([]Entry, error) {
	var entries []Entry
	seen := make(map[string]struct{})
	decoder := json.NewDecoder(r)
	for {
		var e Entry
		if err := decoder.Decode(&e); err == io.EOF {
			return entries, nil
		} else if err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(entries)+1, err)
		}
		if _, ok := seen[e.Name]; ok {
			return nil, fmt.Errorf("entry %d: a second tensor %q", len(entries)+1, e.Name)
		}
		if _, err := hashOf(e.Digest); err != nil {
			return nil, fmt.Errorf("entry %d, tensor %q: %w", len(entries)+1, e.Name, err)
		}
		seen[e.Name] = struct{}{}
		entries = append(entries, e)
	}
}

// HashOf is the hash by which the entries' digests were taken, or an error if
// they differ in it. It is SHA256 for no entries.
func HashOf(entries []Entry) (Hash, error) {
	common := SHA256
	for i, e := range entries {
		h, err := hashOf(e.Digest)
		if err != nil {
			return 0, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if i > 0 && h != common {
			return 0, fmt.Errorf("tensor %q has a digest by %s, the ones before it by %s", e.Name, h, common)
		}
		common = h
	}
	return common, nil
}

// Compare returns an error that names the first tensor, by got's order, in
// which the two differ in anything, and how many more do; nil if none does. The
// order of the tensors does not matter. A Source of 0 matches every other.
func Compare(got, want []Entry) error {
	rest := make(map[string]Entry, len(want))
	for _, e := range want {
		rest[e.Name] = e
	}
	var first error
	count := 0
	differ := func(format string, args ...any) {
		if count++; first == nil {
			first = fmt.Errorf(format, args...)
		}
	}
	for _, g := range got {
		w, ok := rest[g.Name]
		delete(rest, g.Name)
		switch {
		case !ok:
			differ("tensor %q of %s is not expected", g.Name, g.file())
		case g.DType != w.DType || !slices.Equal(g.Shape, w.Shape) || g.NBytes != w.NBytes:
			differ("tensor %q of %s is %s %v, expected %s %v", g.Name, g.file(), g.DType, g.Shape, w.DType, w.Shape)
		case g.Digest != w.Digest:
			differ("tensor %q of %s has digest %s, expected %s", g.Name, g.file(), g.Digest, w.Digest)
		case g.File != w.File || g.Offset != w.Offset || g.Source != w.Source && g.Source != 0 && w.Source != 0:
			differ("tensor %q is at byte %d of %s, expected at %d of %s", g.Name, g.Offset, g.file(), w.Offset, w.file())
		}
	}
	for _, w := range want {
		if _, left := rest[w.Name]; left {
			differ("tensor %q is missing", w.Name)
		}
	}
	if count > 1 {
		return fmt.Errorf("%w, and %d more differ", first, count-1)
	}
	return first
}

// file names the entry's file, for messages.
func (e Entry) file() string {
	if e.Source == 0 {
		return e.File
	}
	return fmt.Sprintf("%s of source %d", e.File, e.Source)
}
