package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weightfs/gpuload/safetensors"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// nameMemory is the --metadata-ttl of the mounts of these cases.
const nameMemory = 300 * time.Millisecond

// change is something that happens to an object.
type change struct {
	name  string
	apply func(t *testing.T, key string)
	// after is the digest of what is there then, "" for nothing.
	after string
	// content is what is there then, as gpuload sees it; refused where it is no
	// whole checkpoint.
	content []byte
	refused bool
}

// changes are all that can happen to a copy of the object.
func changes(t *testing.T) []change {
	t.Helper()
	old, err := os.ReadFile(theStage.original)
	noError(t, err)
	other := bytes.Clone(old)
	data := other[8+binary.LittleEndian.Uint64(old):] // the header stays: a checkpoint again
	for i := range data {
		data[i] ^= 0xff
	}
	put := func(name string, content []byte, refused bool) change {
		sum := sha256.Sum256(content)
		apply := func(t *testing.T, key string) { theStage.Server.MustPut(t, bucket, key, content) }
		return change{name, apply, hex.EncodeToString(sum[:]), content, refused}
	}
	return []change{
		put("replaced", other, false),
		put("truncated", old[:len(old)/2], true),
		{name: "deleted", apply: func(t *testing.T, key string) {
			noError(t, theStage.Server.Delete(context.WithoutCancel(t.Context()), bucket, key))
		}},
	}
}

// copied is a mount of a copy of the object, to which a change happens.
type copied struct {
	*scene
	change
	key  string
	then atomic.Int64 // how many listings were asked for before the change
}

// mountOfCopy stores a copy of the object in a folder of its own and mounts that
// with a short memory for names, through a proxy.
func mountOfCopy(t *testing.T, c change, flags ...string) *copied {
	t.Helper()
	folder := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	r := &copied{scene: &scene{t: t, proxy: proxy.Start(t, theStage.Server.Endpoint)}, change: c}
	r.key = folder + "/" + object
	noError(t, theStage.Server.PutFile(t.Context(), bucket, r.key, theStage.original))
	r.mount = mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket + "/" + folder,
		Args:   append([]string{"--memory-limit", "16Mi", "--part-size", "1Mi", "--metadata-ttl", nameMemory.String()}, flags...),
		Env:    append(theStage.Server.Env(), "AWS_ENDPOINT_URL="+r.proxy.Endpoint),
	})
	return r
}

// happen makes the change.
func (r *copied) happen() {
	r.apply(r.t, r.key)
	r.then.Store(r.proxy.Stats().Requests["LIST"])
}

// TestChangedWhileOpen holds that a reader in the middle of an object that
// changes gets the old content whole or an error, never a mixture, and that the
// mount shows the change.
func TestChangedWhileOpen(t *testing.T) {
	t.Parallel()
	for _, c := range changes(t) {
		for way, errno := range map[string]string{"held": "ESTALE", "held mapped": "SIGBUS"} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				r := mountOfCopy(t, c, "--prefetch", "off")
				reader := hold(t, r.file(), way == "held mapped")
				reader.askHalf()
				reader.awaitHalf()
				r.happen()
				r.checkOld(reader.finish(), errno)
			})
		}
		for _, way := range []string{"load", direct} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				r := mountOfCopy(t, c, "--prefetch", "off")
				happened := r.before("GET", 4, r.happen) // gpuload has the header by then
				o := r.readCopy(way)
				if !rig.Eventually(func() bool { return closed(happened) }) { // gpuload may have ended a moment before
					t.Fatal("it did not change")
				}
				r.checkOld(o, "ESTALE")
			})
		}
	}
}

// checkOld holds that a reader got the old version, or errno, and that the new
// state comes.
func (r *copied) checkOld(o outcome, errno string) {
	r.t.Helper()
	r.t.Log(o)
	if !o.intact() && (len(o.Failures) != 1 || o.errno() != errno) {
		r.t.Errorf("the reader got: %v", o)
	}
	r.awaitState()
	checkQuiet(r.t, r.mount)
}

// cutOff is gpuload's word for a checkpoint that ends early.
var cutOff = safetensors.ErrMetadataIncompleteBuffer.Error()

// readCopy reads the copy of the object in one way.
func (r *copied) readCopy(way string) outcome {
	r.t.Helper()
	switch way {
	case "load":
		return r.load(r.t, nil, r.file())
	case direct:
		return r.load(r.t, []string{"env", "AWS_ENDPOINT_URL=" + r.proxy.Endpoint}, "--part-size", "1Mi", "--concurrency", "2", "s3://"+bucket+"/"+r.key)
	default:
		return readFile(r.t, way, r.file())
	}
}

// load has gpuload load one of the two versions, of which the outcome has the
// digest.
func (c change) load(t *testing.T, prefix []string, args ...string) outcome {
	t.Helper()
	loaded, result := loadTensors(t, prefix, args...)
	var o outcome
	switch {
	case c.refused && strings.Contains(result.Stderr, cutOff):
		o.Failures = []string{cutOff}
	case result.Code != 0:
		o.Failures = []string{errnoOf(result.Stderr)}
	case rig.Compare(loaded, theStage.reference) == nil:
		o.SHA256 = theStage.digest
	case c.content != nil && !c.refused && rig.Compare(loaded, c.tensors(t)) == nil:
		o.SHA256 = c.after
	}
	return o
}

// tensors are those of the new version, by gpuload from a plain file.
func (c change) tensors(t *testing.T) map[string]rig.Tensor {
	t.Helper()
	file := filepath.Join(t.TempDir(), object)
	noError(t, os.WriteFile(file, c.content, 0o644))
	loaded, result := loadTensors(t, nil, file)
	if result.Code != 0 {
		t.Fatal(result.Stderr)
	}
	return loaded
}

// awaitShown looks until see says that it sees the change. Until mountd knows of a
// new listing, it may look as it did; and that it knows of the first one is sure
// when it has asked for more.
func (r *copied) awaitShown(see func() bool) {
	r.t.Helper()
	looks := 0
	if !rig.Eventually(func() bool {
		looks++
		listed := r.listedSince()
		if see() || r.t.Failed() {
			return true
		}
		if listed > 2 {
			r.t.Errorf("the change does not show after %d new listings", listed)
		}
		return false
	}) {
		r.t.Error("the change does not show")
	}
	r.t.Logf("the change shows to look %d, after %d listings", looks, r.listedSince())
}

// listedSince is how many listings were answered after the change, but for those
// that were asked for before.
func (r *copied) listedSince() int64 {
	answered := -r.then.Load()
	for _, record := range r.proxy.Log() {
		if record.Op == "LIST" {
			answered++
		}
	}
	return max(answered, 0)
}

// awaitState holds that the file becomes what the change made of it. Until then
// each reader gets the old content, the new one, or an errno that tells of the
// change.
func (r *copied) awaitState() {
	r.t.Helper()
	r.awaitShown(func() bool {
		o := readFile(r.t, "sequential", r.file())
		r.checkWhole(r.t, o)
		return r.isNew(o)
	})
}

// isNew tells whether a reader saw the new state.
func (c change) isNew(o outcome) bool {
	if c.after == "" {
		return len(o.Failures) == 1 && o.errno() == "ENOENT"
	}
	return len(o.Failures) == 0 && o.SHA256 == c.after
}

// checkWhole holds that a reader who may have met the change got one of the two
// versions whole, or an errno that tells of the change.
func (c change) checkWhole(t *testing.T, o outcome) {
	t.Helper()
	if o.intact() || c.isNew(o) {
		return
	}
	if len(o.Failures) == 1 {
		switch errno := o.errno(); {
		case errno == "ESTALE", errno == "SIGBUS", c.after == "" && errno == "ENOENT":
			return
		case c.refused && errno == cutOff:
			return
		}
	}
	t.Errorf("a reader got neither version: %v", o)
}

// TestChangedBeforeOpen holds the same where the object changes after it was
// listed, and while it is.
func TestChangedBeforeOpen(t *testing.T) {
	t.Parallel()
	for _, c := range changes(t) {
		for _, way := range []string{"sequential", "mapped", "load"} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				r := mountOfCopy(t, c)
				succeed(t, "ls", "-l", r.mount.Dir)
				r.happen()
				r.checkAfter(way)
			})
			t.Run(c.name+", while listed/"+way, func(t *testing.T) {
				t.Parallel()
				r := mountOfCopy(t, c)
				happened := r.before("LIST", 0, r.happen) // the answer is of before
				if !rig.Eventually(func() bool {
					succeed(t, "ls", "-l", r.mount.Dir)
					return closed(happened)
				}) {
					t.Fatal("nothing was listed anew")
				}
				r.checkAfter(way)
			})
		}
	}
}

// checkAfter reads in one way what has changed, and holds that the new state comes.
func (r *copied) checkAfter(way string) {
	r.t.Helper()
	o := r.readCopy(way)
	r.t.Logf("%v, the new state: %t", o, r.isNew(o))
	r.checkWhole(r.t, o)
	r.awaitState()
}

// TestChangeShows holds that a change shows to who only looks at names and
// attributes, which tells mountd nothing: when the memory for names is over.
func TestChangeShows(t *testing.T) {
	t.Parallel()
	for _, c := range changes(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := mountOfCopy(t, c)
			look := func() string { // a version is an inode
				return runChild(t, nil, "stat", "-c", "%i %s", r.file()).Stdout
			}
			before := look()
			r.happen()
			r.awaitShown(func() bool { return look() != before })
			if o := readFile(t, "sequential", r.file()); !r.isNew(o) {
				t.Errorf("a reader then got: %v", o)
			}
		})
	}
}
