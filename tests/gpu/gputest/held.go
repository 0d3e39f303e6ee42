package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"weightfs/tests/rig"
)

// holdPoll is how often the holder's socket is looked for, holdLimit for how
// long.
const (
	holdPoll  = 20 * time.Millisecond
	holdLimit = time.Minute
)

// checkHeld has Python's torch map a model that gpuload holds. Without torch
// and a GPU it checks nothing, and says so.
func (r *suite) checkHeld(ctx context.Context, s *score, checkpoint string, want map[string]rig.Tensor) error {
	socket := r.path("held")
	holder, err := rig.StartProcess(exec.Command(filepath.Join(r.bin, "gpuload"),
		"load", filepath.Join(r.path("corpus"), checkpoint), "--device", r.device, "--hold", socket))
	if err != nil {
		return err
	}
	defer func() { _ = holder.Stop(holdLimit) }()
	if err := awaitFile(ctx, socket, holder.Done()); err != nil {
		return fmt.Errorf("hold: %w: %s", err, holder.Output())
	}
	text, err := r.script(ctx, "held.py", socket)
	what := checkpoint + " mapped by another process"
	if err != nil {
		s.add(what, err)
		return nil
	}
	if text == "" {
		s.skip(what, "no torch with a GPU here")
		return nil
	}
	got, err := rig.ParseManifest(text)
	if err != nil {
		return err
	}
	for name, t := range got { // the holder does not say from which file
		t.File = want[name].File
		got[name] = t
	}
	s.add(what, rig.Compare(got, want))
	return nil
}

// awaitFile waits until a file is there; it fails once ended is closed.
func awaitFile(ctx context.Context, path string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, holdLimit)
	defer cancel()
	tick := time.NewTicker(holdPoll)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		select {
		case <-tick.C:
		case <-ended:
			return errors.New("gpuload ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
