package fleet

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
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
	*rig.Programs
	scratch  string
	server   *rig.Server
	original string // the object's file
	manifest string // of its tensors
	render   string // the script of deploy/nginx
}

// theStage is set before the first test runs.
var theStage *stage

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runOnStage(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		code = 1
	}
	os.Exit(code)
}

func runOnStage(m *testing.M) (code int, err error) {
	ctx := context.Background()
	s := &stage{}
	if s.scratch, err = os.MkdirTemp("", "weightfs-fleet-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.scratch)) }()
	if err := os.Chmod(s.scratch, 0o755); err != nil { // for nginx' workers
		return 1, err
	}
	if s.Programs, err = rig.Build(ctx, s.scratch); err != nil {
		return 1, err
	}
	root, err := rig.Root()
	if err != nil {
		return 1, err
	}
	s.render = filepath.Join(root, "deploy", "nginx", "render.sh")
	if _, err := rig.WriteCheckpoint(s.scratch, rig.Checkpoint{Size: size - block/2, TensorSize: block}); err != nil {
		return 1, err
	}
	s.original, s.manifest = filepath.Join(s.scratch, object), filepath.Join(s.scratch, "manifest")
	if _, err := rig.Output(ctx, nil, s.Gpuload, "load", "--device", "cpu", "--progress", "none", "--hash", "xxh3", "--manifest", s.manifest, s.original); err != nil {
		return 1, err
	}
	if s.server, err = rig.NewServer(ctx, rig.ServerOptions{}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, s.server.Close()) }()
	if err := s.server.CreateBucket(ctx, bucket); err != nil {
		return 1, err
	}
	theStage = s
	return m.Run(), nil
}
