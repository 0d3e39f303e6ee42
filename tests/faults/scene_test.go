package faults

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// direct is the way of gpuload without a mount.
const direct = "load s3"

// ways are how a file is read in each storage case; "load" is gpuload.
func ways() []string { return []string{"sequential", "parallel", "mapped", "load"} }

// failure is the error of one reader.
type failure struct {
	Errno   string  `json:"errno"`
	Seconds float64 `json:"seconds"`
}

// outcome is what came of reading the object in one way.
type outcome struct {
	SHA256   string    `json:"sha256"`
	Seconds  float64   `json:"seconds"`
	Failures []failure `json:"failures"`
	message  string    // of gpuload, where it failed
	late     lateness  // of the machine meanwhile
}

// intact tells whether the reader got the object's bytes.
func (o outcome) intact() bool { return len(o.Failures) == 0 && o.SHA256 == theStage.digest }

// givenUp tells whether all readers failed well before the read time-out.
func (o outcome) givenUp() bool {
	return !slices.ContainsFunc(o.Failures, func(f failure) bool { return f.Seconds > theStage.readTimeout.Seconds()/2 })
}

func (o outcome) String() string {
	switch {
	case o.intact():
		return fmt.Sprintf("intact in %.1f s", o.Seconds)
	case len(o.Failures) == 0:
		return "WRONG BYTES"
	}
	last := 0.0
	for _, f := range o.Failures {
		last = max(last, f.Seconds)
	}
	return fmt.Sprintf("%s x%d, last after %.1f s", o.Failures[0].Errno, len(o.Failures), last)
}

// scene is one mount before one proxy.
type scene struct {
	t     *testing.T
	proxy *proxy.Proxy
	mount *rig.Mount
	seen  strings.Builder // for the table
	// prefix is the command that readers run under, if any.
	prefix []string
	// endpoint is where gpuload without a mount finds the store, by names, which
	// may be nil.
	endpoint string
	names    *nameServer
	outage   bool       // the fault is that connections are refused
	dials    *dialWatch // since beginCounting
	// loadFlags are gpuload's without a mount.
	loadFlags []string
}

// paceTotal is what the proxy of a scene lets through, in bytes a second.
const paceTotal = 40e6

// newScene mounts the bucket behind a proxy for the length of the test, with
// flags in addition. The proxy makes the store slow enough for faults to fall
// into the reading.
func newScene(t *testing.T, flags ...string) *scene {
	t.Helper()
	r := &scene{t: t, proxy: proxy.Start(t, theStage.server.Endpoint)}
	r.endpoint = r.proxy.Endpoint
	r.proxy.SetShape(proxy.Shape{FirstByte: 2 * time.Millisecond, PerConnection: 20e6, Total: paceTotal})
	args := append([]string{"--memory-limit", "128Mi", "--part-size", "1Mi", "--metadata-ttl", "1h"}, flags...)
	r.mount = mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket, Args: args,
		Env: append(theStage.server.Env(), "AWS_ENDPOINT_URL="+r.proxy.Endpoint),
	})
	return r
}

// mountFor mounts for the length of the test, whose end unmounts by SIGTERM. It
// must end with exit 0, or the one given.
func mountFor(t *testing.T, opts rig.MountOptions, exit ...int) *rig.Mount {
	t.Helper()
	m, err := theStage.Mount(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkNobodyAt(t, m.Dir) })
	t.Cleanup(func() {
		if err := m.Close(); err != nil && (len(exit) == 0 || m.Wait() != exit[0]) {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("mountd wrote:\n%s", lastLines(m.Output(), 40))
		}
	})
	checkAtEnd(t, m)
	return m
}

// mountBucket is mountFor with the bucket as it is, and no flags.
func mountBucket(t *testing.T, exit ...int) *rig.Mount {
	t.Helper()
	return mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Env: theStage.server.Env()}, exit...)
}

func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// file is the object in the mount.
func (r *scene) file() string { return filepath.Join(r.mount.Dir, object) }

// read reads the object in one way, to the end or to the error.
func (r *scene) read(way string) (o outcome) {
	r.t.Helper()
	late := theStage.late.during(func() { o = r.readOnce(way) })
	o.late = late
	return o
}

func (r *scene) readOnce(way string) outcome {
	r.t.Helper()
	switch way {
	case "load":
		return loadFile(r.t, r.prefix, r.file())
	case direct:
		env := append(theStage.server.Env(), "AWS_ENDPOINT_URL="+r.endpoint)
		// Parts as small as the mount's, so that the rules find as many GETs.
		part := strconv.FormatInt(theStage.partSize(), 10)
		prefix := append(append(slices.Clone(r.prefix), "env"), env...)
		args := append([]string{"--part-size", part, "--concurrency", "12", "--force-path-style"}, r.loadFlags...)
		o := loadFile(r.t, prefix, append(args, "s3://"+bucket+"/"+object)...)
		for i := range o.Failures {
			o.Failures[i].Errno = "exit 1" // it names no errno
		}
		return o
	default:
		return readFile(r.t, way, r.file(), r.prefix...)
	}
}

// readFile has the reader program read a file, under the command prefix.
func readFile(t *testing.T, way, path string, prefix ...string) outcome {
	t.Helper()
	var o outcome
	if err := json.Unmarshal([]byte(runUnder(t, prefix, theStage.reader, way, path).Stdout), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// loadFile has gpuload load a file and compares each tensor with what the
// reference implementation reads from the original.
func loadFile(t *testing.T, prefix []string, args ...string) outcome {
	t.Helper()
	start := time.Now()
	loaded, result := loadTensors(t, prefix, args...)
	o := outcome{Seconds: time.Since(start).Seconds()}
	if result.Code != 0 {
		o.message = result.Stderr
		o.Failures = []failure{{errnoOf(result.Stderr), o.Seconds}}
		return o
	}
	if err := rig.Compare(loaded, theStage.reference); err != nil {
		o.SHA256 = err.Error()
		return o
	}
	o.SHA256 = theStage.digest
	return o
}

// loadTensors has gpuload load under the command prefix, and returns what its
// manifest has of the tensors.
func loadTensors(t *testing.T, prefix []string, args ...string) (map[string]rig.Tensor, rig.Result) {
	t.Helper()
	manifest := filepath.Join(t.TempDir(), "manifest")
	command := []string{theStage.Gpuload, "load", "--device", "cpu", "--progress", "none", "--manifest", manifest}
	result := runUnder(t, prefix, append(command, args...)...)
	if result.Code != 0 {
		return nil, result
	}
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := rig.ParseManifest(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return loaded, result
}

// errnoOf finds the errno that a program names in its message.
func errnoOf(message string) string {
	for text, name := range map[string]string{
		"input/output error": "EIO", "stale": "ESTALE", "permission denied": "EACCES", "no such file": "ENOENT",
	} {
		if strings.Contains(strings.ToLower(message), text) {
			return name
		}
	}
	return strings.TrimSpace(message)
}

// runChild runs a child, which must end within childLimit.
func runChild(t *testing.T, env []string, name string, args ...string) rig.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), childLimit)
	defer cancel()
	result, err := rig.Run(ctx, env, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// runUnder runs a child under the command prefix, with the server's credentials.
func runUnder(t *testing.T, prefix []string, args ...string) rig.Result {
	t.Helper()
	args = append(append([]string{}, prefix...), args...)
	return runChild(t, theStage.server.Env(), args[0], args[1:]...)
}

// succeed runs a child that must exit with 0 and returns what it printed.
func succeed(t *testing.T, name string, args ...string) string {
	t.Helper()
	result := runChild(t, theStage.server.Env(), name, args...)
	if result.Code != 0 {
		t.Fatalf("%s %q: exit %d: %s", name, args, result.Code, result.Stderr)
	}
	return result.Stdout
}

// fileDigest is the SHA-256 of a file, in hex.
func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
