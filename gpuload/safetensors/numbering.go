package safetensors

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ShardName is a name such as model-00002-of-00005.safetensors, taken apart.
type ShardName struct {
	// Prefix is what stands before the number, "model".
	Prefix string
	// Number is from 1 to Total, or from 0 to Total-1, by the writer.
	Number, Total int
}

// ParseShardName takes a file's name apart, if it has that form. Numbers have
// up to 9 digits.
func ParseShardName(name string) (ShardName, bool) {
	rest, ok := strings.CutSuffix(name, Suffix)
	i := strings.LastIndex(rest, "-of-")
	if !ok || i < 0 {
		return ShardName{}, false
	}
	total, ok := smallNumber(rest[i+len("-of-"):])
	dash := strings.LastIndexByte(rest[:i], '-')
	if !ok || dash < 0 {
		return ShardName{}, false
	}
	number, ok := smallNumber(rest[dash+1 : i])
	return ShardName{rest[:dash], number, total}, ok
}

// smallNumber parses 1 to 9 decimal digits.
func smallNumber(digits string) (int, bool) {
	if len(digits) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return int(n), err == nil
}

// ShardSet is what a folder has of one numbered set of shards.
type ShardSet struct {
	Prefix string
	Total  int
	// Found is how many numbers of the set are there.
	Found int
	// Missing are the numbers that are not.
	Missing []NumberRange
	// Duplicates are the files whose number another file has too.
	Duplicates []string
	// Strays are the files whose number is outside the set.
	Strays []string
}

// NumberRange is the numbers from First to Last, both included.
type NumberRange struct{ First, Last int }

// Numbered returns the numbered sets among a folder's files, complete or not,
// by prefix and total. Files with other names are ignored.
func Numbered(names []string) []ShardSet {
	type key struct {
		prefix string
		total  int
	}
	files := make(map[key]map[int][]string)
	for _, name := range names {
		shard, ok := ParseShardName(name)
		if !ok {
			continue
		}
		k := key{shard.Prefix, shard.Total}
		if files[k] == nil {
			files[k] = make(map[int][]string)
		}
		files[k][shard.Number] = append(files[k][shard.Number], name)
	}
	sets := make([]ShardSet, 0, len(files))
	for k, numbers := range files {
		sets = append(sets, newShardSet(k.prefix, k.total, numbers))
	}
	slices.SortFunc(sets, func(a, b ShardSet) int {
		return cmp.Or(cmp.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Total, b.Total))
	})
	return sets
}

// newShardSet sorts out the files of one set by their numbers.
func newShardSet(prefix string, total int, files map[int][]string) ShardSet {
	set := ShardSet{Prefix: prefix, Total: total}
	first, last := 1, total
	if len(files[0]) > 0 && len(files[total]) == 0 {
		first, last = 0, total-1
	}
	next := first
	for _, n := range slices.Sorted(maps.Keys(files)) {
		if n < first || n > last {
			set.Strays = append(set.Strays, files[n]...)
			continue
		}
		if n > next {
			set.Missing = append(set.Missing, NumberRange{next, n - 1})
		}
		if len(files[n]) > 1 {
			set.Duplicates = append(set.Duplicates, files[n]...)
		}
		set.Found++
		next = n + 1
	}
	if next <= last {
		set.Missing = append(set.Missing, NumberRange{next, last})
	}
	slices.Sort(set.Duplicates)
	slices.Sort(set.Strays)
	return set
}

// Problems are what keeps the set from being complete with each number there
// once.
func (s ShardSet) Problems() []*ShardError {
	var problems []*ShardError
	if len(s.Missing) > 0 {
		problems = append(problems, &ShardError{Kind: ErrMissingShard, Detail: fmt.Sprintf(
			"%d of %d shards of %s are there; missing: %s", s.Found, s.Total, quote(s.Prefix), rangeList(s.Missing))})
	}
	if len(s.Duplicates) > 0 {
		problems = append(problems, &ShardError{Kind: ErrDuplicateShard, Files: s.Duplicates})
	}
	if len(s.Strays) > 0 {
		problems = append(problems, &ShardError{Kind: ErrDuplicateShard, Files: s.Strays,
			Detail: fmt.Sprintf("outside of a set of %d shards", s.Total)})
	}
	return problems
}

// rangeList prints the first of the ranges.
func rangeList(ranges []NumberRange) string {
	const limit = 8
	var list []string
	for _, r := range ranges[:min(len(ranges), limit)] {
		list = append(list, r.String())
	}
	s := strings.Join(list, ", ")
	if len(ranges) > limit {
		s += ", ..."
	}
	return s
}

// String is "3" or "3-5".
func (r NumberRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}
