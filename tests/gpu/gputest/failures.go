package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"weightfs/cmd/cli"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// checkFailures holds that loads which cannot be right fail, with an error that
// says why, and leave nothing behind.
func checkFailures(ctx context.Context, r *suite, s *report) error {
	dir := r.path("failures")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: 1, Size: 32 << 20})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, names[0])
	s.add("a wrong bit is found by --expect", r.wrongBit(ctx, file))
	s.add("a model that is larger than the device", r.tooLarge(ctx))
	s.add("SIGTERM in the middle of a load", r.interrupted(ctx, dir))
	return nil
}

// fails holds that a load fails, and that what it says has that text.
func (r *suite) fails(ctx context.Context, want, source string, flags ...string) error {
	_, err := r.load(ctx, source, flags...)
	if err == nil {
		return errors.New("the load succeeded")
	}
	if !strings.Contains(err.Error(), want) {
		return fmt.Errorf("the error lacks %q: %w", want, err)
	}
	return nil
}

// wrongBit changes a file after its manifest was written.
func (r *suite) wrongBit(ctx context.Context, file string) error {
	manifest := r.path("expected")
	if _, err := r.load(ctx, file, "--manifest", manifest); err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	return r.fails(ctx, "digest", file, "--expect", manifest)
}

// tooLarge loads a file of a tebibyte, none of which is there.
func (r *suite) tooLarge(ctx context.Context) error {
	const size = 1 << 40
	header := fmt.Sprintf(`{"large":{"dtype":"U8","shape":[%d],"data_offsets":[0,%[1]d]}}`, int64(size))
	path := r.path("too-large.safetensors")
	text := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	if err := errors.Join(os.WriteFile(path, text, 0o644), os.Truncate(path, int64(len(text))+size)); err != nil {
		return err
	}
	return errors.Join(r.fails(ctx, "out of memory", path), os.Remove(path))
}

// interrupted ends a load some of whose bytes never come, and looks for what it
// leaves: no manifest.
func (r *suite) interrupted(ctx context.Context, dir string) (err error) {
	uri, err := r.upload(ctx, dir)
	if err != nil {
		return err
	}
	store, err := proxy.New(r.server.Endpoint)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	never, begun, gets := make(chan struct{}), make(chan struct{}), 0
	defer close(never)
	store.SetRules(1, proxy.Rule{Op: "GET", Skip: 2, Fault: proxy.Fault{Hold: never}, When: func(proxy.Request) bool {
		if gets++; gets == 3 {
			close(begun)
		}
		return true
	}})
	manifest := r.path("interrupted")
	cmd := exec.Command(filepath.Join(r.bin, "gpuload"), "load", uri, "--device", r.device, "--manifest", manifest)
	cmd.Env = append(os.Environ(), append(r.env(), "AWS_ENDPOINT_URL="+store.Endpoint)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-begun:
	case err := <-ended:
		return fmt.Errorf("it ended by itself: %w: %s", err, &said)
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), cmd.Process.Kill())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), cmd.Process.Kill())
	}
	if code := cmd.ProcessState.ExitCode(); code != cli.ExitFailure {
		return fmt.Errorf("exit %d: %s", code, &said)
	}
	if _, err := os.Stat(manifest); err == nil {
		return errors.New("it left a manifest")
	}
	return nil
}
