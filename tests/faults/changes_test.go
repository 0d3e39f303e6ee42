package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weightfs/gpuload/safetensors"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// nameMemory is the --metadata-ttl of the mounts of these cases.
const nameMemory = time.Second

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
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(old)
	data := other[8+binary.LittleEndian.Uint64(old):] // the header stays: a checkpoint again
	for i := range data {
		data[i] ^= 0xff
	}
	put := func(name string, content []byte, refused bool) change {
		sum := sha256.Sum256(content)
		apply := func(t *testing.T, key string) { theStage.server.MustPut(t, bucket, key, content) }
		return change{name, apply, hex.EncodeToString(sum[:]), content, refused}
	}
	return []change{
		put("replaced", other, false),
		put("truncated", old[:len(old)/2], true),
		{name: "deleted", apply: func(t *testing.T, key string) {
			if err := theStage.server.Delete(context.WithoutCancel(t.Context()), bucket, key); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

// mountOfCopy stores a copy of the object in a folder of its own and mounts that
// with a short memory for names, through a proxy.
func mountOfCopy(t *testing.T, flags ...string) (r *scene, key string) {
	t.Helper()
	folder := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	key = folder + "/" + object
	if err := theStage.server.PutFile(t.Context(), bucket, key, theStage.original); err != nil {
		t.Fatal(err)
	}
	r = &scene{t: t, proxy: proxy.Start(t, theStage.server.Endpoint)}
	r.mount = mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket + "/" + folder,
		Args:   append([]string{"--memory-limit", "16Mi", "--part-size", "1Mi", "--metadata-ttl", nameMemory.String()}, flags...),
		Env:    append(theStage.server.Env(), "AWS_ENDPOINT_URL="+r.proxy.Endpoint),
	})
	return r, key
}

// showLimit is how long a change may stay unseen: the memory for names, and a
// moment for a busy machine.
const showLimit = nameMemory + time.Second

// TestChangedWhileOpen holds that a reader in the middle of an object that
// changes gets the old content whole or an error, never a mixture, and that the
// mount shows the change soon.
func TestChangedWhileOpen(t *testing.T) {
	for _, c := range changes(t) {
		for way, errno := range map[string]string{"held": "ESTALE", "held mapped": "SIGBUS"} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				seen := seenBy(t, "old whole or "+errno+", then the new state")
				r, key := mountOfCopy(t, "--prefetch", "off")
				reader := holdIn(t, strings.ReplaceAll(way, " ", "-"), r.file())
				reader.goOn()
				reader.await("read")
				c.apply(t, key)
				changed := time.Now()
				o := reader.finish()
				fmt.Fprintf(seen, "%v", o)
				if !o.intact() && (len(o.Failures) != 1 || o.Failures[0].Errno != errno) {
					t.Errorf("the reader got: %v", o)
				}
				r.awaitState(c, changed, seen)
				checkQuiet(t, r.mount)
			})
		}
		for _, way := range []string{"load", direct} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				seen := seenBy(t, "old whole or ESTALE, then the new state")
				r, key := mountOfCopy(t, "--prefetch", "off")
				changes := make(chan time.Time, 1)
				r.proxy.SetRules(1, proxy.Rule{Op: "GET", Skip: 4, Count: 1, Fault: proxy.Fault{Edit: func(proxy.Request, *proxy.Head) {
					c.apply(t, key) // gpuload has the header by then
					changes <- time.Now()
				}}})
				o := r.readCopy(c, way, key)
				fmt.Fprintf(seen, "%v", o)
				if !o.intact() && (len(o.Failures) != 1 || o.Failures[0].Errno != "ESTALE") {
					t.Errorf("gpuload got: %v", o)
				}
				select {
				case changed := <-changes:
					r.awaitState(c, changed, seen)
				case <-time.After(childLimit): // gpuload may have ended a moment before
					t.Error("it did not change")
				}
				checkQuiet(t, r.mount)
			})
		}
	}
}

// cutOff is gpuload's word for a checkpoint that ends early.
var cutOff = safetensors.ErrMetadataIncompleteBuffer.Error()

// readCopy reads the copy of the object at key in one way.
func (r *scene) readCopy(c change, way, key string) outcome {
	r.t.Helper()
	switch way {
	case "load":
		return c.load(r.t, nil, r.file())
	case direct:
		return c.load(r.t, []string{"env", "AWS_ENDPOINT_URL=" + r.proxy.Endpoint}, "--part-size", "1Mi", "--concurrency", "2", "s3://"+bucket+"/"+key)
	default:
		return readFile(r.t, way, r.file())
	}
}

// load has gpuload load one of the two versions, of which the outcome has the
// digest.
func (c change) load(t *testing.T, prefix []string, args ...string) outcome {
	t.Helper()
	began := time.Now()
	loaded, result := loadTensors(t, prefix, args...)
	o := outcome{Seconds: time.Since(began).Seconds()}
	switch {
	case strings.Contains(result.Stderr, "changed since it was listed"):
		o.Failures = []failure{{"ESTALE", o.Seconds}} // what it is called without a mount
	case c.refused && strings.Contains(result.Stderr, cutOff):
		o.Failures = []failure{{cutOff, o.Seconds}}
	case result.Code != 0:
		o.Failures = []failure{{errnoOf(result.Stderr), o.Seconds}}
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
	if err := os.WriteFile(file, c.content, 0o644); err != nil {
		t.Fatal(err)
	}
	loaded, result := loadTensors(t, nil, file)
	if result.Code != 0 {
		t.Fatal(result.Stderr)
	}
	return loaded
}

// awaitState holds that the file is what the change made of it for each reader
// that opens it later than showLimit after. Until then each gets the old content,
// the new one, or an errno that tells of the change.
func (r *scene) awaitState(c change, changed time.Time, seen *strings.Builder) {
	r.t.Helper()
	for {
		began := time.Since(changed)
		o := readFile(r.t, "sequential", r.file())
		c.checkWhole(r.t, o)
		if c.isNew(o) {
			fmt.Fprintf(seen, "; it shows after %.1f s", began.Seconds())
			return
		}
		if began > showLimit || r.t.Failed() {
			r.t.Errorf("the change does not show after %v: %v", began, o)
			return
		}
	}
}

// isNew tells whether a reader saw the new state.
func (c change) isNew(o outcome) bool {
	if c.after == "" {
		return len(o.Failures) == 1 && o.Failures[0].Errno == "ENOENT"
	}
	return len(o.Failures) == 0 && o.SHA256 == c.after
}

// describe is the outcome for the table.
func (c change) describe(o outcome) string {
	if c.isNew(o) {
		return fmt.Sprintf("the new state in %.1f s", o.Seconds)
	}
	return o.String()
}

// checkWhole holds that a reader who may have met the change got one of the two
// versions whole, or an errno that tells of the change.
func (c change) checkWhole(t *testing.T, o outcome) {
	t.Helper()
	if o.intact() || c.isNew(o) {
		return
	}
	if len(o.Failures) == 1 {
		switch errno := o.Failures[0].Errno; {
		case errno == "ESTALE", errno == "SIGBUS", c.after == "" && errno == "ENOENT":
			return
		case c.refused && errno == cutOff:
			return
		}
	}
	t.Errorf("a reader got neither version: %v", o)
}

// changeWays are how the file is read after a change: gpuload through the mount
// too.
func changeWays() []string { return []string{"sequential", "mapped", "load"} }

// TestChangedBeforeOpen holds the same where the object changes after it was
// listed.
func TestChangedBeforeOpen(t *testing.T) {
	for _, c := range changes(t) {
		for _, way := range changeWays() {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				seen := seenBy(t, "old whole, new whole or an error, then the new state")
				r, key := mountOfCopy(t)
				succeed(t, "ls", "-l", r.mount.Dir)
				c.apply(t, key)
				changed := time.Now()
				o := r.readCopy(c, way, key)
				fmt.Fprint(seen, c.describe(o))
				c.checkWhole(t, o)
				r.awaitState(c, changed, seen)
			})
		}
	}
}

// TestChangeShows holds that a change shows to who only looks at names and
// attributes, which tells mountd nothing: when the memory for names is over.
func TestChangeShows(t *testing.T) {
	for _, c := range changes(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "after the TTL of 1 s")
			r, key := mountOfCopy(t)
			look := func() string { // a version is an inode
				return runChild(t, nil, "stat", "-c", "%i %s", r.file()).Stdout
			}
			before := look()
			c.apply(t, key)
			changed := time.Now()
			for {
				began := time.Since(changed)
				now := look()
				if now != before {
					fmt.Fprintf(seen, "%.1f s", began.Seconds())
					break
				}
				if began > showLimit {
					t.Fatalf("after %v it is %q", began, now)
				}
				time.Sleep(20 * time.Millisecond)
			}
			if o := readFile(t, "sequential", r.file()); !c.isNew(o) {
				t.Errorf("a reader then got: %v", o)
			}
		})
	}
}

// TestChangedWhileListed holds the same where the object changes while the
// listing is on its way.
func TestChangedWhileListed(t *testing.T) {
	for _, c := range changes(t) {
		for _, way := range changeWays() {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				seen := seenBy(t, "one of the two, then the new state")
				r, key := mountOfCopy(t)
				listed := make(chan time.Time, 1)
				r.proxy.SetRules(1, proxy.Rule{Op: "LIST", Count: 1, Fault: proxy.Fault{Edit: func(proxy.Request, *proxy.Head) {
					c.apply(t, key) // the answer is of before
					listed <- time.Now()
				}}})
				var changed time.Time
				if !eventually(quietLimit, func() bool {
					succeed(t, "ls", "-l", r.mount.Dir)
					select {
					case changed = <-listed:
						return true
					default:
						return false
					}
				}) {
					t.Fatal("nothing was listed anew")
				}
				o := r.readCopy(c, way, key)
				fmt.Fprint(seen, c.describe(o))
				c.checkWhole(t, o)
				r.awaitState(c, changed, seen)
			})
		}
	}
}
