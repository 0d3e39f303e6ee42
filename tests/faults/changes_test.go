package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"weightfs/tests/harness"
	"weightfs/tests/proxy"
)

// change is something that happens to an object.
type change struct {
	name  string
	apply func(t *testing.T, key string)
	// after is the digest of what is there then, "" for nothing.
	after string
}

// changes are all that can happen to a copy of the object.
func changes(t *testing.T) []change {
	t.Helper()
	old, err := os.ReadFile(theStage.original)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(old)
	for i := range other {
		other[i] ^= 0xff
	}
	put := func(name string, content []byte) change {
		sum := sha256.Sum256(content)
		return change{name, func(t *testing.T, key string) {
			theStage.server.MustPut(t, bucket, key, content)
		}, hex.EncodeToString(sum[:])}
	}
	return []change{
		put("replaced", other),
		put("truncated", old[:len(old)/2]),
		{"deleted", func(t *testing.T, key string) {
			if err := theStage.server.Delete(context.WithoutCancel(t.Context()), bucket, key); err != nil {
				t.Fatal(err)
			}
		}, ""},
	}
}

// mountOfCopy stores a copy of the object in a folder of its own and mounts that
// with a short memory for names, through a proxy.
func mountOfCopy(t *testing.T, flags ...string) (r *rig, key string) {
	t.Helper()
	folder := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	key = folder + "/" + object
	if err := theStage.server.PutFile(t.Context(), bucket, key, theStage.original); err != nil {
		t.Fatal(err)
	}
	r = &rig{t: t, proxy: proxy.Start(t, theStage.server.Endpoint)}
	r.mount = mountFor(t, harness.MountOptions{
		Source: "s3://" + bucket + "/" + folder,
		Args:   append([]string{"--memory-limit", "16Mi", "--part-size", "1Mi", "--metadata-ttl", "1s"}, flags...),
		Env:    append(theStage.server.Env(), "AWS_ENDPOINT_URL="+r.proxy.Endpoint),
	})
	return r, key
}

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
				o := reader.finish()
				fmt.Fprintf(seen, "%v", o)
				if !o.intact() && (len(o.Failures) != 1 || o.Failures[0].Errno != errno) {
					t.Errorf("the reader got: %v", o)
				}
				r.awaitState(c, seen)
				checkQuiet(t, r.mount)
			})
		}
	}
}

// awaitState waits until the file is what the change made of it. Until then
// each reader gets the old content, the new one, or an error.
func (r *rig) awaitState(c change, seen *strings.Builder) {
	r.t.Helper()
	began := time.Now()
	if !eventually(quietLimit, func() bool {
		o := readFile(r.t, "sequential", r.file())
		if len(o.Failures) == 0 && !o.intact() && o.SHA256 != c.after {
			r.t.Fatalf("a reader got a mixture: %v", o)
		}
		if c.after == "" {
			return len(o.Failures) == 1 && o.Failures[0].Errno == "ENOENT"
		}
		return o.SHA256 == c.after
	}) {
		r.t.Error("the change does not show")
	}
	fmt.Fprintf(seen, "; it shows after %.1f s", time.Since(began).Seconds())
}

// checkWhole holds that a reader who may have met the change got one of the two
// versions whole, or an errno that tells of the change.
func (c change) checkWhole(t *testing.T, o outcome) {
	t.Helper()
	switch {
	case o.intact() || len(o.Failures) == 0 && o.SHA256 == c.after:
	case len(o.Failures) == 1 && (o.Failures[0].Errno == "ESTALE" || c.after == "" && o.Failures[0].Errno == "ENOENT"):
	default:
		t.Errorf("a reader got neither version: %v", o)
	}
}

// TestChangedBeforeOpen holds the same where the object changes after it was
// listed.
func TestChangedBeforeOpen(t *testing.T) {
	for _, c := range changes(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "old whole, new whole or an error, then the new state")
			r, key := mountOfCopy(t)
			succeed(t, "ls", "-l", r.mount.Dir)
			c.apply(t, key)
			o := readFile(t, "sequential", r.file())
			fmt.Fprintf(seen, "%v", o)
			c.checkWhole(t, o)
			r.awaitState(c, seen)
		})
	}
}

// TestChangedWhileListed holds the same where the object changes while the
// listing is on its way.
func TestChangedWhileListed(t *testing.T) {
	for _, c := range changes(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "one of the two, then the new state")
			r, key := mountOfCopy(t)
			asked := make(chan struct{}, 1)
			r.proxy.SetRules(1, proxy.Rule{Op: "LIST", Count: 1, Fault: proxy.Fault{Edit: func(proxy.Request, *proxy.Head) {
				c.apply(t, key) // the answer is of before
				asked <- struct{}{}
			}}})
			if !eventually(quietLimit, func() bool {
				succeed(t, "ls", "-l", r.mount.Dir)
				select {
				case <-asked:
					return true
				default:
					return false
				}
			}) {
				t.Fatal("nothing was listed anew")
			}
			o := readFile(t, "sequential", r.file())
			fmt.Fprintf(seen, "%v", o)
			c.checkWhole(t, o)
			r.awaitState(c, seen)
		})
	}
}
