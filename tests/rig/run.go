package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Result is what became of a child.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code, -1 where a signal ended the child.
	Code int
}

// Run runs a child to its end, with env added to our environment. An error
// means that it could not be run or did not end before ctx did.
func Run(ctx context.Context, env []string, name string, args ...string) (Result, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 10 * time.Second // to read what it said, on a busy machine
	err := cmd.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: -1}
	if cmd.ProcessState != nil {
		result.Code = cmd.ProcessState.ExitCode()
	}
	if ctx.Err() != nil {
		return result, fmt.Errorf("%s: %w: %s", name, ctx.Err(), stderr.String())
	}
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return result, fmt.Errorf("%s: %w", name, err)
	}
	return result, nil
}

// Output runs a child that must exit with 0 and returns its standard output.
func Output(ctx context.Context, env []string, name string, args ...string) (string, error) {
	result, err := Run(ctx, env, name, args...)
	if err != nil {
		return "", err
	}
	if result.Code != 0 {
		return "", fmt.Errorf("%s %s: exit %d: %s", name, strings.Join(args, " "), result.Code, strings.TrimSpace(result.Stderr))
	}
	return result.Stdout, nil
}
