package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

//go:embed *.py
var scripts embed.FS

// bucket holds what the S3 server serves.
const bucket = "models"

// suite is what the checks and measurements run with. close removes it all.
type suite struct {
	settings
	dir      string // scratch folder
	programs rig.Programs
	server   *rig.Server // nil where it does not start
	noServer error       // why
	mounts   []*rig.Mount

	large []string   // names of the large checkpoint's files
	loads []lab.Load // of the local files

	heldDir string // the large checkpoint's in a mount whose daemon holds it; "": not yet
}

func newSuite(ctx context.Context, s settings) (_ *suite, err error) {
	r := &suite{settings: s, programs: rig.Programs{
		Mountd: filepath.Join(s.bin, "mountd"), Gpuload: filepath.Join(s.bin, "gpuload"), Python: s.python,
	}}
	if r.dir, err = os.MkdirTemp(s.work, "gputest-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := os.CopyFS(r.dir, scripts); err != nil {
		return nil, err
	}
	served := filepath.Join(r.dir, "served")
	if err := os.Mkdir(served, 0o755); err != nil {
		return nil, err
	}
	if r.server, r.noServer = rig.NewServer(ctx, rig.ServerOptions{Dir: served, Binary: filepath.Join(s.bin, "versitygw")}); r.noServer == nil {
		r.noServer = r.server.CreateBucket(ctx, bucket)
	}
	return r, nil
}

// env are the variables that lead to the server, if there is one.
func (r *suite) env() []string {
	if r.server == nil {
		return nil
	}
	return r.server.Env()
}

// upload puts a folder into the bucket and returns where it is.
func (r *suite) upload(ctx context.Context, dir string) (uri string, err error) {
	if r.noServer != nil {
		return "", fmt.Errorf("no S3 server: %w", r.noServer)
	}
	name := filepath.Base(dir)
	return "s3://" + bucket + "/" + name, r.server.PutDir(ctx, bucket, name+"/", dir)
}

func (r *suite) close() error {
	var errs []error
	for _, m := range r.mounts {
		errs = append(errs, m.Close())
	}
	if r.server != nil {
		errs = append(errs, r.server.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// path is a name in the scratch folder.
func (r *suite) path(name string) string { return filepath.Join(r.dir, name) }

// output runs one of the bundle's programs to its end; its error has what the
// program said.
func (r *suite) output(ctx context.Context, program string, args ...string) (string, error) {
	return rig.Output(ctx, r.env(), filepath.Join(r.bin, program), args...)
}

// script runs one of the embedded scripts.
func (r *suite) script(ctx context.Context, name string, args ...string) (string, error) {
	return rig.Output(ctx, nil, r.python, append([]string{r.path(name)}, args...)...)
}

// mount mounts a source until the rig is closed and returns the mountpoint.
func (r *suite) mount(ctx context.Context, source string, flags ...string) (string, error) {
	m, err := r.programs.Mount(ctx, rig.MountOptions{Source: source, Args: flags, Env: r.env()})
	if err != nil {
		return "", err
	}
	r.mounts = append(r.mounts, m)
	return m.Dir, nil
}

// timed runs one of the bundle's programs, which prints a report.
func (r *suite) timed(ctx context.Context, program string, args ...string) (lab.Load, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, program), args...)
	cmd.Env = append(os.Environ(), r.env()...)
	return lab.ExecLoad(cmd)
}

func (r *suite) load(ctx context.Context, source string, flags ...string) (lab.Load, error) {
	return r.timed(ctx, "gpuload", append([]string{"load", source, "--device", r.device, "--json"}, flags...)...)
}

func (r *suite) bareloop(ctx context.Context, files []string, flags ...string) (lab.Load, error) {
	return r.timed(ctx, "bareloop", slices.Concat([]string{"--device", r.device}, flags, files)...)
}

// under puts a folder or URI before each name.
func under(root string, names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = root + "/" + name
	}
	return paths
}
