package safetensors

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// DefaultRankPattern is how sharded checkpoints name the files of a rank.
const DefaultRankPattern = "model-rank-{rank}-part-{part}" + Suffix

const (
	rankPlaceholder = "{rank}"
	partPlaceholder = "{part}"
)

// RankPattern matches the names of files that were written for one rank each.
// The zero value matches nothing.
type RankPattern struct {
	pattern    string
	matcher    *regexp.Regexp
	rank, part int // submatches
}

// RankFile is a name that a RankPattern matched.
type RankFile struct {
	Name       string
	Rank, Part int
}

// ParseRankPattern makes a pattern of a file name in which {rank} and {part}
// stand once each. They stand for decimal numbers; the part may be left out of
// a name, and is 0 then. Everything else stands for itself. Errors are of type
// [*ShardError], of the kind ErrInvalidPattern.
func ParseRankPattern(pattern string) (RankPattern, error) {
	refuse := func(detail string) (RankPattern, error) {
		return RankPattern{}, &ShardError{Kind: ErrInvalidPattern, Index: quote(pattern), Detail: detail}
	}
	for _, placeholder := range [...]string{rankPlaceholder, partPlaceholder} {
		if n := strings.Count(pattern, placeholder); n != 1 {
			return refuse(fmt.Sprintf("%s must stand in it once, not %d times", placeholder, n))
		}
	}
	if strings.Contains(pattern, "/") {
		return refuse("it is matched against names in one folder, and must have no slash")
	}
	rank, part := strings.Index(pattern, rankPlaceholder), strings.Index(pattern, partPlaceholder)
	between := pattern[min(rank, part)+len(rankPlaceholder) : max(rank, part)]
	if strings.Trim(between, "0123456789") == "" {
		return refuse("something other than digits must stand between {rank} and {part}")
	}
	expression := regexp.QuoteMeta(pattern)
	expression = strings.Replace(expression, regexp.QuoteMeta(rankPlaceholder), "(0|[1-9][0-9]*)", 1)
	expression = strings.Replace(expression, regexp.QuoteMeta(partPlaceholder), "([0-9]*)", 1)
	matcher, err := regexp.Compile(`\A(?s:` + expression + `)\z`)
	if err != nil {
		return refuse(err.Error())
	}
	p := RankPattern{pattern: pattern, matcher: matcher, rank: 1, part: 2}
	if part < rank {
		p.rank, p.part = 2, 1
	}
	return p, nil
}

// defaultRankPattern is DefaultRankPattern, which is valid.
func defaultRankPattern() RankPattern {
	p, err := ParseRankPattern(DefaultRankPattern)
	if err != nil {
		panic(err)
	}
	return p
}

// String is the pattern as it was written.
func (p RankPattern) String() string { return p.pattern }

// Match takes a name apart, if it has the pattern's form. A rank is written
// without leading zeros.
func (p RankPattern) Match(name string) (RankFile, bool) {
	if p.matcher == nil {
		return RankFile{}, false
	}
	m := p.matcher.FindStringSubmatch(name)
	if m == nil {
		return RankFile{}, false
	}
	rank, err := strconv.Atoi(m[p.rank])
	if err != nil {
		return RankFile{}, false
	}
	part, err := strconv.Atoi(cmp.Or(m[p.part], "0"))
	return RankFile{name, rank, part}, err == nil
}

// Select returns the files of one rank among a folder's, by their parts. Parts
// need not be numbered without gaps. The error where there are none names the
// pattern and the ranks that there are; it is a [*ShardError].
func (p RankPattern) Select(names []string, rank int) ([]string, error) {
	files := slices.DeleteFunc(p.match(names), func(f RankFile) bool { return f.Rank != rank })
	if len(files) == 0 {
		return nil, &ShardError{Kind: ErrNoFiles, Index: p.pattern,
			Detail: fmt.Sprintf("none of rank %d among %d files; ranks that are there: %v", rank, len(names), p.Ranks(names))}
	}
	slices.SortFunc(files, func(a, b RankFile) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Name, b.Name))
	})
	selected := make([]string, len(files))
	for i, f := range files {
		selected[i] = f.Name
	}
	return selected, nil
}

// Ranks are the ranks that have a file among a folder's, sorted.
func (p RankPattern) Ranks(names []string) []int {
	var ranks []int
	for _, f := range p.match(names) {
		ranks = append(ranks, f.Rank)
	}
	slices.Sort(ranks)
	return slices.Compact(ranks)
}

func (p RankPattern) match(names []string) []RankFile {
	var files []RankFile
	for _, name := range names {
		if f, ok := p.Match(name); ok {
			files = append(files, f)
		}
	}
	return files
}
