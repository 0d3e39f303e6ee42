package faults

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"weightfs/tests/rig"
)

// modelSizes are lengths at which something may begin or end: pages, readahead,
// blocks.
func modelSizes() []int { return []int{0, 1, 4095, 4097, 128 << 10, 1 << 20, 1<<20 + 1, 3 << 20} }

// modelLargest is the length of the longest content that is drawn.
const modelLargest = 5 << 20

// model is what a mount must look like. A key that was changed may look as it
// did at any time since all was settled; one that was not looks as it is. Once
// the mount has shown the latest of all, it may show nothing older.
type model struct {
	store   modelStore
	mount   *rig.Mount
	readers []*reader // the reader processes
	folder  string    // of the bucket, fresh for each model
	dir     string    // the same in the mount
	keys    []string  // that may be there
	dirs    []string  // that these may make, and "" for the root
	history map[string][][]byte
	handles map[int]*handle
	last    int // number of the last handle
	writes  uint64
}

// modelStore is a bucket that a model changes.
type modelStore interface {
	put(key string, content []byte) error
	remove(key string) error
}

// handle is an open file: it shows one of the versions that it may have been
// opened in, and always the same one.
type handle struct {
	key      string
	reader   *reader
	versions [][]byte
}

// drawName draws one component of a key.
func drawName() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"a", "b", "A", "a.b", "a-", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
			"with space", " lead and trail ", "ünïcode-模型", "e\u0301", "\u00e9", "🙂", "quote\"s'", "line\nbreak", "%2F+&#", `back\slash`,
			".hidden", "...", "-dash", "star*?[x]", strings.Repeat("n", 255),
		}),
		rapid.StringMatching(`[a-z0-9._-]{0,12}[a-z]`),
	)
}

// drawKeys draws some keys, of few names, so that many are in one folder and some
// are beside a folder of their own name. If asFiles, all can be files of one
// folder, and have room in their names for what the real server adds.
func drawKeys(t *rapid.T, asFiles bool) []string {
	usable := drawName().Filter(func(name string) bool { return !asFiles || len(name) < 200 })
	names := rapid.SliceOfNDistinct(usable, 2, 4, rapid.ID[string]).Draw(t, "names")
	component := rapid.SampledFrom(names)
	drawn := rapid.SliceOfN(rapid.SliceOfN(component, 1, 3), 3, 8).Draw(t, "keys")
	var keys []string
	for _, components := range drawn {
		key := strings.Join(components, "/")
		clash := func(other string) bool {
			return key == other || asFiles && (inFolder(key, other) || inFolder(other, key))
		}
		if !slices.ContainsFunc(keys, clash) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// inFolder tells whether key is below a folder named dir.
func inFolder(key, dir string) bool { return strings.HasPrefix(key, dir+"/") }

// foldersOf returns "" and every folder that keys are in, sorted.
func foldersOf(keys []string) []string {
	dirs := map[string]bool{"": true}
	for _, key := range keys {
		for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(dirs))
}

func (m *model) latest(key string) []byte {
	versions := m.history[key]
	return versions[len(versions)-1]
}

// sight is what a path may look like: a file of one of the versions, a directory,
// nothing.
type sight struct {
	versions        [][]byte
	dir, absent     bool
	changed, nested bool // something of it was changed; the way to it may be a file
}

// at returns what path may look like. Where a key is a folder too, the folder is
// shown.
func (m *model) at(key string) sight {
	var s sight
	folder := false // for sure
	for other, versions := range m.history {
		present, always := presence(versions)
		switch {
		case other == key:
			s.changed = s.changed || len(versions) > 1
		case inFolder(other, key):
			s.dir, folder = s.dir || present, folder || always
			s.changed = s.changed || len(versions) > 1
		case inFolder(key, other):
			s.nested = s.nested || present
		}
	}
	versions, known := m.history[key]
	for _, v := range versions {
		if v != nil && !folder {
			s.versions = append(s.versions, v)
		}
	}
	_, always := presence(versions)
	s.absent = !folder && (!known || !always)
	return s
}

// presence tells whether there was one in some or in all of the versions.
func presence(versions [][]byte) (some, all bool) {
	absent := slices.ContainsFunc(versions, func(v []byte) bool { return v == nil })
	return slices.ContainsFunc(versions, func(v []byte) bool { return v != nil }), !absent
}

// failure tells whether a call on the path may fail in that way.
func (s sight) failure(errno string) bool {
	switch errno {
	case "ENOENT":
		return s.absent
	case "ENOTDIR":
		return s.absent && s.nested
	case "EISDIR":
		return s.dir
	case "ESTALE":
		return s.changed
	}
	return false
}

// names returns what a directory must hold, and what it may; directories have a
// slash at the end.
func (m *model) names(dir string) (must, may []string) {
	seen := map[string]bool{}
	for key := range m.history {
		rest, ok := strings.CutPrefix(key, strings.TrimPrefix(dir+"/", "/"))
		name, _, _ := strings.Cut(rest, "/")
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		s := m.at(path.Join(dir, name))
		if s.dir {
			may = append(may, name+"/")
		}
		if len(s.versions) > 0 {
			may = append(may, name)
		}
		if !s.absent && !s.dir {
			must = append(must, name)
		} else if !s.absent && len(s.versions) == 0 {
			must = append(must, name+"/")
		}
	}
	slices.Sort(must)
	slices.Sort(may)
	return must, may
}

// forget takes the latest of all for all that there ever was, and returns the
// histories of before.
func (m *model) forget() map[string][][]byte {
	before := m.history
	m.history = make(map[string][][]byte, len(before))
	for key, versions := range before {
		m.history[key] = versions[len(versions)-1:]
	}
	return before
}

// compare returns a key or directory that does not look as it is, or "". The
// model must have forgotten what was.
func (m *model) compare(t *rapid.T, by *reader) string {
	for _, dir := range m.dirs {
		got := by.do(t, order{Op: "list", Path: path.Join(m.dir, dir)})
		if must, _ := m.names(dir); !slices.Equal(got.Names, must) && (dir == "" || m.at(dir).dir) {
			return fmt.Sprintf("directory %q is %#v, not %q", dir, got, must)
		}
	}
	for _, key := range m.keys {
		m.last++
		got := by.do(t, order{Op: "open", Path: path.Join(m.dir, key), Handle: m.last})
		if s := m.at(key); got.errno() != "" {
			if !s.failure(got.errno()) {
				return fmt.Sprintf("opening %q: %s", key, got.errno())
			}
			continue
		}
		got = by.do(t, order{Op: "read", Handle: m.last, Size: modelLargest})
		by.do(t, order{Op: "close", Handle: m.last})
		s := m.at(key)
		if len(s.versions) == 0 || !got.same(expected(s.versions[0], 0, modelLargest)) {
			return fmt.Sprintf("%q has %#v", key, got)
		}
	}
	return ""
}
