package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// Stage is what measurements run on: the programs, a server with a bucket over
// files on tmpfs, and a proxy before it. Close removes it all.
type Stage struct {
	*rig.Programs
	Root    string // of the module
	Server  *rig.Server
	Proxy   *proxy.Proxy
	Scratch string // on tmpfs: the server's files
	Disk    string // local files, in TMPDIR
	Began   time.Time
}

// NewStage builds the programs and starts the server.
func NewStage(ctx context.Context, name, bucket string) (_ *Stage, err error) {
	l := &Stage{Began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.Root, err = rig.Root(); err != nil {
		return nil, err
	}
	if l.Scratch, err = os.MkdirTemp("/dev/shm", "weightfs-"+name+"-"); err != nil {
		return nil, err
	}
	if l.Disk, err = os.MkdirTemp("", "weightfs-"+name+"-"); err != nil {
		return nil, err
	}
	if l.Programs, err = rig.Build(ctx, l.Disk); err != nil {
		return nil, err
	}
	served := filepath.Join(l.Scratch, "served")
	if err = os.Mkdir(served, 0o755); err != nil {
		return nil, err
	}
	if l.Server, err = rig.NewServer(ctx, rig.ServerOptions{Dir: served}); err != nil {
		return nil, err
	}
	if l.Proxy, err = proxy.New(l.Server.Endpoint); err != nil {
		return nil, err
	}
	return l, l.Server.CreateBucket(ctx, bucket)
}

// Close ends the server and removes all files.
func (l *Stage) Close() error {
	var errs []error
	if l.Proxy != nil {
		errs = append(errs, l.Proxy.Close())
	}
	if l.Server != nil {
		errs = append(errs, l.Server.Close())
	}
	for _, dir := range []string{l.Scratch, l.Disk} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}
