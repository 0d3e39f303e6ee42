package faults

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"sync"

	"weightfs/tests/rig"

	"pgregory.net/rapid"
)

// The steps of a model: each does one thing to the store or to the mount, and
// holds the mount against the model.
func (m *model) steps() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"put": m.put, "remove": m.remove, "list": m.list, "stat": m.stat, "open": m.open, "open2": m.open, "close": m.close,
		"read": m.readBy("read"), "map": m.readBy("map"), "together": m.together, "swap": m.swap, "drop": m.drop, "settle": m.settle,
	}
}

func (m *model) someKey(t *rapid.T) string { return rapid.SampledFrom(m.keys).Draw(t, "key") }

func (m *model) someReader(t *rapid.T) *reader {
	return m.readers[rapid.IntRange(0, len(m.readers)-1).Draw(t, "reader")]
}

// drawContent draws what a key gets: often as much as it had, which a mount that
// took one version for the other would not notice. No two contents have a page in
// common.
func (m *model) drawContent(t *rapid.T, key string) []byte {
	before := rapid.Just(len(m.latest(key)))
	odd := rapid.Map(rapid.IntRange(0, modelLargest), func(n int) int { return modelLargest - n })
	size := rapid.OneOf(rapid.SampledFrom(modelSizes()), odd, before).Draw(t, "size")
	return m.fresh(size)
}

func (m *model) fresh(size int) []byte {
	m.writes++
	content := make([]byte, size)
	rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, m.folder, m.writes))).Read(content)
	return content
}

// put stores a new version of a key.
func (m *model) put(t *rapid.T) {
	key := m.someKey(t)
	m.replace(t, key, m.drawContent(t, key))
}

// swap replaces a file by one of the same size between its opening and its
// reading.
func (m *model) swap(t *rapid.T) {
	key := m.someKey(t)
	size := len(m.drawContent(t, key))
	m.replace(t, key, m.fresh(size))
	n, opened := m.openKey(t, key)
	m.replace(t, key, m.fresh(size))
	if !opened {
		return
	}
	for _, op := range []string{"read", "map"} {
		o := m.drawReadOf(t, n, op)
		m.judge(t, o, m.handles[n].reader.do(t, o))
	}
}

// replace stores a version of a key.
func (m *model) replace(t *rapid.T, key string, content []byte) {
	noError(t, m.store.put(m.folder+"/"+key, content))
	m.history[key] = append(m.history[key], content)
}

// remove deletes a key, which it stores first where it is not there.
func (m *model) remove(t *rapid.T) {
	key := m.someKey(t)
	if m.latest(key) == nil {
		m.replace(t, key, m.drawContent(t, key))
	}
	noError(t, m.store.remove(m.folder+"/"+key))
	m.history[key] = append(m.history[key], nil)
}

// list compares a directory.
func (m *model) list(t *rapid.T) {
	dir := rapid.SampledFrom(m.dirs).Draw(t, "dir")
	got := m.someReader(t).do(t, order{Op: "list", Path: path.Join(m.dir, dir)})
	must, may := m.names(dir)
	if got.errno() != "" {
		s := m.at(dir)
		// A folder that was found a moment ago may have lost its last key since,
		// also where a file of its name comes to light by that.
		left := got.errno() == "ENOENT" && (s.dir || dir == "")
		gone := len(must) == 0 && (s.failure(got.errno()) || left)
		isFile := got.errno() == "ENOTDIR" && len(s.versions) > 0
		if !gone && !isFile {
			t.Fatalf("%q: %#v, it has %q", dir, got, must)
		}
		return
	}
	for _, name := range must {
		if !slices.Contains(got.Names, name) {
			t.Fatalf("%q lacks %q: %#v", dir, name, got)
		}
	}
	for _, name := range got.Names {
		if !slices.Contains(may, name) {
			t.Fatalf("%q has %q", dir, name)
		}
	}
}

// stat compares a size.
func (m *model) stat(t *rapid.T) {
	key := m.someKey(t)
	got := m.someReader(t).do(t, order{Op: "stat", Path: path.Join(m.dir, key)})
	s := m.at(key)
	fits := got.errno() != "" && s.failure(got.errno()) || got.Dir && s.dir
	for _, v := range s.versions {
		fits = fits || got.errno() == "" && !got.Dir && got.Size == int64(len(v))
	}
	if !fits {
		t.Fatalf("stat %q: %#v", key, got)
	}
}

// open opens a file for later.
func (m *model) open(t *rapid.T) { m.openKey(t, m.someKey(t)) }

// openKey opens a file for later, past the page cache perhaps, and returns its
// handle if it could be one.
func (m *model) openKey(t *rapid.T, key string) (n int, opened bool) {
	by := m.someReader(t)
	m.last++
	direct := rapid.Bool().Draw(t, "direct")
	got := by.do(t, order{Op: "open", Path: path.Join(m.dir, key), Handle: m.last, Direct: direct})
	s := m.at(key)
	if got.errno() != "" && !s.failure(got.errno()) || got.errno() == "" && len(s.versions) == 0 {
		t.Fatalf("open %q: %#v", key, got)
	}
	if got.errno() != "" {
		return 0, false
	}
	m.handles[m.last] = &handle{key, by, s.versions}
	return m.last, true
}

// some draws a handle. Where none is open it opens a file first; ok is false if
// the one that it drew is not to be opened.
func (m *model) some(t *rapid.T) (n int, ok bool) {
	if len(m.handles) == 0 {
		return m.openKey(t, m.someKey(t))
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m.handles))).Draw(t, "handle"), true
}

// drawRead draws a read of a part of an open file, if one is open or can be.
func (m *model) drawRead(t *rapid.T, op string) (o order, ok bool) {
	n, ok := m.some(t)
	if !ok {
		return o, false
	}
	return m.drawReadOf(t, n, op), true
}

func (m *model) drawReadOf(t *rapid.T, n int, op string) order {
	// Small numbers are drawn more often than large ones: a part of the whole, and
	// something beyond.
	longest := 0
	for _, v := range m.handles[n].versions {
		longest = max(longest, len(v))
	}
	parts := rapid.SampledFrom([]int64{0, 0, 1, 3, 5, 8, 11, 15, 16}).Draw(t, "sixteenths")
	off := parts*int64(longest)/16 + rapid.Int64Range(0, 8191).Draw(t, "beyond")
	size := rapid.SampledFrom([]int64{1, 4096, 100_000, 1 << 20, modelLargest}).Draw(t, "size")
	return order{Op: op, Handle: n, Offset: off, Size: size}
}

// readBy compares a part of an open file, read in the given way.
func (m *model) readBy(op string) func(*rapid.T) {
	return func(t *rapid.T) {
		if o, ok := m.drawRead(t, op); ok {
			m.judge(t, o, m.handles[o.Handle].reader.do(t, o))
		}
	}
}

// judge holds the outcome to a read against the versions that the file may have.
func (m *model) judge(t *rapid.T, o order, got outcome) {
	h := m.handles[o.Handle]
	if errno := got.errno(); (errno == "ESTALE" || o.Op == "map" && errno == "SIGBUS") && len(m.history[h.key]) > 1 {
		return // it was replaced
	}
	h.versions = slices.DeleteFunc(slices.Clone(h.versions), func(v []byte) bool { return !got.same(expected(v, o.Offset, o.Size)) })
	if len(h.versions) == 0 {
		t.Fatalf("%s %q [%d,+%d): %#v is of none of the versions", o.Op, h.key, o.Offset, o.Size, got)
	}
}

// together reads with all processes at once, while a key is replaced perhaps.
func (m *model) together(t *rapid.T) {
	reads := make(map[*reader][]order)
	for range rapid.IntRange(2, 8).Draw(t, "reads") {
		o, ok := m.drawRead(t, rapid.SampledFrom([]string{"read", "map"}).Draw(t, "way"))
		if !ok {
			continue
		}
		by := m.handles[o.Handle].reader
		reads[by] = append(reads[by], o)
	}
	outcomes := make([][]outcome, len(m.readers))
	failures := make([]error, len(m.readers))
	var group sync.WaitGroup
	for i, by := range m.readers {
		group.Go(func() {
			for _, o := range reads[by] {
				got, err := by.try(o)
				if err != nil {
					failures[i] = err
					return
				}
				outcomes[i] = append(outcomes[i], got)
			}
		})
	}
	func() {
		defer group.Wait() // rapid leaves a step by a panic
		if rapid.Bool().Draw(t, "replace") {
			m.put(t)
		}
	}()
	for i, by := range m.readers {
		if failures[i] != nil {
			t.Fatal(failures[i])
		}
		for k, o := range reads[by] {
			m.judge(t, o, outcomes[i][k])
		}
	}
}

// expected is the outcome to a read of that version.
func expected(version []byte, off, size int64) outcome {
	length := int64(len(version))
	return readOf(version[min(off, length):min(off+size, length)])
}

func (m *model) drop(t *rapid.T) {
	if n, ok := m.some(t); ok {
		m.handles[n].reader.do(t, order{Op: "drop", Handle: n})
	}
}

func (m *model) close(t *rapid.T) {
	if n, ok := m.some(t); ok {
		m.closeHandle(t, n)
	}
}

func (m *model) closeHandle(t failer, n int) {
	m.handles[n].reader.do(t, order{Op: "close", Handle: n})
	delete(m.handles, n)
}

// settle waits until the mount shows the latest of all. Handles of before stay
// where they are of the latest, and may have become stale otherwise.
func (m *model) settle(t *rapid.T) {
	by := m.someReader(t)
	m.forget()
	wrong := ""
	if !rig.Eventually(func() bool { wrong = m.compare(t, by); return wrong == "" }) {
		t.Fatalf("it does not become what it is: %s", wrong)
	}
	for n, h := range m.handles {
		latest := m.latest(h.key)
		if latest == nil || len(h.versions) > 1 || !bytes.Equal(h.versions[0], latest) {
			m.closeHandle(t, n)
		}
	}
}
