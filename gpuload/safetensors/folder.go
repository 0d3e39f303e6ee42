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
// and where there are files of ranks, one must be chosen with
// [RankPattern.Select]. Errors are of type [*ShardError].
func SelectFiles(names []string, index *Index) ([]string, error) {
	files, problems := Survey(names, index)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	return files, nil
}

// Survey is SelectFiles for a report: it returns the files that are there
// although others are missing or there twice, and everything that SelectFiles
// might say. Where nobody can tell what the checkpoint is, there are no files.
func Survey(names []string, index *Index) ([]string, []*ShardError) {
	if index != nil {
		return surveyIndexed(names, index)
	}
	files := visible(names, Suffix)
	if len(files) == 0 {
		return nil, []*ShardError{{Kind: ErrNoFiles,
			Detail: fmt.Sprintf("none of the folder's %d files is named *%s", len(names), Suffix)}}
	}
	pattern := defaultRankPattern()
	if ranks := pattern.Ranks(files); len(ranks) > 0 {
		return nil, []*ShardError{{Kind: ErrRankNotChosen, Index: pattern.String(),
			Detail: fmt.Sprintf("the folder has files of %s", rankRange(ranks))}}
	}
	var problems []*ShardError
	for _, set := range Numbered(files) {
		problems = append(problems, set.Problems()...)
	}
	return files, problems
}

// rankRange is "rank 3" or "8 ranks from 0 to 7".
func rankRange(ranks []int) string {
	if len(ranks) == 1 {
		return fmt.Sprintf("rank %d", ranks[0])
	}
	return fmt.Sprintf("%d ranks from %d to %d", len(ranks), ranks[0], ranks[len(ranks)-1])
}

func surveyIndexed(names []string, index *Index) ([]string, []*ShardError) {
	there := make(map[string]struct{}, len(names))
	for _, name := range names {
		there[name] = struct{}{}
	}
	files := index.Files()
	if len(files) == 0 {
		return nil, []*ShardError{{Kind: ErrNoFiles, Index: index.Name, Detail: "the weight_map is empty"}}
	}
	var missing []string
	files = slices.DeleteFunc(files, func(file string) bool {
		_, ok := there[file]
		if ok || strings.Contains(file, "/") {
			return false
		}
		missing = append(missing, file)
		return true
	})
	if len(missing) > 0 {
		return files, []*ShardError{{Kind: ErrMissingShard, Index: index.Name, Files: missing}}
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

// File is one file of a checkpoint.
type File struct {
	// Name is relative to the checkpoint's folder, as SelectFiles returns it.
	Name string
	// Header is nil where it could not be read: then nothing is said of the
	// file's tensors.
	Header *Header
}

// tensors are those of the header, if there is one.
func (f File) tensors() []Tensor {
	if f.Header == nil {
		return nil
	}
	return f.Header.Tensors
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
		total += len(file.tensors())
	}
	owners := make(map[string]string, total)
	for _, file := range files {
		for _, tensor := range file.tensors() {
			name := tensor.Name
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
		} else if header == nil {
			continue
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
