// Package tests holds the black-box tests: the built programs, real mounts, a
// real S3 server, real clients, and an independent reader of the format. They
// know the programs by their command line alone; testdata/script has what users
// write there. Mounting needs root, or fusermount3; what needs root says so.
package tests

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// childLimit bounds each child of a test.
const childLimit = 2 * time.Minute

// bucket holds a folder for each of the models.
const bucket = "models"

// stage is what the tests share: it is set up once, by TestMain, and read only.
type stage struct {
	*rig.Stage
	models []model
}

// model is one checkpoint.
type model struct {
	name      string // its folder in the bucket
	dir       string // the original files
	reference func() (map[string]rig.Tensor, error)
}

// theStage is set before the first test runs.
var theStage *stage

func TestMain(m *testing.M) {
	rig.Main(m, "tests", rig.ServerOptions{}, func(ctx context.Context, shared *rig.Stage) error {
		theStage = &stage{Stage: shared}
		if err := theStage.makeModels(); err != nil {
			return err
		}
		return theStage.upload(ctx)
	})
}

// makeModels makes the checkpoints known, and writes those that are not there.
func (s *stage) makeModels() error {
	trained, err := rig.Model()
	if err != nil {
		return err
	}
	s.add("trained", trained)
	specs := map[string]rig.Checkpoint{
		"sharded": {Shards: 4, Size: 128 << 20, TensorSize: 20 << 20},
		"mixed":   {Shards: 3, Size: 24 << 20, TensorSize: 1 << 20, Odd: true, Dtypes: []string{"F32", "I8", "BF16", "F64", "BOOL", "F8_E4M3", "I16"}},
	}
	for name, spec := range specs {
		dir := filepath.Join(s.Scratch, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if _, err := rig.WriteCheckpoint(dir, spec); err != nil {
			return err
		}
		s.add(name, dir)
	}
	return nil
}

// add makes a checkpoint known. Its reference is read when it is first asked for.
func (s *stage) add(name, dir string) {
	s.models = append(s.models, model{name, dir, sync.OnceValues(func() (map[string]rig.Tensor, error) {
		files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		if err != nil {
			return nil, err
		}
		return s.Reference(context.Background(), files...)
	})})
}

func (s *stage) upload(ctx context.Context) error {
	if err := s.Server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	for _, m := range s.models {
		if err := s.Server.PutDir(ctx, bucket, m.name+"/", m.dir); err != nil {
			return err
		}
	}
	return nil
}

// model returns the checkpoint of that name.
func (s *stage) model(t *testing.T, name string) model {
	t.Helper()
	for _, m := range s.models {
		if m.name == name {
			return m
		}
	}
	t.Fatalf("no model %q", name)
	return model{}
}

// tensors are what Python reads of the original files.
func (m model) tensors(t *testing.T) map[string]rig.Tensor {
	t.Helper()
	tensors, err := m.reference()
	if err != nil {
		t.Fatal(err)
	}
	return tensors
}

// mount mounts source for the length of the test.
func mount(t *testing.T, source string, args ...string) *rig.Mount {
	t.Helper()
	return mountWith(t, rig.MountOptions{Source: source, Args: args})
}

// mountWith mounts for the length of the test, with the server's credentials.
func mountWith(t *testing.T, opts rig.MountOptions) *rig.Mount {
	t.Helper()
	opts.Env = append(theStage.Server.Env(), opts.Env...)
	return theStage.MountFor(t, opts)
}

// output runs a child that must succeed, with the server's credentials, and
// returns what it printed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	return rig.Succeed(t, theStage.Server.Env(), name, args...)
}
