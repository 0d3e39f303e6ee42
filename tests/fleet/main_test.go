package fleet

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"weightfs/tests/rig"
)

const (
	bucket = "fleet"
	object = "model.safetensors"
	// size of the object: so many blocks of the cache that one of them read twice is
	// less than a twentieth.
	size = 22 * block
	// block of the cache.
	block = 8 << 20
	// limit bounds each wait for what comes by itself: past it somebody hangs.
	limit = 2 * time.Minute
)

// stage is what the cases share.
type stage struct {
	*rig.Stage
	original string // the object's file
	manifest string // of its tensors
	render   string // the script of deploy/nginx
}

// theStage is set before the first test runs.
var theStage *stage

func TestMain(m *testing.M) { rig.Main(m, "fleet", rig.ServerOptions{}, prepare) }

func prepare(ctx context.Context, s *rig.Stage) error {
	root, err := rig.Root()
	if err != nil {
		return err
	}
	theStage = &stage{
		Stage:    s,
		original: filepath.Join(s.Scratch, object), manifest: filepath.Join(s.Scratch, "manifest"),
		render: filepath.Join(s.Scratch, "nginx", "render.sh"),
	}
	// A copy, for users who may not enter the project.
	if _, err := rig.Output(ctx, nil, "cp", "-r", filepath.Join(root, "deploy", "nginx"), s.Scratch); err != nil {
		return err
	}
	if _, err := rig.WriteCheckpoint(s.Scratch, rig.Checkpoint{Size: size - block/2, TensorSize: block}); err != nil {
		return err
	}
	if _, err := rig.Output(ctx, nil, s.Gpuload, "load", "--device", "cpu", "--progress", "none", "--hash", "xxh3",
		"--manifest", theStage.manifest, theStage.original); err != nil {
		return err
	}
	return s.Server.CreateBucket(ctx, bucket)
}
