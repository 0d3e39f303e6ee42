package clients

import (
	"io/fs"
	"os"
	"path/filepath"
)

// lie makes a copy of the tree at from in which change has changed each file.
func lie(from, to string, change func(path string, content []byte) error) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.Mkdir(filepath.Join(to, rel), 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return change(filepath.Join(to, rel), content)
	})
}

// flip writes content to path with one bit of the byte in the middle flipped.
// In a checkpoint that is a weight, and in the trained one a word's.
func flip(path string, content []byte) error {
	if len(content) > 0 {
		content[len(content)/2] ^= 1
	}
	return os.WriteFile(path, content, 0o644)
}

// lengthen makes a file at path of as many bytes as content, and one more.
func lengthen(path string, content []byte) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, int64(len(content))+1)
}
