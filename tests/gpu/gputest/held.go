package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// holdLimit is for how long the holder's socket is looked for.
const holdLimit = time.Minute

// checkHeld has Python's torch map a model that gpuload holds. Without torch
// and a GPU it checks nothing, and says so.
func (r *suite) checkHeld(ctx context.Context, s *report, checkpoint string, want map[string]rig.Tensor) error {
	socket := r.path("held")
	holder, err := rig.StartProcess(exec.Command(filepath.Join(r.bin, "gpuload"),
		"load", filepath.Join(r.path("corpus"), checkpoint), "--device", r.device, "--hold", socket))
	if err != nil {
		return err
	}
	defer func() { _ = holder.Stop(holdLimit) }()
	err = lab.Poll(ctx, holdLimit, "no socket", func(context.Context) (bool, error) {
		select {
		case <-holder.Done():
			return false, errors.New("gpuload ended")
		default:
			_, err := os.Stat(socket)
			return err == nil, nil
		}
	})
	if err != nil {
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
