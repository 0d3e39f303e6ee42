package gpuload_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/gpuload"
	"weightfs/remote"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// bucket is an S3 server with one bucket, seen through a proxy.
type bucket struct {
	server *rig.Server
	proxy  *proxy.Proxy
}

func newBucket(t *testing.T, content map[string][]byte) *bucket {
	t.Helper()
	server := rig.StartServer(t, rig.ServerOptions{})
	for _, entry := range server.Env() {
		name, value, _ := strings.Cut(entry, "=")
		t.Setenv(name, value)
	}
	if err := server.CreateBucket(t.Context(), "models"); err != nil {
		t.Fatal(err)
	}
	for key, data := range content {
		server.MustPut(t, "models", key, data)
	}
	return &bucket{server: server, proxy: proxy.Start(t, server.Endpoint)}
}

// open opens s3:// sources for the length of the test.
func (b *bucket) open(t *testing.T, args ...string) *gpuload.Source {
	t.Helper()
	src, err := b.tryOpen(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, src.Close()) })
	return src
}

func (b *bucket) tryOpen(t *testing.T, args ...string) (*gpuload.Source, error) {
	cfg := gpuload.SourceConfig{S3: remote.S3Config{EndpointURL: b.proxy.Endpoint, ForcePathStyle: true}}
	return gpuload.OpenSource(t.Context(), cfg, args...)
}

// TestIndexOfAnotherName loads what an index names that is not called
// model.safetensors.index.json, of a folder and of a bucket.
func TestIndexOfAnotherName(t *testing.T) {
	tensors := everyDType("", 10)
	weights := make(map[string]string)
	for _, c := range tensors {
		weights[c.name] = "part.safetensors"
	}
	index, err := json.Marshal(map[string]any{"weight_map": weights})
	check(t, err)
	content := map[string][]byte{
		"diffusion_pytorch_model.safetensors.index.json": index,
		"part.safetensors": encode(tensors),
		"copy.safetensors": encode(tensors), // would be a second tensor of each name
	}
	dir, objects := t.TempDir(), make(map[string][]byte)
	for name, data := range content {
		check(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		objects["unet/"+name] = data
	}
	b := newBucket(t, objects)
	for _, src := range []*gpuload.Source{open(t, dir), b.open(t, "s3://models/unet")} {
		if len(src.Files()) != 1 {
			t.Errorf("%s: %d files, want 1", src, len(src.Files()))
		}
		loadAndCompare(t, src, tensors, gpuload.Options{})
	}
}

func TestLoadFromS3(t *testing.T) {
	first, second := everyDType("a.", 3*mib+5), everyDType("b.", 1)
	b := newBucket(t, map[string][]byte{
		"llama/1.safetensors":     encode(first),
		"llama/2.safetensors":     encode(second),
		"llama/sub/3.safetensors": encode(everyDType("c.", 1)), // not directly in it
		"llama2/4.safetensors":    encode(everyDType("d.", 1)), // another folder
		"llama/README.md":         []byte("read me"),
	})
	both := append(first, second...)
	for _, c := range []struct {
		args []string
		want []content
	}{
		{[]string{"s3://models/llama"}, both},
		{[]string{"s3://models/llama/"}, both},
		{[]string{"s3://models/llama/2.safetensors"}, second},
		{[]string{"s3://models/llama/2.safetensors", "s3://models/llama/1.safetensors"}, both},
	} {
		for _, limit := range []int64{0, gpuload.MemoryMinimum, 512 << 10} {
			t.Run(fmt.Sprintf("%s/limit=%d", strings.Join(c.args, " "), limit), func(t *testing.T) {
				loadAndCompare(t, b.open(t, c.args...), c.want, gpuload.Options{MemoryLimit: limit, PartSize: mib})
			})
		}
	}
}

func TestLoadFromS3Requests(t *testing.T) {
	tensors := everyDType("", 8*mib)
	b := newBucket(t, map[string][]byte{"m/1.safetensors": encode(tensors)})
	b.proxy.ResetStats()
	loadAndCompare(t, b.open(t, "s3://models/m"), tensors, gpuload.Options{PartSize: 2 * mib})
	var gets, heads int
	for _, r := range b.proxy.Log() {
		switch r.Op {
		case "GET":
			gets++
		case "HEAD":
			heads++
		}
	}
	if gets != 1+5 || heads != 0 { // the header, and five parts
		t.Errorf("%d GET and %d HEAD requests, want 6 and 0", gets, heads)
	}
}

func TestLoadFromS3Faults(t *testing.T) {
	tensors := everyDType("", 8*mib)
	b := newBucket(t, map[string][]byte{"m/1.safetensors": encode(tensors)})
	opts := gpuload.Options{PartSize: 2 * mib, Concurrency: 3}

	t.Run("transient", func(t *testing.T) {
		src := b.open(t, "s3://models/m")
		b.proxy.SetRules(1,
			proxy.Rule{Op: "GET", Skip: 1, Count: 2, Fault: proxy.Fault{Status: 503, Code: "SlowDown"}},
			proxy.Rule{Op: "GET", Skip: 3, Count: 2, Fault: proxy.Fault{End: proxy.Truncate, After: mib}},
		)
		b.proxy.ResetStats()
		defer b.proxy.SetRules(1)
		loadAndCompare(t, src, tensors, opts)
		if got := b.proxy.Stats().Faults; got != 4 {
			t.Errorf("%d faults were met, want 4", got)
		}
	})
	t.Run("replaced", func(t *testing.T) {
		src := b.open(t, "s3://models/m")
		b.server.MustPut(t, "models", "m/1.safetensors", encode(everyDType("other", 8*mib)))
		err := loadFails(t, newCPU(t, 0), src, opts)
		if !errors.Is(err, remote.ErrChanged) || !strings.Contains(err.Error(), "s3://models/m/1.safetensors") {
			t.Errorf("%v: want ErrChanged, and the URI", err)
		}
	})
}

func TestOpenS3Errors(t *testing.T) {
	b := newBucket(t, map[string][]byte{"m/README.md": []byte("read me")})
	for arg, want := range map[string]string{
		"s3://none/m":                "s3://none",
		"s3://models/none":           "s3://models/none",
		"s3://models/m":              "no safetensors files",
		"s3://models/1.safetensors":  "s3://models/1.safetensors",
		"s3://models/m/?.safetensor": "s3://models/m/?.safetensor",
	} {
		_, err := b.tryOpen(t, arg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", arg, err, want)
		}
		if !strings.HasSuffix(arg, "/m") && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", arg, err)
		}
	}
}
