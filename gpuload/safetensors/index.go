package safetensors

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// IndexSuffix ends the name of every shard index.
	IndexSuffix = ".safetensors.index.json"
	// DefaultIndex is the index that decides where a folder has several.
	DefaultIndex = "model" + IndexSuffix
	// MaxIndexBytes is the longest index that is parsed. The format has no limit;
	// an index has less to say of a tensor than the header of its file.
	MaxIndexBytes = 2 * MaxHeaderBytes
)

// Index is a shard index: which file has which tensor.
type Index struct {
	// Name is the index's own, as given to ParseIndex.
	Name string
	// WeightMap has, for each tensor, the file that it is in, as a clean
	// slash-separated path within the index's folder.
	WeightMap map[string]string
	// TotalSize is metadata.total_size in bytes, 0 if it is not told. It is
	// advice: many indexes have it wrong.
	TotalSize int64
}

// ParseIndex parses a shard index; the name is for errors, which are of type
// [*FormatError]. The data may be reused after the return.
func ParseIndex(name string, data []byte) (*Index, error) {
	refuse := func(detail string) error {
		return &FormatError{File: name, Kind: ErrInvalidIndex, Detail: detail}
	}
	if len(data) > MaxIndexBytes {
		return nil, refuse(fmt.Sprintf("%d bytes, where %d are allowed", len(data), MaxIndexBytes))
	}
	if !utf8.Valid(data) {
		return nil, refuse("not UTF-8 from byte " + strconv.Itoa(validPrefix(data)))
	}
	p := indexParser{scanner: scanner{data: data}, index: Index{Name: name}, files: make(map[string]string)}
	err := p.object(p.member)
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, named(name, ErrInvalidIndex, err)
	}
	if p.index.WeightMap == nil {
		return nil, refuse("no weight_map")
	}
	return &p.index, nil
}

// Files are the files that the index names, each once, sorted.
func (x *Index) Files() []string {
	files := make(map[string]struct{})
	for _, file := range x.WeightMap {
		files[file] = struct{}{}
	}
	return slices.Sorted(maps.Keys(files))
}

// indexParser reads the JSON of an index. Fields that it does not know are
// ignored.
type indexParser struct {
	scanner
	index Index
	files map[string]string // as written: cleaned
}

func (p *indexParser) member(key []byte) error {
	switch string(key) {
	case "weight_map":
		if p.index.WeightMap != nil {
			return &FormatError{Kind: ErrDuplicateKey, Detail: "two weight_map"}
		}
		p.index.WeightMap = make(map[string]string)
		return p.object(p.weight)
	case "metadata":
		if p.peek() == '{' {
			return p.object(p.totalSize)
		}
	}
	return p.skip(2)
}

// weight reads one entry of the weight_map.
func (p *indexParser) weight(key []byte) error {
	tensor := string(key)
	if _, ok := p.index.WeightMap[tensor]; ok {
		return &FormatError{Tensor: tensor, Kind: ErrDuplicateKey, Detail: "two entries in the weight_map"}
	}
	written, err := p.string()
	if err != nil {
		return err
	}
	file, ok := p.files[string(written)]
	if !ok {
		if file, ok = cleanInside(string(written)); !ok {
			return &FormatError{Tensor: tensor, Kind: ErrInvalidIndex,
				Detail: quote(string(written)) + " is not a file inside the folder"}
		}
		p.files[string(written)] = file
	}
	p.index.WeightMap[tensor] = file
	return nil
}

// totalSize reads metadata.total_size. Some indexes have it as a fraction or a
// string: what is no number of bytes is as good as not told.
func (p *indexParser) totalSize(key []byte) error {
	if c := p.peek(); string(key) != "total_size" || c < '0' || c > '9' {
		return p.skip(3)
	}
	f, err := p.float()
	if err == nil && f == math.Trunc(f) && f < math.MaxInt64 {
		p.index.TotalSize = int64(f)
	}
	return err
}

// cleanInside makes a slash-separated path clean and says whether it names
// something inside the folder that it is relative to.
func cleanInside(name string) (string, bool) {
	inside := name != "" && !path.IsAbs(name) && !strings.HasSuffix(name, "/") &&
		!strings.ContainsRune(name, 0) && !slices.Contains(strings.Split(name, "/"), "..")
	name = path.Clean(name)
	return name, inside && name != "."
}
