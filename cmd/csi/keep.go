package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The process that is started serves nothing. It starts another one that does, and the
// next when that has died: its container lives on meanwhile, with which all mountds
// would end.

const (
	// serverVariable marks the process that serves.
	serverVariable = "_WEIGHTFS_CSI_SERVER"
	// serverDescriptor is where it writes a byte once it serves.
	serverDescriptor = 3
	// restartPause is waited after a death. One that dies again and again is for the
	// liveness probe to end.
	restartPause = time.Second
)

// keep has a process serve until ctx ends, and returns its exit code. One that ends
// before any has served is not followed by another.
func keep(ctx context.Context, logger *slog.Logger) (code int, err error) {
	runtime.LockOSThread() // with whose end the kernel ends the process that serves
	defer runtime.UnlockOSThread()
	hasServed := false
	for {
		served, state, err := runServer(ctx)
		if err != nil {
			return 1, err
		}
		hasServed = hasServed || served
		if ctx.Err() != nil { // it was told to end
			return max(state.ExitCode(), 0), nil
		}
		if !hasServed {
			return max(state.ExitCode(), 0), unexpected(state)
		}
		logger.Error("the process that serves has died: another follows", "pid", state.Pid(), "cause", state.String())
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
			return 0, nil
		}
	}
}

// unexpected is the error of an end of which the process has said nothing.
func unexpected(state *os.ProcessState) error {
	if state.Exited() {
		return nil
	}
	return fmt.Errorf("the process that serves has died: %v", state)
}

// runServer runs a process that serves until it ends, and tells whether it has served.
func runServer(ctx context.Context) (served bool, state *os.ProcessState, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, nil, err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return false, nil, err
	}
	defer ours.Close()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), serverVariable+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	_ = theirs.Close() // nothing was written
	if err != nil {
		return false, nil, err
	}
	ended := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		case <-ended:
		}
	}()
	_ = cmd.Wait() // what became of it is in ProcessState
	close(ended)
	<-told
	n, _ := ours.Read(make([]byte, 1)) // nobody has its other end any more
	return n == 1, cmd.ProcessState, nil
}

// isServer tells whether this process is to serve, and lets no child know.
func isServer() bool {
	_, serves := os.LookupEnv(serverVariable)
	if serves {
		_ = os.Unsetenv(serverVariable) // it fails for no such name
		unix.CloseOnExec(serverDescriptor)
	}
	return serves
}

// noteServing tells the process that keeps this one that it serves.
func noteServing() error {
	file := os.NewFile(serverDescriptor, "keeper")
	defer file.Close()
	if _, err := file.Write([]byte{1}); err != nil {
		return fmt.Errorf("tell the first process: %w", err)
	}
	return nil
}
