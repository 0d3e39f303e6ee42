package safetensors

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Suffix ends the name of every safetensors file that is found by listing.
const Suffix = ".safetensors"

// FindIndex returns which of a folder's files is the index that decides what
// is loaded: DefaultIndex, or the only one there is; "" where there is none,
// ErrAmbiguousIndex where there are several.
func FindIndex(names []string) (string, error) {
	found := visible(names, IndexSuffix)
	switch {
	case len(found) == 0:
		return "", nil
	case slices.Contains(found, DefaultIndex):
		return DefaultIndex, nil
	case len(found) == 1:
		return found[0], nil
	}
	return "", &ShardError{Kind: ErrAmbiguousIndex, Files: found, Detail: "none of them is " + DefaultIndex}
}

// SelectFiles returns which of a folder's files make up its checkpoint,
// sorted. The names are those of the files directly in the folder, in any
// order. The index is what FindIndex found, or nil.
//
// With an index, the files are those that it names, and each must be there
// (one in a subfolder, which no listing shows, is left to its opening).
// Without, they are all visible *.safetensors; numbered ones must be complete,
// and where they are the files of several ranks, one must be chosen with
// [RankPattern.Select]. Errors are of type [*ShardError].
func SelectFiles(names []string, index *Index) ([]string, error) {
	if index != nil {
		return selectIndexed(names, index)
	}
	files := visible(names, Suffix)
	if len(files) == 0 {
		return nil, &ShardError{Kind: ErrNoFiles,
			Detail: fmt.Sprintf("none of the folder's %d files is named *%s", len(names), Suffix)}
	}
	for _, set := range Numbered(files) {
		if err := set.Err(); err != nil {
			return nil, err
		}
	}
	pattern := defaultRankPattern()
	if ranks := pattern.Ranks(files); len(ranks) > 1 {
		return nil, &ShardError{Kind: ErrSeveralRanks, Index: pattern.String(),
			Detail: fmt.Sprintf("%d ranks from %d to %d: choose one", len(ranks), ranks[0], ranks[len(ranks)-1])}
	}
	return files, nil
}

func selectIndexed(names []string, index *Index) ([]string, error) {
	there := make(map[string]struct{}, len(names))
	for _, name := range names {
		there[name] = struct{}{}
	}
	files := index.Files()
	missing := slices.DeleteFunc(slices.Clone(files), func(file string) bool {
		_, ok := there[file]
		return ok || strings.Contains(file, "/")
	})
	if len(missing) > 0 {
		return nil, &ShardError{Kind: ErrMissingShard, Index: index.Name, Files: missing}
	}
	if len(files) == 0 {
		return nil, &ShardError{Kind: ErrNoFiles, Index: index.Name, Detail: "the weight_map is empty"}
	}
	return files, nil
}

// visible returns the names with that suffix, sorted, as a shell's * does:
// without hidden ones, such as the ._model.safetensors that some systems leave
// beside a file.
func visible(names []string, suffix string) []string {
	var found []string
	for _, name := range names {
		if strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".") {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// File is one loaded file of a checkpoint.
type File struct {
	// Name is relative to the checkpoint's folder, as SelectFiles returns it.
	Name   string
	Header *Header
}

// Conflicts yields, in a fixed order, every tensor that two of the files have,
// and every file and tensor that the index (or nil) says is there and is not.
// A loader stops at the first, a report takes them all.
func Conflicts(files []File, index *Index) iter.Seq[*ShardError] {
	return func(yield func(*ShardError) bool) {
		if duplicateTensors(files, yield) && index != nil {
			brokenPromises(files, index, yield)
		}
	}
}

// duplicateTensors returns false once yield did.
func duplicateTensors(files []File, yield func(*ShardError) bool) bool {
	total := 0
	for _, file := range files {
		total += len(file.Header.Tensors)
	}
	owners := make(map[string]string, total)
	for _, file := range files {
		for i := range file.Header.Tensors {
			name := file.Header.Tensors[i].Name
			owner, taken := owners[name]
			if !taken {
				owners[name] = file.Name
				continue
			}
			if !yield(&ShardError{Kind: ErrDuplicateTensor, Tensor: name, Files: []string{owner, file.Name}}) {
				return false
			}
		}
	}
	return true
}

// brokenPromises yields what the index names and the files do not have.
func brokenPromises(files []File, index *Index, yield func(*ShardError) bool) {
	headers := make(map[string]*Header, len(files))
	for _, file := range files {
		headers[file.Name] = file.Header
	}
	absent := make(map[string]struct{}) // files
	var lost []string                   // tensors
	for tensor, file := range index.WeightMap {
		header, ok := headers[file]
		if !ok {
			absent[file] = struct{}{}
		} else if _, ok := header.Lookup(tensor); !ok {
			lost = append(lost, tensor)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(absent)) {
		if !yield(&ShardError{Kind: ErrMissingShard, Index: index.Name, Files: []string{file}}) {
			return
		}
	}
	slices.Sort(lost)
	for _, tensor := range lost {
		if !yield(&ShardError{Kind: ErrMissingTensor, Index: index.Name, Tensor: tensor,
			Files: []string{index.WeightMap[tensor]}}) {
			return
		}
	}
}
