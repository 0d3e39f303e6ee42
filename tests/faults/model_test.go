package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weightfs/tests/harness"
)

// model is what a mount must look like. A key that was changed may look as it
// did at any time since all was settled; one that was not looks as it is. Once
// the mount has shown the latest of all, it may show nothing older.
type model struct {
	agent   *agent
	bucket  string
	folder  string              // of the bucket, fresh for each model
	dir     string              // the same in the mount
	history map[string][][]byte // contents since all was settled, the latest last; nil for none
	handles map[int]*handle
	last    int // number of the last handle
	writes  uint64
}

// handle is an open file: it shows one of the versions that it may have been
// opened in, and always the same one.
type handle struct {
	key      string
	versions [][]byte
}

// modelKeys are the keys that may be there.
func modelKeys() []string { return []string{"a", "b", "d/a", "d/b", "d/e/a", "f/a"} }

// modelDirs are the directories that these may make.
func modelDirs() []string { return []string{"", "d", "d/e", "f"} }

func (m *model) latest(key string) []byte {
	versions := m.history[key]
	return versions[len(versions)-1]
}

// put stores a new version of a key.
func (m *model) put(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys()).Draw(t, "key")
	size := rapid.SampledFrom([]int{0, 1, 4095, 4097, 128 << 10, 1 << 20, 1<<20 + 1, 3 << 20}).Draw(t, "size")
	m.writes++
	content := make([]byte, size)
	rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, m.folder, m.writes))).Read(content)
	if err := theStage.server.Put(context.Background(), m.bucket, m.folder+"/"+key, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	m.history[key] = append(m.history[key], content)
}

// remove deletes a key.
func (m *model) remove(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys()).Draw(t, "key")
	if m.latest(key) == nil {
		t.Skip("nothing there")
	}
	if err := theStage.server.Delete(context.Background(), m.bucket, m.folder+"/"+key); err != nil {
		t.Fatal(err)
	}
	m.history[key] = append(m.history[key], nil)
}

// list compares a directory.
func (m *model) list(t *rapid.T) {
	dir := rapid.SampledFrom(modelDirs()).Draw(t, "dir")
	got := m.agent.do(t, order{Op: "list", Path: path.Join(m.dir, dir)})
	must, may := m.names(dir)
	if got.Errno == "ENOENT" && len(must) == 0 {
		return
	}
	for _, name := range must {
		if !slices.Contains(got.Names, name) {
			t.Fatalf("%q lacks %q: %+v", dir, name, got)
		}
	}
	for _, name := range got.Names {
		if !slices.Contains(may, name) {
			t.Fatalf("%q has %q", dir, name)
		}
	}
}

// names returns what a directory must hold, and what it may.
func (m *model) names(dir string) (must, may []string) {
	for key, versions := range m.history {
		rest, ok := strings.CutPrefix(key, strings.TrimPrefix(dir+"/", "/"))
		if !ok {
			continue
		}
		name, _, nested := strings.Cut(rest, "/")
		if nested {
			name += "/"
		}
		absent := slices.ContainsFunc(versions, func(v []byte) bool { return v == nil })
		present := slices.ContainsFunc(versions, func(v []byte) bool { return v != nil })
		if !absent {
			must = append(must, name)
		}
		if present {
			may = append(may, name)
		}
	}
	return must, may
}

// latestNames returns what a directory holds now, sorted.
func (m *model) latestNames(dir string) []string {
	names := map[string]bool{}
	for key := range m.history {
		rest, ok := strings.CutPrefix(key, strings.TrimPrefix(dir+"/", "/"))
		if !ok || m.latest(key) == nil {
			continue
		}
		name, _, nested := strings.Cut(rest, "/")
		if nested {
			name += "/"
		}
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// stat compares a size.
func (m *model) stat(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys()).Draw(t, "key")
	got := m.agent.do(t, order{Op: "stat", Path: path.Join(m.dir, key)})
	for _, v := range m.history[key] {
		if v == nil && got.Errno == "ENOENT" || v != nil && got.Errno == "" && got.Size == int64(len(v)) {
			return
		}
	}
	t.Fatalf("stat %q: %+v", key, got)
}

// open opens a file for later.
func (m *model) open(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys()).Draw(t, "key")
	m.last++
	got := m.agent.do(t, order{Op: "open", Path: path.Join(m.dir, key), Handle: m.last})
	versions := slices.DeleteFunc(slices.Clone(m.history[key]), func(v []byte) bool { return v == nil })
	switch {
	case got.Errno == "" && len(versions) > 0:
		m.handles[m.last] = &handle{key, versions}
	case got.Errno == "ENOENT" && len(versions) < len(m.history[key]):
	case got.Errno == "ESTALE" && len(m.history[key]) > 1:
	default:
		t.Fatalf("open %q: %+v", key, got)
	}
}

// some draws a handle.
func (m *model) some(t *rapid.T) (int, *handle) {
	if len(m.handles) == 0 {
		t.Skip("nothing is open")
	}
	numbers := make([]int, 0, len(m.handles))
	for n := range m.handles {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	n := rapid.SampledFrom(numbers).Draw(t, "handle")
	return n, m.handles[n]
}

// readBy compares a part of an open file, read in the given way.
func (m *model) readBy(op string) func(*rapid.T) {
	return func(t *rapid.T) {
		n, h := m.some(t)
		off := rapid.Int64Range(0, 3<<20).Draw(t, "offset")
		size := rapid.SampledFrom([]int64{1, 4096, 100_000, 1 << 20, 4 << 20}).Draw(t, "size")
		got := m.agent.do(t, order{Op: op, Handle: n, Offset: off, Size: size})
		if got.Errno == "ESTALE" && len(m.history[h.key]) > 1 {
			return // it was replaced
		}
		h.versions = slices.DeleteFunc(h.versions, func(v []byte) bool { return !got.same(expected(v, off, size)) })
		if len(h.versions) == 0 {
			t.Fatalf("%s %q [%d,+%d): %+v is of none of the versions", op, h.key, off, size, got)
		}
	}
}

// expected is the answer to a read of that version.
func expected(version []byte, off, size int64) answer {
	length := int64(len(version))
	part := version[min(off, length):min(off+size, length)]
	sum := sha256.Sum256(part)
	return answer{Size: int64(len(part)), SHA256: hex.EncodeToString(sum[:])}
}

func (m *model) drop(t *rapid.T) {
	n, _ := m.some(t)
	m.agent.do(t, order{Op: "drop", Handle: n})
}

func (m *model) close(t *rapid.T) {
	n, _ := m.some(t)
	m.agent.do(t, order{Op: "close", Handle: n})
	delete(m.handles, n)
}

// settle waits until the mount shows the latest of all. Handles of before stay,
// and may have become stale.
func (m *model) settle(t *rapid.T) {
	changed := false
	for _, versions := range m.history {
		changed = changed || len(versions) > 1
	}
	if !changed {
		return
	}
	wrong := ""
	if !eventually(quietLimit, func() bool { wrong = m.compare(t); return wrong == "" }) {
		t.Fatalf("%q does not become what it is", wrong)
	}
	for key, versions := range m.history {
		m.history[key] = versions[len(versions)-1:]
	}
	for n, h := range m.handles {
		if !slices.ContainsFunc(h.versions, func(v []byte) bool { return bytes.Equal(v, m.latest(h.key)) }) || len(h.versions) > 1 {
			m.agent.do(t, order{Op: "close", Handle: n})
			delete(m.handles, n)
		}
	}
}

// compare returns a key or directory that does not look as it is, or "".
func (m *model) compare(t *rapid.T) string {
	for _, dir := range modelDirs() {
		got := m.agent.do(t, order{Op: "list", Path: path.Join(m.dir, dir)})
		if !slices.Equal(got.Names, m.latestNames(dir)) {
			return "directory " + dir
		}
	}
	for _, key := range modelKeys() {
		m.last++
		got := m.agent.do(t, order{Op: "open", Path: path.Join(m.dir, key), Handle: m.last})
		if got.Errno == "" {
			got = m.agent.do(t, order{Op: "read", Handle: m.last, Size: 4 << 20})
			m.agent.do(t, order{Op: "close", Handle: m.last})
		}
		want := answer{Errno: "ENOENT"}
		if content := m.latest(key); content != nil {
			want = expected(content, 0, 4<<20)
		}
		if !got.same(want) {
			return key
		}
	}
	return ""
}

// TestMatchesModel draws operations on a bucket and on its mount, which has
// little memory, and compares the mount with the model after each.
func TestMatchesModel(t *testing.T) {
	t.Parallel()
	seen := seenBy(t, "the mount is what the model says")
	const bucket = "model"
	if err := theStage.server.CreateBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	m := mountFor(t, harness.MountOptions{
		Source: "s3://" + bucket, Env: theStage.server.Env(), Args: []string{"--metadata-ttl", "200ms", "--memory-limit", "16Mi"},
	})
	agent := startAgent(t)
	models, operations := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		models++
		folder := fmt.Sprintf("model-%d", models)
		model := &model{
			agent: agent, bucket: bucket, folder: folder, dir: path.Join(m.Dir, folder),
			history: map[string][][]byte{}, handles: map[int]*handle{}, last: models << 20,
		}
		for _, key := range modelKeys() {
			model.history[key] = [][]byte{nil}
		}
		t.Cleanup(func() { // also of a model that was given up half way
			for n := range model.handles {
				agent.do(t, order{Op: "close", Handle: n})
			}
		})
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { operations++ }, "put": model.put, "remove": model.remove, "list": model.list, "stat": model.stat,
			"open": model.open, "read": model.readBy("read"), "map": model.readBy("map"), "drop": model.drop, "close": model.close,
			"settle": model.settle,
		})
	})
	fmt.Fprintf(seen, "%d operations on %d models", operations, models)
	checkQuiet(t, m)
}
