package faults

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// direct is the way of gpuload without a mount.
const direct = "load s3"

// ways are how a file is read in a mount; "load" is gpuload.
func ways() []string { return []string{"sequential", "parallel", "mapped", "load"} }

// everyWay is ways, and gpuload from S3.
func everyWay() []string { return append(ways(), direct) }

// errnoOfWay is errno as the reader of one way is told.
func errnoOfWay(way, errno string) string {
	if way == "mapped" {
		return "SIGBUS"
	}
	return errno
}

// sceneOptions say what stands before the store, and how it is mounted.
type sceneOptions struct {
	shape proxy.Shape // the zero value is one slow enough for faults to fall into the reading
	env   []string    // who asks; nil is the server's owner
	flags []string    // of mountd, in addition
}

// scene is one mount before one proxy.
type scene struct {
	t     *testing.T
	proxy *proxy.Proxy
	mount *rig.Mount
	// prefix is the command that readers run under, if any.
	prefix []string
	// env is gpuload's without a mount, loadFlags are its flags.
	env, loadFlags []string
	names          *rig.NameServer // may be nil
}

// newScene mounts the bucket behind a proxy for the length of the test, with
// flags in addition.
func newScene(t *testing.T, flags ...string) *scene {
	t.Helper()
	return sceneWith(t, sceneOptions{flags: flags})
}

func sceneWith(t *testing.T, opts sceneOptions) *scene {
	t.Helper()
	r := &scene{t: t, proxy: proxy.Start(t, theStage.Server.Endpoint)}
	if opts.shape == (proxy.Shape{}) {
		opts.shape = proxy.Shape{FirstByte: 2 * time.Millisecond, PerConnection: 20e6, Total: 40e6}
	}
	r.proxy.SetShape(opts.shape)
	if opts.env == nil {
		opts.env = theStage.Server.Env()
	}
	r.env = append(slices.Clone(opts.env), "AWS_ENDPOINT_URL="+r.proxy.Endpoint)
	args := append([]string{"--memory-limit", "128Mi", "--part-size", "1Mi", "--metadata-ttl", "1h"}, opts.flags...)
	r.mount = mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Args: args, Env: r.env})
	return r
}

// mountFor mounts for the length of the test, whose end unmounts by SIGTERM. It
// must end with exit 0, or the one given.
func mountFor(t *testing.T, opts rig.MountOptions, exit ...int) *rig.Mount {
	t.Helper()
	m := theStage.MountFor(t, opts, exit...)
	checkAtEnd(t, m)
	return m
}

// mountBucket is mountFor with the bucket as it is.
func mountBucket(t *testing.T, flags ...string) *rig.Mount {
	t.Helper()
	return mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Env: theStage.Server.Env(), Args: flags})
}

// file is the object in the mount.
func (r *scene) file() string { return filepath.Join(r.mount.Dir, object) }

// read reads the object in one way, to the end or to the error.
func (r *scene) read(way string) outcome {
	r.t.Helper()
	switch way {
	case "load":
		return loadFile(r.t, r.prefix, r.file())
	case direct:
		// Parts as small as the mount's, so that the rules find as many GETs.
		args := append([]string{"--part-size", "1Mi", "--concurrency", "12", "--force-path-style"}, r.loadFlags...)
		prefix := append(append(slices.Clone(r.prefix), "env"), r.env...)
		return loadFile(r.t, prefix, append(args, "s3://"+bucket+"/"+object)...)
	default:
		return readFile(r.t, way, r.file(), r.prefix...)
	}
}

// loadFile has gpuload load a file and compares each tensor with what the
// reference implementation reads from the original.
func loadFile(t *testing.T, prefix []string, args ...string) outcome {
	t.Helper()
	loaded, result := loadTensors(t, prefix, args...)
	if result.Code != 0 {
		return outcome{message: result.Stderr, Failures: []string{errnoOf(result.Stderr)}}
	}
	if err := rig.Compare(loaded, theStage.reference); err != nil {
		return outcome{SHA256: err.Error()}
	}
	return outcome{SHA256: theStage.digest}
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
	noError(t, err)
	loaded, err := rig.ParseManifest(string(text))
	noError(t, err)
	return loaded, result
}

// errnoOf finds the errno that a program names in its message.
func errnoOf(message string) string {
	for text, name := range map[string]string{
		"input/output error": "EIO", "stale": "ESTALE", "changed since it was listed": "ESTALE",
		"permission denied": "EACCES", "no such file": "ENOENT",
	} {
		if strings.Contains(strings.ToLower(message), text) {
			return name
		}
	}
	return strings.TrimSpace(message)
}

// noError ends the test at an error of what it stands on.
func noError(t failer, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// atEnd calls fn at the end of the test.
func atEnd(t *testing.T, fn func() error) {
	t.Cleanup(func() {
		if err := fn(); err != nil {
			t.Error(err)
		}
	})
}

// runChild runs a child, which must end within childLimit.
func runChild(t *testing.T, env []string, name string, args ...string) rig.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), childLimit)
	defer cancel()
	result, err := rig.Run(ctx, env, name, args...)
	noError(t, err)
	return result
}

// runUnder runs a child under the command prefix, with the server's credentials.
func runUnder(t *testing.T, prefix []string, args ...string) rig.Result {
	t.Helper()
	args = append(append([]string{}, prefix...), args...)
	return runChild(t, theStage.Server.Env(), args[0], args[1:]...)
}

// succeed runs a child that must exit with 0 and returns what it printed.
func succeed(t *testing.T, name string, args ...string) string {
	t.Helper()
	return rig.Succeed(t, theStage.Server.Env(), name, args...)
}
